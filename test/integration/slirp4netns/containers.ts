/**
 * What Debian's podman, buildah and RootlessKit need to run in the bed, and what their tests share.
 *
 * They are run as an ordinary user who has no ranges of subordinate ids: in a user namespace that has that one user as root,
 * which `unshare` makes, where podman and buildah would otherwise make one with newuidmap (a setuid program, and nobody in the bed
 * has the id of its owner). The variables below tell them that it is made already. What follows is as ever: they start the
 * executable `slirp4netns`, which is ours, as that user, for a network namespace that they have made.
 *
 * A container's root file system is a busybox, so that who asks inside is a program of its own, down to the resolver;
 * the host's /usr is there too, for the bed's servers in Python (and for a busybox that needs libraries).
 */
import { type Bed, eventually, PROGRAMS, type ProgramOptions, ROOT } from "../../bed/bed.js";
import { CAPTURES, isCapturing } from "../../bed/capture.js";
import type { Program } from "../../bed/program.js";

/** The executable that takes slirp4netns's place. */
export const SLIRP4NETNS = `${ROOT}/scripts/slirp4netns`;
export const ROOTFS = "/tmp/rootfs";
/** Where a test may put executables that are found before all others. */
export const EXECUTABLES = "/tmp/executables";
/** The host's part of it. */
export const VOLUMES = [
  ...["-v", "/usr:/usr:ro", "-v", `${PROGRAMS}:/programs:ro`],
  ...(isCapturing ? ["-v", `${CAPTURES}:${CAPTURES}`] : []),
];

/** The generous end of every wait for a container: a machine may be busy. */
export const PATIENCE = 60_000;

export async function rootFileSystem(bed: Bed): Promise<void> {
  const make = `mkdir -p ${ROOTFS} && cd ${ROOTFS} && mkdir bin dev etc proc programs run sys tmp usr
cp "$(command -v busybox)" bin/busybox && ln -s busybox bin/sh && ln -s usr/lib lib && ln -s usr/lib64 lib64`;
  await bed.host(["bash", "-ec", make], { input: "" }).succeed();
}

/** The user namespace with its mounts, in which the commands of one test run: what one has made, the next one sees. */
export class Engine {
  readonly #bed: Bed;
  readonly #pid: number;

  private constructor(bed: Bed, pid: number) {
    this.#bed = bed;
    this.#pid = pid;
  }

  static async create(bed: Bed): Promise<Engine> {
    await rootFileSystem(bed);
    const holder = bed.host(["unshare", "--user", "--map-root-user", "--mount", "sleep", "4713"]);
    const pid = await holder.pid;
    await eventually(10_000, "unshare has made no namespace", async () =>
      (await bed.admin(`cat /proc/${pid}/comm`)).includes("sleep"),
    );
    return new Engine(bed, pid);
  }

  start(command: readonly string[], options: ProgramOptions = {}): Program {
    const enter = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", String(this.#pid), "--"];
    const env = {
      _CONTAINERS_USERNS_CONFIGURED: "done",
      _CONTAINERS_ROOTLESS_UID: String(process.getuid?.()),
      _CONTAINERS_ROOTLESS_GID: String(process.getgid?.()),
      ...options.env,
    };
    return this.#bed.host([...enter, ...command], { input: "", ...options, env });
  }
}

/** The command lines of our program that are running in slirp4netns's place, without the way to it. */
export async function helpers(bed: Bed): Promise<string[]> {
  const lines = (await bed.admin("ps -ww -e -o args=")).split("\n");
  const start = `${ROOT}/dist/src/cli/start.cjs slirp4netns `;
  return lines.filter((line) => line.includes(start)).map((line) => line.slice(line.indexOf(start) + start.length));
}

/** One datagram from the host or the internet to a port, and what comes back. */
export function datagram(bed: Bed, side: "host" | "internet", address: string, port: number, text: string) {
  // socat's socket is connected: an answer from another address or port would not arrive.
  const client = `for i in $(seq 20); do answer=$(printf %s '${text}' | socat -t1 - UDP4:${address}:${port}); [[ $answer ]] && break; sleep 0.2; done; printf %s "$answer"`;
  return bed.on(side, ["bash", "-c", client], { input: "" }).succeed(PATIENCE);
}

/** The bytes of one connection from the host or the internet to a port, which an echo has sent back. */
export function stream(bed: Bed, side: "host" | "internet", address: string, port: number, text: string) {
  return bed.on(side, ["nc", "-N", "-w10", address, String(port)], { input: text }).succeed(PATIENCE);
}
