import { unusedPort } from "../ports.js";
import { firstLine } from "../processes.js";
import { Shell } from "../shell.js";
import {
  awaitRoute,
  BOUND_SHELL,
  type Setup,
  setDefaultRouteCongestion,
  setLoopbackCongestion,
  type Tool,
} from "./tool.js";

/** Forwards no ports but the given one. By default it would look for new ports once a second, which the others do not do. */
function command({ mtu }: Setup, port: number | "none", argv: readonly string[]): string[] {
  const ports = ["-t", `${port}`, "-u", "none", "-T", "none", "-U", "none"];
  return ["pasta", "-4", "--config-net", "--mtu", `${mtu}`, ...ports, "--", ...argv];
}

export const pasta: Tool = {
  name: "pasta",
  role: "peer",
  abilities: ["network", "published", "launch"],

  async version() {
    const line = await firstLine("pasta", ["--version"]);
    if (line === null) throw new Error("pasta is missing; on Debian: apt-get install passt");
    // Debian 12's says "unknown version"; its package knows.
    const packaged = line.includes("unknown") ? await firstLine("dpkg-query", ["-W", "passt"]) : null;
    return packaged?.split("\t")[1] ?? line.replace("pasta ", "");
  },

  async start(bed, setup) {
    const port = unusedPort();
    const running = bed.start("pasta", command(setup, port, BOUND_SHELL));
    const shell = new Shell(running);
    const close = () => bed.stop(running);
    try {
      await awaitRoute(shell, setup.mtu);
      if (setup.congestion !== null) {
        await setDefaultRouteCongestion(shell, setup.congestion);
        await setLoopbackCongestion(shell, setup.congestion);
      }
      return { shell, port, pids: [running.pid], close };
    } catch (error) {
      await close();
      throw error;
    }
  },

  launch(_bed, setup, argv) {
    return command(setup, "none", argv);
  },

  launchBare: (argv) => ["pasta", "--", ...argv],
};
