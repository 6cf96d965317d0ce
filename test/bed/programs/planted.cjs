/**
 * What somebody would do who got hold of our process, loaded into it by NODE_OPTIONS=--require: waits until the process is confined
 * (or, where it will not be, until PLANTED_GO exists), and does PLANTED:
 *
 *     look    tries everything that should not be possible, and tells what came of it, in a line on stderr
 *     exec    starts a program
 *     throw   throws an error
 *
 * Loaded into a worker thread, too.
 */
const fs = require("node:fs");
const net = require("node:net");
const { isMainThread, threadId } = require("node:worker_threads");

const { PLANTED, PLANTED_GO = "/tmp/go" } = process.env;
const SECRET = "/tmp/secret.txt";

function result(action) {
  try {
    return action();
  } catch (error) {
    return error.code ?? String(error);
  }
}

function say(what) {
  fs.writeSync(2, `planted: ${JSON.stringify(what)}\n`);
}

function connect(file, done) {
  const socket = net.connect(file);
  socket.on("error", (error) => done(error.code));
  socket.on("data", (data) => {
    socket.destroy();
    done(String(data).trim());
  });
}

function look() {
  const found = {
    read: result(() => fs.readFileSync(SECRET, "utf8").trim()),
    write: result(() => fs.appendFileSync(SECRET, "changed")),
    list: result(() => fs.readdirSync("/tmp").includes("secret.txt")),
    look: result(() => fs.statSync(SECRET).isFile()),
    signal: result(() => process.kill(Number(fs.readFileSync("/tmp/victim", "utf8")), 0)),
    signalParent: result(() => process.kill(process.ppid, 0)),
  };
  connect("/tmp/agent.sock", (agent) => say({ ...found, agent }));
}

function act() {
  if (PLANTED === "look") look();
  if (PLANTED === "exec") require("node:child_process").spawnSync("touch", ["/tmp/mark"]);
  if (PLANTED === "throw") throw new Error("planted");
}

function isConfined() {
  return result(() => fs.readFileSync("/proc/self/status", "utf8")) === "EACCES";
}

const timer = setInterval(() => {
  const confined = isConfined();
  if (!confined && !fs.existsSync(PLANTED_GO)) return;
  clearInterval(timer);
  if (isMainThread) act();
  else say({ thread: threadId, read: result(() => fs.readFileSync(SECRET, "utf8").trim()) });
}, 5);
timer.unref();
