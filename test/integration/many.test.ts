import test from "ava";
import { Bed, eventually, PROGRAMS, WEB } from "../bed/bed.js";
import { echoServer } from "../bed/services.js";

const CONNECTIONS = 2000;
const BYTES = 100_000;

test.serial("2,000 connections at once, every byte checked, and nothing of them stays", async (t) => {
  const bed = await Bed.create(t);
  const server = await echoServer(bed, "internet", 7000, WEB);
  const program = bed.run(
    ["python3", "-u", `${PROGRAMS}/many.py`, WEB, "7000", String(CONNECTIONS), String(BYTES)],
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

test.serial("500 connections to a published port at once", async (t) => {
  const bed = await Bed.create(t);
  const server = bed.run(["python3", "-u", `${PROGRAMS}/echo.py`, "8080", "0.0.0.0"], ["-p", "6000:8080"]);
  await server.until(/ready/);
  for (const [side, address] of [
    ["host", "127.0.0.1"],
    ["internet", "198.51.100.2"],
  ] as const) {
    const steps = "\n".repeat(4);
    const client = bed.on(side, ["python3", `${PROGRAMS}/many.py`, address, "6000", "500", "100000"], { input: steps });
    t.regex(await client.succeed(60_000), /closed\n/, side);
  }
  await eventually(5000, "connections stay open", () => server.stdout.match(/^end .* 100000$/gm)?.length === 1000);
});
