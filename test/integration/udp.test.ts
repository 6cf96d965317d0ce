import test from "ava";
import { Bed, PROGRAMS, WORLDS } from "../bed/bed.js";
import { echoServer } from "../bed/services.js";

for (const { family, gateway, others, web } of WORLDS) {
  const name = `IPv${family}`;
  const inet = `socket.AF_INET${family === 6 ? "6" : ""}`;
  test.serial(`${name}: one socket, many destinations: each reply comes from where it should`, async (t) => {
    const bed = await Bed.create(t);
    const server = await echoServer(bed, "internet", 7000, ...others, web);
    const output = await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "100", ...others, web]).succeed();
    t.deepEqual(output.trim().split("\n").sort(), [...others, web].map((address) => `ok ${address}`).sort());
    t.is(server.stdout.match(/^udp /gm)?.length, others.length + 1);
  });

  test.serial(
    `${name}: a burst as the very first thing that a sandbox sends is not held up by a look for neighbours`,
    async (t) => {
      const bed = await Bed.create(t);
      const burst = `
import socket, subprocess, time
print(subprocess.run(["ip", "-${family}", "neigh", "show", "dev", "tap0"], capture_output=True, text=True).stdout)
def seen():
    fields = next(line for line in open("/proc/net/dev") if "tap0:" in line).split(":")[1].split()
    return int(fields[9]) + int(fields[11])
s = socket.socket(${inet}, socket.SOCK_DGRAM)
before = seen()
for _ in range(1000):
    s.sendto(b"x", ("${web}", 7000))
end = time.monotonic() + 10
while seen() - before < 1000 and time.monotonic() < end: time.sleep(0.01)
print("seen by tap0:", seen() - before)`;
      await echoServer(bed, "internet", 7000, web);
      const output = await bed.run(["python3", "-c", burst]).succeed();
      for (const address of [gateway, gateway.replace(/2$/, "3")]) {
        t.true(output.includes(`${address} lladdr 52:55:0a:00:02:02`), output);
      }
      t.true(Number(/seen by tap0: (\d+)/.exec(output)?.[1]) >= 1000, output);
    },
  );

  test.serial(`${name}: datagrams of 60,000 bytes go and come`, async (t) => {
    const bed = await Bed.create(t);
    await echoServer(bed, "internet", 7000, web);
    t.is(await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "60000", web]).succeed(), `ok ${web}\n`);
    t.is(
      await bed
        .run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "60000", web], ["--mtu", family === 6 ? "1280" : "576"])
        .succeed(),
      `ok ${web}\n`,
    );
    t.is(
      await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "60000", web], ["--mtu", "65520"]).succeed(),
      `ok ${web}\n`,
    );
  });

  test.serial(`${name}: an empty datagram goes and comes`, async (t) => {
    const bed = await Bed.create(t);
    const server = await echoServer(bed, "internet", 7000, web);
    t.is(await bed.run(["python3", `${PROGRAMS}/datagrams.py`, "7000", "0", web]).succeed(), `ok ${web}\n`);
    t.regex(server.stdout, /^udp \S+ \d+ 0$/m);
  });

  const ask = (address: string) => `
import socket
s = socket.socket(${inet}, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("${address}", 7001))
s.send(b"x")
s.recv(1)`;

  for (const address of [web, gateway]) {
    test.serial(`${name}: a closed port at ${address} gives ECONNREFUSED inside`, async (t) => {
      const bed = await Bed.create(t);
      const { code, stderr } = await bed.run(["python3", "-c", ask(address)]).exit();
      t.is(code, 1);
      t.regex(stderr, /ConnectionRefusedError/);
    });
  }

  test.serial(`${name}: a reply from somebody else does not arrive`, async (t) => {
    const bed = await Bed.create(t);
    const impostor = `
import socket
server, other = (socket.socket(${inet}, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("${web}", 7000))
other.bind(("${others[0]}", 7000))
print("ready", flush=True)
_, client = server.recvfrom(100)
other.sendto(b"forged", client)
server.sendto(b"genuine", client)`;
    const server = bed.internet(["python3", "-c", impostor]);
    await server.until(/ready/);
    const client = `
import socket
s = socket.socket(${inet}, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"x", ("${web}", 7000))
print(s.recv(100).decode())`;
    t.is(await bed.run(["python3", "-c", client]).succeed(), "genuine\n");
  });
}
