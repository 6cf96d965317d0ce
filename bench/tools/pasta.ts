import { firstLine } from "../processes.js";
import { Shell } from "../shell.js";
import { awaitRoute, BOUND_SHELL, setDefaultRouteCongestion, type Tool } from "./tool.js";

/** No port forwarding, which pasta does by default and the others do not: it would look for new ports once a second. */
const NO_PORTS = ["-t", "none", "-u", "none", "-T", "none", "-U", "none"];

export const pasta: Tool = {
  name: "pasta",
  role: "peer",

  async version() {
    const line = await firstLine("pasta", ["--version"]);
    if (line === null) throw new Error("pasta is missing; on Debian: apt-get install passt");
    // Debian 12's says "unknown version"; its package knows.
    const packaged = line.includes("unknown") ? await firstLine("dpkg-query", ["-W", "passt"]) : null;
    return packaged?.split("\t")[1] ?? line.replace("pasta ", "");
  },

  async start(bed, { mtu, congestion }) {
    const options = ["-4", "--config-net", "--mtu", `${mtu}`, ...NO_PORTS];
    const running = bed.start("pasta", ["pasta", ...options, "--", ...BOUND_SHELL]);
    const sandbox = { shell: new Shell(running), pids: [running.pid], close: () => bed.stop(running) };
    try {
      await awaitRoute(sandbox.shell, mtu);
      if (congestion !== null) await setDefaultRouteCongestion(sandbox.shell, congestion);
      return sandbox;
    } catch (error) {
      await sandbox.close();
      throw error;
    }
  },
};
