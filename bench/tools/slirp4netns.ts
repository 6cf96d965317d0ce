import { existsSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { unusedPort } from "../ports.js";
import { firstLine, within } from "../processes.js";
import { Shell } from "../shell.js";
import { awaitRoute, BOUND_SHELL, cannotLaunch, setDefaultRouteCongestion, type Tool } from "./tool.js";

const PUBLISH_MS = 3000;

export const slirp4netns: Tool = {
  name: "slirp4netns",
  role: "peer",
  abilities: ["network", "published"],

  async version() {
    const line = await firstLine("slirp4netns", ["--version"]);
    if (line === null) throw new Error("slirp4netns is missing; on Debian: apt-get install slirp4netns");
    return line.replace("slirp4netns version ", "");
  },

  async start(bed, { mtu, congestion }) {
    const inside = bed.start("the namespace of slirp4netns", [
      "unshare",
      "--user",
      "--map-root-user",
      "--net",
      ...BOUND_SHELL,
    ]);
    const shell = new Shell(inside);
    const ended = () => bed.stop(inside);
    try {
      // The shell answers: so it has been started, and its namespaces have been made.
      await shell.must("ip link set lo up");
    } catch (error) {
      await ended();
      throw error;
    }
    const port = unusedPort();
    const control = join(bed.directory, `slirp4netns-${port}`);
    const options = ["--configure", `--mtu=${mtu}`, "--disable-host-loopback", `--api-socket=${control}`];
    const running = bed.start("slirp4netns", ["slirp4netns", ...options, `${inside.pid}`, "tap0"]);
    const close = async () => {
      await bed.stop(running);
      await ended();
    };
    try {
      await awaitRoute(shell, mtu);
      await publish(control, port);
      if (congestion !== null) await setDefaultRouteCongestion(shell, congestion);
      return { shell, port, pids: [running.pid], close };
    } catch (error) {
      await close();
      throw error;
    }
  },

  launch: cannotLaunch,
};

/** Asks a running slirp4netns to publish a TCP port (slirp4netns(1), "API socket"): one request and one answer per connection. */
async function publish(control: string, port: number): Promise<void> {
  const request = { proto: "tcp", host_addr: "0.0.0.0", host_port: port, guest_addr: "10.0.2.100", guest_port: port };
  // Its socket is there a little later than its network.
  for (const deadline = Date.now() + PUBLISH_MS; !existsSync(control) && Date.now() < deadline; ) await delay(10);
  const answer = await within(PUBLISH_MS, ask(control, JSON.stringify({ execute: "add_hostfwd", arguments: request })));
  if (answer === undefined || !answer.includes('"return"')) throw new Error(`slirp4netns publishes no port: ${answer}`);
}

function ask(control: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    connect(control)
      .setEncoding("utf8")
      .on("data", (piece: string) => {
        answer += piece;
      })
      .on("end", () => resolve(answer))
      .on("error", reject)
      .end(request);
  });
}
