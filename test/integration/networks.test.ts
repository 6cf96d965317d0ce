/** Networks with members: names, addresses, isolation, many members, and what becomes of them when a part is killed. */
import test from "ava";
import { Bed, eventually, WEB } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";
import { webServer } from "../bed/services.js";

async function withRuntime(bed: Bed): Promise<ReadonlySet<string>> {
  await bed.netns(["ls"]).succeed();
  return state(bed);
}

const exec = (bed: Bed, name: string, script: string) => bed.netns(["exec", name, "--", "bash", "-c", script]);

test("two members find each other by name, in both families; an isolated one finds nobody", async (t) => {
  const bed = await Bed.create(t);
  await webServer(bed);
  const before = await withRuntime(bed);
  t.is(await bed.netns(["network", "create", "demo", "--cidr", "10.7.0.0/24"]).succeed(), "demo\n");
  await bed.netns(["create", "red", "--network", "demo"]).succeed();
  await bed.netns(["create", "blue", "--network", "demo", "--ip", "10.7.0.50"]).succeed();
  await bed.netns(["create", "alone", "--network", "demo", "--isolate"]).succeed();
  const table = await bed.netns(["ls"]).succeed();
  t.regex(table, /^blue +demo +10\.7\.0\.50 fd00::101 /m);
  t.regex(table, /^red +demo +10\.7\.0\.100 fd00::100 /m);
  for (const name of ["blue", "blue.demo.internal"]) {
    await exec(bed, "red", `ping -c 1 -W 5 ${name} && ping -6 -c 1 -W 5 ${name}`).succeed();
  }
  t.regex(await exec(bed, "red", "getent hosts 10.7.0.50").succeed(), /blue\.demo\.internal/);
  for (const name of ["red", "alone"]) {
    t.is(await exec(bed, name, `curl -sS -m 10 http://${WEB}/`).succeed(), "hello 198.51.100.2\n");
  }
  t.not((await exec(bed, "alone", "ping -c 1 -W 1 10.7.0.50").exit()).code, 0);
  t.not((await exec(bed, "red", "ping -c 1 -W 1 10.7.0.102").exit()).code, 0);
  const listed = await bed.netns(["network", "ls"]).succeed();
  t.regex(listed, /^NAME +SUBNETS +MEMBERS +STAYS +UP\ndemo +10\.7\.0\.0\/24 fd00::\/64 +3 +yes +\d+s\n$/);
  const inUse = await bed.netns(["network", "rm", "demo"]).exit();
  t.is(inUse.code, 2);
  t.regex(
    inUse.stderr,
    /^netns-rootless: the network demo is in use by red, blue, alone; end them first, or add --force\n$/,
  );
  await bed.netns(["rm", "blue"]).succeed();
  t.not((await exec(bed, "red", "getent hosts blue").exit()).code, 0);
  t.is(await bed.netns(["network", "rm", "--force", "demo"]).succeed(), "demo\n");
  t.is(await bed.netns(["ls", "--quiet"]).succeed(), "");
  await nothingLeft(bed, before);
});

test("run --network: in front, with the command's exit code; the network ends with its last member", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  const red = bed.run(["bash", "-c", "echo up; read; exit 3"], ["--network", "demo", "--name", "red"]);
  await red.until(/up/);
  const blue = await bed.run(["bash", "-c", "ping -c 1 -W 5 red"], ["--network", "demo", "--name", "blue"]).exit();
  t.is(blue.code, 0, blue.stderr);
  const other = await bed.run(["true"], ["--network", "demo", "--cidr", "10.9.0.0/24"]).exit();
  t.is(other.code, 2);
  t.regex(other.stderr, /^netns-rootless: --cidr: the network demo is there already, and this belongs to all of it; /);
  red.end("\n");
  t.is((await red.exit()).code, 3);
  await nothingLeft(bed, before, 3000);
});

test("ten members: every pair exchanges a ping and 10 MB, checked", async (t) => {
  const bed = await Bed.create(t);
  const members = Array.from({ length: 10 }, (_, i) => `m${i}`);
  await bed.netns(["network", "create", "ten"]).succeed();
  const serve =
    "python3 -c 'import http.server as h; h.ThreadingHTTPServer((\"\",80),h.SimpleHTTPRequestHandler).serve_forever()'";
  for (const name of members) {
    await bed
      .netns([
        "create",
        name,
        "--network",
        "ten",
        "--",
        "bash",
        "-c",
        `mkdir -p /tmp/served && cd /tmp/served && ${serve}`,
      ])
      .succeed();
  }
  await bed.host(["bash", "-c", "head -c 10000000 /dev/urandom >/tmp/served/data"]).succeed();
  const sum = (await bed.host(["sha256sum", "/tmp/served/data"]).succeed()).split(" ")[0];
  for (const name of members)
    await eventually(
      10_000,
      `${name} does not serve`,
      async () => (await exec(bed, name, "ss -Hltn 'sport = :80'").succeed()) !== "",
    );
  await Promise.all(
    members.map(async (name) => {
      const others = members.filter((other) => other !== name);
      const script = `for each in ${others.join(" ")}; do ping -c 1 -W 5 -q $each >/dev/null && curl -s -m 60 http://$each/data | sha256sum || exit 1; done`;
      const sums = await exec(bed, name, script).succeed(120_000);
      t.is(sums, `${sum}  -\n`.repeat(others.length), name);
    }),
  );
});

test("what is nothing to a network, or to a sandbox with a name, is wrong use, and nothing is made of it", async (t) => {
  const bed = await Bed.create(t);
  for (const options of [
    ["-p", "8080:80"],
    ["--host-ip", "127.0.2.2"],
    ["--mac", "02:00:00:00:00:01"],
    ["--shards", "2"],
    ["-v"],
    ["--log-file", "/tmp/log"],
    ["--vxlan", "7", "--remote", "192.0.2.7", "--mtu", "65486"],
  ]) {
    const { code, stderr } = await bed.netns(["network", "create", "demo", ...options]).exit();
    t.is(code, 2, stderr);
    t.regex(stderr, /^netns-rootless: --[a-z-]+.*\n$/);
  }
  for (const option of [["-v"], ["--log-file", "/tmp/log"]]) {
    t.is((await bed.netns(["create", "web", ...option]).exit()).code, 2);
  }
  t.is(await bed.netns(["network", "ls"]).succeed(), "NAME  SUBNETS  MEMBERS  STAYS  UP\n");
});

test("a network that somebody is just joining is in use; by force it ends all the same", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["network", "create", "demo"]).succeed();
  const script = `
import socket, json, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect("/tmp/netns-rootless/network-demo.sock")
s.send(json.dumps({"id": 1, "op": "claim", "name": "red"}).encode())
s.recv(65536)
print("claimed", flush=True)
sys.stdin.read()
`;
  const joining = bed.host(["python3", "-c", script]);
  await joining.until(/claimed/);
  const refused = await bed.netns(["network", "rm", "demo"]).exit();
  t.is(refused.code, 2);
  t.regex(refused.stderr, /the network demo is in use by red; end them first, or add --force/);
  t.is(await bed.netns(["network", "rm", "--force", "demo"]).succeed(), "demo\n");
  t.is(await bed.netns(["network", "ls"]).succeed(), "NAME  SUBNETS  MEMBERS  STAYS  UP\n");
});

test("fifty members take less than 150 MB together, and rm --all leaves nothing", async (t) => {
  const bed = await Bed.create(t);
  const before = await withRuntime(bed);
  await bed.netns(["network", "create", "many"]).succeed();
  const times: number[] = [];
  for (let i = 0; i < 50; i++) {
    const start = performance.now();
    await bed.netns(["create", `m${i}`, "--network", "many"]).succeed();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  t.log(`create: median ${times[25].toFixed(0)} ms, longest ${times[49].toFixed(0)} ms`);
  t.is((await bed.netns(["ls", "--quiet"]).succeed()).split("\n").length, 51);
  await exec(bed, "m0", "ping -c 1 -W 5 m49").succeed();
  // Ours are all processes that are not the bed's: the server, and a supervisor and an init for each member.
  const resident = Number(
    await bed.admin(
      "for each in /proc/[0-9]*; do tr '\\0' ' ' <$each/cmdline 2>/dev/null | grep -qE 'launcher|serve ' && awk '/^VmRSS/ {print $2}' $each/status; done | awk '{sum += $1} END {print sum}'",
    ),
  );
  t.log(`resident: ${(resident / 1024).toFixed(1)} MB`);
  t.true(resident > 10_000 && resident < 150 * 1024, `${resident} KB`);
  t.is((await bed.netns(["rm", "--all"]).succeed()).split("\n").length, 51);
  await bed.netns(["network", "rm", "many"]).succeed();
  await nothingLeft(bed, before, 3000);
});
