/** What only a network of several shards can get wrong. All other tests of this folder run with several too (scripts/test.mjs). */
import test from "ava";
import { Bed, eventually, PROGRAMS, WORLDS } from "../bed/bed.js";
import { echoServer } from "../bed/services.js";

/** The kernel remembers for 3 s which queue a flow was written by. */
const FORGOTTEN_AFTER = "4.2";

/** A counter of the last lines of `--verbose`. */
function counter(stderr: string, name: string): number {
  return Number(stderr.match(new RegExp(`counter ${name.replace(".", "\\.")} (\\d+)`))?.[1] ?? 0);
}

for (const { family, web, any, host, loopback } of WORLDS) {
  test.serial(
    `IPv${family}: connections both ways go on after a pause that the kernel's queues forget them in`,
    async (t) => {
      const bed = await Bed.create(t);
      await echoServer(bed, "internet", 7, web);
      const idle = ["python3", "-u", `${PROGRAMS}/idle.py`];
      const script = [
        `python3 -u ${PROGRAMS}/echo.py 8080 ${any} &`,
        `until ss -Hntl 'sport = :8080' | grep -q .; do sleep 0.05; done; echo up`,
        `${idle.join(" ")} ${web} 7 12 ${FORGOTTEN_AFTER}; read line; kill %1`,
      ].join("\n");
      const sandbox = bed.run(["bash", "-c", script], ["--shards", "3", "-v", "-p", "6000:8080"]);
      await sandbox.until(/up/);
      t.is(await bed.internet([...idle, host, "6000", "12", FORGOTTEN_AFTER]).succeed(), "ok\n");
      await sandbox.until(/^ok$/m);
      sandbox.write("end\n");
      const { stderr } = await sandbox.exit();
      t.true(counter(stderr, "shards.frames_handed") > 0, stderr);
      t.is(counter(stderr, "tcp.stray"), 0);
    },
  );

  test.serial(
    `IPv${family}: answers of a published UDP port come from its address and port, whichever queue they take`,
    async (t) => {
      const bed = await Bed.create(t);
      const server = bed.run(
        ["python3", "-u", `${PROGRAMS}/echo.py`, "8080", any],
        ["--shards", "3", "-p", "6000:8080/udp"],
      );
      await server.until(/ready/);
      for (let client = 0; client < 6; client++) {
        t.is(
          await bed.internet(["python3", `${PROGRAMS}/datagrams.py`, "6000", "1000", host]).succeed(),
          `ok ${host}\n`,
        );
      }
    },
  );

  test.serial(
    `IPv${family}: clients on the host and elsewhere are served by all shards, all the way to the end`,
    async (t) => {
      const bed = await Bed.create(t);
      const server = bed.run(
        ["python3", "-u", `${PROGRAMS}/echo.py`, "8080", any],
        ["--shards", "2", "-v", "-p", "6000:8080"],
      );
      await server.until(/ready/);
      const clients = [...Array(20).keys()].map((i) =>
        bed.on(i % 2 === 0 ? "host" : "internet", ["nc", "-N", "-w5", i % 2 === 0 ? loopback : host, "6000"], {
          input: `word ${i}`,
        }),
      );
      for (const [i, client] of clients.entries()) t.is(await client.succeed(), `word ${i}`);
      await eventually(5000, "not all connections ended", () => (server.stdout.match(/^end /gm)?.length ?? 0) === 20);
      await bed.kill(await server.pid, "TERM");
      const { stderr } = await server.exit();
      t.is(counter(stderr, "streams.accepted"), 20);
      t.is(counter(stderr, "splice.pairs"), 10);
    },
  );
}

test.serial("a published port is nobody else's: not another sandbox's, nor one that others share", async (t) => {
  const bed = await Bed.create(t);
  const first = bed.run(["sh", "-c", "echo up; sleep 60"], ["--shards", "2", "-p", "6000:8080"]);
  await first.until(/up/);
  for (const shards of ["2", "1"]) {
    const { code, stderr } = await bed.run(["true"], ["--shards", shards, "-p", "6000:8080"]).exit();
    t.is(code, 125);
    t.regex(stderr, /^netns-rootless: .*6000.*in use.*\n$/);
  }
  const sharing =
    "import socket, time; s = socket.create_server(('0.0.0.0', 6001), reuse_port=True); print('up', flush=True); time.sleep(60)";
  await bed.host(["python3", "-c", sharing]).until(/up/);
  const { code, stderr } = await bed.run(["true"], ["--shards", "2", "-p", "6001:8080"]).exit();
  t.is(code, 125);
  t.regex(stderr, /^netns-rootless: .*6001.*in use.*\n$/);
});
