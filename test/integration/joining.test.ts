/** What a server does with sandboxes that cannot join, with starters that go, and with more to tell than a packet holds. */
import test from "ava";
import { Bed, eventually, MAIN } from "../bed/bed.js";
import { added, nothingLeft, state } from "../bed/leftovers.js";

async function names(bed: Bed): Promise<string[]> {
  return (await bed.netns(["ls", "--quiet"]).succeed()).split("\n").filter((line) => line !== "");
}

test("who cannot join a network that stays leaves no launcher and no descriptor behind", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["network", "create", "demo"]).succeed();
  await bed.netns(["create", "red", "--network", "demo", "-p", "6000:80"]).succeed();
  const { server } = JSON.parse(await bed.netns(["inspect", "red"]).succeed());
  const descriptors = () => bed.admin(`ls /proc/${server}/fd | wc -l`);
  const before = await state(bed);
  const open = await descriptors();
  const refusals = [
    { flags: ["-p", "6000:80"], message: /the port is in use/ },
    { flags: ["--ip", "10.0.2.100"], message: /10\.0\.2\.100/ },
    { flags: ["--ip", "192.0.2.1"], message: /192\.0\.2\.1/ },
    { flags: ["--ip", "10.0.2.2"], message: /10\.0\.2\.2/ },
    { flags: ["--host-ip", "203.0.113.99"], message: /203\.0\.113\.99/ },
  ];
  for (const { flags, message } of refusals) {
    const refused = await bed.netns(["create", "blue", "--network", "demo", ...flags]).exit();
    t.not(refused.code, 0, flags.join(" "));
    t.regex(refused.stderr, message);
  }
  await nothingLeft(bed, before, 3000);
  await eventually(3000, "descriptors are left", async () => (await descriptors()) === open);
  t.deepEqual(await names(bed), ["red"]);
});

test("ports of a create that failed can be taken at once", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["network", "create", "demo"]).succeed();
  const held = "import socket, time; s = socket.create_server(('', 8081)); print('up', flush=True); time.sleep(60)";
  await bed.host(["python3", "-c", held]).until(/up/);
  const script = `
import socket, subprocess
for _ in range(20):
    failed = subprocess.run([*${JSON.stringify(MAIN)}, "create", "web", "--network", "demo", "-p", "8080:80", "-p", "8081:80"], stderr=subprocess.PIPE)
    assert b"8081/tcp: the port is in use" in failed.stderr, failed
    with socket.socket() as other: other.bind(("", 8080))
print("done")`;
  t.is(await bed.host(["python3", "-c", script]).succeed(60_000), "done\n");
});

test("a sandbox with a thousand published ports is listed, inspected and counted as there", async (t) => {
  const bed = await Bed.create(t);
  const before = await state(bed);
  t.is(await bed.netns(["create", "wide", "-p", "127.0.0.1:20000-20999:20000-20999"]).succeed(), "wide\n");
  t.deepEqual(await names(bed), ["wide"]);
  t.is(JSON.parse(await bed.netns(["inspect", "wide"]).succeed()).ports.length, 1000);
  t.is(JSON.parse(await bed.netns(["port", "ls", "wide", "--json"]).succeed()).length, 1000);
  t.regex((await bed.netns(["create", "wide"]).exit()).stderr, /a sandbox called wide is there already/);
  const ports = await bed.netns(["port", "add", "wide", "127.0.0.1:21000:80"]).succeed();
  t.is(ports, "127.0.0.1:21000->80/tcp\n");
  await bed.netns(["rm", "wide"]).succeed();
  const left = (await added(bed, before)).filter((line) => !line.startsWith("file /tmp/netns-rootless"));
  t.deepEqual(left, []);
});

test("Ctrl-C at any moment of a create leaves the sandbox as a whole, or nothing of it", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["network", "create", "demo"]).succeed();
  const before = await state(bed);
  for (let delay = 0; delay < 300; delay += 15) {
    const making = bed.netns(["create", "red", "--network", "demo"]);
    const pid = await making.pid;
    await new Promise((resolve) => setTimeout(resolve, delay));
    await bed.kill(pid, "INT");
    const { stdout } = await making.exit();
    // What was printed is there; what was not is not.
    await eventually(3000, `after ${delay} ms: ${stdout}`, async () => (await names(bed)).join() === stdout.trim());
    if (stdout !== "") await bed.netns(["rm", "red"]).succeed();
    await nothingLeft(bed, before, 3000);
  }
  t.pass();
});

test("kill -9 at any moment of a create leaves the sandbox as a whole, or nothing of it", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["ls"]).succeed();
  const before = await state(bed);
  for (let delay = 0; delay < 300; delay += 15) {
    const making = bed.netns(["create", "red", "--", "sh", "-c", "echo begun; exec sleep 60"]);
    const pid = await making.pid;
    await new Promise((resolve) => setTimeout(resolve, delay));
    await bed.kill(pid, "KILL");
    const { stdout } = await making.exit();
    // It may be there without having been told of, but then as one that can be worked with.
    t.true(stdout === "" || (await names(bed)).join() === "red", `after ${delay} ms`);
    await eventually(3000, `after ${delay} ms`, async () => {
      if ((await names(bed)).length === 0) return true;
      return (await bed.netns(["logs", "red"]).exit()).stdout === "begun\n";
    });
    if ((await names(bed)).length > 0) await bed.netns(["rm", "red"]).succeed();
    await nothingLeft(bed, before, 3000);
  }
});

test("joining a network at the moment when its last member leaves", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["ls"]).succeed();
  const before = await state(bed);
  for (let turn = 0; turn < 20; turn++) {
    const leaving = bed.run(["true"], ["--network", "demo", "--name", "leaves"]);
    await new Promise((resolve) => setTimeout(resolve, turn * 15));
    const coming = await bed.run(["true"], ["--network", "demo", "--name", "comes"]).exit();
    t.is(coming.code, 0, coming.stderr);
    t.is((await leaving.exit()).code, 0);
  }
  await nothingLeft(bed, before, 3000);
});

test("rm --all ends forty sandboxes with servers of their own, where few files may be open", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["ls"]).succeed();
  const before = await state(bed);
  const all = Array.from({ length: 40 }, (_, i) => `s${i}`);
  for (let at = 0; at < all.length; at += 4) {
    await Promise.all(all.slice(at, at + 4).map((name) => bed.netns(["create", name, "--no-dns"]).succeed()));
  }
  const removed = (await bed.netns(["rm", "--all"], { descriptors: 1024 }).succeed())
    .split("\n")
    .filter((line) => line !== "");
  t.deepEqual(removed.sort(), all.sort());
  await nothingLeft(bed, before, 3000);
});

test("exec with a terminal: Ctrl-C, the window's size, job control of a shell", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["create", "red"]).succeed();
  const script = `
set timeout 20
set stty_init "rows 37 columns 91"
proc want {text} {
  expect {
    -ex $text {}
    timeout { puts "\\nnot seen: $text"; exit 1 }
    eof { puts "\\nended before: $text"; exit 2 }
  }
}
# Waits until a program is in front of the terminal: a key that comes earlier would go to the shell.
proc want_in_front {name} {
  for {set i 0} {$i < 200} {incr i} {
    foreach line [split [exec ps -e -o stat=,args=] "\\n"] {
      if {[regexp "^S\\\\S*\\\\+ +$name" $line]} { return }
    }
    after 50
  }
  puts "\\nnot in front: $name"
  exit 3
}
spawn ${MAIN.join(" ")} exec red -- bash --norc -i
send "PS1='ready''> '\\r"
want "ready> "
send "stty size\\r"
want "37 91"
send "sleep 4711\\r"
want_in_front "sleep 4711"
send "\\003"
want "ready> "
send "echo code=\\$?\\r"
want "code=130"
send "sleep 4712\\r"
want_in_front "sleep 4712"
send "\\032"
want "Stopped"
send "bg\\rjobs\\r"
want "Running"
send "kill %1; wait; exit 9\\r"
expect eof
lassign [wait] pid spawned os code
exit $code
`;
  await bed.host(["sh", "-c", "cat >/tmp/script.exp"], { input: script }).succeed();
  const { code, stdout } = await bed.host(["expect", "/tmp/script.exp"], { input: "" }).exit();
  t.is(code, 9, stdout);
});
