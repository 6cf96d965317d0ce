/** How the host reaches sandboxes with names: an address of their own, their own port numbers, and the proxy of their network. */
import test, { type ExecutionContext } from "ava";
import { Bed, eventually, HOST, PROGRAMS } from "../bed/bed.js";
import { nameServer, webServer } from "../bed/services.js";

const SERVER = ["python3", "-u", `${PROGRAMS}/listeners.py`];
const curl = (url: string, ...options: string[]) => ["curl", "-sS", "--max-time", "5", ...options, url];
const CURLE_COULDNT_CONNECT = 7;
const CURLE_PROXY = 97;

/** A bed with sandboxes of these names and options, in each of which something answers at port 8080 with its name. */
async function bedWith(t: ExecutionContext, sandboxes: Record<string, readonly string[]>, port = 8080) {
  const bed = await Bed.create(t);
  for (const [name, options] of Object.entries(sandboxes)) {
    await bed.netns(["create", name, ...options]).succeed();
    const server = bed.netns(["exec", name, "--", ...SERVER]);
    await server.until(/ready\n/);
    server.write(`open 0.0.0.0 ${port} ${name}\n`);
    await server.until(/^open/m);
  }
  return bed;
}

test.serial("members with an address of their own on the host have the same port, until they end", async (t) => {
  const bed = await bedWith(t, {
    red: ["--network", "demo", "--host-ip", "127.0.2.10"],
    blue: ["--network", "demo", "--host-ip", "127.0.2.11"],
    green: ["--publish", "127.0.0.1:auto"],
  });
  for (const [name, address] of [
    ["red", "127.0.2.10"],
    ["blue", "127.0.2.11"],
    ["green", "127.0.0.1"],
  ]) {
    await bed.listening("host", "tcp", 8080, address);
    t.is(await bed.host(curl(`http://${address}:8080/`)).succeed(), `${name}\n`);
  }
  const ports = await bed.netns(["port", "ls"]).succeed();
  t.regex(ports, /^red +127\.0\.2\.10:8080 +8080 +tcp$/m);
  t.regex(ports, /^green +127\.0\.0\.1:8080 +8080 +tcp$/m);
  await bed.netns(["rm", "red"]).succeed();
  t.is((await bed.host(curl("http://127.0.2.10:8080/")).exit()).code, CURLE_COULDNT_CONNECT);
  t.is(await bed.host(curl("http://127.0.2.11:8080/")).succeed(), "blue\n");
});

test.serial(
  "a sandbox's port that is published by itself goes when its server ends, and the sandbox stays",
  async (t) => {
    const bed = await Bed.create(t);
    await bed.netns(["create", "red", "--publish", "auto"]).succeed();
    const server = bed.netns([
      "exec",
      "red",
      "--",
      "python3",
      "-u",
      "-m",
      "http.server",
      "8080",
      "--directory",
      "/proc/self",
    ]);
    await bed.listening("host", "tcp", 8080, "0.0.0.0");
    t.is((await bed.internet(curl(`http://${HOST}:8080/`, "-o", "/dev/null")).exit()).code, 0);
    await bed.kill(await server.pid, "TERM");
    await eventually(1000, "still there", async () => (await bed.admin("ss -Hntl 'sport = :8080'")) === "");
    t.regex(await bed.netns(["ls"]).succeed(), /^red /m);
  },
);

test.serial("network proxy: curl reaches members by their names and addresses, and nobody else", async (t) => {
  const bed = await bedWith(t, { red: ["--network", "demo"], blue: ["--network", "demo"], other: [] });
  await nameServer(bed);
  await webServer(bed);
  await webServer(bed, "host", "127.0.0.1", 9000);
  const printed = await bed.netns(["network", "proxy", "demo", "127.0.2.1:1080"]).succeed();
  t.regex(printed, /127\.0\.2\.1:1080/);
  const through = (url: string) => bed.host(curl(url, "--noproxy", "", "--socks5-hostname", "127.0.2.1:1080")).exit();
  for (const host of ["red", "red.demo.internal", "10.0.2.100"]) {
    t.is((await through(`http://${host}:8080/`)).stdout, "red\n", host);
  }
  t.is((await through("http://blue:8080/")).stdout, "blue\n");
  for (const host of [
    "other:8080",
    "www.bed.test",
    "127.0.0.1:9000",
    "localhost:9000",
    "host.internal:9000",
    `${HOST}:9000`,
  ]) {
    t.is((await through(`http://${host}/`)).code, CURLE_PROXY, host);
  }
  const again = await bed.netns(["network", "proxy", "demo", "127.0.2.1:1080"]).exit();
  t.is(again.code, 125);
  t.regex(again.stderr, /^netns-rootless: cannot listen at 127\.0\.2\.1:1080: the port is in use.*\n$/);
  const [, free] = /127\.0\.0\.1:(\d+)/.exec(await bed.netns(["network", "proxy", "demo"]).succeed()) ?? [];
  const second = curl("http://blue:8080/", "--noproxy", "", "--socks5-hostname", `127.0.0.1:${free}`);
  t.is(await bed.host(second).succeed(), "blue\n");
  await bed.netns(["rm", "red", "blue"]).succeed();
  await eventually(2000, "the proxy is still there", async () => (await bed.admin("ss -Hntl 'sport = :1080'")) === "");
});

test.serial("network proxy: what is wrong is told in one line", async (t) => {
  const bed = await Bed.create(t);
  for (const [args, code, line] of [
    [["nosuch"], 2, /nosuch/],
    [["nosuch", "here"], 2, /expected \[ADDR:\]PORT/],
  ] as const) {
    const told = await bed.netns(["network", "proxy", ...args]).exit();
    t.is(told.code, code);
    t.is(told.stdout, "");
    t.regex(told.stderr, /^netns-rootless: [^\n]+\n$/);
    t.regex(told.stderr, line);
  }
});
