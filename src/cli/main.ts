/** What the program does: the exit code, and one line for every failure. start.cts runs it out of the bundle, the tests as it is. */

/** Nothing is loaded for this, since that may be what failed. */
function warn(text: string): void {
  process.stderr.on("error", () => {});
  process.stderr.write(`netns-rootless: ${text}\n`);
}

async function main(): Promise<number> {
  let errors: typeof import("../errors.js") | null = null;
  try {
    errors = await import("../errors.js"); // now: a process that has confined itself loads nothing
    const { restoreEnvironment } = await import("./environment.js");
    const { prepared } = restoreEnvironment();
    if (process.argv[2] === "slirp4netns") {
      const { slirp4netns } = await import("./slirp4netns/main.js");
      return await slirp4netns(process.argv.slice(3));
    }
    const { runProgram } = await import("./program.js");
    return await runProgram(process.argv.slice(2), prepared);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    // Wherever it comes from, a module that could not be loaded included: so nothing more is loaded to say so.
    if (code === "EMFILE" || code === "ENFILE") {
      warn(`too many open files (${code}): raise the limit (ulimit -n 1024)`);
      return 125;
    }
    if (errors !== null && error instanceof errors.NetnsError) {
      warn(error.message);
      return error.exitCode;
    }
    // A bug of ours: the person who reports it needs the whole of it.
    warn(`internal error: ${error instanceof Error ? error.stack : String(error)}`);
    return 125;
  }
}

// Should nothing be left to wait for and main() not have ended, which is a bug.
process.exitCode = 125;
main().then((code) => process.exit(code));

export {};
