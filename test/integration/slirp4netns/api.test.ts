/** slirp4netns's API socket: the same requests to Debian's program and to ours. */
import { type Bed, eventually } from "../../bed/bed.js";
import { forBoth, Namespace, OURS, Serving, type Slirp } from "./rig.js";

const API = "/tmp/api.sock";

async function serve(bed: Bed, slirp: Slirp): Promise<{ namespace: Namespace; serving: Serving }> {
  const namespace = await Namespace.create(bed);
  return { namespace, serving: await Serving.start(bed, slirp, ["-c", "-a", API, namespace.pid, "tap0"]) };
}

const bad = (desc: string) => ({ error: { desc: `bad request: ${desc}` } });
const add = (fields: object) => ({
  execute: "add_hostfwd",
  arguments: { proto: "tcp", host_port: 8080, guest_port: 80, ...fields },
});

forBoth("a TCP port is added, listed, reached and removed", async (t, slirp, bed) => {
  const { namespace, serving } = await serve(bed, slirp);
  const server = namespace.start(["python3", "-u", "-m", "http.server", "80"]);
  await server.until(/Serving/);
  t.deepEqual(await serving.ask(API, add({ host_addr: "127.0.0.1" })), { return: { id: 1 } });
  const get = () => bed.host(["curl", "-s", "-o", "/dev/null", "-m", "5", "http://127.0.0.1:8080/"]).exit();
  t.is((await get()).code, 0);
  const listed = (await serving.ask(API, { execute: "list_hostfwd" })) as { entries: unknown };
  t.like(listed.entries, [
    { id: 1, proto: "tcp", host_addr: "127.0.0.1", host_port: 8080, guest_addr: "10.0.2.100", guest_port: 80 },
  ]);
  t.deepEqual(await serving.ask(API, { execute: "remove_hostfwd", arguments: { id: 1 } }), { return: {} });
  t.is((await get()).code, 7);
  t.like(await serving.ask(API, { execute: "list_hostfwd" }), { entries: [] });
});

forBoth("the socket goes when the exit descriptor hangs up", async (t, slirp, bed) => {
  const { serving } = await serve(bed, slirp);
  t.is((await bed.admin(`test -S ${API} && echo there`)).trim(), "there");
  t.is(await serving.hangUp(), 0);
  await eventually(
    5000,
    "it is still there",
    async () => (await bed.admin(`test -e ${API} || echo gone`)).trim() === "gone",
  );
});

forBoth("a UDP port is added and reached", async (t, slirp, bed) => {
  const { namespace, serving } = await serve(bed, slirp);
  const script =
    "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',53)); print('up',flush=True)\nwhile True:\n d,a=s.recvfrom(2000); s.sendto(d.upper(),a)";
  await namespace.start(["python3", "-u", "-c", script]).until(/up/);
  t.deepEqual(await serving.ask(API, add({ proto: "udp", host_port: 5353, guest_port: 53 })), { return: { id: 1 } });
  const ask =
    "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b'hello',('127.0.0.1',5353)); print(s.recv(100).decode())";
  t.is(await bed.host(["python3", "-c", ask]).succeed(), "HELLO\n");
});

forBoth("a busy port is refused", async (t, slirp, bed) => {
  const { serving } = await serve(bed, slirp);
  t.deepEqual(await serving.ask(API, add({})), { return: { id: 1 } });
  t.deepEqual(await serving.ask(API, add({})), bad("add_hostfwd: slirp_add_hostfwd failed"));
});

const REFUSED: readonly (readonly [request: unknown, desc: string])[] = [
  ["x", "cannot parse JSON"],
  ["{}", "no execute found"],
  [{ execute: "nonsense" }, "unknown execute"],
  [add({ proto: "sctp" }), "add_hostfwd: bad arguments.proto"],
  [add({ host_port: 0 }), "add_hostfwd: bad arguments.host_port"],
  [add({ guest_port: 0 }), "add_hostfwd: bad arguments.guest_port"],
  [add({ host_addr: "nonsense" }), "add_hostfwd: bad arguments.host_addr"],
  [add({ guest_addr: "nonsense" }), "add_hostfwd: bad arguments.guest_addr"],
  [{ execute: "remove_hostfwd", arguments: { id: "1" } }, "remove_hostfwd: bad arguments.id"],
  [{ execute: "remove_hostfwd", arguments: { id: 99 } }, "remove_hostfwd: bad arguments.id"],
  ["x".repeat(4096), "too large message"],
];

forBoth("what is wrong is told in the same words", async (t, slirp, bed) => {
  const { serving } = await serve(bed, slirp);
  for (const [request, desc] of REFUSED) {
    t.deepEqual(await serving.ask(API, request), bad(desc), JSON.stringify(request).slice(0, 100));
  }
});

forBoth(
  "the list is at both places: in `return`, as the manual has it, and at the top, as its releases do",
  async (t, slirp, bed) => {
    const { serving } = await serve(bed, slirp);
    await serving.ask(API, add({}));
    const listed = (await serving.ask(API, { execute: "list_hostfwd" })) as {
      entries: unknown;
      return: { entries: unknown };
    };
    t.is((listed.entries as unknown[]).length, 1);
    t.deepEqual(listed.return.entries, listed.entries);
  },
  // Debian's has it at the top only.
  [OURS],
);

const MANY = `
import json, socket, sys
def ask(request):
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect("${API}")
    s.sendall(json.dumps(request).encode()); s.shutdown(socket.SHUT_WR)
    answer = b""
    while piece := s.recv(65536): answer += piece
    return json.loads(answer)
ids = [ask({"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_port": 10000 + i, "guest_port": 80}})["return"]["id"] for i in range(1000)]
assert len(set(ids)) == 1000
assert len(ask({"execute": "list_hostfwd"})["entries"]) == 1000
for port, i in enumerate(ids, 10000):
    assert ask({"execute": "remove_hostfwd", "arguments": {"id": i}}) == {"return": {}}
    with socket.socket() as other: other.bind(("", port)); other.listen() # free as soon as that is said
assert ask({"execute": "list_hostfwd"})["entries"] == []
print("done")
`;

forBoth("a thousand forwards are added, listed and removed", async (t, slirp, bed) => {
  await serve(bed, slirp);
  t.is(await bed.host(["python3", "-c", MANY]).succeed(60_000), "done\n");
});

const HOSTILE = `
import json, os, socket, time
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect("${API}"); return s
silent = [connect() for _ in range(100)]
for junk in [b"{", b'{"execute":', os.urandom(3000), b"[" * 4000, b'"' * 4000]:
    s = connect(); s.sendall(junk); s.shutdown(socket.SHUT_WR); s.recv(65536)
slow = connect()
for byte in b'{"execute":"list_hostfwd"}': slow.sendall(bytes([byte])); time.sleep(0.005)
assert b"entries" in slow.recv(65536)
s = connect(); s.sendall(b'{"execute":"list_hostfwd"}'); s.shutdown(socket.SHUT_WR)
assert b"entries" in s.recv(65536)
print("done")
`;

forBoth(
  "silent, slow and hostile clients keep nobody out",
  async (t, slirp, bed) => {
    await serve(bed, slirp);
    t.is(await bed.host(["python3", "-c", HOSTILE]).succeed(60_000), "done\n");
  },
  // Debian's serves one after the other, and waits for each.
  [OURS],
);
