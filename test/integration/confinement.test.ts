/** What is left to somebody who got hold of the process that carries a network: code of theirs runs in it, in a real sandbox. */
import test from "ava";
import { Bed, eventually, MAIN, PROGRAMS, WEB } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";
import type { Program } from "../bed/program.js";
import { nameServer, webServer } from "../bed/services.js";

const PLANTED = `${PROGRAMS}/planted.cjs`;
const planted = (what: string) => ({ NODE_OPTIONS: `--require ${PLANTED}`, PLANTED: what });

/** A user's secret, a socket of an agent of theirs, and a program of theirs. */
async function belongings(bed: Bed): Promise<Program> {
  const victim = bed.host(["sleep", "4712"]);
  await bed.host(["sh", "-c", `echo secret >/tmp/secret.txt; echo ${await victim.pid} >/tmp/victim`]).succeed();
  bed.host(["socat", "UNIX-LISTEN:/tmp/agent.sock,fork", "SYSTEM:echo reached"]);
  await eventually(5000, "the agent does not listen", async () =>
    (await bed.admin("ss -Hlx")).includes("/tmp/agent.sock"),
  );
  return victim;
}

async function told(program: Program): Promise<Record<string, unknown>> {
  const [, line] = await program.until(/planted: (\{.*"agent".*\})\n/, 20_000, "stderr");
  return JSON.parse(line);
}

const NOTHING = {
  read: "EACCES",
  write: "EACCES",
  list: "EACCES",
  look: "EACCES",
  signal: "EACCES", // not even the number of the process can be read
  signalParent: "EPERM",
  agent: "EACCES",
};
const ALL = { read: "secret", list: true, look: true, signal: true, signalParent: true, agent: "reached" };

test.serial("inside a helper nothing of the user's is within reach, and the network goes on", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  await webServer(bed);
  await belongings(bed);
  const script = `read go; curl -sS http://www.bed.test/ http://${WEB}/`;
  const program = bed.run(["bash", "-c", script], [], { env: planted("look") });
  t.deepEqual(await told(program), NOTHING);
  program.end("go\n");
  const page = await program.succeed();
  t.is(page.match(/hello/g)?.length, 2, page);
  t.is(await bed.admin("cat /tmp/secret.txt"), "secret\n");
});

test.serial("and with --no-confine it is: the test can tell", async (t) => {
  const bed = await Bed.create(t);
  await belongings(bed);
  await bed.host(["touch", "/tmp/go"]).succeed();
  const program = bed.run(["cat"], ["--no-confine"], { env: planted("look") });
  t.deepEqual(await told(program), ALL);
  program.end();
  await program.succeed();
});

test.serial(
  "a program that is started from inside a helper does not run; the helper ends, and the sandbox with it",
  async (t) => {
    const bed = await Bed.create(t);
    const before = await state(bed);
    const program = bed.run(["sleep", "4711"], ["-p", "6000:80"], { env: planted("exec") });
    const { code, signal } = await program.exit();
    t.true(signal === "SIGSYS" || code === 159, `${code} ${signal}`);
    await nothingLeft(bed, before);
  },
);

test.serial("each thread of a network of several is confined", async (t) => {
  const bed = await Bed.create(t);
  await belongings(bed);
  const program = bed.run(["cat"], ["--shards", "3"], { env: planted("look") });
  t.deepEqual(await told(program), NOTHING);
  for (const thread of [1, 2]) {
    await program.until(new RegExp(`planted: {"thread":${thread},"read":"EACCES"}\n`), 10_000, "stderr");
  }
  program.end();
  await program.succeed();
});

test.serial("attach is confined, too", async (t) => {
  const bed = await Bed.create(t);
  await belongings(bed);
  const target = bed.host(["unshare", "-Urn", "sleep", "4711"]);
  const own = await bed.admin("readlink /proc/self/ns/net");
  const inside = `/proc/${await target.pid}/ns/net`;
  await eventually(5000, "no namespace", async () => (await bed.admin(`readlink ${inside}`)) !== own);
  const program = bed.netns(["attach", String(await target.pid)], { env: planted("look") });
  t.deepEqual(await told(program), NOTHING);
});

for (const [what, args, stop] of [
  ["network", ["network", "create", "red"], ["network", "rm", "red"]],
  ["sandbox", ["create", "red"], ["rm", "red"]],
] as const) {
  test.serial(
    `the server of a ${what} is confined, and its control socket goes with it, however it ends`,
    async (t) => {
      const bed = await Bed.create(t);
      const socket = `/tmp/netns-rootless/${what}-red.sock`;
      const isThere = async () => (await bed.admin(`test -e ${socket} && echo yes || :`)) !== "";
      const inspect = what === "network" ? ["network", "inspect", "red"] : ["inspect", "red"];
      await bed.netns(args).succeed();
      const { server } = JSON.parse(await bed.netns(inspect).succeed());
      const threads = (await bed.admin(`cat /proc/${server}/task/*/status | grep -E '^(Seccomp|NoNewPrivs):'`)).trim();
      t.deepEqual([...new Set(threads.split("\n"))].sort(), ["NoNewPrivs:\t1", "Seccomp:\t2"]);
      t.true(await isThere());
      await bed.netns(stop).succeed();
      await eventually(2000, "the socket is there after an ordinary end", async () => !(await isThere()));
      await bed.netns(args).succeed();
      const second = JSON.parse(await bed.netns(inspect).succeed());
      await bed.kill(second.server, "KILL");
      await eventually(2000, "the socket is there after a kill", async () => !(await isThere()));
    },
  );
}

test.serial("where the kernel does not let us, it works without, with a note and a line of doctor's", async (t) => {
  const bed = await Bed.create(t);
  const refused = ["python3", `${PROGRAMS}/no-seccomp.py`, ...MAIN];
  const { code, stderr } = await bed.host([...refused, "run", "--verbose", "--", "true"]).exit();
  t.is(code, 0, stderr);
  t.regex(stderr, /^netns-rootless: this process is not confined \(EPERM\): netns-rootless doctor tells why$/m);
  t.is((await bed.host([...refused, "run", "--", "true"]).exit()).stderr, "");
  t.regex(await bed.host([...refused, "doctor"]).succeed(), /^-- .*cannot be confined \(EPERM\).*\n +fix: /m);
  t.regex(await bed.netns(["doctor"]).succeed(), /^ok .*can be confined \(seccomp\)$/m);
});

test.serial("errors and counters are told after it: to stderr, and to a file that was opened before", async (t) => {
  const bed = await Bed.create(t);
  const failed = await bed.run(["sleep", "4711"], [], { env: planted("throw") }).exit();
  t.regex(failed.stderr, /Error: planted\n +at act /);
  t.not(failed.code, 0);
  const { stderr } = await bed.run(["ping", "-c1", "10.0.2.2"], ["--verbose", "--log-file", "/tmp/log"]).exit();
  t.regex(stderr, /counter links\.frames_read [1-9]/);
  t.regex(await bed.admin("cat /tmp/log"), /"msg":"counter links\.frames_read [1-9]/);
});

test.serial("a supervisor that somebody stopped goes on when we are killed, and nothing is left", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  const program = bed.run(["bash", "-c", "echo up; sleep 4711"]);
  await program.until(/up/);
  const pid = await program.pid;
  const supervisor = Number(await bed.admin(`ps -o pid= --ppid ${pid} | head -n 1`));
  await bed.kill(supervisor, "STOP");
  await bed.kill(pid, "KILL");
  await nothingLeft(bed, before);
  t.pass();
});
