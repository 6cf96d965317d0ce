import { readFile } from "node:fs/promises";
import test from "ava";
import { Bed, bracketed, MAIN, ROOT, WORLDS } from "../bed/bed.js";

test.serial("the command's exit code is ours", async (t) => {
  const bed = await Bed.create(t);
  t.is((await bed.run(["true"]).exit()).code, 0);
  t.is((await bed.run(["sh", "-c", "exit 7"]).exit()).code, 7);
  t.is((await bed.run(["sh", "-c", "kill -TERM $$"]).exit()).code, 143);
  t.is((await bed.run(["sh", "-c", "kill -KILL $$"]).exit()).code, 137);
});

test.serial("a command that is not there is 127, one that cannot be executed is 126, each with one line", async (t) => {
  const bed = await Bed.create(t);
  const missing = await bed.run(["no-such-program"]).exit();
  t.is(missing.code, 127);
  t.regex(missing.stderr, /^netns-rootless: .*no-such-program.*\n$/);
  await bed.host(["sh", "-c", "echo text >/tmp/plain"]).succeed();
  const plain = await bed.run(["/tmp/plain"]).exit();
  t.is(plain.code, 126);
  t.regex(plain.stderr, /^netns-rootless: .*\/tmp\/plain.*\n$/);
});

test.serial("a wrong option is 2, with one line that says what is expected", async (t) => {
  const bed = await Bed.create(t);
  for (const flags of [["--publish", "70000:1"], ["--mtu", "12"], ["--cidr", "10.0.2.0"], ["--no-such-option"]]) {
    const { code, stderr, stdout } = await bed.run(["echo", "started"], flags).exit();
    t.is(code, 2, flags.join(" "));
    t.is(stdout, "");
    t.regex(stderr, /^netns-rootless: .*\n$/, flags.join(" "));
    t.true(stderr.includes(flags[0] ?? ""), stderr);
  }
  t.is((await bed.netns(["run"]).exit()).code, 2, "no command");
});

test.serial("a failure of ours is 125", async (t) => {
  const bed = await Bed.create(t);
  await bed.admin("mount -t tmpfs none /dev/net");
  const { code, stdout, stderr } = await bed.run(["echo", "started"]).exit();
  t.is(code, 125);
  t.is(stdout, "");
  t.regex(stderr, /^netns-rootless: .*\/dev\/net\/tun/);
});

test.serial("a signal to us reaches the command, and its end is ours", async (t) => {
  const bed = await Bed.create(t);
  const plain = bed.script("echo up; exec sleep 60");
  await plain.until(/up/);
  await bed.kill(await plain.pid, "TERM");
  t.is((await plain.exit(5000)).code, 143);
  for (const signal of ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2"]) {
    const trapping = bed.script(`trap 'echo got ${signal}; exit 5' ${signal}; echo up; while :; do sleep 0.05; done`);
    await trapping.until(/up/);
    await bed.kill(await trapping.pid, signal);
    const { code, stdout } = await trapping.exit(5000);
    t.is(stdout, `up\ngot ${signal}\n`);
    t.is(code, 5, signal);
  }
});

test.serial("standard input, output and error pass through, as they are", async (t) => {
  const bed = await Bed.create(t);
  const { code, stdout, stderr } = await bed
    .run(["sh", "-c", "cat; echo problem >&2"], [], { input: "one\ntwo\n" })
    .exit();
  t.is(code, 0);
  t.is(stdout, "one\ntwo\n");
  t.is(stderr, "problem\n");
  const main = MAIN.join(" ");
  const pipe = `head -c 50M /dev/urandom >/tmp/data; cat /tmp/data | ${main} run -- cat | sha256sum; sha256sum </tmp/data`;
  const [through, original] = (await bed.host(["bash", "-c", pipe], { input: "" }).succeed()).trim().split("\n");
  t.is(through, original);
  const closed = await bed
    .host(["bash", "-c", `${main} run -- yes | head -n1; echo \${PIPESTATUS[0]}`], { input: "" })
    .succeed();
  t.is(closed, "y\n141\n", "a closed pipe ends the command with SIGPIPE");
});

test.serial("the command has the caller's ids, directory, environment, mask, and no capabilities", async (t) => {
  const bed = await Bed.create(t);
  const script = "id; pwd; umask; ulimit -t; env | grep -v '^_=' | sort";
  const options = { env: { FOO: "a b\nc" }, cwd: "/usr/share", input: "" };
  const outside = await bed
    .host(["sh", "-c", `umask 027; ulimit -t 4711; exec bash -c "$1"`, "sh", script], options)
    .succeed();
  const main = MAIN.join(" ");
  const inside = await bed
    .host(["sh", "-c", `umask 027; ulimit -t 4711; exec ${main} run -- bash -c "$1"`, "sh", script], options)
    .succeed();
  t.is(inside, outside);
  const status = await bed.run(["cat", "/proc/self/status"]).succeed();
  t.regex(status, /^CapEff:\s0+$/m);
  t.regex(status, /^CapPrm:\s0+$/m);
  t.regex(status, /^CapAmb:\s0+$/m);
  t.regex(status, /^SigBlk:\s0+$/m);
  t.regex(status, /^SigIgn:\s0+$/m);
  const descriptors = await bed.run(["ls", "/proc/self/fd"]).succeed();
  t.deepEqual(descriptors.trim().split("\n"), ["0", "1", "2", "3"], "3 is the directory that ls reads");
});

test.serial("--root makes the caller root inside, and nowhere else", async (t) => {
  const bed = await Bed.create(t);
  t.is(await bed.script("id -u; id -g", ["--root"]).succeed(), "0\n0\n");
  await bed.script("ip link set tap0 mtu 1400 && touch /tmp/mine", ["--root"]).succeed();
  t.is(await bed.host(["stat", "-c", "%u", "/tmp/mine"]).succeed(), `${process.getuid?.()}\n`);
  t.not((await bed.run(["sh", "-c", "echo x >/mnt/etc/passwd"], ["--root"]).exit()).code, 0);
});

for (const { family, any, loopback, gateway } of WORLDS) {
  test.serial(`IPv${family}: port 80 and ping work inside without root`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(["python3", "-u", "-m", "http.server", "--bind", any, "80"], ["-p", "6000:80"]);
    await server.until(/Serving HTTP/);
    const curl = ["curl", "-sS", "-o", "/dev/null", `http://${bracketed(loopback)}:6000/`];
    t.is((await bed.host(curl).exit()).code, 0);
    t.regex(await bed.run(["ping", "-c1", "-W2", gateway]).succeed(), /1 received/);
  });
}

test.serial("addresses, routes and names inside are what people know, or what they asked for", async (t) => {
  const bed = await Bed.create(t);
  const show = "ip -o address show; ip -o link show; ip route; ip -6 route; hostname; cat /etc/resolv.conf /etc/hosts";
  const usual = await bed.script(show).succeed();
  t.regex(usual, /tap0\s+inet 10\.0\.2\.100\/24/);
  t.regex(usual, /tap0: <.*UP,LOWER_UP.*> mtu 1500 /);
  t.regex(usual, /: lo: <LOOPBACK,UP,LOWER_UP>/);
  t.regex(usual, /^default via 10\.0\.2\.2 dev tap0/m);
  t.regex(usual, /tap0\s+inet6 fd00::100\/64 scope global/);
  t.notRegex(usual, /tentative/);
  t.regex(usual, /^default via fd00::2 dev tap0/m);
  t.regex(usual, /^::1\s.*ip6-localhost/m);
  t.regex(usual, /^fd00::2\s.*host\.internal/m);
  t.regex(usual, /^nameserver 10\.0\.2\.3$/m);
  t.regex(usual, /^127\.0\.0\.1\s.*localhost/m);
  t.regex(usual, /^10\.0\.2\.2\s.*host\.internal/m);
  t.true(usual.includes((await bed.host(["hostname"]).succeed()).trim()));

  const flags = "--cidr 10.7.0.0/16 --mtu 9000 --ifname net0 --mac 52:54:00:12:34:56 --hostname box".split(" ");
  const wished = await bed.script(show, flags).succeed();
  t.regex(wished, /net0\s+inet 10\.7\.0\.100\/16/);
  t.regex(wished, /net0:.* mtu 9000 .*52:54:00:12:34:56/s);
  t.regex(wished, /^default via 10\.7\.0\.2 dev net0/m);
  t.regex(wished, /^nameserver 10\.7\.0\.3$/m);
  t.regex(wished, /^box$/m);
  t.regex(wished, /^10\.7\.0\.100\s.*box/m);
  t.regex(await bed.script(`ping -c1 -W2 10.7.0.2`, flags).succeed(), /1 received/);
  t.not((await bed.host(["hostname"]).succeed()).trim(), "box");
});

for (const [name, prepare] of [
  ["a plain file", ":"],
  [
    "a symbolic link",
    "mkdir /tmp/stub; mv /etc/resolv.conf /tmp/stub/resolv.conf; ln -s ../tmp/stub/resolv.conf /etc/resolv.conf",
  ],
  ["a dangling symbolic link", "rm /etc/resolv.conf; ln -s /tmp/nowhere/resolv.conf /etc/resolv.conf"],
  ["not there", "rm /etc/resolv.conf /etc/hosts"],
] as const) {
  test.serial(`resolv.conf and hosts are replaced inside, and only there, when resolv.conf is ${name}`, async (t) => {
    const bed = await Bed.create(t);
    await bed.admin(prepare);
    const files = "ls -l /etc/resolv.conf /etc/hosts; cat /etc/resolv.conf /etc/hosts; find /tmp -mindepth 1; ls /etc";
    const before = await bed.host(["sh", "-c", files]).exit();
    const inside = await bed
      .script("pwd; cat /etc/resolv.conf /etc/hosts; id -un; ls /tmp", [], { cwd: "/tmp" })
      .succeed();
    t.regex(inside, /^\/tmp$/m);
    t.regex(inside, /^nameserver 10\.0\.2\.3$/m);
    t.regex(inside, /host\.internal/);
    t.deepEqual(await bed.host(["sh", "-c", files]).exit(), before);
  });
}

test.serial("--quiet, --verbose and --log-file", async (t) => {
  const bed = await Bed.create(t);
  t.is((await bed.run(["true"], ["--quiet", "-p", "0:80"]).exit()).stderr, "");
  t.is((await bed.run(["true"]).exit()).stderr, "", "silent when nothing is to be said");
  t.not((await bed.run(["true"], ["--verbose"]).exit()).stderr, "");
  await bed.run(["true"], ["--log-file", "/tmp/log", "-p", "6000:80"]).succeed();
  t.not(await bed.host(["cat", "/tmp/log"]).succeed(), "");
});

test.serial("--help has examples, --version the version", async (t) => {
  const bed = await Bed.create(t);
  const help = await bed.netns(["run", "--help"]).succeed();
  t.regex(help, /netns-rootless run (-p|--publish) 6000:8080 -- python3 -m http\.server 8080/);
  t.regex(help, /--allow-host-loopback/);
  t.regex(await bed.netns(["--help"]).succeed(), /attach.*doctor/s);
  const { version } = JSON.parse(await readFile(`${ROOT}/package.json`, "utf8")) as { version: string };
  t.is(await bed.netns(["--version"]).succeed(), `${version}\n`);
});

const SPAWN = `set timeout 10
log_user 1
proc wait_for {pattern} {
  expect {
    -re $pattern {}
    timeout { puts "\\nNOT SEEN: $pattern"; exit 99 }
    eof { puts "\\nENDED BEFORE: $pattern"; exit 98 }
  }
}
# Waits until a program runs in the terminal's foreground process group: a key that comes earlier would go to the shell.
proc wait_in_front {name} {
  for {set i 0} {$i < 200} {incr i} {
    foreach line [split [exec ps -e -o stat=,args=] "\\n"] {
      if {[regexp "^S\\\\S*\\\\+ +$name" $line]} { return }
    }
    after 50
  }
  puts "\\nNOT IN FRONT: $name"
  exit 97
}
proc finish {} {
  expect eof
  lassign [wait] pid id os status
  puts "\\nSTATUS $status"
}
`;

async function terminal(bed: Bed, script: string): Promise<string> {
  await bed.host(["sh", "-c", "cat >/tmp/script.exp"], { input: SPAWN + script }).succeed();
  const main = MAIN.join(" ");
  return bed
    .host(["expect", "/tmp/script.exp"], { env: { NETNS: `${main} run --`, PS1: "> " }, input: "" })
    .succeed(60_000);
}

test.serial("an interactive shell on a terminal has job control, Ctrl-C and the window's size", async (t) => {
  const bed = await Bed.create(t);
  const output = await terminal(
    bed,
    `
spawn sh -c "exec $env(NETNS) bash --norc --noprofile -i"
stty rows 33 columns 77 < $spawn_out(slave,name)
send "PS1='rea''dy> '\\r"
wait_for {ready> $}
send "stty size\\r"
wait_for {33 77}
wait_for {ready> $}
send "trap 'echo RE''SIZED' WINCH\\r"
wait_for {ready> $}
stty rows 44 columns 88 < $spawn_out(slave,name)
wait_for {RESIZED}
send "stty size\\r"
wait_for {44 88}
send "sh -c 'echo star''ted; exec sleep 100'\\r"
wait_in_front {sleep 100}
send "\\x1a"
wait_for {Stopped}
send "bg\\r"
wait_for {ready> $}
send "jobs\\r"
wait_for {Running.*ready> $}
send "fg\\r"
wait_in_front {sleep 100}
send "\\x03"
wait_for {ready> $}
send "echo co''de=$?\\r"
wait_for {code=130}
send "sh -c 'echo aga''in; exec sleep 100'\\r"
wait_in_front {sleep 100}
send "\\x1c"
wait_for {Quit}
send "exit 3\\r"
finish
`,
  );
  t.regex(output, /STATUS 3\s*$/);
  t.notRegex(output, /no job control|cannot set terminal/);
  t.regex(output, /RESIZED/);
});

test.serial("Ctrl-C, Ctrl-Z and fg act on a plain command, and the terminal is left as it was", async (t) => {
  const bed = await Bed.create(t);
  const counting = "trap 'echo GOT' INT; echo started; for i in {1..10}; do sleep 0.1; done";
  await bed.host(["sh", "-c", "cat >/tmp/counting"], { input: counting }).succeed();
  const output = await terminal(
    bed,
    `
spawn bash --norc --noprofile -i
send "PS1='rea''dy> '; stty -a >/tmp/before\\r"
wait_for {ready> $}
send "$env(NETNS) sh -c 'echo star''ted; exec sleep 100'\\r"
wait_in_front {sleep 100}
send "\\x1a"
wait_for {Stopped}
wait_for {ready> $}
send "fg\\r"
wait_in_front {sleep 100}
send "\\x03"
wait_for {ready> $}
send "echo co''de=$?\\r"
wait_for {code=130}
send "$env(NETNS) bash /tmp/counting\\r"
wait_for {started}
send "\\x03"
wait_for {GOT}
wait_for {ready> $}
send "stty -a >/tmp/after; cmp /tmp/before /tmp/after && echo sa''me; exit 4\\r"
wait_for {same}
finish
`,
  );
  t.regex(output, /STATUS 4\s*$/);
  t.is(output.match(/GOT/g)?.length, 1, "one Ctrl-C is one signal");
});

test.serial("an interface that is removed inside is told, and the command goes on", async (t) => {
  const bed = await Bed.create(t);
  const { code, stdout, stderr } = await bed
    .run(["sh", "-c", "ip link del tap0; sleep 0.3; echo on"], ["--root"])
    .exit();
  t.is(code, 0);
  t.is(stdout, "on\n");
  t.is(stderr, "netns-rootless: the interface inside was removed: the sandbox has no network any more\n");
});
