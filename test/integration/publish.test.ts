import test from "ava";
import { Bed, HOST, NEIGHBOUR, PROGRAMS, SANDBOX } from "../bed/bed.js";

/** Python's web server inside, with one file to tell it from another. */
function fileServer(bed: Bed, name: string, flags: readonly string[], bind = "0.0.0.0") {
  const serve = `mkdir -p /tmp/${name} && cd /tmp/${name} && echo ${name} > index.html && exec python3 -u -m http.server --bind ${bind} 8080`;
  return bed.run(["sh", "-c", serve], flags);
}

const curl = (address: string, port: number) => ["curl", "-sS", "--max-time", "5", `http://${address}:${port}/`];

test.serial(
  "two servers on the same port inside answer on two ports of the host, to the host and to another machine",
  async (t) => {
    const bed = await Bed.create(t);
    const first = fileServer(bed, "first", ["--publish", "6000:8080"]);
    const second = fileServer(bed, "second", ["-p", "6001:8080"]);
    await Promise.all([first.until(/Serving HTTP/), second.until(/Serving HTTP/)]);
    t.is(await bed.host(curl("127.0.0.1", 6000)).succeed(), "first\n");
    t.is(await bed.host(curl("127.0.0.1", 6001)).succeed(), "second\n");
    t.is(await bed.internet(curl(HOST, 6000)).succeed(), "first\n");
    t.is(await bed.internet(curl(HOST, 6001)).succeed(), "second\n");
    await first.until(new RegExp(`^${NEIGHBOUR} - - .*"GET /`, "m"), 5000, "stderr");
    await second.until(new RegExp(`^${NEIGHBOUR} - - .*"GET /`, "m"), 5000, "stderr");
    await bed.internet(["curl", "-sS", "--interface", "203.0.113.7", `http://${HOST}:6000/`]).succeed();
    await first.until(/^203\.0\.113\.7 - - /m, 5000, "stderr");
  },
);

for (const bind of ["0.0.0.0", "127.0.0.1", SANDBOX]) {
  test.serial(`a server that listens on ${bind} inside is reached`, async (t) => {
    const bed = await Bed.create(t);
    const server = fileServer(bed, "here", ["--publish", "6000:8080"], bind);
    await server.until(/Serving HTTP/);
    t.is(await bed.host(curl("127.0.0.1", 6000)).succeed(), "here\n");
    t.is(await bed.host(curl("localhost", 6000)).succeed(), "here\n");
    // Where nobody listens but on the loopback inside, a client from elsewhere is led there too: the port was published.
    t.is(await bed.internet(curl(HOST, 6000)).succeed(), "here\n");
    t.is(await bed.host(curl(HOST, 6000)).succeed(), "here\n");
  });
}

test.serial("a port that nobody serves inside closes the connection", async (t) => {
  const bed = await Bed.create(t);
  const idle = bed.script("echo up; sleep 60", ["--publish", "6000:8080"]);
  await idle.until(/up/);
  t.not((await bed.host(curl("127.0.0.1", 6000)).exit()).code, 0);
  t.not((await bed.internet(curl(HOST, 6000)).exit()).code, 0);
});

test.serial("host port 0 is a free one, which is printed", async (t) => {
  const bed = await Bed.create(t);
  const server = fileServer(bed, "any", ["--publish", "0:8080", "--publish", "127.0.0.1:0:8080"]);
  const [, all] = await server.until(/^netns-rootless: 0\.0\.0\.0:(\d+) -> 8080\/tcp$/m, 10_000, "stderr");
  const [, loopback] = await server.until(/^netns-rootless: 127\.0\.0\.1:(\d+) -> 8080\/tcp$/m, 10_000, "stderr");
  await server.until(/Serving HTTP/);
  t.is(await bed.internet(curl(HOST, Number(all))).succeed(), "any\n");
  t.is(await bed.host(curl("127.0.0.1", Number(loopback))).succeed(), "any\n");
  t.is((await bed.internet(curl(HOST, Number(loopback))).exit()).code, 7, "published on the loopback only");
});

test.serial("a range of ports", async (t) => {
  const bed = await Bed.create(t);
  const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "8081", "0.0.0.0"], ["-p", "7000-7002:8080-8082"]);
  await server.until(/ready/);
  t.is(await bed.internet(["nc", "-N", "-w5", HOST, "7001"], { input: "range" }).succeed(), "range");
  t.not((await bed.internet(["nc", "-N", "-w5", HOST, "7002"], { input: "range" }).exit()).stdout, "range");
});

test.serial("a busy host port is one clear line and no start", async (t) => {
  const bed = await Bed.create(t);
  const busy = bed.host(["python3", "-u", "-m", "http.server", "6000"]);
  await busy.until(/Serving HTTP/);
  const { code, stdout, stderr } = await bed.run(["echo", "started"], ["-p", "6001:8080", "-p", "6000:8080"]).exit();
  t.is(code, 125);
  t.is(stdout, "");
  t.regex(stderr, /^netns-rootless: .*6000.*in use.*\n$/);
});

test.serial("a host port below 1024 is refused with what to do", async (t) => {
  const bed = await Bed.create(t);
  const { code, stdout, stderr } = await bed.run(["echo", "started"], ["-p", "80:8080"]).exit();
  t.is(code, 125);
  t.is(stdout, "");
  t.regex(stderr, /^netns-rootless: .*80\/tcp.*ip_unprivileged_port_start.*\n$/);
});

for (const [name, side, address] of [
  ["the direct path", "host", "127.0.0.1"],
  ["the TAP", "internet", HOST],
] as const) {
  test.serial(`100 MB each way through ${name}, every byte the same`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "8080", "0.0.0.0"], ["-p", "6000:8080"]);
    await server.until(/ready/);
    const script = `head -c 100M /dev/urandom >/tmp/sent; nc -N -w20 ${address} 6000 </tmp/sent | sha256sum; sha256sum </tmp/sent`;
    const [received, sent] = (await bed.on(side, ["bash", "-c", script]).succeed(60_000)).trim().split("\n");
    t.is(received, sent);
    await server.until(/^end \S+ \d+ 104857600$/m, 1000);
  });
}

test.serial("published UDP keeps each client's address and answers each from the published port", async (t) => {
  const bed = await Bed.create(t);
  const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "5300", "0.0.0.0"], ["-p", "6000:5300/udp"]);
  await server.until(/ready/);
  // socat's sockets are connected: an answer from another address or port would not arrive.
  const client = (text: string, port: number, source: string) =>
    bed.internet(["socat", "-t1", "-", `UDP:${HOST}:6000,bind=${source}:${port}`], { input: text }).succeed();
  const answers = await Promise.all([
    client("one", 40001, NEIGHBOUR),
    client("two", 40002, NEIGHBOUR),
    client("three", 40001, "203.0.113.7"),
  ]);
  t.deepEqual(answers, ["one", "two", "three"]);
  await server.until(new RegExp(`^udp ${NEIGHBOUR} 40001 3$`, "m"));
  await server.until(new RegExp(`^udp ${NEIGHBOUR} 40002 3$`, "m"));
  await server.until(/^udp 203\.0\.113\.7 40001 5$/m);
  const local = bed.host(["socat", "-t1", "-", "UDP:127.0.0.1:6000"], { input: "loopback" });
  t.is(await local.succeed(), "loopback");
});

test.serial("a published datagram of 60,000 bytes comes and goes", async (t) => {
  const bed = await Bed.create(t);
  const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "5300", "0.0.0.0"], ["-p", "6000:5300/udp"]);
  await server.until(/ready/);
  const sent = bed.internet(["python3", `${PROGRAMS}/datagrams.py`, "6000", "60000", HOST]);
  t.is(await sent.succeed(), `ok ${HOST}\n`);
  await server.until(/^udp \S+ \d+ 60000$/m);
});
