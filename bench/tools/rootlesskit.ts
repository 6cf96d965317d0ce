/**
 * RootlessKit with its builtin port driver; its network is slirp4netns', which is measured by itself, so that among the peers
 * only published ports and the start of a command count (containers.ts has the rest).
 *
 * RootlessKit has newuidmap and newgidmap map a range of ids. These are setuid programs, which have no power in a user
 * namespace without root such as the bed; two scripts in their place map the one id that an ordinary user may map.
 */
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bed } from "../bed.js";
import { unusedPort } from "../ports.js";
import { firstLine, processTree } from "../processes.js";
import { Shell } from "../shell.js";
import {
  awaitRoute,
  BOUND_SHELL,
  type Setup,
  setDefaultRouteCongestion,
  setLoopbackCongestion,
  type Tool,
} from "./tool.js";

const STAND_INS = {
  newuidmap: 'echo "0 $(id -u) 1" >"/proc/$1/uid_map"',
  newgidmap: 'echo deny >"/proc/$1/setgroups"; echo "0 $(id -g) 1" >"/proc/$1/gid_map"',
};

function standIns(bed: Bed): string {
  const directory = join(bed.directory, "rootlesskit");
  mkdirSync(directory, { recursive: true });
  for (const [name, script] of Object.entries(STAND_INS)) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(directory, name), 0o755);
  }
  return directory;
}

function command(bed: Bed, slirp4netns: string, { mtu }: Setup, more: readonly string[]): string[] {
  const state = mkdtempSync(join(bed.directory, "state-"));
  const network = [
    "--net=slirp4netns",
    `--slirp4netns-binary=${slirp4netns}`,
    `--mtu=${mtu}`,
    "--disable-host-loopback",
  ];
  return [
    "env",
    `PATH=${standIns(bed)}:${process.env.PATH ?? "/usr/bin:/bin"}`,
    "rootlesskit",
    `--state-dir=${join(state, "rootlesskit")}`,
    ...network,
    ...more,
  ];
}

export const rootlesskit = rootlessKitOver("slirp4netns", {
  name: "rootlesskit",
  role: "peer",
  abilities: ["published", "launch"],
});

/** RootlessKit with this executable as its slirp4netns. */
export function rootlessKitOver(slirp4netns: string, what: Pick<Tool, "name" | "role" | "abilities">): Tool {
  return {
    ...what,

    async version() {
      const line = await firstLine("rootlesskit", ["--version"]);
      if (line === null) throw new Error("rootlesskit is missing; on Debian: apt-get install rootlesskit");
      return `${line.replace("rootlesskit version ", "")} (builtin port driver, slirp4netns)`;
    },

    async start(bed, setup) {
      const port = unusedPort();
      const publish = ["--port-driver=builtin", "--publish", `0.0.0.0:${port}:${port}/tcp`];
      const running = bed.start("rootlesskit", command(bed, slirp4netns, setup, [...publish, ...BOUND_SHELL]));
      const shell = new Shell(running);
      const close = () => bed.stop(running);
      try {
        await awaitRoute(shell, setup.mtu);
        if (setup.congestion !== null) {
          await setDefaultRouteCongestion(shell, setup.congestion);
          await setLoopbackCongestion(shell, setup.congestion);
        }
        return { shell, port, pids: processTree(running.pid, ["sh"]), close };
      } catch (error) {
        await close();
        throw error;
      }
    },

    launch(bed, setup, argv) {
      return command(bed, slirp4netns, setup, argv);
    },
  };
}
