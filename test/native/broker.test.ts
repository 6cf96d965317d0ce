/** `launcher broker` under AddressSanitizer and UndefinedBehaviorSanitizer: what it answers, and what it removes at the end. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { Broker } from "../../src/host/broker.js";
import { native } from "../../src/native/binding.js";
import { eventually } from "../bed/bed.js";

const sources = fileURLToPath(new URL("../../../native/launcher/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "broker-"));
const launcher = join(folder, "launcher");
const { EPIPE, ETIMEDOUT } = constants.errno;

test.before(() => {
  const files = readdirSync(sources).filter((name) => name.endsWith(".c"));
  const flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];
  const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  execFileSync("gcc", [...flags, ...sanitizers, ...files.map((name) => join(sources, name)), "-o", launcher]);
});
test.after.always(() => rmSync(folder, { recursive: true }));

interface Started {
  readonly child: ChildProcess;
  readonly channel: number;
  /** Closes the channel, and tells how it ended. */
  end(): Promise<{ code: number | null; err: string }>;
}

function start(t: ExecutionContext, ...args: string[]): Started {
  const [channel, peer] = native().openPair();
  const child = spawn(launcher, ["broker", ...args], { stdio: ["ignore", "ignore", "pipe", peer] });
  native().closeFd(peer);
  let open = true;
  const close = () => {
    if (open) native().closeFd(channel);
    open = false;
  };
  t.teardown(close);
  const ended = Promise.all([child.stderr ? text(child.stderr) : "", once(child, "exit")]);
  return {
    child,
    channel,
    async end() {
      close();
      const [err, [code]] = await ended;
      return { code, err };
    },
  };
}

const question = (kind: number, a = 0, number = 7) => new Uint8Array(Int32Array.of(kind, a, 0, number).buffer);

/** Waits until it has started. */
async function answers({ channel }: Started): Promise<void> {
  await eventually(
    10_000,
    "it does not answer",
    () => typeof native().askBroker(channel, question(1, 1), 100) !== "number",
  );
}

test.serial("it reads the host's resolv.conf, however often, and nothing else", async (t) => {
  const broker = start(t);
  const asked = new Broker(broker.channel);
  await answers(broker);
  for (let i = 0; i < 1000; i++) t.is(asked.resolvConf(), readFileSync("/etc/resolv.conf", "utf8"));
  for (const file of [0, 2, -1, 0x7fffffff]) {
    const answer = native().askBroker(broker.channel, question(1, file), 5000);
    if (typeof answer === "number") throw new Error(`no answer: ${answer}`);
    t.is(answer.length, 16, "no text");
    t.not(new Int32Array(answer.buffer, 0, 4)[2], 0, "an errno");
  }
  t.deepEqual(await broker.end(), { code: 0, err: "" });
});

test.serial("what is no request ends it, without harm", async (t) => {
  for (const bytes of [question(0), question(3), question(-1), new Uint8Array(17), new Uint8Array(60_000)]) {
    const broker = start(t);
    t.is(native().askBroker(broker.channel, bytes, 10_000), -EPIPE);
    t.deepEqual(await broker.end(), { code: 0, err: "" });
  }
});

test.serial("somebody who asks and does not read holds nobody up", async (t) => {
  const file = join(folder, "asked.sock");
  writeFileSync(file, "");
  const broker = start(t, "--socket", file);
  let sent = 0;
  await eventually(20_000, "it does not take them", () => {
    while (native().sendPacket(broker.channel, question(1, 1)) === 0) sent++;
    return sent > 5000;
  });
  t.deepEqual(await broker.end(), { code: 0, err: "" });
  t.false(existsSync(file));
});

test.serial("one that somebody stopped goes on when it is asked", async (t) => {
  const broker = start(t);
  await answers(broker);
  broker.child.kill("SIGSTOP");
  const answer = native().askBroker(broker.channel, question(1, 1), 10_000);
  t.not(typeof answer, "number");
  t.deepEqual(await broker.end(), { code: 0, err: "" });
});

test.serial(
  "one that does not answer costs the asker its patience, and a late answer is not taken for another",
  (t) => {
    const [channel, peer] = native().openPair();
    t.teardown(() => {
      native().closeFd(channel);
      native().closeFd(peer);
    });
    const since = process.hrtime.bigint();
    t.is(native().askBroker(channel, question(1, 1, 1), 30), -ETIMEDOUT);
    const took = Number(process.hrtime.bigint() - since) / 1e6;
    t.true(took >= 29 && took < 5000, `${took} ms`);
    native().sendPacket(peer, new Uint8Array(3));
    native().sendPacket(peer, question(1, 1, 1));
    native().sendPacket(peer, question(1, 77, 2));
    const answer = native().askBroker(channel, question(1, 1, 2), 1000);
    t.deepEqual(answer, question(1, 77, 2));
  },
);

test.serial(
  "it removes the sockets it was given, when told and at the end, and no file that took their place",
  async (t) => {
    const [first = "", second = "", third = ""] = ["a", "b", "c"].map((name) => join(folder, `${name}.sock`));
    const lock = join(folder, "lock");
    for (const file of [first, second, third, lock]) writeFileSync(file, "");
    const early = start(t, "--socket", first);
    await eventually(5000, "it is there still", () => {
      new Broker(early.channel).removeSockets();
      return !existsSync(first);
    });
    writeFileSync(first, "another's");
    t.deepEqual(await early.end(), { code: 0, err: "" });
    t.true(existsSync(first));

    const late = start(t, "--socket", second, "--socket", third, "--lock", lock);
    await answers(late);
    writeFileSync(`${third}.new`, "another's");
    renameSync(`${third}.new`, third);
    // Whoever holds the lock is not disturbed.
    const holder = spawn("flock", [lock, "sh", "-c", "echo held; read line"], { stdio: ["pipe", "pipe", "inherit"] });
    await once(holder.stdout, "data");
    const ended = late.end();
    await new Promise((resolve) => setTimeout(resolve, 200));
    t.true(existsSync(second), "the lock is somebody else's");
    holder.stdin.end("\n");
    t.deepEqual(await ended, { code: 0, err: "" });
    t.false(existsSync(second));
    t.is(readFileSync(third, "utf8"), "another's");
  },
);

test.serial("it outlives the signals that end what it serves, and takes no wrong options", async (t) => {
  const file = join(folder, "signals.sock");
  writeFileSync(file, "");
  const broker = start(t, "--socket", file);
  await answers(broker);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGPIPE"] as const)
    broker.child.kill(signal);
  t.not(typeof native().askBroker(broker.channel, question(1, 1), 5000), "number");
  t.deepEqual(await broker.end(), { code: 0, err: "" });
  t.false(existsSync(file));

  const many = Array.from({ length: 5 }, () => ["--socket", launcher]).flat();
  for (const args of [["--nosuch"], ["--socket"], ["--socket", "/nowhere/x"], ["word"], many]) {
    const { code, err } = await start(t, ...args).end();
    t.deepEqual([args, code, err], [args, 125, ""]);
  }
  t.true(existsSync(launcher));
});
