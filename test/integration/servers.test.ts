/** What becomes of sandboxes when a part of ours is killed, or is not ours. */
import test from "ava";
import { Bed, eventually } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";

const KILLS = 100;
/** The kinds of process that are killed in turn; the server, with which all ends, more rarely. */
const VICTIMS = [
  "supervisor",
  "init",
  "command",
  "supervisor",
  "init",
  "command",
  "supervisor",
  "init",
  "command",
  "server",
];

async function names(bed: Bed): Promise<string[]> {
  return (await bed.netns(["ls", "--quiet"]).succeed()).split("\n").filter((line) => line !== "");
}

interface Processes {
  readonly server: number;
  readonly supervisor: number;
  readonly init: number;
  readonly command: number;
}

async function processesOf(bed: Bed, name: string): Promise<Processes> {
  const { server, init } = JSON.parse(await bed.netns(["inspect", name]).succeed());
  const parent = (pid: number) => bed.admin(`awk '/^PPid/ {print $2}' /proc/${pid}/status`);
  const command = await bed.admin(`ps -o pid= --ppid ${init.pid} | head -n 1`);
  return { server, init: init.pid, supervisor: Number(await parent(init.pid)), command: Number(command) };
}

test("a hundred kills under traffic: the rest goes on, the list is true, nothing is left", async (t) => {
  t.timeout(300_000);
  const bed = await Bed.create(t);
  await bed.netns(["ls"]).succeed();
  const before = await state(bed);
  let victimIsAll = true;
  for (let turn = 0; turn < KILLS; turn++) {
    if (victimIsAll) {
      await bed.netns(["network", "create", "demo"]).succeed();
      await bed.netns(["create", "stays", "--network", "demo", "--", "python3", "-m", "http.server", "80"]).succeed();
    }
    const traffic = "while :; do curl -s -m 1 http://stays/ >/dev/null; done";
    await bed.netns(["create", "victim", "--network", "demo", "--", "bash", "-c", traffic]).succeed();
    const processes = await processesOf(bed, "victim");
    const kind = VICTIMS[turn % VICTIMS.length] as keyof Processes; // one of them
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 100));
    await bed.kill(processes[kind], "KILL");
    victimIsAll = kind === "server";
    const expected = victimIsAll ? "" : "stays";
    await eventually(
      5000,
      `after the kill of ${kind}: not ${expected}`,
      async () => (await names(bed)).join() === expected,
    );
    if (!victimIsAll && turn % 10 === 0) {
      const get = ["exec", "stays", "--", "curl", "-s", "-o", "/dev/null", "-m", "5", "http://127.0.0.1/"];
      t.is((await bed.netns(get).exit()).code, 0, `after the kill of ${kind}`);
    }
    if (victimIsAll)
      await nothingLeft(
        bed,
        new Set([...before, "file /tmp/netns-rootless/logs/stays.log", "file /tmp/netns-rootless/logs/victim.log"]),
        3000,
      );
  }
  if (!victimIsAll) await bed.netns(["network", "rm", "--force", "demo"]).succeed();
  await bed.netns(["prune"]).succeed();
  await nothingLeft(bed, before, 3000);
});

test("the server of a network is killed: whoever waits in front of a member hears why", async (t) => {
  const bed = await Bed.create(t);
  const red = bed.run(["bash", "-c", "echo up; sleep 4711"], ["--network", "demo", "--name", "red"]);
  await red.until(/up/);
  const { server } = await processesOf(bed, "red");
  await bed.kill(server, "KILL");
  const { code, stderr } = await red.exit();
  t.is(code, 125);
  t.is(
    stderr,
    "netns-rootless: the server of the network demo has ended, and the sandbox with it; see netns-rootless ls\n",
  );
  t.deepEqual(await names(bed), []);
});

test("whoever waits in front of a member is killed: the member ends, the others stay", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "stays", "--network", "demo"]).succeed();
  const red = bed.run(["bash", "-c", "echo up; sleep 4711"], ["--network", "demo", "--name", "red"]);
  await red.until(/up/);
  await bed.kill(await red.pid, "KILL");
  await eventually(5000, "red is still there", async () => (await names(bed)).join() === "stays");
  t.pass();
});

test("prune: a stopped server is ended, what runs is left alone", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "good"]).succeed();
  await bed.netns(["create", "stuck"]).succeed();
  const { server } = await processesOf(bed, "stuck");
  await bed.kill(server, "STOP");
  const listed = await bed.netns(["ls", "--quiet"]).exit();
  t.is(listed.stdout, "good\n");
  t.regex(listed.stderr, /^netns-rootless: the server of the sandbox stuck does not answer, so it is not shown; /);
  t.is(await bed.netns(["prune"]).succeed(), "server of sandbox stuck\nlog of stuck\n");
  t.deepEqual(await names(bed), ["good"]);
});

test("prune: a stopped server that takes no more connections is told of, and is there when it goes on", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "stuck"]).succeed();
  const { server } = await processesOf(bed, "stuck");
  await bed.kill(server, "STOP");
  const script = `
import socket, sys
path, held = "/tmp/netns-rootless/sandbox-stuck.sock", []
while True:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.setblocking(False)
    try: s.connect(path)
    except BlockingIOError: break
    held.append(s)
    assert len(held) < 2000
print("full", flush=True)
sys.stdin.read()
`;
  const crowd = bed.host(["python3", "-c", script]);
  await crowd.until(/full/);
  const pruned = await bed.netns(["prune"]).exit();
  t.is(pruned.code, 125);
  t.regex(pruned.stderr, /^netns-rootless: the server of the sandbox stuck does not answer, and takes no connection/);
  t.is(pruned.stdout, "");
  await bed.kill(server, "CONT");
  t.deepEqual(await names(bed), ["stuck"]);
  crowd.end();
  await crowd.exit();
  t.is(await bed.netns(["prune"]).succeed(), "");
});

test("another user's sandboxes are not seen, and nobody else may look into the directory", async (t) => {
  const bed = await Bed.create(t);
  const other = { env: { XDG_RUNTIME_DIR: "/tmp/other" } };
  await bed.host(["mkdir", "-m", "700", "/tmp/other"]).succeed();
  await bed.netns(["create", "web"]).succeed();
  await bed.netns(["create", "web"], other).succeed();
  t.is(await bed.netns(["ls", "--quiet"], other).succeed(), "web\n");
  await bed.netns(["rm", "web"], other).succeed();
  t.deepEqual(await names(bed), ["web"]);
  const modes = await bed.admin("cd /tmp/netns-rootless && stat -c '%a %n' . logs lock *.sock logs/*");
  t.is(modes.trim(), "700 .\n700 logs\n600 lock\n600 sandbox-web.sock\n600 logs/web.log");
  await bed.host(["bash", "-c", "mkdir -p /tmp/bad && ln -s /tmp /tmp/bad/netns-rootless"]).succeed();
  const link = await bed.netns(["ls"], { env: { XDG_RUNTIME_DIR: "/tmp/bad" } }).exit();
  t.is(link.code, 125);
  t.regex(
    link.stderr,
    /^netns-rootless: \/tmp\/bad\/netns-rootless: .*it is not a directory: remove it, or set XDG_RUNTIME_DIR/,
  );
});

test("a control socket takes what is no request of ours without harm", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "web"]).succeed();
  const script = `
import socket, os, json
path = "/tmp/netns-rootless/sandbox-web.sock"
def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(path); s.settimeout(5); return s
for junk in [b"x", b"[]", b"null", b"{}", b'{"id":1}', b'{"id":"a","op":"info"}', os.urandom(60000), b'{"id":1,"op":' + b'[' * 30000]:
    s = connect(); s.send(junk)
    assert s.recv(65536) == b"", junk[:20]
s = connect()
for op in ["nonsense", "join", "claim", "signal", "remove", "port-add", "port-remove", "proxy"]:
    s.send(json.dumps({"id": 7, "op": op}).encode())
    answer = json.loads(s.recv(65536))
    assert answer["id"] == 7 and (op == "proxy" or "error" in answer), answer
many = [connect() for _ in range(200)]
for each in many: each.send(json.dumps({"id": 1, "op": "info"}).encode())
print("done")
`;
  t.is(await bed.host(["python3", "-c", script]).succeed(), "done\n");
  t.deepEqual(await names(bed), ["web"]);
});
