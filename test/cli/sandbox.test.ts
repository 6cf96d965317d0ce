/** The API, with real sandboxes. */
import test from "ava";
import { NetnsError, runSandbox } from "../../src/index.js";

test("the command's exit code, or the signal that ended it", async (t) => {
  t.deepEqual(await (await runSandbox({ command: ["sh", "-c", "exit 7"] })).exited, { code: 7, signal: null });
  const sleeping = await runSandbox({ command: ["sleep", "60"] });
  sleeping.signal("SIGTERM");
  t.deepEqual(await sleeping.exited, { code: null, signal: 15 });
});

test("the command's environment is the one given", async (t) => {
  const env = { PATH: process.env.PATH, CODE: "3" };
  t.like(await (await runSandbox({ command: ["sh", "-c", "exit $CODE"], env })).exited, { code: 3 });
});

test("a server inside is reached at the port that was chosen, and is gone after close()", async (t) => {
  const server = [
    "from http.server import HTTPServer, BaseHTTPRequestHandler as B",
    "class H(B):",
    "  def do_GET(s): s.send_response(200); s.end_headers(); s.wfile.write(b'from inside')",
    "  def log_message(*a): pass",
    "HTTPServer(('', 8080), H).serve_forever()",
  ].join("\n");
  const sandbox = await runSandbox({ command: ["python3", "-c", server], publish: ["127.0.0.1:0:8080"] });
  const [{ address, port, protocol, insidePort }] = sandbox.published;
  t.deepEqual([address, protocol, insidePort], ["127.0.0.1", "tcp", 8080]);
  const url = `http://127.0.0.1:${port}/`;
  t.is(await untilAnswered(url), "from inside");
  await sandbox.close();
  await t.throwsAsync(fetch(url));
});

test("what it listens on is published at its address on the host, and told", async (t) => {
  const command = ["python3", "-m", "http.server", "--directory", "/nonexistent", "18080"];
  const sandbox = await runSandbox({ command, hostIp: "127.8.0.44" });
  t.deepEqual(sandbox.published, []);
  await untilAnswered("http://127.8.0.44:18080/");
  t.deepEqual(sandbox.published, [{ protocol: "tcp", address: "127.8.0.44", port: 18080, insidePort: 18080 }]);
  await sandbox.close();
});

/** The text at a URL, as soon as somebody listens there. */
async function untilAnswered(url: string): Promise<string> {
  for (let tries = 0; ; tries++) {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      if (tries >= 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

test("a busy port: no start, and a code to tell it by", async (t) => {
  const holder = await runSandbox({ command: ["sleep", "60"], publish: ["127.0.0.1:0:1"] });
  t.teardown(() => holder.close());
  const { port } = holder.published[0];
  const error = await t.throwsAsync(runSandbox({ command: ["true"], publish: [`127.0.0.1:${port}:1`] }), {
    instanceOf: NetnsError,
  });
  t.is(error.code, "PORT_BUSY");
  t.regex(error.message, new RegExp(`${port}/tcp`));
});

test("wrong use is refused before anything starts", async (t) => {
  t.is((await t.throwsAsync(runSandbox({ command: [] }), { instanceOf: NetnsError })).code, "USAGE");
  t.is((await t.throwsAsync(runSandbox({ command: ["true"], mtu: 1 }), { instanceOf: NetnsError })).code, "USAGE");
});

test("several at once in one process", async (t) => {
  const codes = await Promise.all(
    [1, 2, 3, 4].map(async (code) => (await runSandbox({ command: ["sh", "-c", `exit ${code}`] })).exited),
  );
  t.deepEqual(
    codes.map(({ code }) => code),
    [1, 2, 3, 4],
  );
});
