import test from "ava";
import { Bed, eventually } from "../bed/bed.js";
import { added, nothingLeft, state } from "../bed/leftovers.js";
import type { Program } from "../bed/program.js";

const FLAGS = ["--publish", "6000:8080", "--publish", "6000:8080/udp", "--hostname", "box"];

/** A command with a child in a session of its own, which no signal to the command's group reaches. */
function busy(bed: Bed): Program {
  return bed.script("setsid sleep 4711 & python3 -m http.server 8080 & echo up; wait", FLAGS);
}

async function processes(bed: Bed, before: ReadonlySet<string>): Promise<Map<number, string>> {
  const lines = (await added(bed, before)).map((line) => line.match(/^process (\d+) (.*)/));
  return new Map(lines.flatMap((match) => (match === null ? [] : [[Number(match[1]), match[2] ?? ""] as const])));
}

test.serial("nothing is left after a normal end", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  await bed.script("setsid sleep 4711 & echo done", FLAGS).succeed();
  await nothingLeft(bed, before);
  await bed.script("exit 7", FLAGS).exit();
  await bed.run(["no-such-program"], FLAGS).exit();
  await nothingLeft(bed, before);
  t.pass();
});

test.serial("nothing is left after SIGTERM, and the command is gone within a second", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  const program = busy(bed);
  await program.until(/up/);
  await bed.kill(await program.pid, "TERM");
  await nothingLeft(bed, before);
  t.is((await program.exit()).code, 143);
});

test.serial("nothing is left after kill -9 of any of the processes", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  const victims = new Set<string>();
  for (let turn = 0; ; turn++) {
    const program = busy(bed);
    await program.until(/up/);
    await eventually(5000, "the server does not run", async () =>
      (await added(bed, before)).some((line) => /http\.server/.test(line)),
    );
    const running = [...(await processes(bed, before))];
    const [victim, name] = running[turn] ?? [];
    if (victim === undefined || name === undefined || /^(setsid|sleep|python3) /.test(name)) {
      await bed.kill(await program.pid, "KILL");
      await nothingLeft(bed, before);
      break;
    }
    victims.add(name.split(" ", 1)[0] ?? "");
    await bed.kill(victim, "KILL");
    await t.notThrowsAsync(nothingLeft(bed, before), `kill -9 of ${name}`);
    const { code, signal } = await program.exit(2000);
    t.true(signal === "SIGKILL" || code === 137 || code === 125, `kill -9 of ${name}: ${code} ${signal}`);
  }
  t.true(victims.size >= 3, `node, the launcher and the command: ${[...victims]}`);
});

test.serial("nothing is left when we are killed at any moment of the start", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  for (let delay = 0; delay <= 300; delay += 30) {
    const program = bed.run(["sleep", "4711"], FLAGS);
    const pid = await program.pid;
    await bed.admin(`sleep ${delay / 1000}; kill -9 ${pid}`);
    await program.exit();
    await t.notThrowsAsync(nothingLeft(bed, before), `killed after ${delay} ms`);
  }
});

test.serial("nothing is left after a start that failed", async (t) => {
  const bed = await Bed.create(t);
  const server = bed.host(["python3", "-u", "-m", "http.server", "6000"]);
  await server.until(/Serving/);
  const before = await state(bed);
  t.is((await bed.run(["sleep", "4711"], ["-p", "7000:80", "-p", "6000:80"]).exit()).code, 125);
  await nothingLeft(bed, before);
});

test.serial("two sandboxes do not disturb each other", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  const first = bed.run(["bash", "-c", "echo up; read; echo still here"]);
  const second = bed.script("echo up; sleep 4711", ["-p", "6000:8080"]);
  await Promise.all([first.until(/up/), second.until(/up/)]);
  await bed.kill(await second.pid, "KILL");
  await second.exit();
  await bed.run(["true"], ["-p", "6000:8080"]).succeed();
  first.end("\n");
  t.is(await first.succeed(), "up\nstill here\n");
  await nothingLeft(bed, before);
});
