/** The program itself, as a person calls it, as far as nothing has to be opened for the answer. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import test from "ava";

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function netns(...args: string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [MAIN, ...args], { timeout: 20_000 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

for (const [args, message] of [
  [[], /nothing to do; expected run, create, attach or doctor/],
  [["walk"], /unknown command 'walk'/],
  [["run"], /run: no command given; expected netns-rootless run/],
  [["run", "--"], /run: no command given/],
  [["run", "--wrong", "--", "true"], /unknown option '--wrong'/],
  [["run", "--mto", "1500", "--", "true"], /Did you mean --mtu/],
  [["run", "--mtu", "9", "--", "true"], /--mtu 9: expected 576 to 65521/],
  [["run", "-p", "8080", "--", "true"], /--publish 8080: not of this form/],
  [["run", "-p"], /argument missing/],
  [["run", "--allow-host-loopback=none", "true"], /none is not a port/],
  [["run", "--log-file", "/nowhere/log", "true"], /--log-file \/nowhere\/log: cannot be written/],
  [["run", "--ifname", "a\nb", "true"], /--ifname a\\x0ab: expected/],
  [["run", "--hostname", "a\u001b[2J", "true"], /--hostname a\\x1b\[2J: expected/],
  [["run", "--x\u001b[2J"], /unknown option '--x\\x1b\[2J'/],
  [["attach"], /missing required argument 'target'/],
  [["attach", "x"], /process id, or the path/],
  [["doctor", "x"], /too many arguments/],
] as const) {
  test(`wrong use: netns-rootless ${JSON.stringify(args.join(" "))}`, async (t) => {
    const { code, stdout, stderr } = await netns(...args);
    t.is(code, 2);
    t.is(stdout, "");
    t.regex(stderr, message);
    t.regex(stderr, /^netns-rootless: .+\n$/, "one line");
  });
}

for (const limit of [20, 24, 30, 40]) {
  test(`with ${limit} open files allowed, one line says that these are too few`, async (t) => {
    const started = execFile("sh", ["-c", `ulimit -n ${limit}; exec "$0" "$@"`, process.execPath, MAIN, "run", "true"]);
    let stderr = "";
    started.stderr?.on("data", (text: string) => (stderr += text));
    const code = await new Promise((resolve) => started.once("close", resolve));
    t.is(code, 125);
    t.regex(stderr, /^netns-rootless: .*(EMFILE|file descriptor).*ulimit -n.*\n$/);
  });
}

test("--version", async (t) => {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
  t.like(manifest, { version: (await netns("--version")).stdout.trim() });
});

test("--help names the commands and shows examples", async (t) => {
  const { code, stdout } = await netns("--help");
  t.is(code, 0);
  for (const word of ["run", "attach", "doctor", "Examples:", "python3 -m http.server 8080"])
    t.true(stdout.includes(word), word);
});

test("run --help names every option", async (t) => {
  const { code, stdout } = await netns("run", "--help");
  t.is(code, 0);
  for (const option of [
    "-p, --publish",
    "--root",
    "--cidr",
    "--mtu",
    "--ifname",
    "--mac",
    "--no-dns",
    "--dns",
    "--hostname",
    "--allow-host-loopback",
    "--outbound-addr",
    "-4, --ipv4-only",
    "-6, --ipv6-only",
    "--cidr6",
    "--outbound-addr6",
    "--congestion",
    "-q, --quiet",
    "-v, --verbose",
    "--log-file",
    "Examples:",
  ]) {
    t.true(stdout.includes(option), option);
  }
});

// The next ones end with a wrong --mtu: had it been taken for the command's, the answer would be another.
test("a value that may be left out does not swallow the command", async (t) => {
  t.regex((await netns("run", "--allow-host-loopback", "--mtu", "9", "true")).stderr, /--mtu 9/);
  t.regex((await netns("run", "--allow-host-loopback")).stderr, /no command given/);
  t.regex((await netns("run", "-qp", "1:1", "--allow-host-loopback", "--mtu", "9", "x")).stderr, /--mtu 9/);
  t.regex((await netns("run", "-p", "0:bad", "--allow-host-loopback", "8080")).stderr, /port inside bad/);
});
