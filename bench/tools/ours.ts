import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { unusedPort } from "../ports.js";
import { firstLine, processTree } from "../processes.js";
import { Shell } from "../shell.js";
import { awaitRoute, type Setup, setLoopbackCongestion, type Tool } from "./tool.js";

/** As installed, which is how it starts fastest. */
const PROGRAM = fileURLToPath(new URL("../../../scripts/bin", import.meta.url));
const BUNDLE = fileURLToPath(new URL("../../bundle/netns-rootless.cjs", import.meta.url));

/** With the same congestion control for all, the routes of the loopback inside have it too: for that one must be root there. */
function command({ mtu, congestion }: Setup, shards: number, more: readonly string[]): string[] {
  const same = congestion === null ? [] : ["--congestion", congestion, "--root"];
  return [PROGRAM, "run", "--mtu", `${mtu}`, "--shards", `${shards}`, ...same, ...more];
}

export const ours = withShards(1, {
  name: "netns-rootless",
  role: "ours",
  abilities: ["network", "published", "launch", "stack"],
});

/** The same with several threads, to stand beside it. */
export function oursWithShards(shards: number): Tool {
  return withShards(shards, {
    name: `${shards} shards`,
    role: "variant",
    abilities: ["network", "published", "launch"],
  });
}

function withShards(shards: number, what: Pick<Tool, "name" | "role" | "abilities">): Tool {
  return {
    ...what,

    async version() {
      if (!existsSync(BUNDLE)) throw new Error(`netns-rootless is not built: ${BUNDLE} is missing; run: npm run build`);
      return (await firstLine(PROGRAM, ["--version"])) ?? "unknown";
    },

    async start(bed, setup) {
      const port = unusedPort();
      const publish = ["--publish", `0.0.0.0:${port}:${port}`];
      const running = bed.start("netns-rootless", command(setup, shards, [...publish, "--", "sh"]));
      const shell = new Shell(running);
      const close = () => bed.stop(running);
      try {
        await awaitRoute(shell, setup.mtu);
        if (setup.congestion !== null) await setLoopbackCongestion(shell, setup.congestion);
        return { shell, port, pids: processTree(running.pid, ["sh"]), close };
      } catch (error) {
        await close();
        throw error;
      }
    },

    launch(_bed, setup, argv) {
      return command(setup, shards, ["--", ...argv]);
    },
  };
}
