import test from "ava";
import { Bed, GATEWAY, NEIGHBOUR } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";

test.serial("doctor finds nothing to mend in the bed, and leaves nothing", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  const output = await bed.netns(["doctor"]).succeed();
  t.notRegex(output, /^!!/m);
  t.regex(output, /user namespaces/);
  t.regex(output, /\/dev\/net\/tun/);
  t.regex(output, /ping/);
  t.regex(output, /open files/);
  await nothingLeft(bed, before);
});

for (const [name, spoil, lack, fix] of [
  [
    "a closed /dev/net/tun",
    "mount --bind /mnt/etc/shadow /dev/net/tun",
    /\/dev\/net\/tun/,
    /chmod 0666 \/dev\/net\/tun/,
  ],
  ["no /dev/net/tun", "mount -t tmpfs none /dev/net", /\/dev\/net\/tun/, /modprobe tun/],
  [
    "no user namespaces",
    "echo 0 >/proc/sys/user/max_user_namespaces",
    /user\.max_user_namespaces/,
    /sysctl -w user\.max_user_namespaces=/,
  ],
] as const) {
  test.serial(`${name}: doctor says what to do, and so does run`, async (t) => {
    const bed = await Bed.create(t);
    await bed.admin(spoil);
    const { code, stdout } = await bed.netns(["doctor"]).exit();
    t.is(code, 1);
    t.regex(stdout, lack);
    t.regex(stdout, fix);
    const run = await bed.run(["echo", "started"]).exit();
    t.is(run.code, 125);
    t.is(run.stdout, "");
    t.regex(run.stderr, /^netns-rootless: .*\n$/);
    t.regex(run.stderr, lack);
    t.regex(run.stderr, fix);
  });
}

test.serial("a host without ping sockets: doctor tells it, run works, and our own addresses answer", async (t) => {
  const bed = await Bed.create(t, { ping: false });
  t.regex(
    await bed.netns(["doctor"]).succeed(),
    /^-- .*net\.ipv4\.ping_group_range.*\n.*fix: .*sysctl -w net\.ipv4\.ping_group_range=/m,
  );
  t.regex(await bed.run(["ping", "-c1", "-W2", GATEWAY]).succeed(), /1 received/);
  t.is((await bed.run(["ping", "-c1", "-W2", NEIGHBOUR]).exit()).code, 1);
});
