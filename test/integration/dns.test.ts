import test from "ava";
import { Bed, DNS, eventually, GATEWAY, IPV6, OTHERS, SANDBOX, WEB, WORLDS } from "../bed/bed.js";
import { BIG_TEXT, dnsmasq, nameServer } from "../bed/services.js";

const BIG = `${BIG_TEXT.map((text) => `"${text}"`).join(" ")}\n`;
const dig = (...args: string[]) => ["dig", "+short", "+tries=1", "+time=3", ...args];

// The host reaches its resolver, and the sandbox reaches us, by one family alone.
for (const { family, dns } of WORLDS) {
  const families = family === 4 ? "4" : "6";
  const flags = [`-${family}`];

  test.serial(`IPv${family} alone: dig over UDP and TCP, with answers of 4 KB`, async (t) => {
    const bed = await Bed.create(t, { families });
    await nameServer(bed);
    t.is(await bed.run(dig("www.bed.test"), flags).succeed(), `${WEB}\n`);
    t.is(await bed.run(dig("+tcp", "www.bed.test"), flags).succeed(), `${WEB}\n`);
    t.is(
      await bed.run(dig("+bufsize=8192", "+ignore", "big.bed.test", "TXT"), flags).succeed(),
      BIG,
      "UDP in fragments",
    );
    t.is(await bed.run(dig("+tcp", "big.bed.test", "TXT"), flags).succeed(), BIG, "TCP");
    t.is(
      await bed.run(dig("+bufsize=1232", "big.bed.test", "TXT"), flags).succeed(),
      BIG,
      "truncated over UDP, then TCP",
    );
    t.regex(await bed.run(["dig", "no-such-name.bed.test"], flags).succeed(), /status: NXDOMAIN/);
  });

  test.serial(`IPv${family} alone: any resolver can be asked directly`, async (t) => {
    const bed = await Bed.create(t, { families });
    await nameServer(bed);
    t.is(await bed.run(dig(`@${dns}`, "www.bed.test"), flags).succeed(), `${WEB}\n`);
    t.is(await bed.run(dig(`@${dns}`, "+tcp", "big.bed.test", "TXT"), flags).succeed(), BIG);
  });
}

test.serial("names of our own", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  const flags = ["--hostname", "box"];
  t.is(await bed.run(dig("host.internal"), flags).succeed(), `${GATEWAY}\n`);
  t.is(await bed.run(dig("box"), flags).succeed(), `${SANDBOX}\n`);
  t.is(await bed.run(dig("localhost"), flags).succeed(), "127.0.0.1\n");
  t.regex(await bed.run(["dig", "-x", "10.0.2.7"], flags).succeed(), /status: NXDOMAIN/);
  t.is(await bed.run(dig("-x", GATEWAY), flags).succeed(), "host.internal.\n");
  t.is(await bed.run(dig("host.internal", "AAAA"), flags).succeed(), `${IPV6.gateway}\n`);
  t.is(await bed.run(dig("host.internal", "AAAA"), [...flags, "-4"]).succeed(), "");
  t.is(await bed.run(dig("-x", IPV6.sandbox), flags).succeed(), "box.\n");
  t.is(await bed.run(dig("+tcp", "host.internal"), flags).succeed(), `${GATEWAY}\n`);
  t.regex(await bed.run(["getent", "ahostsv4", "host.internal"]).succeed(), new RegExp(`^${GATEWAY} `));
  t.regex(await bed.run(["getent", "ahostsv4", "www.bed.test"]).succeed(), new RegExp(`^${WEB} `));
});

test.serial("a change of the host's resolv.conf is picked up", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  const second = OTHERS[0] ?? "";
  bed.internet(dnsmasq(second, ["--address=/www.bed.test/203.0.113.99"]));
  await eventually(
    5000,
    "the second resolver does not start",
    async () => (await bed.host(dig(`@${second}`, "www.bed.test")).exit()).stdout === "203.0.113.99\n",
  );
  const ask = dig("www.bed.test").join(" ");
  const program = bed.run(["bash", "-c", `${ask}; read; ${ask}; ${ask} +tcp`]);
  await program.until(new RegExp(`^${WEB}\n`));
  await bed.host(["sh", "-c", `echo nameserver ${second} >/etc/resolv.conf`]).succeed();
  await bed.admin("sleep 1.1");
  program.end("\n");
  t.is(await program.succeed(), `${WEB}\n203.0.113.99\n203.0.113.99\n`);
});

test.serial("a stub resolver at 127.0.0.53 is asked from outside, as the loopback stays closed", async (t) => {
  const bed = await Bed.create(t);
  await bed.admin("echo 53 >/proc/sys/net/ipv4/ip_unprivileged_port_start");
  bed.host(dnsmasq("127.0.0.53", [`--address=/www.bed.test/${WEB}`]));
  await bed.listening("host", "udp", 53);
  await bed.admin(
    "echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start; printf 'nameserver 127.0.0.53\\noptions edns0 trust-ad\\nsearch bed.test\\n' >/etc/resolv.conf",
  );
  t.is(await bed.run(dig("www.bed.test")).succeed(), `${WEB}\n`);
  t.is(await bed.run(dig("+tcp", "big.bed.test", "TXT")).succeed(), BIG);
  t.regex(await bed.run(["getent", "ahostsv4", "www"]).succeed(), new RegExp(`^${WEB} `), "the search domain is kept");
  t.is((await bed.run(dig("@127.0.0.53", "www.bed.test")).exit()).code, 9, "dig: no reply from server");
});

test.serial("the second resolver is asked when the first is silent", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  const silent = OTHERS[1] ?? "";
  bed.internet(["socat", "-u", `UDP-RECV:53,bind=${silent}`, "STDOUT"]);
  await eventually(5000, "socat does not start", async () =>
    /203\.0\.113\.12:53/.test(await bed.internet(["ss", "-Hlnu"]).succeed()),
  );
  await bed.admin(`printf 'nameserver ${silent}\\nnameserver ${DNS}\\n' >/etc/resolv.conf`);
  t.is(await bed.run(["dig", "+short", "+tries=1", "+time=10", "www.bed.test"]).succeed(), `${WEB}\n`);
});

test.serial("without any resolver that answers, a name fails soon", async (t) => {
  const bed = await Bed.create(t);
  t.regex(await bed.run(["dig", "+tries=1", "+time=10", "www.bed.test"]).succeed(), /status: SERVFAIL/, "refused");
  bed.internet(["socat", "-u", `UDP-RECV:53,bind=${DNS}`, "STDOUT"]);
  await bed.listening("internet", "udp", 53);
  t.regex(await bed.run(["dig", "+tries=1", "+time=10", "www.bed.test"]).succeed(), /status: SERVFAIL/, "silent");
});

test.serial("--dns asks another resolver, --no-dns leaves the host's resolv.conf", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  const second = OTHERS[0] ?? "";
  bed.internet([...dnsmasq(second, ["--address=/www.bed.test/203.0.113.99"]), "--port=5353"]);
  await bed.listening("internet", "udp", 5353);
  t.is(await bed.run(dig("www.bed.test"), ["--dns", `${second}:5353`]).succeed(), "203.0.113.99\n");
  t.is(await bed.script("cat /etc/resolv.conf", ["--no-dns"]).succeed(), `nameserver ${DNS}\n`);
  t.is(await bed.run(dig("www.bed.test"), ["--no-dns"]).succeed(), `${WEB}\n`);
  t.is((await bed.run(dig("@10.0.2.3", "www.bed.test"), ["--no-dns"]).exit()).code, 9);
});
