/**
 * Making sandboxes that have a name or a network in common with others: what `create` and the forms of `run` with `--name`,
 * `--network` or `--detach` share.
 *
 * Theory of operation. Under the lock of the runtime directory it is seen that the name is free, the server is found or started,
 * and the name is claimed there. Then the server gets the launcher that waits for us, and does the rest (control/server.ts).
 * Three ways lead to a server:
 *
 *     --network NET                      the network's; started where there is none, and then ends with its last member
 *     detached, a network of its own     one of its own, started
 *     in front, a network of its own     this process (run-named.ts)
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { Client } from "../control/client.js";
import { assertNameIsFree, connectServer, unlinkIfThere } from "../control/directory.js";
import type { Event, JoinRequest, SandboxInfo } from "../control/messages.js";
import { checkName } from "../control/names.js";
import { settledWithin } from "../control/parallel.js";
import { requestSandbox } from "../control/parts.js";
import type { RuntimeDirectory, ServerKind } from "../control/runtime.js";
import { type ErrorCode, NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import type { PreparedLauncher } from "../sandbox/sandbox.js";
import type { ConfineWish } from "./confinement.js";
import type { LogOptions } from "./log.js";
import { type NetworkWishes, networkSettings, parseAddressOption } from "./options.js";
import type { ServeOrder } from "./serve.js";
import type { VxlanWishes } from "./vxlan.js";

/** What `create` and `run` take beside the options of a network. */
export interface NamedWishes extends NetworkWishes, LogOptions, ConfineWish {
  readonly name?: string | undefined;
  readonly network?: string | undefined;
  readonly detach?: boolean | undefined;
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly isolate?: boolean | undefined;
  readonly root?: boolean | undefined;
  /** File for a capture of what enters and leaves the sandbox. */
  readonly pcap?: string | undefined;
}

/** What a server is started with. */
export type ServerWishes = NetworkWishes & ConfineWish;

/** Options that belong to a whole network, and not to one sandbox in it, with what they are called on the command line. */
const OF_THE_NETWORK = {
  ipv4Only: "-4",
  ipv6Only: "-6",
  cidr: "--cidr",
  cidr6: "--cidr6",
  mtu: "--mtu",
  dns: "--dns",
  dnsSearch: "--dns-search",
  allowHostLoopback: "--allow-host-loopback",
  outboundAddr: "--outbound-addr",
  outboundAddr6: "--outbound-addr6",
  congestion: "--congestion",
  confine: "--no-confine",
} as const satisfies Partial<Record<keyof ServerWishes, string>>;

const LONGEST_SHOWN = 200;
const CLAIM_TRIES = 5;
/** How long a network that ends may take for that until the next try. */
const LAST_GOODBYE_MS = 5000;

/** The wishes that make a network. */
export function networkWishes(wishes: ServerWishes): ServerWishes {
  const keys = Object.keys(OF_THE_NETWORK) as (keyof typeof OF_THE_NETWORK)[]; // its own
  return Object.fromEntries(keys.flatMap((key) => (wishes[key] === undefined ? [] : [[key, wishes[key]]])));
}

export function joinRequest(name: string, command: readonly string[], wishes: NamedWishes): JoinRequest {
  const address = (option: string, text: string | undefined, family: 4 | 6) =>
    text === undefined ? null : parseAddressOption(option, text, family);
  if (wishes.network === undefined && wishes.isolate) {
    throw new NetnsError("USAGE", "--isolate: without --network there is nobody to be kept apart from; leave it out");
  }
  if (wishes.shards !== undefined && String(wishes.shards) !== "1") {
    throw new NetnsError("USAGE", "--shards: sandboxes with a name or a network have one; leave it out");
  }
  const told = wishes.verbose ? "--verbose" : wishes.logFile === undefined ? null : "--log-file";
  if (told !== null) {
    throw new NetnsError(
      "USAGE",
      `${told}: of sandboxes with a name or a network nothing is told line by line; leave it out, and see the counters of netns-rootless inspect`,
    );
  }
  const { hostname, mac, ifname } = networkSettings(wishes); // all of it is checked before anything is started
  const typed = command.join(" ");
  return {
    name,
    hostname,
    publish: [...(wishes.publish ?? [])],
    hostIp: wishes.hostIp ?? null,
    ip: address("--ip", wishes.ip, 4),
    ip6: address("--ip6", wishes.ip6, 6),
    mac,
    ifname,
    isolate: wishes.isolate === true,
    root: wishes.root === true,
    detach: wishes.detach === true,
    commandLength: command.length,
    command: typed.length > LONGEST_SHOWN ? `${typed.slice(0, LONGEST_SHOWN - 1)}…` : typed,
  };
}

export interface Joined {
  readonly client: Client;
  readonly info: SandboxInfo;
}

/**
 * Has a server take the sandbox in. Rejects with a NetnsError; nothing is left then.
 * @param given the options that were written on the command line
 * @param before is done when the name is claimed and the sandbox still to come, which does not come where it rejects
 */
export async function joinServer(
  runtime: RuntimeDirectory,
  request: JoinRequest,
  wishes: NamedWishes,
  given: ReadonlySet<string>,
  prepared: PreparedLauncher | null,
  event: (event: Event) => void = () => {},
  before: (client: Client) => Promise<void> = async () => {},
): Promise<Joined> {
  const network = wishes.network === undefined ? null : checkName("--network", wishes.network);
  if (prepared === null) {
    throw new NetnsError(
      "HOST_LACKS",
      "no launcher was prepared: start the program by its script, with standard input, output and error open",
    );
  }
  const client = await runtime.locked(async () => {
    await assertNameIsFree(runtime, request.name);
    for (let tries = 1; ; tries++) {
      const found = await findOrStart(runtime, request.name, network, wishes, given, event);
      try {
        await found.request("claim", { name: request.name });
        return found;
      } catch (error) {
        // A network that ends just now, with its last member, makes room for a new one.
        const isEnding = found.isEnded || (error instanceof NetnsError && error.code === "NOT_FOUND"); // by server.ts
        const isRetried = isEnding && network !== null && tries < CLAIM_TRIES;
        if (isRetried) await settledWithin(LAST_GOODBYE_MS, found.ended);
        found.close();
        if (!isRetried) throw error;
      }
    }
  });
  try {
    await before(client);
    return { client, info: await requestSandbox(client, "join", { ...request }, [prepared.channel]) };
  } catch (error) {
    client.close();
    throw error;
  } finally {
    native().closeFd(prepared.channel);
  }
}

/**
 * Leaves a sandbox to itself that was made with `detach`: until now it would have ended with us. What its command writes goes to its
 * log from here on, with what it has written already. Rejects with a NetnsError.
 */
export async function keepSandbox(runtime: RuntimeDirectory, client: Client, name: string): Promise<void> {
  const log = openSync(runtime.log(name), "w+", 0o600);
  try {
    await client.request("keep", { name }, [log]);
  } catch (error) {
    unlinkIfThere(runtime.log(name));
    throw error;
  } finally {
    closeSync(log);
  }
}

async function findOrStart(
  runtime: RuntimeDirectory,
  name: string,
  network: string | null,
  wishes: NamedWishes,
  given: ReadonlySet<string>,
  event: (event: Event) => void,
): Promise<Client> {
  if (network === null) return startServer(runtime, "sandbox", name, false, networkWishes(wishes), event);
  const found = await connectServer(runtime, "network", network, { isLocked: true, event });
  if (found === null) return startServer(runtime, "network", network, false, networkWishes(wishes), event);
  for (const [key, option] of Object.entries(OF_THE_NETWORK)) {
    if (!given.has(key)) continue;
    found.close();
    throw new NetnsError(
      "USAGE",
      `${option}: the network ${network} is there already, and this belongs to all of it; give it to netns-rootless network create`,
    );
  }
  return found;
}

/** Starts a server, and waits until it listens. To be called under the lock. Rejects with a NetnsError. */
export async function startServer(
  runtime: RuntimeDirectory,
  kind: ServerKind,
  name: string,
  stays: boolean,
  wishes: ServerWishes & VxlanWishes,
  event: (event: Event) => void = () => {},
): Promise<Client> {
  runtime.socket(kind, name); // a name that is too long is told here
  const order: ServeOrder = { kind, name, stays, wishes };
  const [own, peer] = native().openPair();
  let failure: NetnsError | null = null;
  const client = new Client(own, (told) => {
    if (told.event === "failed")
      failure = new NetnsError(told.code as ErrorCode, String(told.message)); // by serve.ts
    else event(told);
  });
  try {
    const child = spawn(process.execPath, [process.argv[1], "serve", JSON.stringify(order)], {
      cwd: "/",
      detached: true,
      env: serverEnvironment(),
      stdio: ["ignore", "ignore", "ignore", peer],
    });
    child.on("error", () => client.close());
    child.unref();
  } finally {
    native().closeFd(peer);
  }
  try {
    await client.request("info");
    return client;
  } catch (error) {
    client.close();
    throw failure ?? error;
  }
}

/** What a server needs: it runs on when the session that it was started in has ended. See native/launcher/front.c. */
function serverEnvironment(): NodeJS.ProcessEnv {
  const kept: NodeJS.ProcessEnv = { MALLOC_ARENA_MAX: "1", UV_USE_IO_URING: "0" };
  for (const name of ["XDG_RUNTIME_DIR", "NETNS_ROOTLESS_NATIVE", "NODE_V8_COVERAGE"]) {
    if (process.env[name] !== undefined) kept[name] = process.env[name];
  }
  return kept;
}
