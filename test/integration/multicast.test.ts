/** Multicast and broadcast (mDNS, SSDP and their kind) work among the programs of a sandbox, and neither leave it nor are answered. */
import test from "ava";
import { Bed, eventually, PROGRAMS, SANDBOX } from "../bed/bed.js";

const GROUPS = ["224.0.0.251", "239.255.255.250", "ff02::fb", "ff02::c"];
const BROADCASTS = ["255.255.255.255", "10.0.2.255", "198.51.100.255"];

test.serial("what goes to a group or to everybody is no error, stays inside, and is counted", async (t) => {
  const bed = await Bed.create(t);
  const say = ["python3", "-u", `${PROGRAMS}/multicast.py`, "say"];
  const listeners = [
    bed.host(["python3", "-u", `${PROGRAMS}/multicast.py`, "listen", "eth0"]),
    bed.internet(["python3", "-u", `${PROGRAMS}/multicast.py`, "listen", "eth0"]),
  ];
  for (const each of listeners) await each.until(/ready\n/);
  const inside = bed.run([...say, "tap0", ...BROADCASTS], ["--verbose"]);
  const output = await inside.succeed();
  for (const address of [...GROUPS, ...BROADCASTS]) t.true(output.includes(`sent ${address}\n`), output);
  for (const port of [5353, 1900]) {
    t.regex(output, new RegExp(`^heard ${port} ${SANDBOX}$`, "m"));
    t.regex(output, new RegExp(`^heard ${port} f[de]`, "m"));
  }
  t.notRegex(output, /^heard \d+ (?!10\.0\.2\.100$|f[de])/m, "nobody answers");
  t.regex(inside.stderr, /stack\.group \d+/);
  for (const each of listeners) t.notRegex(each.stdout, /heard/);
  // The listeners do hear: the host speaks itself.
  await bed.host([...say, "eth0"]).succeed();
  for (const each of listeners)
    await eventually(5000, `heard nothing: ${each.stdout}`, () => /heard 5353/.test(each.stdout));
});
