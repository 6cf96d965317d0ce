/** How the program begins (native/launcher/front.c), with the sanitizers and with something else in Node's place. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { runWords } from "../../src/sandbox/launcher-protocol.js";
import { eventually } from "../bed/bed.js";

const sources = fileURLToPath(new URL("../../../native/launcher/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "front-"));
const launcher = join(folder, "launcher");

const script = join(folder, "converse.py");
const told = join(folder, "told.sh");

test.before(() => {
  writeFileSync(script, CONVERSE);
  writeFileSync(told, 'echo "$NETNS_ROOTLESS_LAUNCHER"');
  const files = readdirSync(sources).filter((name) => name.endsWith(".c"));
  const flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];
  const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  execFileSync("gcc", [...flags, ...sanitizers, ...files.map((name) => join(sources, name)), "-o", launcher]);
});
test.after.always(() => rmSync(folder, { recursive: true }));

interface Outcome {
  readonly code: number | string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `launcher front PROGRAM SCRIPT ARGUMENTS...`, through a shell where `prefix` is given. */
function front(words: readonly string[], env: NodeJS.ProcessEnv = {}, shell = '"$@"'): Promise<Outcome> {
  return new Promise((resolve) => {
    const settings = { env: { ...process.env, ...env }, timeout: 20_000 };
    execFile("sh", ["-c", shell, "sh", launcher, "front", ...words], settings, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? "killed") : 0, stdout, stderr }),
    );
  });
}

/** In Node's place: configures the launcher with `packet` and tells what it answers and how it ends. */
const CONVERSE = `
import os, socket, struct, sys
fd, pid = map(int, os.environ["NETNS_ROOTLESS_LAUNCHER"].split())
channel = socket.socket(fileno=fd)
def receive():
    data, rights, _, _ = channel.recvmsg(8208, socket.CMSG_SPACE(128))
    return (struct.unpack("4i", data[:16]), data[16:].decode()) if data else None
channel.send(eval(sys.argv[2]))
answer = receive()
if answer and answer[0][0] == 1:
    channel.send(struct.pack("4i", 1, 0, 0, 0))
    if "--hold" not in sys.argv[2]: answer = receive()
    channel.send(struct.pack("4i", 4, 0, 0, 0))
print(answer, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
const NETWORK = runWords(
  {
    network: {
      ifname: "tap0",
      mac: null,
      mtu: 1500,
      v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
      v6: null,
      congestion: [],
      queues: 1,
    },
    root: false,
    hostname: null,
    resolvConf: null,
    hosts: null,
  },
  "52:55:0a:00:02:64",
);

/** A configuration as a Python expression; the command is the last `length` arguments. */
function configuration(length: number, words: readonly string[] = NETWORK): string {
  return `struct.pack("4i", 5, ${length}, 0, 0) + b"".join(w.encode() + b"\\0" for w in ${JSON.stringify(words)})`;
}

/** What a launcher with such a command says to a packet. */
function converse(packet: string, ...command: string[]): Promise<Outcome> {
  return front(["python3", script, "run", packet, "--", ...command]);
}

test("the launcher runs the end of its own arguments, in the environment of the caller", async (t) => {
  const env = { NETNS_ROOTLESS_LAUNCHER: "a caller's", NODE_EXTRA_CA_CERTS: "/certificates" };
  const print = 'echo "$0 $1 $NODE_EXTRA_CA_CERTS $NETNS_ROOTLESS_LAUNCHER $NETNS_ROOTLESS_EXTRA_CA_CERTS."; exit 7';
  const words = ["python3", script, "run", configuration(5), "--", "sh", "-c", print, "a b", "c"];
  const { code, stdout, stderr } = await front(words, env);
  t.deepEqual([code, stderr], [0, ""]);
  t.is(stdout, "a b c /certificates a caller's .\n((3, 7, -1, 0), '') 0\n");
});

test("a malformed configuration is told as such, and touches no memory", async (t) => {
  const malformed: [string, string, string][] = [
    ["another request", 'struct.pack("4i", 1, 0, 0, 0)', "protocol"],
    ["a part of a header", 'b"abc"', "protocol"],
    ["no words", 'struct.pack("4i", 5, 1, 0, 0)', "protocol"],
    ["a word without its end", 'struct.pack("4i", 5, 1, 0, 0) + b"run"', "protocol"],
    ["no command, and nobody who holds", configuration(0), "options"],
    ["a command, and somebody who holds", configuration(1, [...NETWORK, "--hold"]), "options"],
    ["a negative command", configuration(-1), "protocol"],
    ["more than all arguments", configuration(8), "protocol"],
    ["far more", configuration(0x7fffffff), "protocol"],
    ["too long", `${configuration(1)} + b"x" * 65536`, "protocol"],
    ["too many words", `${configuration(1)} + b"\\0" * 200`, "protocol"],
    ["an unknown option", configuration(1, ["run", "--nosuch"]), "options"],
    ["another verb", configuration(1, ["dance"]), "options"],
  ];
  for (const [name, packet, step] of malformed) {
    const { stdout, stderr } = await converse(packet, "true");
    t.is(stderr, "", name);
    t.regex(stdout, new RegExp(`^\\(\\(4, \\d+, 0, 0\\), '${step}\\\\n.*'\\) 125\n$`), name);
  }
});

test("a launcher that nobody configures ends with the program", async (t) => {
  const { stdout } = await front(["sh", told, "run"]);
  const [, pid] = /^\d+ (\d+)\n$/.exec(stdout) ?? [];
  t.truthy(pid);
  await eventually(2000, "the launcher is still there", () => !existsSync(`/proc/${pid}`));
});

test("one without a command answers all the same, and lives until it is released", async (t) => {
  const { stdout, stderr } = await converse(configuration(0, [...NETWORK, "--hold", "--detach"]));
  t.is(stderr, "");
  const [, output, init] = /^\(\(1, (\d+), (\d+), 0\), .* 0\n$/.exec(stdout) ?? [];
  t.is(Number(output) & 16, 16, stdout); // READY_OUTPUT
  t.true(Number(init) > 1);
});

test("Node is told the caller's limit of descriptors, which it raises", async (t) => {
  const { stdout } = await front(["printenv", "NETNS_ROOTLESS_NOFILE", "exec"], {}, 'ulimit -Sn 345; "$@"');
  t.is(stdout, "345\n");
});

test("only `run` and `create` get one", async (t) => {
  t.regex((await front(["sh", told, "create"])).stdout, /^\d+ \d+\n$/);
  for (const words of [["attach", "run"], ["--help"], []]) t.is((await front(["sh", told, ...words])).stdout, "\n");
});

test("with a standard descriptor closed there is none, whose number would be taken", async (t) => {
  t.is((await front(["sh", told, "run"], {}, '"$@" <&-')).stdout, "\n");
});

test("without descriptors to spare there is none", async (t) => {
  const { stdout, stderr } = await front(["printenv", "NETNS_ROOTLESS_LAUNCHER", "run"], {}, 'ulimit -n 4; "$@"');
  t.deepEqual([stdout, stderr], ["", ""]);
});

test("a Node that is not there, or cannot be executed, is told in a line", async (t) => {
  const missing = await front(["no-such-node", "x", "run"]);
  t.deepEqual(missing, {
    code: 125,
    stdout: "",
    stderr: "netns-rootless: no-such-node cannot be executed (not on your PATH): install Node.js 20.19 or newer\n",
  });
  const folderAsNode = await front([folder, "x", "run"]);
  t.is(folderAsNode.code, 125);
  t.is(
    folderAsNode.stderr,
    `netns-rootless: ${folder} cannot be executed (Permission denied): install Node.js 20.19 or newer\n`,
  );
  t.is((await front([])).code, 125);
});
