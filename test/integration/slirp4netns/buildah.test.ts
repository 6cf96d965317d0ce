/** Debian's buildah, which finds slirp4netns by its PATH and so finds ours: `buildah run` in a container from scratch. */
import test from "ava";
import { Bed, eventually, HOST, IPV6 } from "../../bed/bed.js";
import { captured } from "../../bed/capture.js";
import { added, nothingLeft, state } from "../../bed/leftovers.js";
import { nameServer, webServer } from "../../bed/services.js";
import { Engine, EXECUTABLES, helpers, PATIENCE, ROOTFS, SLIRP4NETNS, VOLUMES } from "./containers.js";

const BUILDAH = ["buildah", "--storage-driver=vfs", "--root=/tmp/buildah/root", "--runroot=/tmp/buildah/run"];
const RUN = ["run", "--isolation=rootless", "--runtime=runc", ...VOLUMES];

test.serial("buildah run: addresses, names, and the outside by TCP and UDP; nothing is left of it", async (t) => {
  const bed = await Bed.create(t);
  const engine = await Engine.create(bed);
  await Promise.all([webServer(bed), nameServer(bed)]);
  await bed.host(["bash", "-ec", `mkdir ${EXECUTABLES}; ln -s ${SLIRP4NETNS} ${EXECUTABLES}`]).succeed();
  const env = { PATH: `${EXECUTABLES}:${process.env.PATH}:/usr/sbin:/sbin` };
  const buildah = (...args: string[]) => engine.start([...BUILDAH, ...args], { env });

  const container = (await buildah("from", "scratch").succeed(PATIENCE)).trim();
  await buildah("copy", container, ROOTFS, "/").succeed(PATIENCE);
  // What buildah keeps for all containers of a user is made by the first one.
  await buildah(...RUN, container, ...captured(["true"])).succeed(PATIENCE);
  const before = await state(bed);

  const script = `busybox ip address show tap0; busybox ip route; cat /etc/resolv.conf
busybox wget -qO- http://www.bed.test/
busybox nslookup dual.bed.test 203.0.113.53
echo done; busybox sleep 300`;
  const run = buildah(...RUN, container, ...captured(["sh", "-ec", script]));
  await run.until(/^done$/m, PATIENCE);
  t.regex(run.stdout, /^\d+: tap0(@\w+)?: <.*UP.*> mtu 65520 /m);
  t.regex(run.stdout, /^ +inet 10\.0\.2\.100\/24 /m);
  t.regex(run.stdout, /^default via 10\.0\.2\.2 dev tap0/m);
  t.regex(run.stdout, /^nameserver 10\.0\.2\.3$/m);
  t.regex(run.stdout, new RegExp(`^hello ${HOST}$`, "m"), "by name");
  t.regex(run.stdout, new RegExp(`^Server:\\s+203\\.0\\.113\\.53\n.*^Address: ${IPV6.web}$`, "ms"));
  const running = await helpers(bed);
  t.is(running.length, 1, "it was ours that ran");
  t.regex(running[0] ?? "", / tap0$/);

  let sleeping = 0;
  await eventually(10_000, "it does not sleep", async () => {
    const found = (await added(bed, before)).map((line) => line.match(/^process (\d+) busybox sleep 300$/)?.[1]);
    sleeping = Number(found.find((pid) => pid !== undefined));
    return sleeping > 0;
  });
  await bed.kill(sleeping, "KILL");
  await run.exit(PATIENCE);
  await nothingLeft(bed, before, 20_000);
});
