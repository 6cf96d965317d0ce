import test from "ava";
import { Bed, bracketed, HOST, IPV4, IPV6, PROGRAMS, WORLDS } from "../bed/bed.js";

/** Python's web server inside, with one file to tell it from another. */
function fileServer(bed: Bed, name: string, flags: readonly string[], bind = "0.0.0.0") {
  const serve = `mkdir -p /tmp/${name} && cd /tmp/${name} && echo ${name} > index.html && exec python3 -u -m http.server --bind ${bind} 8080`;
  return bed.run(["sh", "-c", serve], flags);
}

const curl = (address: string, port: number) => [
  "curl",
  "-sS",
  "--max-time",
  "5",
  `http://${bracketed(address)}:${port}/`,
];

test.serial("host port 0 is a free one, which is printed", async (t) => {
  const bed = await Bed.create(t);
  const server = fileServer(bed, "any", ["--publish", "0:8080", "--publish", "127.0.0.1:0:8080"], "::");
  const [, all] = await server.until(/^netns-rootless: 0\.0\.0\.0:(\d+) -> 8080\/tcp$/m, 10_000, "stderr");
  const [, loopback] = await server.until(/^netns-rootless: 127\.0\.0\.1:(\d+) -> 8080\/tcp$/m, 10_000, "stderr");
  await server.until(/Serving HTTP/);
  t.is(await bed.internet(curl(HOST, Number(all))).succeed(), "any\n");
  t.is(await bed.internet(curl(IPV6.host, Number(all))).succeed(), "any\n", "the same one in both families");
  t.is(await bed.host(curl("127.0.0.1", Number(loopback))).succeed(), "any\n");
  t.is((await bed.internet(curl(HOST, Number(loopback))).exit()).code, 7, "published on the loopback only");
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

test.serial("a port that is busy in one family only is busy", async (t) => {
  const bed = await Bed.create(t);
  for (const { any, loopback } of WORLDS) {
    const busy = bed.host(["python3", "-u", `${PROGRAMS}/echo.py`, "6000", any]);
    await busy.until(/ready/);
    for (const protocol of ["tcp", "udp"]) {
      const { code, stderr } = await bed.run(["echo", "started"], ["-p", `6000:80/${protocol}`]).exit();
      t.is(code, 125);
      t.regex(stderr, /^netns-rootless: .*6000.*in use.*\n$/);
    }
    t.is((await bed.run(["true"], ["-p", `${bracketed(loopback)}:6000:80`]).exit()).code, 125);
    await bed.kill(await busy.pid, "KILL");
    await busy.exit();
  }
});

test.serial("a datagram to everybody on the host's network reaches a published port, and is answered", async (t) => {
  const bed = await Bed.create(t);
  await bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "7007", "0.0.0.0"], ["-p", "6000:7007/udp"]).until(/ready/);
  const ask = (place: string) => `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, 25, b"eth0")
s.sendto(b"anybody?", ("${place}", 6000))
print(*s.recvfrom(100))`;
  for (const place of ["198.51.100.255", "255.255.255.255"]) {
    t.is(await bed.internet(["python3", "-c", ask(place)]).succeed(), `b'anybody?' ('${HOST}', 6000)\n`);
  }
});

for (const world of WORLDS) {
  const { family, any, elsewhere, host, loopback, neighbour, sandbox } = world;
  const other = world.family === 4 ? IPV6 : IPV4;
  const name = `IPv${family}`;

  test.serial(
    `${name}: two servers on the same port inside answer on two ports of the host, to the host and to another machine`,
    async (t) => {
      const bed = await Bed.create(t);
      const first = fileServer(bed, "first", ["--publish", "6000:8080"], any);
      const second = fileServer(bed, "second", ["-p", "6001:8080"], any);
      await Promise.all([first.until(/Serving HTTP/), second.until(/Serving HTTP/)]);
      t.is(await bed.host(curl(loopback, 6000)).succeed(), "first\n");
      t.is(await bed.host(curl(loopback, 6001)).succeed(), "second\n");
      t.is(await bed.internet(curl(host, 6000)).succeed(), "first\n");
      t.is(await bed.internet(curl(host, 6001)).succeed(), "second\n");
      await first.until(new RegExp(`^${neighbour} - - .*"GET /`, "m"), 5000, "stderr");
      await second.until(new RegExp(`^${neighbour} - - .*"GET /`, "m"), 5000, "stderr");
      await bed.internet(["curl", "-sS", "--interface", elsewhere, `http://${bracketed(host)}:6000/`]).succeed();
      await first.until(new RegExp(`^${elsewhere} - - `, "m"), 5000, "stderr");
    },
  );

  test.serial(
    `${name}: urgent data is part of the stream, on the host's loopback and from elsewhere, both ways`,
    async (t) => {
      const bed = await Bed.create(t);
      const kind = `socket.AF_INET${family === 6 ? "6" : ""}`;
      const talk = `
def talk(s):
    for piece in (b'a' * 50000, b'b', b'c' * 3): time.sleep(0.2); s.sendall(piece, socket.MSG_OOB if piece == b'b' else 0)
    s.shutdown(socket.SHUT_WR)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1); s.settimeout(5)
    got = b''
    while piece := s.recv(65536): got += piece
    return got == b'a' * 50000 + b'bccc'`;
      const serve = `import socket, time${talk}\nserver = socket.create_server(('${any}', 8080), family=${kind}); print('up', flush=True)
for _ in range(2): print(talk(server.accept()[0]), flush=True)`;
      const server = bed.run(["python3", "-c", serve], ["-p", "6000:8080"]);
      await server.until(/up/);
      const client = (place: string) => [
        "python3",
        "-c",
        `import socket, time${talk}\nprint(talk(socket.create_connection(('${place}', 6000))))`,
      ];
      t.is(await bed.host(client(loopback)).succeed(), "True\n");
      t.is(await bed.internet(client(host)).succeed(), "True\n");
      t.is(await server.succeed(), "up\nTrue\nTrue\n");
    },
  );

  for (const bind of [any, loopback, sandbox]) {
    test.serial(`${name}: a server that listens on ${bind} inside is reached`, async (t) => {
      const bed = await Bed.create(t);
      const server = fileServer(bed, "here", ["--publish", "6000:8080"], bind);
      await server.until(/Serving HTTP/);
      t.is(await bed.host(curl(loopback, 6000)).succeed(), "here\n");
      t.is(await bed.host(curl("localhost", 6000)).succeed(), "here\n");
      // Where nobody listens but on the loopback inside, a client from elsewhere is led there too: the port was published.
      t.is(await bed.internet(curl(host, 6000)).succeed(), "here\n");
      t.is(await bed.host(curl(host, 6000)).succeed(), "here\n");
    });
  }

  test.serial(`${name}: a port that nobody serves inside closes the connection`, async (t) => {
    const bed = await Bed.create(t);
    const idle = bed.script("echo up; sleep 60", ["--publish", "6000:8080"]);
    await idle.until(/up/);
    t.not((await bed.host(curl(loopback, 6000)).exit()).code, 0);
    t.not((await bed.internet(curl(host, 6000)).exit()).code, 0);
  });

  test.serial(`${name}: a range of ports`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "8081", any], ["-p", "7000-7002:8080-8082"]);
    await server.until(/ready/);
    t.is(await bed.internet(["nc", "-N", "-w5", host, "7001"], { input: "range" }).succeed(), "range");
    t.not((await bed.internet(["nc", "-N", "-w5", host, "7002"], { input: "range" }).exit()).stdout, "range");
  });

  for (const [way, side, address] of [
    ["the direct path", "host", loopback],
    ["the TAP", "internet", host],
  ] as const) {
    test.serial(`${name}: 100 MB each way through ${way}, every byte the same`, async (t) => {
      const bed = await Bed.create(t);
      const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "8080", any], ["-p", "6000:8080"]);
      await server.until(/ready/);
      const script = `head -c 100M /dev/urandom >/tmp/sent; nc -N -w20 ${address} 6000 </tmp/sent | cmp - /tmp/sent && echo same`;
      t.is(await bed.on(side, ["bash", "-c", script]).succeed(60_000), "same\n");
      await server.until(/^end \S+ \d+ 104857600$/m, 1000);
    });
  }

  test.serial(
    `${name}: published UDP keeps each client's address and answers each from the published port`,
    async (t) => {
      const bed = await Bed.create(t);
      const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "5300", any], ["-p", "6000:5300/udp"]);
      await server.until(/ready/);
      const client = (text: string, port: number, source: string) =>
        bed.internet(["python3", `${PROGRAMS}/ask.py`, source, `${port}`, host, "6000", text]).succeed();
      const answers = await Promise.all([
        client("one", 40001, neighbour),
        client("two", 40002, neighbour),
        client("three", 40001, elsewhere),
      ]);
      t.deepEqual(answers, ["one\n", "two\n", "three\n"]);
      await server.until(new RegExp(`^udp ${neighbour} 40001 3$`, "m"));
      await server.until(new RegExp(`^udp ${neighbour} 40002 3$`, "m"));
      await server.until(new RegExp(`^udp ${elsewhere} 40001 5$`, "m"));
      const local = bed.host(["python3", `${PROGRAMS}/ask.py`, loopback, "0", loopback, "6000", "loopback"]);
      t.is(await local.succeed(), "loopback\n");
    },
  );

  test.serial(`${name}: a published datagram of 60,000 bytes comes and goes`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "5300", any], ["-p", "6000:5300/udp"]);
    await server.until(/ready/);
    const sent = bed.internet(["python3", `${PROGRAMS}/datagrams.py`, "6000", "60000", host]);
    t.is(await sent.succeed(), `ok ${host}\n`);
    await server.until(/^udp \S+ \d+ 60000$/m);
  });

  for (const bind of [other.loopback, other.sandbox]) {
    test.serial(`${name}: a server inside that listens on ${bind} only is reached`, async (t) => {
      const bed = await Bed.create(t);
      const server = bed.run(["python3", "-u", `${PROGRAMS}/web.py`, bind, "8080"], ["--publish", "6000:8080"]);
      await server.until(/ready/);
      t.regex(await bed.host(curl(loopback, 6000)).succeed(), /^hello /);
      // An address of the other family means nothing to the server: it sees the gateway's.
      const seen = bind === other.sandbox ? other.gateway : other.loopback;
      t.is(await bed.internet(curl(host, 6000)).succeed(), `hello ${seen}\n`);
    });
  }

  test.serial(`${name}: a UDP server inside of the other family is reached from the host's loopback`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "5300", other.any], ["-p", "6000:5300/udp"]);
    await server.until(/ready/);
    const client = ["socat", "-t1", "-", `UDP${family}:${bracketed(loopback)}:6000`];
    t.is(await bed.host(client, { input: "loopback" }).succeed(), "loopback");
  });

  test.serial(`${name}: a port published at one address is not open at others`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(
      ["python3", "-u", `${PROGRAMS}/web.py`, any, "8080"],
      ["-p", `${bracketed(any)}:6000:8080`, "-p", `${bracketed(loopback)}:6001:8080`],
    );
    await server.until(/ready/);
    t.is(await bed.internet(curl(host, 6000)).succeed(), `hello ${neighbour}\n`);
    t.is((await bed.internet(curl(other.host, 6000)).exit()).code, 7);
    t.is((await bed.host(curl(other.loopback, 6000)).exit()).code, 7);
    t.is(await bed.host(curl(loopback, 6001)).succeed(), `hello ${loopback}\n`);
    t.is((await bed.internet(curl(host, 6001)).exit()).code, 7);
  });
}
