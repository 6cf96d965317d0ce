/** The launcher under AddressSanitizer and UndefinedBehaviorSanitizer: wrong arguments, malformed messages, an early end. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import test from "ava";
import { native } from "../../src/native/binding.js";
import {
  decodeReply,
  encodeRequest,
  failureOf,
  type LauncherFailure,
  Reply,
  Request,
  runArguments,
  SocketType,
} from "../../src/sandbox/launcher-protocol.js";

const sources = fileURLToPath(new URL("../../../native/launcher/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "launcher-"));
const launcher = join(folder, "launcher");

test.before(() => {
  const files = readdirSync(sources).filter((name) => name.endsWith(".c"));
  const flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];
  const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  execFileSync("gcc", [...flags, ...sanitizers, ...files.map((name) => join(sources, name)), "-o", launcher]);
});
test.after.always(() => rmSync(folder, { recursive: true }));

const network = {
  ifname: "tap0",
  mac: null,
  mtu: 1500,
  v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
  v6: { address: "fd00::100", prefix: 64, gateway: "fd00::2" },
  congestion: ["reno"],
  queues: 1,
};
const rest = { env: process.env, root: false, hostname: "box", resolvConf: "nameserver 10.0.2.3\n", hosts: "x\n" };
const good = runArguments({ network, command: ["true"], ...rest }, "52:55:0a:00:02:64");

/** Starts the launcher, sends `packets` once it is ready, and tells how it ended. */
async function drive(given: readonly string[], packets: readonly Uint8Array[]) {
  let failure: LauncherFailure | null = null;
  let ready = false;
  let status: number | null = null;
  const channel = native().openChannel(
    (bytes, fds) => {
      for (const fd of fds) native().closeFd(fd);
      const reply = decodeReply(bytes);
      if (reply?.kind === Reply.Failed) failure ??= failureOf(reply);
      if (reply?.kind === Reply.Exited) status = reply.a;
      if (reply?.kind !== Reply.Ready) return;
      ready = true;
      for (const packet of packets) channel.send(packet);
      if (packets.length === 0) channel.close();
    },
    () => undefined,
  );
  const child = spawn(launcher, [...given], { stdio: ["ignore", "inherit", "pipe", channel.peer] });
  native().closeFd(channel.peer);
  const [err, [code]] = await Promise.all([child.stderr ? text(child.stderr) : "", once(child, "exit")]);
  await new Promise((resolve) => setImmediate(resolve));
  channel.close();
  return { failure: failure as LauncherFailure | null, ready, code, err, status: status as number | null };
}

const without = (name: string) => good.filter((_, i) => good[i] !== name && good[i - 1] !== name);
const changed = (name: string, value: string) => good.map((text, i) => (good[i - 1] === name ? value : text));

const wrong: [string, readonly string[]][] = [
  ["nothing", []],
  ["another verb", ["dance"]],
  ["no command", good.slice(0, good.indexOf("--") + 1)],
  ["an unknown option", ["run", "--nosuch", ...good.slice(1)]],
  ["an option without its value", ["run", "--mtu"]],
  ["no address", good.slice(0, good.indexOf("--address")).concat(good.slice(good.indexOf("--hostname")))],
  ...[
    "",
    "1",
    "52:55:0a:00:02",
    "52:55:0a:00:02:6",
    "52:55:0a:00:02:64:",
    "53:55:0a:00:02:64",
    "52-55-0a-00-02-64",
    "::::::",
  ].map((mac): [string, string[]] => [`MAC ${mac}`, changed("--mac", mac)]),
  ...["", "-1", "67", "65522", "15e2", "99999999999999999999", "0x100"].map((mtu): [string, string[]] => [
    `MTU ${mtu}`,
    changed("--mtu", mtu),
  ]),
  ...["", ".", "..", "a/b", "a b", "sixteen-bytes-ab", "tap%d", "a:1"].map((name): [string, string[]] => [
    `name ${name}`,
    changed("--ifname", name),
  ]),
  ...["0", "17", ""].map((queues): [string, string[]] => [`${queues} queues`, changed("--queues", queues)]),
  ...["/0", "/32", "/", "", "/24/", "/2 4"].map((prefix): [string, string[]] => [
    `prefix ${prefix}`,
    changed("--address", `10.0.2.100${prefix}`),
  ]),
  ...["/0", "/128", "/", "", "/-1"].map((prefix): [string, string[]] => [
    `IPv6 prefix ${prefix}`,
    changed("--address6", `fd00::100${prefix}`),
  ]),
  ["an IPv6 gateway", changed("--gateway", "fd00::2")],
  ["an IPv4 gateway for IPv6", changed("--gateway6", "10.0.2.2")],
  ["an address of nothing", changed("--address6", "/64")],
  ["a gateway without an address", without("--address6")],
  ["an address without a gateway", without("--gateway")],
  ["a very long address", changed("--address", "1".repeat(100_000))],
  ["a very long address with a prefix", changed("--address6", `${"1".repeat(46)}/64`)],
  ["a command that is held", [...good.slice(0, good.indexOf("--")), "--hold", "--", "true"]],
  ["a hold with a value", [...good.slice(0, good.indexOf("--")), "--hold=1"]],
  ["attach that holds", ["attach", ...good.slice(1, good.indexOf("--hostname")), "--pid", "1", "--hold"]],
  ["attach that detaches", ["attach", ...good.slice(1, good.indexOf("--hostname")), "--pid", "1", "--detach"]],
  ["attach without a target", ["attach", ...good.slice(1, good.indexOf("--hostname"))]],
  ["attach with a command", ["attach", ...good.slice(1, good.indexOf("--hostname")), "--pid", "1", "true"]],
];

/** The same without a command. */
const held = [...good.slice(0, good.indexOf("--")), "--hold"];

test("wrong arguments are told as such, and touch no memory", async (t) => {
  for (const [name, given] of wrong) {
    const { failure, code, err } = await drive(given, []);
    t.is(err, "", name);
    t.is(failure?.step, "options", name);
    t.is(code, 125, name);
  }
});

test("a congestion control that no kernel has, or that is no name, is passed over", async (t) => {
  const { ready, code, err } = await drive(changed("--congestion", `,,${"x".repeat(300)},nosuch,`), [
    encodeRequest(Request.Release),
  ]);
  t.deepEqual([ready, code, err], [true, 0, ""]);
});

test("a malformed request ends the launcher, and everything with it", async (t) => {
  const bytes = (...values: number[]) => Uint8Array.from(values);
  const malformed = [
    bytes(1),
    new Uint8Array(15),
    new Uint8Array(17),
    new Uint8Array(8000),
    encodeRequest(0 as Request),
    encodeRequest(99 as Request),
    encodeRequest(Request.Sockets, 5, 1, 1),
    encodeRequest(Request.Sockets, 4, 3, 1),
    encodeRequest(Request.Sockets, 4, 1, 0),
    encodeRequest(Request.Sockets, 4, 1, 33),
    encodeRequest(Request.Sockets, 4, 1, -1),
    encodeRequest(Request.Sockets, 4, 1, 0x7fffffff),
    encodeRequest(Request.Sockets, 0, 1, 1),
    encodeRequest(Request.Sockets, 4, 0, 1),
    encodeRequest(Request.Sockets, 4, SocketType.Diagnostic, 1),
    encodeRequest(Request.Sockets, 0, SocketType.Diagnostic, 0),
    encodeRequest(Request.Sockets, 0, 4, 1),
  ];
  for (const packet of malformed) {
    const { failure, code, err } = await drive(good, [packet]);
    t.is(err, "", `${packet}`);
    t.is(failure?.step, "protocol", `${packet}`);
    t.is(code, 125, `${packet}`);
  }
});

test("signals out of range, and requests out of their order, do no harm", async (t) => {
  const signals = [-1, 0, 64, 65, 1 << 30].map((number) => encodeRequest(Request.Signal, number));
  const start = encodeRequest(Request.Start);
  const packets = [
    ...signals,
    encodeRequest(Request.Sockets, 6, 2, 32),
    encodeRequest(Request.Sockets, 0, SocketType.Diagnostic, 32),
    start,
    start,
    ...signals,
    encodeRequest(Request.Release),
  ];
  const { code, err } = await drive(good, packets);
  t.deepEqual([code, err], [0, ""]);
});

test("when the other side is gone, so is the launcher", async (t) => {
  const { ready, code, err } = await drive(good, []);
  t.deepEqual([ready, code, err], [true, 0, ""]);
});

test("started by hand it says what it is", (t) => {
  const error = t.throws(() => execFileSync(launcher, ["run"], { stdio: "pipe" }));
  t.regex(error?.message ?? "", /this is a part of netns-rootless/);
});

test("a held one starts nothing, and ends on release", async (t) => {
  const requests = [encodeRequest(Request.Start), encodeRequest(Request.Signal, 15), encodeRequest(Request.Release)];
  for (const given of [held, [...held, "--detach"]]) {
    const { ready, code, err, status } = await drive(given, requests);
    t.deepEqual([ready, code, err, status], [true, 0, "", null]);
  }
});

test("exec enters it, and refuses what is no sandbox", async (t) => {
  const run = (init: number, start: string, ...more: string[]) =>
    spawnSync(launcher, ["exec", "--pid", `${init}`, "--start", start, ...more], { encoding: "utf8" });
  const outcomes = await new Promise<{ status: number | null; stdout: string; stderr: string }[]>((resolve) => {
    const channel = native().openChannel(
      (bytes, fds) => {
        for (const fd of fds) native().closeFd(fd);
        const { b: init = 0, text: lines = "" } = decodeReply(bytes) ?? {};
        const [start = ""] = lines.split("\n");
        const tries = [
          run(init, start, "--nofile", "100", "--cwd", "/", "--", "sh", "-c", "pwd; hostname; ulimit -Sn; exit 9"),
          run(init, start, "--", "no-such-program"),
          run(init, `${start}1`, "--", "true"),
          run(init, start, "--cwd", "x".repeat(10_000), "--", "true"),
          run(init, start, `--${"x".repeat(10_000)}`),
          run(init, start),
        ];
        channel.close();
        resolve(tries);
      },
      () => resolve([]),
    );
    spawn(launcher, held, { stdio: ["ignore", "inherit", "inherit", channel.peer] });
    native().closeFd(channel.peer);
  });
  t.deepEqual(
    outcomes.map(({ status }) => status),
    [9, 127, 125, 125, 125, 125],
  );
  t.is(outcomes[0]?.stdout, "/\nbox\n100\n");
  for (const { stderr } of outcomes) t.notRegex(stderr, /Sanitizer|runtime error/);
  t.is(outcomes[2]?.stderr, "netns-rootless: the sandbox has ended\n");
});
