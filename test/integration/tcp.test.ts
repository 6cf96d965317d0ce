import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { Bed, bracketed, eventually, PROGRAMS, WORLDS } from "../bed/bed.js";
import { echoServer, webServer } from "../bed/services.js";

// What a program does when it closes a socket that lingers for no time (or has unread data): RST, not FIN.
const RESET =
  "import struct; s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close(); print('reset', flush=True)";

for (const { family, unreachable, unreachableError, web, host, loopback } of WORLDS) {
  const name = `IPv${family}`;
  test.serial(`${name}: a port that refuses outside is refused inside in under 50 ms`, async (t) => {
    const bed = await Bed.create(t);
    const lines = (await bed.run(["python3", `${PROGRAMS}/connect.py`, web, "81", "9"]).succeed()).trim().split("\n");
    const times = lines
      .map((line) => Number(line.match(/^ECONNREFUSED (\S+)$/)?.[1] ?? Number.NaN))
      .sort((a, b) => a - b);
    t.true(Number(times[4]) < 50, `median of ${lines.join(", ")}`);
  });

  test.serial(
    `${name}: an unreachable host and an unreachable network give their own errors, as they do outside`,
    async (t) => {
      const bed = await Bed.create(t);
      const connect = ["python3", `${PROGRAMS}/connect.py`, unreachable, "80"];
      t.regex(await bed.host(connect).succeed(), new RegExp(`^${unreachableError}`));
      t.regex(await bed.run(connect).succeed(), new RegExp(`^${unreachableError}`));
      await bed.admin(`ip ${family === 6 ? "-6" : ""} route delete default`);
      t.regex(await bed.host(connect).succeed(), /^ENETUNREACH/);
      t.regex(await bed.run(connect).succeed(), /^ENETUNREACH/);
    },
  );

  test.serial(`${name}: half-close: what comes after the sandbox has finished sending arrives`, async (t) => {
    const bed = await Bed.create(t);
    bed.internet([
      "socat",
      "-t5",
      `TCP${family}-LISTEN:5000,bind=${bracketed(web)},fork`,
      "SYSTEM:wc -c; sleep 0.5; echo bye",
    ]);
    await bed.listening("internet", "tcp", 5000);
    t.is(await bed.script(`printf 12345 | nc -N -w5 ${web} 5000`).succeed(), "5\nbye\n");
  });

  test.serial(`${name}: half-close: what the sandbox sends after the other side has finished arrives`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.internet(["nc", "-N", "-l", web, "5000"], { input: "first\n" });
    await bed.listening("internet", "tcp", 5000);
    // The client goes on only when it has seen the other side's end.
    const client = `exec 3<>/dev/tcp/${web}/5000; cat <&3; echo ended; echo late >&3`;
    t.is(await bed.script(client).succeed(), "first\nended\n");
    t.is(await server.succeed(5000), "late\n");
  });

  test.serial(`${name}: half-close through a published port, both ways`, async (t) => {
    const bed = await Bed.create(t);
    const serve = `exec socat -t5 TCP${family}-LISTEN:8080,fork 'SYSTEM:wc -c; sleep 0.5; echo bye'`;
    const server = bed.script(`(${serve}) & while ! ss -Htln | grep -q :8080; do sleep 0.02; done; echo up; wait`, [
      "-p",
      "6000:8080",
    ]);
    await server.until(/up/);
    t.is(await bed.host(["nc", "-N", "-w5", loopback, "6000"], { input: "12345" }).succeed(), "5\nbye\n");
    t.is(await bed.internet(["nc", "-N", "-w5", host, "6000"], { input: "12345" }).succeed(), "5\nbye\n");
  });

  test.serial(`${name}: a reset from outside is a reset inside`, async (t) => {
    const bed = await Bed.create(t);
    const accept = `import socket; s = socket.create_server(('${web}', 5000), family=socket.AF_INET${family === 6 ? "6" : ""}).accept()[0]; s.recv(1); ${RESET}`;
    bed.internet(["python3", "-c", accept]);
    await bed.listening("internet", "tcp", 5000);
    const connect = `import socket; s = socket.create_connection(('${web}', 5000)); s.sendall(b'x'); s.settimeout(5); s.recv(1)`;
    const { code, stderr } = await bed.run(["python3", "-c", connect]).exit();
    t.is(code, 1);
    t.regex(stderr, /ConnectionResetError/);
  });

  test.serial(`${name}: a reset from outside after the end of its stream is a reset inside`, async (t) => {
    const bed = await Bed.create(t);
    const accept = `import socket, time; s = socket.create_server(('${web}', 5000), family=socket.AF_INET${family === 6 ? "6" : ""}).accept()[0]; s.recv(1); s.shutdown(socket.SHUT_WR); time.sleep(0.5); ${RESET}`;
    bed.internet(["python3", "-c", accept]);
    await bed.listening("internet", "tcp", 5000);
    const connect = `import errno, socket, time
s = socket.create_connection(('${web}', 5000)); s.sendall(b'x'); s.settimeout(5)
assert s.recv(1) == b''
end = time.monotonic() + 5
# Linux has another name for a reset after the end.
while time.monotonic() < end and s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) not in (errno.EPIPE, errno.ECONNRESET): time.sleep(0.02)
print('reset' if time.monotonic() < end else 'nothing')`;
    t.is(await bed.run(["python3", "-c", connect]).succeed(), "reset\n");
  });

  test.serial(`${name}: a reset from inside is a reset outside`, async (t) => {
    const bed = await Bed.create(t);
    const server = await echoServer(bed, "internet", 7000, web);
    const connect = `import socket; s = socket.create_connection(('${web}', 7000)); s.sendall(b'x'); s.recv(1); ${RESET}`;
    await bed.run(["python3", "-c", connect]).succeed();
    await server.until(/^error \S+ \d+ ConnectionResetError$/m, 5000);
    t.notRegex(server.stdout, /^end/m);
  });

  test.serial(`${name}: the end of the sandbox ends its connections, after what was sent has arrived`, async (t) => {
    const bed = await Bed.create(t);
    bed.internet(["sh", "-c", `nc -d -l ${web} 5000 >/tmp/arrived`]);
    await bed.listening("internet", "tcp", 5000);
    await bed.script(`head -c 20M /dev/zero >/tmp/sent; nc -N ${web} 5000 </tmp/sent`).succeed();
    await eventually(
      5000,
      "not all has arrived",
      async () => (await bed.admin("cmp /tmp/sent /tmp/arrived && echo same || :")) === "same\n",
    );
    t.pass();
  });

  test.serial(`${name}: 1,000 short connections one after another`, async (t) => {
    const bed = await Bed.create(t);
    await webServer(bed, "internet", web);
    const output = await bed
      .script(
        `for i in {1..20}; do curl -sS -H 'Connection: close' 'http://${bracketed(web)}/bytes/[1000-1049]' -o /dev/null -w '%{size_download}\\n'; done`,
      )
      .succeed(60_000);
    t.is(output.match(/^10\d\d$/gm)?.length, 1000);
  });
}

const STREAM = 256 * 1024 * 1024;

/** Resident memory of a process of the bed, in MiB. */
async function resident(bed: Bed, pid: number): Promise<number> {
  return Number(await bed.admin(`awk '/VmRSS/ {print $2}' /proc/${pid}/status`)) / 1024;
}

/** Process id of the one process of the bed with this command line. */
async function processId(bed: Bed, commandLine: string): Promise<number> {
  let pid = 0;
  await eventually(5000, `${commandLine} does not run`, async () => {
    pid = Number((await bed.admin(`pgrep -x -f '${commandLine}' || :`)).trim());
    return pid > 0;
  });
  return pid;
}

/**
 * Stops the reader (a process of the bed) for 5 s when it has begun to read into `file`, and checks that the rest waits:
 * neither the file nor our memory grows.
 */
async function stopReader(t: ExecutionContext, bed: Bed, product: number, reader: number, file: string): Promise<void> {
  const size = async () => Number(await bed.admin(`stat -c %s ${file} 2>/dev/null || echo 0`));
  await eventually(10_000, "nothing arrives", async () => (await size()) > 1_000_000);
  await bed.kill(reader, "STOP");
  const memory = await resident(bed, product);
  const arrived = await size();
  t.true(arrived < STREAM, "the stream is long enough to be stopped");
  await sleep(5000);
  t.is(await size(), arrived);
  const grown = (await resident(bed, product)) - memory;
  t.true(grown < 32, `memory grew by ${grown} MiB`);
  await bed.kill(reader, "CONT");
}

/** Does something for both families at the same time, in one bed with something to send. */
async function inBothFamilies(t: ExecutionContext, act: (bed: Bed, web: string, file: string) => Promise<void>) {
  const bed = await Bed.create(t);
  await bed.host(["sh", "-c", `head -c ${STREAM} /dev/urandom >/tmp/sent`]).succeed();
  await Promise.all(WORLDS.map(({ family, web }) => act(bed, web, `/tmp/arrived${family}`)));
}

test.serial("a reader outside that stops for 5 s stops the writer inside and loses nothing", (t) =>
  inBothFamilies(t, async (bed, web, file) => {
    const reader = bed.internet(["sh", "-c", `nc -d -l ${web} 5000 >${file}; exit $?`]);
    const listener = await processId(bed, `nc -d -l ${web} 5000`);
    await bed.listening("internet", "tcp", 5000, web);
    const writer = bed.script(`nc -N ${web} 5000 </tmp/sent; echo sent`);
    await stopReader(t, bed, await writer.pid, listener, file);
    t.is(writer.stdout, "", "the writer waits");
    await writer.succeed();
    await reader.succeed(5000);
    await bed.host(["cmp", "/tmp/sent", file]).succeed();
  }),
);

test.serial("a reader inside that stops for 5 s stops the writer outside and loses nothing", (t) =>
  inBothFamilies(t, async (bed, web, file) => {
    const writer = bed.internet(["sh", "-c", `nc -N -l ${web} 5000 </tmp/sent; echo sent`]);
    await bed.listening("internet", "tcp", 5000, web);
    const reader = bed.run(["sh", "-c", `exec nc -d ${web} 5000 >${file}`]);
    await stopReader(t, bed, await reader.pid, await processId(bed, `nc -d ${web} 5000`), file);
    t.is(writer.stdout, "", "the writer waits");
    await writer.succeed();
    await reader.succeed(5000);
    await bed.host(["cmp", "/tmp/sent", file]).succeed();
  }),
);
