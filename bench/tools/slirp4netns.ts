import { firstLine } from "../processes.js";
import { Shell } from "../shell.js";
import { awaitRoute, BOUND_SHELL, setDefaultRouteCongestion, type Tool } from "./tool.js";

export const slirp4netns: Tool = {
  name: "slirp4netns",
  role: "peer",

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
    const options = ["--configure", `--mtu=${mtu}`, "--disable-host-loopback"];
    const running = bed.start("slirp4netns", ["slirp4netns", ...options, `${inside.pid}`, "tap0"]);
    const close = async () => {
      await bed.stop(running);
      await ended();
    };
    try {
      await awaitRoute(shell, mtu);
      if (congestion !== null) await setDefaultRouteCongestion(shell, congestion);
      return { shell, pids: [running.pid], close };
    } catch (error) {
      await close();
      throw error;
    }
  },
};
