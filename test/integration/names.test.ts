/** Sandboxes with names: made, listed, entered, published, watched and ended by other processes than the one that made them. */
import test from "ava";
import { Bed, eventually, MAIN } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";

/** What stays between two sandboxes: the directory, with nothing in it. */
async function withRuntime(bed: Bed): Promise<ReadonlySet<string>> {
  await bed.netns(["ls"]).succeed();
  return state(bed);
}

async function names(bed: Bed): Promise<string[]> {
  return (await bed.netns(["ls", "--quiet"]).succeed()).split("\n").filter((line) => line !== "");
}

test("create, ls, exec, inspect and rm: a namespace to work in, and nothing of it stays", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  t.is(await bed.netns(["create", "red"]).succeed(), "red\n");
  const table = await bed.netns(["ls"]).succeed();
  t.regex(table, /^NAME +NETWORK +ADDRESSES +PORTS +COMMAND +UP\nred +- +10\.0\.2\.100 fd00::100 +- +- +\d+s\n$/);
  const addresses = await bed.netns(["exec", "red", "--", "ip", "-br", "address"]).succeed();
  t.regex(addresses, /^tap0 .*10\.0\.2\.100\/24 fd00::100\/64/m);
  t.is(await bed.netns(["exec", "red", "--", "hostname"]).succeed(), "red\n");
  await bed.netns(["exec", "red", "--", "ping", "-c", "1", "-W", "5", "10.0.2.2"]).succeed();
  const told = JSON.parse(await bed.netns(["inspect", "red"]).succeed());
  t.like(told, { name: "red", network: null, addresses: ["10.0.2.100", "fd00::100"], hostname: "red", ports: [] });
  const [listed] = JSON.parse(await bed.netns(["ls", "--json"]).succeed());
  t.like(listed, { name: "red", init: told.init });
  t.is(await bed.netns(["rm", "red"]).succeed(), "red\n");
  t.deepEqual(await names(bed), []);
  await nothingLeft(bed, before);
});

test("a detached server: published, its log followed, and gone when its command ends", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  const script = "echo begins; python3 -m http.server 8080 2>&1";
  await bed.netns(["create", "web", "--publish", "6000:8080", "--", "bash", "-c", script]).succeed();
  await eventually(10_000, "the server does not answer", async () => {
    return (await bed.host(["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:6000/here"]).exit()).code === 0;
  });
  const followed = bed.netns(["logs", "--follow", "web"]);
  await followed.until(/begins/);
  await followed.until(/GET \/here/);
  t.regex(await bed.netns(["ls"]).succeed(), /^web .* 0\.0\.0\.0:6000->8080\/tcp +bash -c echo begins/m);
  await bed.netns(["exec", "web", "--", "pkill", "-f", "http.server"]).exit(); // it may end with the sandbox
  await followed.succeed();
  await eventually(5000, "it is still there", async () => (await names(bed)).length === 0);
  t.regex(await bed.netns(["logs", "web"]).succeed(), /begins[\s\S]*GET \/here/);
  t.is(await bed.netns(["prune"]).succeed(), "log of web\n");
  await nothingLeft(bed, before);
});

test("a log that is followed while its older half is dropped repeats nothing", async (t) => {
  const bed = await Bed.create(t);
  const script = 'read -r go </tmp/go; for ((i = 1; i <= 400000; i++)); do echo "line $i"; done';
  await bed.host(["mkfifo", "/tmp/go"]).succeed();
  await bed.netns(["create", "writer", "--", "bash", "-c", script]).succeed();
  const followed = bed.netns(["logs", "-f", "writer"]);
  await followed.pid;
  await bed.host(["sh", "-c", "echo >/tmp/go"]).succeed();
  const lines = [...(await followed.succeed(60_000)).matchAll(/^line (\d+)$/gm)].map((match) => Number(match[1]));
  t.is(lines.at(-1), 400_000);
  t.true(lines.every((line, i) => i === 0 || line > lines[i - 1]));
});

test("a log that is followed goes on where only the end of what was read is left of it", async (t) => {
  const bed = await Bed.create(t);
  // What is kept begins with a line: here, with the last hundred bytes.
  const script = `head -c 2031600 /dev/zero | tr '\\0' x; echo; printf y%.0s {1..100}; read -r go </tmp/go
head -c 100000 /dev/zero | tr '\\0' z; echo; echo end`;
  await bed.host(["mkfifo", "/tmp/go"]).succeed();
  await bed.netns(["create", "writer", "--", "bash", "-c", script]).succeed();
  const followed = bed.netns(["logs", "-f", "writer"]);
  await followed.until(/y{100}/);
  await bed.host(["sh", "-c", "echo >/tmp/go"]).succeed();
  const output = await followed.succeed(60_000);
  t.regex(output, /^x{1000,}\ny{100}z{100000}\nend\n$/);
  t.is(output.length, 2_031_600 + 1 + 100 + 100_000 + 5);
});

test("a reader of logs that has seen enough ends it, at once where it follows", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "writer", "--", "sh", "-c", "seq 100000; sleep 60"]).succeed();
  const netns = MAIN.map((word) => `'${word}'`).join(" ");
  for (const options of ["", "-f"]) {
    const shown = await bed
      .host(["bash", "-c", `${netns} logs ${options} writer | head -n 1; echo $PIPESTATUS`])
      .exit();
    t.is(shown.stdout, "1\n0\n");
    t.is(shown.stderr, "");
  }
});

test("run --name: SIGTERM at any moment of its start ends it, with all that it has", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  for (let delay = 40; delay < 200; delay += 8) {
    const started = bed.run(["sleep", "60"], ["--name", "late"]);
    const pid = await started.pid;
    await new Promise((resolve) => setTimeout(resolve, delay));
    await bed.kill(pid, "TERM");
    const { code, signal } = await started.exit(10_000);
    t.true(code === 143 || signal === "SIGTERM", `after ${delay} ms: ${signal ?? code}`);
  }
  await nothingLeft(bed, before, 3000);
});

test("run --name: others see it, enter it and end it", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  const run = bed.run(["bash", "-c", "echo up; exec sleep 4711"], ["--name", "blue"]);
  await run.until(/up/);
  t.deepEqual(await names(bed), ["blue"]);
  t.regex(await bed.netns(["exec", "blue", "--", "ps", "-e", "-o", "args"]).succeed(), /sleep 4711/);
  t.is(await bed.netns(["rm", "blue"]).succeed(), "blue\n");
  t.is((await run.exit()).code, 137);
  await nothingLeft(bed, before);

  const short = await bed.run(["bash", "-c", "exit 7"], ["--name", "short"]).exit();
  t.is(short.code, 7);
  const stopped = bed.run(
    ["bash", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"],
    ["--name", "one"],
  );
  await stopped.until(/up/);
  await bed.kill(await stopped.pid, "TERM");
  t.is((await stopped.exit()).code, 9);
  await nothingLeft(bed, before);
});

test("exec: exit codes, signals, standard input, environment, and the end of the sandbox", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "red"]).succeed();
  const exec = (...command: string[]) => bed.netns(["exec", "red", "--", ...command], { env: { GIVEN: "here" } });
  t.is((await exec("bash", "-c", "exit 7").exit()).code, 7);
  t.is((await exec("bash", "-c", "kill -TERM $$").exit()).code, 143);
  const missing = await exec("no-such-program").exit();
  t.is(missing.code, 127);
  t.is(missing.stderr, "netns-rootless: no-such-program: command not found\n");
  t.is((await exec("/etc/hosts").exit()).code, 126);
  t.is(await exec("bash", "-c", "echo $GIVEN").succeed(), "here\n");
  t.regex(await exec("id", "-u").succeed(), /^\d+\n$/);
  const cat = exec("cat");
  cat.end("through\n");
  t.is(await cat.succeed(), "through\n");
  const trapped = exec("bash", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done");
  await trapped.until(/up/);
  await bed.kill(await trapped.pid, "TERM");
  t.is((await trapped.exit()).code, 5);
  const late = exec("bash", "-c", "echo up; sleep 4711");
  await late.until(/up/);
  await bed.netns(["rm", "red"]).succeed();
  t.is((await late.exit()).code, 137);
  const gone = await exec("true").exit();
  t.is(gone.code, 2);
  t.is(gone.stderr, "netns-rootless: no sandbox is called red: there is no sandbox now\n");
});

test("port add, ls and rm on a sandbox that runs", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "web", "--", "python3", "-m", "http.server", "3000"]).succeed();
  t.is(await bed.netns(["port", "add", "web", "5000:3000"]).succeed(), "0.0.0.0:5000->3000/tcp\n");
  const get = (port: number) =>
    bed.host(["curl", "-s", "-o", "/dev/null", "-m", "5", `http://127.0.0.1:${port}/`]).exit();
  await eventually(10_000, "the server does not answer", async () => (await get(5000)).code === 0);
  const free = (await bed.netns(["port", "add", "web", "127.0.0.1:0:3000"]).succeed()).match(
    /^127\.0\.0\.1:(\d+)->3000\/tcp\n$/,
  );
  t.is((await get(Number(free?.[1]))).code, 0);
  const table = await bed.netns(["port", "ls"]).succeed();
  t.regex(table, /^NAME +HOST +INSIDE +PROTOCOL\nweb +0\.0\.0\.0:5000 +3000 +tcp\nweb +127\.0\.0\.1:\d+ +3000 +tcp\n$/);
  const busy = await bed.netns(["port", "add", "web", "5000:3001"]).exit();
  t.is(busy.code, 125);
  t.regex(busy.stderr, /^netns-rootless: cannot publish 0\.0\.0\.0:5000\/tcp: the port is in use/);
  await bed.netns(["port", "rm", "web", "5000"]).succeed();
  t.is((await get(5000)).code, 7);
  t.is((await get(Number(free?.[1]))).code, 0);
  const none = await bed.netns(["port", "rm", "web", "5000"]).exit();
  t.is(none.code, 2);
  t.regex(none.stderr, /^netns-rootless: host port 5000 is not published by web; see /);
});

test("names: taken, unknown, alike, and not allowed ones are told in one line", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "web-server"]).succeed();
  const taken = await bed.netns(["create", "web-server"]).exit();
  t.is(taken.code, 125);
  t.regex(taken.stderr, /^netns-rootless: a sandbox called web-server is there already: choose another name, or .*\n$/);
  const alike = await bed.netns(["inspect", "web-sever"]).exit();
  t.is(alike.code, 2);
  t.regex(alike.stderr, /^netns-rootless: no sandbox is called web-sever: did you mean web-server\? .*\n$/);
  for (const name of ["Web", "a_b", "-a", "localhost", "x".repeat(64)]) {
    const wrong = await bed.netns(["create", name]).exit();
    t.is(wrong.code, 2, name);
  }
  const unknown = await bed.netns(["rm", "blue", "web-server"]).exit();
  t.is(unknown.code, 2);
  t.is(unknown.stdout, "web-server\n");
  t.is((await bed.netns(["rm"]).exit()).code, 2);
});

test("a failed create leaves nothing, and says why", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  const listener = bed.host([
    "python3",
    "-c",
    "import socket,time; s=socket.create_server(('',6000)); print('up',flush=True); time.sleep(60)",
  ]);
  await listener.until(/up/);
  const busy = await bed.netns(["create", "web", "-p", "6000:80"]).exit();
  t.is(busy.code, 125);
  t.regex(busy.stderr, /^netns-rootless: cannot publish 0\.0\.0\.0:6000\/tcp: the port is in use/);
  const wrong = await bed.netns(["create", "web", "--cidr", "10.0.2.1/24"]).exit();
  t.is(wrong.code, 2);
  await bed.kill(await listener.pid, "KILL");
  await eventually(5000, "left", async () => (await names(bed)).length === 0);
  await listener.exit();
  await nothingLeft(bed, before, 3000);
});
