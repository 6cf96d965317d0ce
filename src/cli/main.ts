#!/usr/bin/env node
/** Where the program begins: the exit code, and one line for every failure. Nothing is imported before Node is known to be new enough. */
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`netns-rootless: Node.js ${process.versions.node} is too old: 20.19 or newer is needed\n`);
  process.exit(125);
}

// A reader of ours that went away is no reason to end the command.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

try {
  const { runProgram } = await import("./program.js");
  process.exit(await runProgram(process.argv.slice(2)));
} catch (error) {
  const code = error instanceof Error && "code" in error ? error.code : "";
  // Wherever it comes from, a module that could not be loaded included: so nothing more is loaded to say so.
  if (code === "EMFILE" || code === "ENFILE") {
    process.stderr.write(`netns-rootless: too many open files (${code}): raise the limit (ulimit -n 1024)\n`);
    process.exit(125);
  }
  const { NetnsError } = await import("../errors.js");
  if (error instanceof NetnsError) {
    process.stderr.write(`netns-rootless: ${error.message}\n`);
    process.exit(error.exitCode);
  }
  // A bug of ours: the person who reports it needs the whole of it.
  process.stderr.write(`netns-rootless: internal error: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(125);
}

export {};
