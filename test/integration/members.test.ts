/** Several sandboxes with real TAPs on one network: they reach each other, by name, and one that behaves badly disturbs nobody. */
import test from "ava";
import { Bed, PROGRAMS, type ProgramOptions, ROOT, WORLDS } from "../bed/bed.js";
import type { Program } from "../bed/program.js";
import { echoServer, webServer } from "../bed/services.js";

const MIB10 = 10 << 20;

/** Sandboxes on one network, each with a script; see test/bed/segment.ts. */
function segment(
  bed: Bed,
  scripts: Record<string, string>,
  flags: readonly string[] = [],
  options: ProgramOptions = {},
): Program {
  const words = Object.entries(scripts).map(([name, script]) => `${name}=${script}`);
  return bed.host([process.execPath, `${ROOT}/dist/test/bed/segment.js`, ...words, ...flags], options);
}

function counters(output: string): Record<string, number> {
  return JSON.parse(output.match(/^\{.*\}$/m)?.[0] ?? "{}");
}

const everybody = (names: readonly string[], script: (name: string) => string) =>
  Object.fromEntries(names.map((name) => [name, script(name)]));

test.serial(
  "two members: ping and 10 MiB both ways, in both families, by name, long datagrams, and the way out",
  async (t) => {
    const bed = await Bed.create(t);
    for (const { web } of WORLDS) await webServer(bed, "internet", web);
    const script = (name: string) => {
      const other = name === "red" ? "blue" : "red";
      return `
      set -e
      for family in 4 6; do ping -$family -q -c 3 -i 0.2 -W 2 ${other}; ping -$family -q -c1 -s 20000 ${other}.lab.internal; done
      for web in ${WORLDS.map(({ family, web }) => (family === 6 ? `[${web}]` : web)).join(" ")}; do curl -sS --max-time 10 http://$web/ >/dev/null; done
      python3 ${PROGRAMS}/pairs.py ${MIB10} ${name} red blue`;
    };
    const output = await segment(bed, everybody(["red", "blue"], script), [], { input: "" }).succeed(60_000);
    t.is(output.match(/ 0% packet loss/g)?.length, 8, output);
    t.is(output.match(/^ok 2$/gm)?.length, 2, output);
    const counted = counters(output);
    t.like(counted, { "flows.open": 0, "sockets.open": 0, "members.open": 0 });
    // What they say to each other is not carried by the TCP stack: four fetches from the web are.
    t.is(counted["streams.connected"], 4);
    t.true(counted["links.bytes_written"] > 4 * MIB10);
  },
);

test.serial("ten members: all pairs ping and exchange 10 MiB", async (t) => {
  const bed = await Bed.create(t);
  const names = Array.from({ length: 10 }, (_, i) => `m${i}`);
  const script = (name: string) => `
    for other in ${names.join(" ")}; do
      for family in 4 6; do ping -$family -q -c1 -W5 $other >/dev/null || echo "no answer of $other"; done
    done
    exec python3 ${PROGRAMS}/pairs.py ${MIB10} ${name} ${names.join(" ")}`;
  const output = await segment(bed, everybody(names, script), [], { input: "" }).succeed(150_000);
  t.notRegex(output, /no answer/);
  t.is(output.match(/^ok 18$/gm)?.length, 10, output);
});

test.serial("a member that floods forged frames does not disturb another pair; an isolated one is alone", async (t) => {
  const bed = await Bed.create(t);
  await echoServer(bed, "internet", 7000, ...WORLDS.map(({ web }) => web));
  const pair = (name: string) => `
    ip -br link show dev tap0 | tr -s " " | cut -d" " -f3 >/tmp/mac-${name}
    until test -s /tmp/flooding; do sleep 0.05; done
    python3 ${PROGRAMS}/pairs.py ${MIB10} ${name} red blue || exit 1
    ping -q -c 3 -i 0.2 -W 5 ${WORLDS[0].gateway} && ip neigh show ${WORLDS[0].gateway}
    echo done >/tmp/finished-${name}`;
  const evil = `
    until test -s /tmp/mac-red; do sleep 0.05; done
    python3 ${PROGRAMS}/flood.py $(cat /tmp/mac-red) $(getent ahostsv4 red | head -1 | cut -d' ' -f1) ${WORLDS[0].gateway} & flood=$!
    sleep 0.3; echo yes >/tmp/flooding
    until test -s /tmp/finished-red && test -s /tmp/finished-blue; do sleep 0.1; done
    kill -0 $flood && kill $flood && echo "it flooded to the end"`;
  const lone = `
    until test -s /tmp/flooding; do sleep 0.05; done
    for other in red blue; do for family in 4 6; do ping -$family -q -c1 -W1 $other >/dev/null && echo "reached $other"; done; done
    ping -q -c 1 -W 5 ${WORLDS[0].gateway} >/dev/null && echo "lone has the gateway"`;
  const scripts = { red: pair("red"), blue: pair("blue"), evil, lone };
  const output = await segment(bed, scripts, ["+isolated", "lone"], { input: "" }).succeed(90_000);
  t.is(output.match(/^ok 2$/gm)?.length, 2, output);
  t.is(output.match(/3 received/g)?.length, 2, output);
  t.is(output.match(/10\.0\.2\.2 dev tap0 lladdr 52:55:0a:00:02:02/g)?.length, 2, output);
  t.regex(output, /it flooded to the end/);
  t.regex(output, /lone has the gateway/);
  t.notRegex(output, /reached/);
  const counted = counters(output);
  for (const name of ["switch.spoofed_mac", "switch.spoofed_arp", "switch.spoofed_ip", "switch.isolated"]) {
    t.true(counted[name] > 0, name);
  }
});

test.serial("ports come and go on a running member, and one that leaves takes its connections with it", async (t) => {
  const bed = await Bed.create(t);
  const web = `cd $(mktemp -d); echo page >page; exec python3 -m http.server --bind :: 3000`;
  const program = segment(bed, { red: web, blue: "exec sleep 1000", green: "exec sleep 1000" });
  await program.until(/all are there/);
  const tell = async (line: string) => {
    program.write(`${line}\n`);
    await program.until(new RegExp(`done ${line}\n`));
  };
  const fetch = (from: "host" | "internet", where: string) =>
    bed.on(
      from,
      [
        "curl",
        "-sS",
        "--retry",
        "20",
        "--retry-delay",
        "0",
        "--retry-all-errors",
        "--max-time",
        "5",
        `http://${where}/page`,
      ],
      { input: "" },
    );
  await tell("publish red 5000 3000");
  t.is(await fetch("host", "127.0.0.1:5000").succeed(), "page\n");
  t.is(await fetch("internet", "198.51.100.2:5000").succeed(), "page\n");
  t.is(await fetch("internet", "[2001:db8:51::2]:5000").succeed(), "page\n");
  await tell("unpublish red 5000");
  const refused = await bed
    .host(["curl", "-sS", "--max-time", "5", "http://127.0.0.1:5000/page"], { input: "" })
    .exit();
  t.regex(refused.stderr, /refused|connect/i);
  await tell("publish red 5001 3000");
  // A connection on the direct path that nobody ends.
  const held = bed.host(["nc", "-v", "127.0.0.1", "5001"]);
  await held.until(/succeeded/, 10_000, "stderr");
  await tell("leave red");
  t.is((await held.exit()).code !== null, true, "it has ended");
  const gone = await bed.host(["curl", "-sS", "--max-time", "5", "http://127.0.0.1:5001/page"], { input: "" }).exit();
  t.not(gone.code, 0);
});
