/**
 * The host's network changes while a sandbox runs: what exists fails or survives as on the host, what is new works at once, and nothing
 * needs a restart. The same program (programs/changes.py) runs on the host and in a sandbox.
 */
import test from "ava";
import { Bed, eventually, IPV4, IPV6, PROGRAMS, WORLDS } from "../bed/bed.js";
import type { Program } from "../bed/program.js";
import { echoServer, nameServer } from "../bed/services.js";

const ROUTES = `ip route add default via ${IPV4.neighbour}; ip route add default via ${IPV6.neighbour}`;
const ADDRESS6 = `ip address add ${IPV6.host}/64 dev eth0 nodad`;
const ECHO = ["python3", "-u", `${PROGRAMS}/echo.py`, "8000", "0.0.0.0", "::"].join(" ");
const CHANGES = ["python3", "-u", `${PROGRAMS}/changes.py`, "www.bed.test", ...WORLDS.map(({ web }) => web)];

type Answers = Record<string, string | number>;

const FAMILY = (family: number, tcp: string, udp: string, ping: string): Answers => ({
  [`tcp${family}`]: tcp,
  [`udp${family}`]: udp,
  [`ping${family}`]: ping,
});
const WORKS = { ...FAMILY(4, "ok", "ok", "ok"), ...FAMILY(6, "ok", "ok", "ok"), dns: "NOERROR" };
/** "No route" is an error of a connect(), but none of a UDP socket that has once been connected: Linux takes it for a passing one. */
const NOWHERE = (family: number) => FAMILY(family, "ENETUNREACH", "silence", "unreachable");
const CUT = { ...NOWHERE(4), ...NOWHERE(6), dns: "SERVFAIL" };
const ALIVE = { old4: "ok", old6: "ok" };

/** programs/changes.py, asked question by question. */
class Prober {
  readonly #program: Program;
  #asked = 0;

  constructor(program: Program) {
    this.#program = program;
  }

  /** The answers but for the time they took. */
  async ask(question: string): Promise<Answers> {
    this.#program.write(`${question}\n`);
    const line = () => this.#program.stdout.match(/^\{.*\}$/gm)?.[this.#asked];
    await eventually(20_000, `no answer to ${question}`, () => line() !== undefined || this.#program.ended);
    const { ms: _, ...answers } = JSON.parse(line() ?? "{}");
    this.#asked++;
    return answers;
  }
}

async function prober(program: Program): Promise<Prober> {
  await program.until(/^ready to ask\n/m);
  return new Prober(program);
}

async function withServers(bed: Bed): Promise<Program> {
  await nameServer(bed);
  return echoServer(bed, "internet", 7000, ...WORLDS.map(({ web }) => web));
}

test.serial("the uplink goes down and up, loses its routes, its addresses, its IPv6", async (t) => {
  const bed = await Bed.create(t);
  const server = await withServers(bed);
  const publish = ["--publish", "6000:8000", "--publish", "6000:8000/udp"];
  const inside = await prober(bed.run(["bash", "-c", `${ECHO} & exec ${CHANGES.join(" ")}`], publish));
  const outside = await prober(bed.host(CHANGES));
  const old = (within = 10) => Promise.all([inside, outside].map((each) => each.ask(`old ${within}`)));
  const say = () => Promise.all([inside, outside].map((each) => each.ask("say")));
  /** What is new on the host works as soon as it can, and then it does inside within a second, and what is old has survived. */
  const recovers = async (what: string) => {
    await eventually(10_000, `${what}: the host does not recover`, async () => {
      const { tcp4, tcp6, ping4, ping6 } = await outside.ask("new 1");
      return [tcp4, tcp6, ping4, ping6].every((each) => each === "ok");
    });
    t.deepEqual(await inside.ask("new 1"), WORKS, what);
    t.deepEqual(await old(), [ALIVE, ALIVE], what);
  };

  await say();
  await recovers("at the start");

  await bed.admin("ip link set eth0 down");
  await say();
  t.deepEqual(await inside.ask("new 1"), CUT, "down");
  await bed.admin(`ip link set eth0 up; ${ADDRESS6}; ${ROUTES}`);
  await recovers("up");

  await bed.admin("ip route del default; ip -6 route del default");
  await say();
  t.deepEqual(await inside.ask("new 1"), CUT, "no default route");
  await bed.admin(ROUTES);
  await recovers("with a default route");

  await bed.admin(`ip -6 address flush dev eth0 scope global; ip -6 route flush default`);
  t.deepEqual(await inside.ask("new 1"), { ...WORKS, ...NOWHERE(6) }, "without IPv6");
  await bed.admin(`${ADDRESS6}; ip route add default via ${IPV6.neighbour}`);
  await recovers("with IPv6");

  // Other addresses: what is new comes from there, and old connections are as dead as the host's own, until their address is back.
  const [four, six] = ["198.51.100.77", "2001:db8:51::77"];
  await bed.admin(
    `ip address add ${four}/32 dev eth0; ip address add ${six}/64 dev eth0 nodad
     ip address del ${IPV4.host}/24 dev eth0; ip address del ${IPV6.host}/64 dev eth0
     ip address del ${four}/32 dev eth0 2>/dev/null; ip address add ${four}/24 dev eth0
     ip route replace default via ${IPV4.neighbour}; ip -6 route replace default via ${IPV6.neighbour}`,
  );
  await say();
  const before = server.stdout.length;
  t.deepEqual(await inside.ask("new 1"), WORKS, "with other addresses");
  const came = server.stdout.slice(before);
  for (const protocol of ["tcp", "udp"])
    for (const address of [four, six]) t.regex(came, new RegExp(`^${protocol} ${address} `, "m"));
  const published = [four, six].map(async (address) => {
    t.is(await bed.internet(["nc", "-N", "-w5", address, "6000"], { input: "in" }).succeed(), "in", address);
    const datagram = bed.internet(["python3", `${PROGRAMS}/datagrams.py`, "6000", "100", address]);
    t.is(await datagram.succeed(), `ok ${address}\n`);
  });
  await Promise.all(published);
  const silence = { old4: "silence", old6: "silence" };
  t.deepEqual(await old(1), [silence, silence], "connections from the former addresses");
  await bed.admin(`ip address add ${IPV4.host}/24 dev eth0; ${ADDRESS6}`);
  t.deepEqual(await old(), [ALIVE, ALIVE], "with the former addresses too");
});
