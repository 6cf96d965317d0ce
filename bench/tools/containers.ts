/**
 * What makes containers' networks with slirp4netns, twice each: with the one that is installed, and with ours in its place.
 *
 * podman runs in a user namespace that is made for it, as it could not use newuidmap in the bed (see rootlesskit.ts); the
 * variables say that this has been done. Its container has the host's programs.
 */
import { mkdirSync, mkdtempSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bed } from "../bed.js";
import { unusedPort } from "../ports.js";
import { firstLine, processTree, within } from "../processes.js";
import { Shell } from "../shell.js";
import { rootlessKitOver } from "./rootlesskit.js";
import { awaitRoute, cannotLaunch, type Setup, setDefaultRouteCongestion, type Tool } from "./tool.js";

const OURS = fileURLToPath(new URL("../../../scripts/bin-slirp4netns", import.meta.url));
const STARTS_MS = 10_000;
const ENDS_MS = 10_000;

/** A root file system whose programs are the host's, once that one's /usr is mounted. */
function rootFileSystem(directory: string): string {
  const root = join(directory, "container");
  for (const name of ["dev", "etc", "proc", "run", "sys", "tmp", "usr"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  for (const name of ["bin", "lib", "lib64", "sbin"]) symlinkSync(`usr/${name}`, join(root, name));
  return root;
}

function command(directory: string, slirp4netns: string, { mtu }: Setup): string[] {
  const namespace = ["unshare", "--user", "--map-root-user", "--mount"];
  const variables = [
    `HOME=${directory}`,
    `XDG_RUNTIME_DIR=${directory}`,
    "_CONTAINERS_USERNS_CONFIGURED=done",
    `_CONTAINERS_ROOTLESS_UID=${process.getuid?.()}`,
    `_CONTAINERS_ROOTLESS_GID=${process.getgid?.()}`,
  ];
  const places = [`--root=${join(directory, "root")}`, `--runroot=${join(directory, "run")}`];
  const ways = ["--runtime=runc", "--cgroup-manager=cgroupfs", "--storage-driver=vfs", "--events-backend=none"];
  const network = [`--network=slirp4netns:mtu=${mtu},enable_ipv6=false`, "--cap-add=NET_ADMIN"];
  const files = ["--volume=/usr:/usr:ro", "--rootfs", rootFileSystem(directory)];
  return [
    ...[...namespace, "env", ...variables],
    ...["podman", `--network-cmd-path=${slirp4netns}`, ...places, ...ways],
    ...["run", "--rm", "--interactive", ...network, ...files, "sh"],
  ];
}

/** podman with this executable as its slirp4netns; no ports, which would be RootlessKit's or slirp4netns's. */
function podmanOver(slirp4netns: string, what: Pick<Tool, "name" | "role" | "abilities">): Tool {
  return {
    ...what,

    async version() {
      const line = await firstLine("podman", ["--version"]);
      if (line === null) throw new Error("podman is missing; on Debian: apt-get install podman runc");
      return line.replace("podman version ", "");
    },

    async start(bed: Bed, setup) {
      const found = (await firstLine("sh", ["-c", 'command -v "$0"', slirp4netns])) ?? slirp4netns;
      const directory = mkdtempSync(join(bed.directory, "podman-"));
      const running = bed.start("podman", command(directory, found, setup));
      const shell = new Shell(running);
      const close = async () => {
        // The shell ends with its input, then podman with its container; what it does after SIGKILL takes longer.
        running.child.stdin.end();
        await within(ENDS_MS, running.exited);
        await bed.stop(running);
      };
      try {
        await shell.must("true", STARTS_MS);
        await awaitRoute(shell, setup.mtu);
        if (setup.congestion !== null) await setDefaultRouteCongestion(shell, setup.congestion);
        return { shell, port: unusedPort(), pids: processTree(running.pid, ["sh"]), close };
      } catch (error) {
        await close();
        throw error;
      }
    },

    launch: cannotLaunch,
  };
}

const WHAT = { role: "variant", abilities: ["network"] } as const;

export const containers: readonly Tool[] = [
  podmanOver("slirp4netns", { ...WHAT, name: "podman" }),
  podmanOver(OURS, { ...WHAT, name: "podman, ours" }),
  rootlessKitOver("slirp4netns", { ...WHAT, name: "rootlesskit, net" }),
  rootlessKitOver(OURS, { ...WHAT, name: "rootlesskit, ours" }),
];
