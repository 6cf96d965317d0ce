import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import test from "ava";
import { Bed, DNS, eventually, HOST, NEIGHBOUR, WEB } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";
import { BIG_TEXT, echoServer, nameServer, webServer } from "../bed/services.js";

test("a program of the bed is an ordinary user without capabilities", async (t) => {
  const bed = await Bed.create(t);
  const status = await bed.host(["cat", "/proc/self/status"]).succeed();
  t.regex(status, /^CapEff:\s0+$/m);
  t.regex(status, /^CapPrm:\s0+$/m);
  t.regex(status, /^CapAmb:\s0+$/m);
  t.is((await bed.host(["id", "-u"]).succeed()).trim(), String(process.getuid?.()));
});

test("the host of the bed reaches the internet of the bed and nothing else", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  await webServer(bed);
  t.is(await bed.host(["curl", "-s", "http://www.bed.test/"]).succeed(), `hello ${HOST}\n`);
  const big = await bed.host(["dig", "+short", "+bufsize=8192", "+ignore", "big.bed.test", "TXT"]).succeed();
  t.deepEqual(
    big.trim().split(" "),
    BIG_TEXT.map((text) => `"${text}"`),
  );
  t.is(
    await bed.internet(["curl", "-s", "--interface", NEIGHBOUR, `http://${WEB}/`]).succeed(),
    `hello ${NEIGHBOUR}\n`,
  );
  const routes = await bed.host(["ip", "-o", "link"]).succeed();
  t.deepEqual(
    [...routes.matchAll(/^\d+: ([^:@]+)/gm)].map((match) => match[1]),
    ["lo", "eth0"],
  );
  t.true((await bed.host(["ping", "-c1", "-W2", DNS]).succeed()).includes("1 received"));
});

test("a program's exit code, signal, output and input are its own", async (t) => {
  const bed = await Bed.create(t);
  t.is((await bed.host(["sh", "-c", "exit 7"]).exit()).code, 7);
  t.is(await bed.host(["cat"], { input: "words" }).succeed(), "words");
  const sleeper = bed.host(["sleep", "100"]);
  await bed.kill(await sleeper.pid, "TERM");
  t.is((await sleeper.exit()).signal, "SIGTERM");
});

test("leftovers are seen", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  await nothingLeft(bed, before);
  const echo = await echoServer(bed, "host", 7007, "127.0.0.1");
  await bed.host(["touch", "/tmp/forgotten"]).succeed();
  const error = await t.throwsAsync(nothingLeft(bed, before, 100));
  t.regex(error?.message ?? "", /process \d+ python3/);
  t.regex(error?.message ?? "", /listener tcp 127\.0\.0\.1:7007/);
  t.regex(error?.message ?? "", /file \/tmp\/forgotten/);
  await bed.kill(await echo.pid, "KILL");
  await bed.host(["rm", "/tmp/forgotten"]).succeed();
  await nothingLeft(bed, before);
});

test("a closed bed leaves no process", async (t) => {
  const bed = await Bed.create(t);
  const sleeper = bed.host(["setsid", "sleep", "4711"]);
  await sleeper.pid;
  await bed.close();
  await eventually(1000, "the owner still runs", async () => {
    const stat = await readFile(`/proc/${bed.ownerPid}/stat`, "utf8").catch(() => "gone");
    return stat === "gone";
  });
  t.is((await sleeper.exit(1000)).signal, "SIGKILL");
});

test("a test process that is killed leaves no process", async (t) => {
  const bed = new URL("../bed/bed.js", import.meta.url).href;
  const script = `
    import { Bed } from ${JSON.stringify(bed)};
    const bed = await Bed.create({ teardown() {} });
    await bed.host(["setsid", "sleep", "4711"]).pid;
    console.log(bed.ownerPid);`;
  const program = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(program.stdout, "data");
  const owner = Number(String(line));
  t.true(owner > 1);
  const running = async () => /^State:\s+[^ZX]/m.test(await readFile(`/proc/${owner}/status`, "utf8").catch(() => ""));
  t.true(await running());
  program.kill("SIGKILL");
  await eventually(2000, "the owner still runs", async () => !(await running()));
});
