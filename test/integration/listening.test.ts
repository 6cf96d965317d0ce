/** `--publish auto` and `--host-ip`: what a sandbox listens on is on the host by itself, for as long as it listens. */
import test from "ava";
import { Bed, bracketed, eventually, HOST, IPV6, PROGRAMS } from "../bed/bed.js";

/**
 * Opens and closes listeners as told on standard input (`open ADDRESS PORT NAME`, `close PORT`), and says when it has, in nanoseconds
 * of the clock that all processes share. What connects is answered as an HTTP client wants it, with NAME.
 */
const SERVER = ["python3", "-u", `${PROGRAMS}/listeners.py`];
/** Connects again and again until that succeeds (`open`) or is refused (`closed`), and says when. */
const knock = (address: string, port: number, until: "open" | "closed") => [
  ...["python3", "-u", `${PROGRAMS}/knock.py`],
  ...[address, String(port), until],
];
const curl = (address: string, port: number) => [
  ...["curl", "-sS", "--max-time", "5"],
  `http://${bracketed(address)}:${port}/`,
];

/** Milliseconds between what two programs said. */
const between = (earlier: RegExpMatchArray, later: string) => (Number(later) - Number(earlier[1])) / 1e6;

test.serial("a port appears within 200 ms after listen() and goes within a second after close()", async (t) => {
  const bed = await Bed.create(t);
  const sandbox = bed.run(SERVER, ["--publish", "auto"]);
  await sandbox.until(/ready\n/);
  for (const [address, port] of [
    ["0.0.0.0", 8080],
    ["127.0.0.1", 8081],
    ["10.0.2.100", 8082],
    ["::", 8083],
    ["::1", 8084],
  ] as const) {
    const opening = bed.host(knock("127.0.0.1", port, "open"));
    await opening.until(/ready\n/);
    sandbox.write(`open ${address} ${port} here\n`);
    const opened = await sandbox.until(new RegExp(`^open ${port} (\\d+)$`, "m"));
    const appeared = between(opened, (await opening.succeed()).split(" ")[1]);
    t.true(appeared < 200, `${address} ${port} appeared after ${appeared} ms`);
    t.is(await bed.host(curl("127.0.0.1", port)).succeed(), "here\n");
    t.is(await bed.internet(curl(HOST, port)).succeed(), "here\n");
    t.is(await bed.internet(curl(IPV6.host, port)).succeed(), "here\n");
    const closing = bed.host(knock("127.0.0.1", port, "closed"));
    await closing.until(/ready\n/);
    sandbox.write(`close ${port}\n`);
    const closed = await sandbox.until(new RegExp(`^close ${port} (\\d+)$`, "m"));
    const gone = between(closed, (await closing.succeed()).split(" ")[1]);
    t.true(gone < 1000, `${address} ${port} went after ${gone} ms`);
  }
  sandbox.end();
  t.is(await sandbox.exit().then(({ code, stderr }) => `${code} ${stderr}`), "0 ");
});

test.serial("two sandboxes with an address of their own each listen on the same port", async (t) => {
  const bed = await Bed.create(t);
  const red = bed.run(SERVER, ["--host-ip", "127.0.2.10"]);
  const blue = bed.run(SERVER, ["--host-ip", "127.0.2.11"]);
  for (const [sandbox, name] of [
    [red, "red"],
    [blue, "blue"],
  ] as const) {
    await sandbox.until(/ready\n/);
    sandbox.write(`open 0.0.0.0 8080 ${name}\n`);
  }
  await bed.listening("host", "tcp", 8080, "127.0.2.10");
  await bed.listening("host", "tcp", 8080, "127.0.2.11");
  t.is(await bed.host(curl("127.0.2.10", 8080)).succeed(), "red\n");
  t.is(await bed.host(curl("127.0.2.11", 8080)).succeed(), "blue\n");
  t.is((await bed.host(curl("127.0.0.1", 8080)).exit()).code, 7, "nowhere else");
  t.is((await bed.internet(curl(HOST, 8080)).exit()).code, 7, "nowhere else");
  red.end();
  t.is((await red.exit()).code, 0);
  t.is((await bed.host(curl("127.0.2.10", 8080)).exit()).code, 7, "its ports go with the sandbox");
  t.is(await bed.host(curl("127.0.2.11", 8080)).succeed(), "blue\n");
});

test.serial("--host-ip may be an address that the host was given, and is then reached by others", async (t) => {
  const bed = await Bed.create(t);
  await bed.admin("ip addr add 198.51.100.9/24 dev eth0");
  const sandbox = bed.run(SERVER, ["--host-ip", "198.51.100.9"]);
  await sandbox.until(/ready\n/);
  sandbox.write("open 0.0.0.0 8080 here\n");
  await bed.listening("host", "tcp", 8080, "198.51.100.9");
  t.is(await bed.internet(curl("198.51.100.9", 8080)).succeed(), "here\n");
  t.is((await bed.internet(curl(HOST, 8080)).exit()).code, 7);
});

test.serial(
  "a port that is busy on the host, or closed to ordinary users, is told once, and opened when it is free",
  async (t) => {
    const bed = await Bed.create(t);
    const busy = bed.host(SERVER);
    await busy.until(/ready\n/);
    busy.write("open 127.0.0.1 8080 host\n");
    await busy.until(/^open 8080/m);
    const sandbox = bed.run(SERVER, ["--publish", "auto"]);
    await sandbox.until(/ready\n/);
    sandbox.write("open 0.0.0.0 8080 sandbox\nopen 0.0.0.0 80 web\nopen 0.0.0.0 8081 sandbox\n");
    await sandbox.until(
      /^netns-rootless: cannot publish 0\.0\.0\.0:8080\/tcp: .*in use.*tried again.*$/m,
      5000,
      "stderr",
    );
    await sandbox.until(
      /^netns-rootless: cannot publish 0\.0\.0\.0:80\/tcp: .*ip_unprivileged_port_start.*$/m,
      5000,
      "stderr",
    );
    await bed.listening("host", "tcp", 8081);
    t.is(await bed.host(curl("127.0.0.1", 8081)).succeed(), "sandbox\n");
    t.is(await bed.host(curl("127.0.0.1", 8080)).succeed(), "host\n");
    busy.write("close 8080\n");
    await eventually(5000, "8080 is not published", async () => {
      return (await bed.host(curl("127.0.0.1", 8080)).exit()).stdout === "sandbox\n";
    });
    sandbox.end();
    const { stderr } = await sandbox.exit();
    t.is(stderr.split("\n").length, 3, stderr);
  },
);

test.serial("a connection that was accepted outlives its listener", async (t) => {
  const bed = await Bed.create(t);
  const echo = `import socket,sys
server = socket.create_server(("0.0.0.0", 7000)); one, _ = server.accept(); server.close(); print("closed", flush=True)
while data := one.recv(1000): one.sendall(data)`;
  const sandbox = bed.run(["python3", "-c", echo], ["--publish", "127.0.0.1:auto"]);
  await bed.listening("host", "tcp", 7000, "127.0.0.1");
  const client = bed.host(["nc", "-w5", "127.0.0.1", "7000"]);
  client.write("one\n");
  await client.until(/one\n/);
  await eventually(2000, "still listening", async () => (await bed.admin("ss -Hntl 'sport = :7000'")) === "");
  client.write("two\n");
  await client.until(/two\n/);
  client.end();
  t.is((await sandbox.exit()).code, 0);
});

test.serial("what is published by hand stays as it is", async (t) => {
  const bed = await Bed.create(t);
  const sandbox = bed.run(SERVER, ["-p", "8080:8080", "-p", "6000:9000", "-p", "auto"]);
  await sandbox.until(/ready\n/);
  sandbox.write("open 0.0.0.0 8080 one\nopen 0.0.0.0 9000 two\n");
  await bed.listening("host", "tcp", 9000);
  for (const port of [6000, 9000]) t.is(await bed.host(curl("127.0.0.1", port)).succeed(), "two\n");
  t.is(await bed.host(curl("127.0.0.1", 8080)).succeed(), "one\n");
  sandbox.end();
  t.is((await sandbox.exit()).stderr, "");
});

test.serial("attach: the same for a namespace that was there before", async (t) => {
  const bed = await Bed.create(t);
  const inside = bed.host(["unshare", "-Urn", ...SERVER]);
  await inside.until(/ready\n/);
  const attached = bed.netns(["attach", "--publish", "auto", String(await inside.pid)]);
  await attached.until(/is up in/, 10_000, "stderr");
  inside.write("open 0.0.0.0 8080 there\n");
  await bed.listening("host", "tcp", 8080);
  t.is(await bed.host(curl("127.0.0.1", 8080)).succeed(), "there\n");
  inside.write("close 8080\n");
  await eventually(1000, "still listening", async () => (await bed.admin("ss -Hntl 'sport = :8080'")) === "");
});

test.serial("wrong addresses are one line and no start", async (t) => {
  const bed = await Bed.create(t);
  for (const flags of [
    ["--host-ip", "10.1.2.3"],
    ["--host-ip", "127.0.0.1"],
    ["--publish", "auto/udp"],
  ]) {
    const { code, stdout, stderr } = await bed.run(["echo", "started"], flags).exit();
    t.is(code, 2);
    t.is(stdout, "");
    t.regex(stderr, new RegExp(`^netns-rootless: ${flags[0]} ${flags[1]}: .*\n$`));
  }
});
