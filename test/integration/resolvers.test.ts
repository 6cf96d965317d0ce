/** What the DNS service does when the host's resolvers are slow, dead, wrong, many, or change. */
import test from "ava";
import { Bed, DNS, eventually, GATEWAY, IPV6, OTHERS, PROGRAMS, WEB } from "../bed/bed.js";
import { nameServer } from "../bed/services.js";

const RIGHT = "203.0.113.99";
const [FIRST, SECOND] = OTHERS;
const dig = (...args: string[]) => ["dig", "+short", "+tries=1", "+time=5", ...args].join(" ");
/** A dig that says how long it took. */
const timed = (...args: string[]) => `dig +tries=1 +time=5 ${args.join(" ")} | grep -E 'status:|Query time'`;
const milliseconds = (output: string) =>
  [...output.matchAll(/Query time: (\d+) msec/g)].map((match) => Number(match[1]));

async function resolver(bed: Bed, fault: string, address: string, answer = RIGHT) {
  const program = bed.internet(["python3", "-u", `${PROGRAMS}/resolver.py`, fault, address, answer]);
  await program.until(/ready\n/);
  return program;
}

/** A resolver that never says anything: no error either. */
async function silence(bed: Bed, address: string): Promise<void> {
  bed.internet(["socat", "-u", `UDP-RECV:53,bind=${address}`, "STDOUT"]);
  await bed.listening("internet", "udp", 53);
}

async function useResolvers(bed: Bed, ...lines: string[]): Promise<void> {
  await bed.admin(`printf '%s\\n' ${lines.map((line) => `'${line}'`).join(" ")} >/etc/resolv.conf`);
}

test.serial("5,000 questions at once: all are answered, and no socket is left", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed, ["--address=/bed.test/203.0.113.9"]);
  const program = bed.run(["bash", "-c", `python3 ${PROGRAMS}/questions.py 10.0.2.3 5000 8; read`]);
  t.is(await program.until(/\n/).then(() => program.stdout), "{0: 5000} in time\n");
  t.is(await bed.admin("ss -Hnau"), "", "sockets of the host");
  program.end("\n");
  await program.succeed();
});

test.serial("5,000 questions at once to a resolver that is dead: SERVFAIL for all of them in time", async (t) => {
  const bed = await Bed.create(t);
  await silence(bed, DNS);
  const program = bed.run(["bash", "-c", `python3 ${PROGRAMS}/questions.py 10.0.2.3 5000 8; read`]);
  t.is(await program.until(/\n/, 15_000).then(() => program.stdout), "{2: 5000} in time\n");
  t.is(await bed.admin("ss -Hnau"), "", "sockets of the host");
  program.end("\n");
  await program.succeed();
});

test.serial(
  "with the first resolver dead the second answers within two seconds, and from then on at once",
  async (t) => {
    const bed = await Bed.create(t);
    await nameServer(bed);
    await silence(bed, FIRST);
    await useResolvers(bed, `nameserver ${FIRST}`, `nameserver ${DNS}`);
    const ask = [
      timed("www.bed.test"),
      timed("www.bed.test"),
      timed("+tcp", "www.bed.test"),
      timed("small.bed.test", "TXT"),
    ];
    const output = await bed.script(ask.join("; ")).succeed();
    t.is(output.match(/status: NOERROR/g)?.length, 4, output);
    const [first, ...later] = milliseconds(output);
    t.true(first < 2000, `${first} ms`);
    for (const each of later) t.true(each < 500, `${each} ms`);
  },
);

test.serial(
  "over TCP: names of ours, the second resolver when the first is closed or silent, several questions at once",
  async (t) => {
    const bed = await Bed.create(t);
    await nameServer(bed);
    const closed = FIRST;
    await useResolvers(bed, `nameserver ${closed}`, `nameserver ${DNS}`);
    const output = await bed
      .script(
        `${dig("+tcp", "www.bed.test")}; ${dig("+tcp", "host.internal")}; ${dig("+tcp", "+keepopen", "www.bed.test", "small.bed.test", "TXT", "host.internal")}`,
      )
      .succeed();
    t.is(output, `${WEB}\n${GATEWAY}\n${WEB}\n"hello"\n${GATEWAY}\n`);
    bed.internet(["socat", `TCP-LISTEN:53,bind=${SECOND},fork`, "EXEC:sleep 60"]);
    await eventually(5000, "socat does not listen", async () =>
      (await bed.internet(["ss", "-Hnlt"]).succeed()).includes(`${SECOND}:53`),
    );
    await useResolvers(bed, `nameserver ${SECOND}`, `nameserver ${DNS}`);
    const [slow] = milliseconds(await bed.script(timed("+tcp", "www.bed.test")).succeed());
    t.true(slow < 2000, `${slow} ms`);
  },
);

test.serial("forged answers are not taken: another id, another question, another port", async (t) => {
  const bed = await Bed.create(t);
  const forger = await resolver(bed, "forger", DNS);
  const ask = Array.from({ length: 20 }, (_, i) => dig(`n${i}.test`)).join("; ");
  t.is(await bed.script(ask).succeed(), `${RIGHT}\n`.repeat(20));
  const ports = [...forger.stdout.matchAll(/asked \w+ (\d+)\n/g)].map((match) => match[1]);
  t.is(ports.length, 20, "nothing was asked twice");
  t.true(new Set(ports).size >= 19, `each from a port of its own: ${ports}`);
});

test.serial(
  "an answer that comes late is taken while somebody else is asked, and REFUSED leads to the next",
  async (t) => {
    const bed = await Bed.create(t);
    await resolver(bed, "slow", FIRST);
    await silence(bed, SECOND);
    await useResolvers(bed, `nameserver ${FIRST}`, `nameserver ${SECOND}`);
    t.is(await bed.script(dig("www.test")).succeed(), `${RIGHT}\n`);
    await resolver(bed, "refuse", DNS);
    await resolver(bed, "none", OTHERS[2]);
    await useResolvers(bed, `nameserver ${DNS}`, `nameserver ${OTHERS[2]}`);
    const [took] = milliseconds(await bed.script(timed("www.test")).succeed());
    t.true(took < 500, `${took} ms`);
  },
);

test.serial("resolvers with IPv6 addresses, a link-local one with its interface too", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  await useResolvers(bed, `nameserver ${IPV6.dns}`);
  t.is(await bed.script(`${dig("www.bed.test")}; ${dig("+tcp", "www.bed.test")}`).succeed(), `${WEB}\n${WEB}\n`);
  let linkLocal = "";
  await eventually(10_000, "the link-local address stays tentative", async () => {
    const show = ["ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link", "-tentative"];
    linkLocal = (await bed.internet(show).succeed()).match(/inet6 (fe80:[0-9a-f:]*)/)?.[1] ?? "";
    return linkLocal !== "";
  });
  await resolver(bed, "none", `${linkLocal}%eth0`);
  await useResolvers(bed, `nameserver ${linkLocal}%eth0`);
  t.is(await bed.script(dig("www.bed.test")).succeed(), `${RIGHT}\n`);
});

test.serial(
  "search domains and options of the host's resolv.conf are the sandbox's too, others with --dns-search",
  async (t) => {
    const bed = await Bed.create(t);
    await nameServer(bed);
    await useResolvers(
      bed,
      `nameserver ${DNS}`,
      "search sub.bed.test bed.test",
      "options ndots:2 timeout:3 attempts:1 trust-ad",
    );
    const show = "grep -v nameserver /etc/resolv.conf; getent ahostsv4 www | head -1";
    const found = /^203\.0\.113\.10 .*\n$/m;
    const own = await bed.script(show).succeed();
    t.regex(own, /^search sub.bed.test bed.test\noptions ndots:2 timeout:3 attempts:1\n/);
    t.regex(own, found);
    const given = await bed.script(show, ["--dns-search", "other.bed.test", "--dns-search", "bed.test"]).succeed();
    t.regex(given, /^search other.bed.test bed.test\noptions ndots:2/);
    t.regex(given, found);
    t.regex(
      await bed.script(`${show}; :`, ["--dns-search", "."]).succeed(),
      /^options ndots:2 timeout:3 attempts:1\n$/,
    );
  },
);

test.serial(
  "a resolv.conf that is replaced by a rename: the new resolvers are asked, and the file inside stays",
  async (t) => {
    const bed = await Bed.create(t);
    await nameServer(bed);
    await resolver(bed, "none", FIRST);
    const ask = dig("www.bed.test");
    const program = bed.run(["bash", "-c", `${ask}; read; cat /etc/resolv.conf; ${ask}`]);
    await program.until(new RegExp(`^${WEB}\n`));
    await bed.admin(
      `echo nameserver ${FIRST} >/etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf; sleep 1.1`,
    );
    program.end("\n");
    t.is((await program.succeed()).replace(/^nameserver fd00.*\n/m, ""), `${WEB}\nnameserver 10.0.2.3\n${RIGHT}\n`);
  },
);
