import test from "ava";
import { Bed, eventually, PROGRAMS, WORLDS } from "../bed/bed.js";
import { echoServer } from "../bed/services.js";

const CONNECTIONS = 2000;
const BYTES = 100_000;

/** What the host lets a process have, and how many flows it must hold then. */
const DESCRIPTORS = 20_000;
const FLOWS = DESCRIPTORS - 500;
const MORE = 400;
/** Connects, and tells how it ended. */
const LATE = `
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(1))
except ConnectionResetError:
    print("reset")
`;

for (const { family, web, others, host, loopback, any } of WORLDS) {
  const name = `IPv${family}`;
  test.serial(`${name}: 2,000 connections at once, every byte checked, and nothing of them stays`, async (t) => {
    const bed = await Bed.create(t);
    const server = await echoServer(bed, "internet", 7000, web);
    const program = bed.run(
      ["python3", "-u", `${PROGRAMS}/many.py`, web, "7000", String(CONNECTIONS), String(BYTES)],
      ["--verbose"],
    );
    const pid = await program.pid;
    const descriptors = async () => Number(await bed.admin(`ls /proc/${pid}/fd | wc -l`));

    await program.until(/before\n/);
    const before = await descriptors();
    program.write("\n");
    await program.until(/open\n/, 30_000);
    t.true((await descriptors()) >= before + CONNECTIONS);
    program.write("\n");
    await program.until(/checked\n/, 60_000);
    program.write("\n");
    await program.until(/closed\n/, 10_000);
    await eventually(5000, "descriptors stay open", async () => (await descriptors()) <= before);
    await eventually(
      5000,
      "the server still has connections",
      () => server.stdout.match(/^end /gm)?.length === CONNECTIONS,
    );
    t.is(new Set(server.stdout.match(/^end .* 100000$/gm)).size, CONNECTIONS);
    t.notRegex(server.stdout, /^error/m);

    program.write("\n");
    const { code, stderr } = await program.exit();
    t.is(code, 0, stderr);
    t.regex(stderr, /counter flows\.open 0$/m);
    t.regex(stderr, /counter sockets\.open 0$/m);
    t.regex(stderr, new RegExp(`counter streams.connected ${CONNECTIONS}$`, "m"));
  });

  test.serial(
    `${name}: 19,500 flows at once with 20,000 descriptors, every byte checked; then a clear refusal`,
    async (t) => {
      t.timeout(60_000);
      const bed = await Bed.create(t);
      const addresses = [web, ...others.slice(0, 3)];
      const server = bed.internet(["python3", `${PROGRAMS}/flows.py`, "serve", "7000", ...addresses], {
        descriptors: DESCRIPTORS,
      });
      await server.until(/ready/);
      const client = ["python3", `${PROGRAMS}/flows.py`, "hold", `${FLOWS}`, `${MORE}`, "7000", ...addresses];
      const program = bed.run(client, ["--verbose", "-p", "6000:6000"], { descriptors: DESCRIPTORS });
      const pid = await program.pid;
      const descriptors = async () => Number(await bed.admin(`ls /proc/${pid}/fd | wc -l`));
      await program.until(/^open$/m, 30_000);
      program.write("\n");
      await program.until(/^checked$/m, 30_000);
      server.write("\n");
      await server.until(new RegExp(`^open ${FLOWS} answered ${FLOWS}$`, "m"));

      program.write("\n");
      const [, opened, refused, slowest] = await program.until(/^more (\d+) (\d+) (\d+)$/m, 10_000);
      t.is(Number(opened) + Number(refused), MORE);
      t.true(Number(opened) > 0 && Number(refused) > 100, `${opened} more were opened, ${refused} refused`);
      t.true(Number(slowest) < 1000, `a refusal took ${slowest} ms`);
      for (const [side, address] of [
        ["host", loopback],
        ["internet", host],
      ] as const) {
        const late = bed.on(side, ["python3", "-c", LATE, address, "6000"]);
        t.is(await late.succeed(5000), "reset\n", side);
      }

      program.write("\n");
      await program.until(/^closed$/m, 10_000);
      await eventually(10_000, "the server still has connections", () => {
        server.write("\n");
        return /^open 0 /m.test(server.stdout);
      });
      await eventually(5000, "descriptors stay open", async () => (await descriptors()) < 100);
      program.write("\n");
      const { code, stderr } = await program.exit();
      t.is(code, 0, stderr);
      t.regex(stderr, new RegExp(`counter tcp.dial_exhausted ${refused}$`, "m"));
      t.regex(stderr, new RegExp(`counter sockets.refused ${refused}$`, "m"));
      t.regex(stderr, /counter streams.accept_refused 2$/m);
    },
  );

  test.serial(`${name}: 500 connections to a published port at once`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "8080", any], ["-p", "6000:8080"]);
    await server.until(/ready/);
    for (const [side, address] of [
      ["host", loopback],
      ["internet", host],
    ] as const) {
      const steps = "\n".repeat(4);
      const client = bed.on(side, ["python3", `${PROGRAMS}/many.py`, address, "6000", "500", "100000"], {
        input: steps,
      });
      t.regex(await client.succeed(60_000), /closed\n/, side);
    }
    await eventually(5000, "connections stay open", () => server.stdout.match(/^end .* 100000$/gm)?.length === 1000);
  });
}
