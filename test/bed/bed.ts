/**
 * The test bed: a host and an internet that exist only for one test.
 *
 *      the test (node, ordinary user)
 *        │ stdin of the owner (bash, process 1 of the bed): scripts; its end ends the bed
 *   ┌────┴────────────────────── one user + process + mount namespace ──────────────────────────┐
 *   │  "host" network namespace                          "internet" network namespace           │
 *   │                                                                                            │
 *   │  lo    127.0.0.1                                   lo    203.0.113.10  web                 │
 *   │  eth0  198.51.100.2/24 ────────── veth ─────────── eth0  198.51.100.1/24  router,          │
 *   │   ▲    default via 198.51.100.1                    │               also "another machine"  │
 *   │   │                                                lo    203.0.113.53  DNS                 │
 *   │   │ sockets                                        lo    203.0.113.7, .11 … .16  others    │
 *   │  netns-rootless  (caller's uid, no capabilities)   192.0.2.0/25    unreachable             │
 *   │   │ TAP                                            192.0.2.128/25  prohibited              │
 *   │  ┌┴────────────────────┐                                                                   │
 *   │  │ sandbox: 10.0.2.100 │          own /etc (writable), own /tmp, own /proc                 │
 *   └──┴─────────────────────┴───────────────────────────────────────────────────────────────────┘
 *
 * IPv6 likewise: 198.51.100.N is 2001:db8:51::N, 203.0.113.N is 2001:db8:113::N, 192.0.2.0/24 is 2001:db8:2::/64. The host has
 * both families towards the internet, or only one if a test wants that; the internet always has both.
 *
 * Nothing in it needs a privilege: an ordinary user makes a user namespace and owns everything in it. No packet can leave,
 * since neither network namespace has a link to the real one. The owner keeps the capabilities over the bed; every program
 * that a test starts enters the bed by nsenter and loses them with its exec, as an ordinary user's program has none.
 *
 * Life: `Bed.create(t)` makes it, the end of the test takes it down: the owner is process 1 of the bed's process namespace,
 * so with it the kernel kills all that runs in the bed, and with the last process the namespaces, mounts and links go. The
 * owner ends when its standard input ends, hence also when the test process is killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";
import { captured, capturedArguments, isCapturing, STOP_CAPTURES, startCaptures } from "./capture.js";
import { Program } from "./program.js";

/** The host of the bed, as other machines see it. */
export const HOST = "198.51.100.2";
/** The other machine on the host's network, and its router. */
export const NEIGHBOUR = "198.51.100.1";
export const WEB = "203.0.113.10";
export const DNS = "203.0.113.53";
/** More machines of the internet. */
export const OTHERS = ["203.0.113.11", "203.0.113.12", "203.0.113.13", "203.0.113.14", "203.0.113.15", "203.0.113.16"];
/** The bed's router answers "host unreachable" for this one. */
export const UNREACHABLE = "192.0.2.1";

/** Addresses of a sandbox with default options. */
export const SANDBOX = "10.0.2.100";
export const GATEWAY = "10.0.2.2";
export const SANDBOX_DNS = "10.0.2.3";

/** The same for one family: what a test that is run for both speaks of. */
export interface World {
  readonly family: 4 | 6;
  readonly host: string;
  readonly neighbour: string;
  readonly web: string;
  /** A name of that one which has an address of this family only (services.ts). */
  readonly webName: string;
  readonly dns: string;
  readonly others: readonly string[];
  readonly unreachable: string;
  /** What connect() says of that one: Linux's IPv6 router answers "no route" where its IPv4 sister says "host unreachable". */
  readonly unreachableError: string;
  /** All addresses of a machine, and its loopback. */
  readonly any: string;
  readonly loopback: string;
  readonly sandbox: string;
  readonly gateway: string;
  readonly sandboxDns: string;
  /** The other machine, by another of its addresses. */
  readonly elsewhere: string;
}

export const IPV4: World = {
  family: 4,
  host: HOST,
  neighbour: NEIGHBOUR,
  web: WEB,
  webName: "four.bed.test",
  dns: DNS,
  others: OTHERS,
  unreachable: UNREACHABLE,
  unreachableError: "EHOSTUNREACH",
  any: "0.0.0.0",
  loopback: "127.0.0.1",
  sandbox: SANDBOX,
  gateway: GATEWAY,
  sandboxDns: SANDBOX_DNS,
  elsewhere: "203.0.113.7",
};

export const IPV6: World = {
  family: 6,
  host: "2001:db8:51::2",
  neighbour: "2001:db8:51::1",
  web: "2001:db8:113::10",
  webName: "six.bed.test",
  dns: "2001:db8:113::53",
  others: [11, 12, 13, 14, 15, 16].map((last) => `2001:db8:113::${last}`),
  unreachable: "2001:db8:2::1",
  unreachableError: "ENETUNREACH",
  any: "::",
  loopback: "::1",
  sandbox: "fd00::100",
  gateway: "fd00::2",
  sandboxDns: "fd00::3",
  elsewhere: "2001:db8:113::7",
};

export const WORLDS: readonly World[] = [IPV4, IPV6];

/** An address as it stands before a port, and in a URL. */
export function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** The checkout. */
export const ROOT = fileURLToPath(new URL("../../../", import.meta.url)).replace(/\/$/, "");
/** Our helpers written in Python. */
export const PROGRAMS = `${ROOT}/test/bed/programs`;
const NATIVE = process.env.NETNS_ROOTLESS_NATIVE ?? `${ROOT}/native/build/Release`;
/** The program as scripts/start.sh starts it. */
export const MAIN: readonly string[] = [
  `${NATIVE}/launcher`,
  "front",
  process.execPath,
  `${ROOT}/dist/src/cli/start.cjs`,
];

/** How many shards every network of the tests has, unless a test says it; undefined: the program's default. */
const SHARDS = process.env.NETNS_ROOTLESS_TEST_SHARDS;

export type Side = "host" | "internet";

export interface ProgramOptions {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  /** Hard limit of open files. */
  readonly descriptors?: number;
  /** What the program reads; without it, standard input stays open until `end()`. */
  readonly input?: string;
}

// Says which process this is in the bed, goes to the wished directory, and becomes the program.
const ANNOUNCE = 'echo $$ >&3; exec 3>&-; cd "$1"; shift; exec "$@"';

export class Bed {
  readonly #owner: ChildProcess;
  readonly #pids: Record<"owner" | "internet", number>;
  #answers: Promise<unknown> = Promise.resolve();

  private constructor(owner: ChildProcess, pids: Record<"owner" | "internet", number>) {
    this.#owner = owner;
    this.#pids = pids;
  }

  /**
   * A new bed, which goes when the test ends.
   * @param host `ping`: whether net.ipv4.ping_group_range of the host has the caller's group; `families`: what it has towards
   * the internet
   */
  static async create(t: ExecutionContext, host: { ping?: boolean; families?: "4" | "6" | "46" } = {}): Promise<Bed> {
    const { ping = true, families = "46" } = host;
    if (process.getuid?.() === 0) {
      throw new Error(
        "the integration tests show what an ordinary user can do: run them as one (.ci/run does that for root)",
      );
    }
    const namespaces = [
      "--user",
      "--map-current-user",
      "--keep-caps",
      "--net",
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
    ];
    const owner = spawn(
      "unshare",
      [...namespaces, "bash", `${ROOT}/test/bed/holder.sh`, ROOT, ping ? "ping" : "no-ping", families],
      {
        stdio: ["pipe", "pipe", "pipe"],
        env: environment(),
      },
    );
    owner.stdin.on("error", () => {});
    const greeting = await until(owner, /ready\n/);
    const pid = (name: string) => Number(greeting.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1]);
    const bed = new Bed(owner, { owner: pid("owner"), internet: pid("internet") });
    t.teardown(() => bed.close());
    if (isCapturing) await bed.admin(startCaptures(PROGRAMS, t.title));
    return bed;
  }

  /** Starts a program on the host, as an ordinary user. */
  host(command: readonly string[], options: ProgramOptions = {}): Program {
    return this.#start("host", command, options);
  }

  /** Starts a program on the internet. */
  internet(command: readonly string[], options: ProgramOptions = {}): Program {
    return this.#start("internet", command, options);
  }

  on(side: Side, command: readonly string[], options: ProgramOptions = {}): Program {
    return this.#start(side, command, options);
  }

  /** Starts netns-rootless on the host. */
  netns(args: readonly string[], options: ProgramOptions = {}): Program {
    return this.host([...MAIN, ...withShards(capturedArguments(args))], options);
  }

  /** Starts a command in a new sandbox: `netns-rootless run FLAGS -- COMMAND`. */
  run(command: readonly string[], flags: readonly string[] = [], options: ProgramOptions = {}): Program {
    return this.netns(["run", ...flags, "--", ...captured(command)], options);
  }

  /** Runs a shell script in a new sandbox to its end. */
  script(script: string, flags: readonly string[] = [], options: ProgramOptions = {}): Program {
    return this.run(["bash", "-c", script], flags, { input: "", ...options });
  }

  /** Runs a script with all capabilities over the bed, and gives its output. */
  admin(script: string): Promise<string> {
    const answer = this.#answers.then(async () => {
      const text = until(this.#owner, /\n\d+\0/);
      this.#owner.stdin?.write(`${script}\0`);
      const [, output = "", status] = (await text).match(/^(.*)\n(\d+)\0$/s) ?? [];
      if (status !== "0") throw new Error(`${script}: ended with ${status}\n${output}`);
      return output;
    });
    this.#answers = answer.catch(() => {});
    return answer;
  }

  /**
   * Sends a signal to a process of the bed; one that is gone is no error. Do not stop a program's own process (but one that
   * it started): the nsenter that waits for it outside of the bed would stop with it, and stay so.
   */
  async kill(pid: number, signal: string): Promise<void> {
    // A process that is told to stop first ends the system calls that it is in.
    const isStopped = `! grep -q '^State:[[:space:]]*[^TtZX[:space:]]' /proc/${pid}/task/*/status 2>/dev/null`;
    const stopped = `for i in {1..500}; do if ${isStopped}; then break; fi; sleep 0.01; done`;
    await this.admin(`kill -s ${signal} ${pid} 2>/dev/null ${signal === "STOP" ? `&& { ${stopped}; }` : ""} || :`);
  }

  /** Waits until something listens on (or is bound to) a port, of one address if that is given. */
  async listening(side: Side, protocol: "tcp" | "udp", port: number, address?: string): Promise<void> {
    const where = address === undefined ? `sport = :${port}` : `src ${bracketed(address)}:${port}`;
    const ss = `ss -Hn${protocol === "tcp" ? "tl" : "ua"} '${where}'`;
    const command = side === "host" ? ss : `nsenter -t ${await this.#internetInside()} -n ${ss}`;
    await eventually(
      10_000,
      `nothing listens on ${side} port ${port}/${protocol}`,
      async () => (await this.admin(command)) !== "",
    );
  }

  /** Takes the bed down, and with it all that runs in it. */
  async close(): Promise<void> {
    if (this.#owner.exitCode !== null || this.#owner.signalCode !== null) return;
    if (isCapturing) await this.admin(STOP_CAPTURES).catch(() => {});
    const gone = new Promise((resolve) => this.#owner.once("exit", resolve));
    this.#owner.stdin?.destroy();
    const timer = setTimeout(() => this.#owner.kill("SIGKILL"), 2000);
    await gone;
    clearTimeout(timer);
  }

  /** Process id of the owner as the test sees it. */
  get ownerPid(): number {
    return this.#pids.owner;
  }

  #internetPid: string | undefined;
  async #internetInside(): Promise<string> {
    this.#internetPid ??= (await this.admin("echo $internet")).trim();
    return this.#internetPid;
  }

  #start(side: Side, command: readonly string[], options: ProgramOptions): Program {
    const of = `/proc/${this.#pids.owner}/ns`;
    const net = side === "host" ? `${of}/net` : `/proc/${this.#pids.internet}/ns/net`;
    const enter = [
      "--preserve-credentials",
      `--user=${of}/user`,
      `--mount=${of}/mnt`,
      `--pid=${of}/pid`,
      `--net=${net}`,
    ];
    const limit = options.descriptors === undefined ? [] : ["prlimit", `--nofile=1024:${options.descriptors}`];
    const child = spawn(
      "nsenter",
      [...enter, "sh", "-c", ANNOUNCE, "sh", options.cwd ?? "/tmp", ...limit, ...command],
      {
        stdio: ["pipe", "pipe", "pipe", "pipe"],
        env: { ...environment(), ...options.env },
      },
    );
    const program = new Program(command, child, (pid) => void this.kill(pid, "KILL"));
    if (options.input !== undefined) program.end(options.input);
    return program;
  }
}

/** Options that leave no choice: sandboxes with a name or a network have one, and some tests choose themselves. */
const FIXED_SHARDS = ["--shards", "--name", "--network", "--detach"];

/** The arguments, with `--shards` where SHARDS says so and there is a choice: the whole suite runs with any number of them. */
function withShards(args: readonly string[]): readonly string[] {
  const [command, ...rest] = args;
  const options = rest.slice(0, rest.includes("--") ? rest.indexOf("--") : rest.length);
  const isFree = !options.some((option) => FIXED_SHARDS.includes(option));
  const wanted = SHARDS !== undefined && (command === "run" || command === "attach") && isFree;
  return wanted ? [command, "--shards", SHARDS, ...rest] : args;
}

/** Asks again and again until the answer is yes. */
export async function eventually(
  within: number,
  otherwise: string,
  ask: () => Promise<boolean> | boolean,
): Promise<void> {
  const deadline = Date.now() + within;
  while (!(await ask())) {
    if (Date.now() > deadline) throw new Error(`${otherwise} (after ${within} ms)`);
    await sleep(20);
  }
}

function environment(): Record<string, string> {
  const path = process.env.PATH ?? "/usr/bin:/bin";
  return {
    PATH: `${path}:/usr/sbin:/sbin`,
    HOME: "/tmp",
    XDG_RUNTIME_DIR: "/tmp",
    LANG: "C.UTF-8",
    TERM: "xterm",
    USER: process.env.USER ?? "user",
  };
}

/** Reads the owner's output until it matches. */
function until(owner: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    let complaints = "";
    const onData = (chunk: Buffer) => {
      text += chunk.toString();
      if (pattern.test(text)) finish(() => resolve(text));
    };
    const onComplaint = (chunk: Buffer) => {
      complaints += chunk.toString();
    };
    const onEnd = () => finish(() => reject(new Error(`the bed ended:\n${text}${complaints}`)));
    const timer = setTimeout(
      () => finish(() => reject(new Error(`the bed does not answer:\n${text}${complaints}`))),
      20_000,
    );
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      owner.stdout?.off("data", onData);
      owner.stderr?.off("data", onComplaint);
      owner.off("close", onEnd);
      owner.off("error", reject);
      settle();
    };
    owner.stdout?.on("data", onData);
    owner.stderr?.on("data", onComplaint);
    owner.on("close", onEnd);
    owner.on("error", reject);
  });
}
