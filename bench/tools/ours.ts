import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Bed } from "../bed.js";
import { unusedPort } from "../ports.js";
import { firstLine, processTree } from "../processes.js";
import { Shell } from "../shell.js";
import { awaitRoute, type Named, type Setup, setLoopbackCongestion, setSubnetCongestion, type Tool } from "./tool.js";

/** As installed, which is how it starts fastest. */
const PROGRAM = fileURLToPath(new URL("../../../scripts/bin", import.meta.url));
const BUNDLE = fileURLToPath(new URL("../../bundle/netns-rootless.cjs", import.meta.url));

/** With the same congestion control for all, the routes of the loopback inside have it too: for that one must be root there. */
function command({ mtu, congestion }: Setup, more: readonly string[]): string[] {
  const same = congestion === null ? [] : ["--congestion", congestion, "--root"];
  return ["run", "--mtu", `${mtu}`, ...same, ...more];
}

/** What begins a command about sandboxes with names, which are the bed's own. */
export function commandInBed(bed: Bed): string[] {
  return ["env", `XDG_RUNTIME_DIR=${bed.directory}`, PROGRAM];
}

/** It ends with the command that it runs, a shell. */
async function named(bed: Bed, setup: Setup, name: string, options: readonly string[]): Promise<Named> {
  const running = bed.start(`sandbox ${name}`, [...commandInBed(bed), ...options, "--name", name, "--", "sh"]);
  const shell = new Shell(running);
  const close = () => bed.stop(running);
  try {
    await awaitRoute(shell, setup.mtu);
    if (setup.congestion !== null) await setSubnetCongestion(shell, setup.congestion);
    return { name, shell, close };
  } catch (error) {
    await close();
    throw error;
  }
}

export const ours: Tool = {
  ...withShards(1, {
    name: "netns-rootless",
    role: "ours",
    abilities: ["network", "published", "launch", "stack", "members", "capture"],
  }),

  async pair(bed, setup) {
    const server = await named(bed, setup, "bench-server", command(setup, ["--network", "bench"]));
    try {
      // What belongs to the network is the first one's to say.
      const client = await named(bed, setup, "bench-client", ["run", "--root", "--network", "bench"]);
      const close = async () => {
        await Promise.all([client.close(), server.close()]);
      };
      return { client: client.shell, server: server.shell, address: server.name, close };
    } catch (error) {
      await server.close();
      throw error;
    }
  },

  named: (bed, setup) => named(bed, setup, "bench-captured", command(setup, [])),

  launchBare: (argv) => [PROGRAM, "run", "--", ...argv],
};

/** The same with several threads, to stand beside it. */
export function oursWithShards(shards: number): Tool {
  return withShards(shards, {
    name: `${shards} shards`,
    role: "variant",
    abilities: ["network", "published", "launch"],
  });
}

function withShards(count: number, what: Pick<Tool, "name" | "role" | "abilities">): Tool {
  const shards = ["--shards", `${count}`];
  return {
    ...what,

    async version() {
      if (!existsSync(BUNDLE)) throw new Error(`netns-rootless is not built: ${BUNDLE} is missing; run: npm run build`);
      return (await firstLine(PROGRAM, ["--version"])) ?? "unknown";
    },

    async start(bed, setup) {
      const port = unusedPort();
      const publish = ["--publish", `0.0.0.0:${port}:${port}`];
      const running = bed.start("netns-rootless", [PROGRAM, ...command(setup, [...shards, ...publish, "--", "sh"])]);
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
      return [PROGRAM, ...command(setup, [...shards, "--", ...argv])];
    },
  };
}
