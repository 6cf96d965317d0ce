import test from "ava";
import { Bed, GATEWAY, OTHERS, PROGRAMS, WEB } from "../bed/bed.js";
import { echoServer } from "../bed/services.js";

test.serial("one socket, many destinations: each reply comes from where it should", async (t) => {
  const bed = await Bed.create(t);
  const server = await echoServer(bed, "internet", 7000, ...OTHERS, WEB);
  const output = await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "100", ...OTHERS, WEB]).succeed();
  t.deepEqual(output.trim().split("\n").sort(), [...OTHERS, WEB].map((address) => `ok ${address}`).sort());
  t.is(server.stdout.match(/^udp /gm)?.length, OTHERS.length + 1);
});

test.serial("datagrams of 60,000 bytes go and come", async (t) => {
  const bed = await Bed.create(t);
  await echoServer(bed, "internet", 7000, WEB);
  t.is(await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "60000", WEB]).succeed(), `ok ${WEB}\n`);
  t.is(
    await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "60000", WEB], ["--mtu", "576"]).succeed(),
    `ok ${WEB}\n`,
  );
  t.is(
    await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "60000", WEB], ["--mtu", "65520"]).succeed(),
    `ok ${WEB}\n`,
  );
});

test.serial("an empty datagram goes and comes", async (t) => {
  const bed = await Bed.create(t);
  const server = await echoServer(bed, "internet", 7000, WEB);
  t.is(await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "0", WEB]).succeed(), `ok ${WEB}\n`);
  t.regex(server.stdout, /^udp \S+ \d+ 0$/m);
});

const ask = (address: string) => `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("${address}", 7001))
s.send(b"x")
s.recv(1)`;

for (const address of [WEB, GATEWAY]) {
  test.serial(`a closed port at ${address} gives ECONNREFUSED inside`, async (t) => {
    const bed = await Bed.create(t);
    const { code, stderr } = await bed.run(["python3", "-c", ask(address)]).exit();
    t.is(code, 1);
    t.regex(stderr, /ConnectionRefusedError/);
  });
}

test.serial("a reply from somebody else does not arrive", async (t) => {
  const bed = await Bed.create(t);
  const impostor = `
import socket
server, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("${WEB}", 7000))
other.bind(("${OTHERS[0]}", 7000))
print("ready", flush=True)
_, client = server.recvfrom(100)
other.sendto(b"forged", client)
server.sendto(b"genuine", client)`;
  const server = bed.internet(["python3", "-c", impostor]);
  await server.until(/ready/);
  const client = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"x", ("${WEB}", 7000))
print(s.recv(100).decode())`;
  t.is(await bed.run(["python3", "-c", client]).succeed(), "genuine\n");
});
