/**
 * Who is there: the servers of this user, and the sandboxes that they have.
 *
 * Theory of operation. Each socket in the runtime directory is tried. One that refuses belongs to a server that is gone, and is
 * taken away (under the lock, and only if it still refuses then). One that does not answer within PATIENCE_MS is left alone and
 * told of: its server may be busy, or stopped. So nothing is ever listed that is not there. Where it cannot be found out, since we have no
 * descriptor left, say, that is an error: nothing that is there is taken for gone.
 */
import { readdirSync, unlinkSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { Client } from "./client.js";
import type { Event, NetworkInfo, SandboxInfo } from "./messages.js";
import { nearest } from "./names.js";
import { inParallel } from "./parallel.js";
import { requestSandboxes } from "./parts.js";
import type { RuntimeDirectory, ServerKind } from "./runtime.js";

const PATIENCE_MS = 3000;
const CONNECT_TRIES = 100;
const CONNECT_WAIT_MS = 10;
/** Servers that are asked at a time. */
const MOST_ASKED = 32;
const ENOENT = 2;
const EAGAIN = 11;
const ECONNREFUSED = 111;

const SOCKET = /^(network|sandbox)-(.+)\.sock$/;

/** A server, and what it said of itself. */
export interface Found {
  readonly kind: ServerKind;
  readonly name: string;
  readonly network: NetworkInfo;
  readonly sandboxes: readonly SandboxInfo[];
}

/** Somebody who does not answer. */
export interface Silent {
  readonly kind: ServerKind;
  readonly name: string;
  readonly path: string;
}

export interface Inventory {
  readonly found: readonly Found[];
  readonly silent: readonly Silent[];
}

export interface Looking {
  /** Hears what the server tells by itself. */
  readonly event?: (event: Event) => void;
  /** The caller holds the lock of the runtime directory. */
  readonly isLocked?: boolean;
}

/** Connects to a server. Null: there is none (and its socket, if there was one, is taken away). Rejects with a NetnsError. */
export async function connectServer(
  runtime: RuntimeDirectory,
  kind: ServerKind,
  name: string,
  looking: Looking = {},
): Promise<Client | null> {
  const client = await connectOrBusy(runtime, kind, name, looking);
  if (client !== "busy") return client;
  throw new NetnsError("HOST_LACKS", `the server of the ${kind} ${name} does not answer; netns-rootless prune ends it`);
}

/** "busy": its queue has been full for as long as we waited. */
async function connectOrBusy(
  runtime: RuntimeDirectory,
  kind: ServerKind,
  name: string,
  { event, isLocked = false }: Looking,
): Promise<Client | "busy" | null> {
  const file = runtime.socket(kind, name);
  const fd = await connectPath(file);
  if (fd >= 0) {
    assertOurs(fd, file);
    return new Client(fd, event);
  }
  if (fd === -EAGAIN) return "busy";
  if (fd === -ECONNREFUSED) {
    if (isLocked) removeDead(file);
    else await runtime.locked(async () => removeDead(file));
  } else if (fd !== -ENOENT) {
    const reason = getSystemErrorName(fd);
    throw new NetnsError("HOST_LACKS", `cannot connect to ${file} (${reason}): see errno(3), and ulimit -n for EMFILE`);
  }
  return null;
}

/** Who gets our launcher and its environment has to be our user. Throws a NetnsError, and closes the connection. */
function assertOurs(fd: number, file: string): void {
  const peer = native().peerCredentials(fd);
  if (typeof peer === "object" && peer.uid === process.geteuid?.()) return;
  native().closeFd(fd);
  throw new NetnsError("HOST_LACKS", `${file} is not served by a process of yours: remove it`);
}

/** Takes a socket away if nobody listens there. To be called under the lock. */
function removeDead(file: string): void {
  const fd = native().connectChannel(file);
  if (fd >= 0) native().closeFd(fd);
  else if (fd === -ECONNREFUSED) unlinkIfThere(file);
}

/** Asks all. */
export async function inventory(runtime: RuntimeDirectory, looking: Looking = {}): Promise<Inventory> {
  const found: Found[] = [];
  const silent: Silent[] = [];
  await inParallel(serverSockets(runtime), MOST_ASKED, async ({ kind, name }) => {
    const client = await connectOrBusy(runtime, kind, name, looking);
    if (client === null) return;
    const answer = client === "busy" ? "silent" : await withPatience(describe(client));
    if (client !== "busy") client.close();
    if (answer === "silent") silent.push({ kind, name, path: runtime.socket(kind, name) });
    else if (answer !== null) found.push({ kind, name, ...answer });
  });
  const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name, "en", { numeric: true });
  return { found: found.sort(byName), silent: silent.sort(byName) };
}

/** The servers' sockets, dead ones included. */
export function serverSockets(runtime: RuntimeDirectory): { kind: ServerKind; name: string }[] {
  return readdirSync(runtime.path).flatMap((file) => {
    const match = SOCKET.exec(file);
    return match === null ? [] : [{ kind: match[1] as ServerKind, name: match[2] }]; // one of the two, by the pattern
  });
}

/** Everything that a server tells of itself; null: it ended meanwhile; "silent": it is there, and does not tell. */
async function describe(client: Client): Promise<{ network: NetworkInfo; sandboxes: SandboxInfo[] } | "silent" | null> {
  try {
    const { answer, sandboxes } = await requestSandboxes(client, "info");
    return { network: answer as NetworkInfo, sandboxes }; // by server.ts
  } catch {
    return client.isEnded ? null : "silent";
  }
}

/** Throws a NetnsError (NAME_BUSY) where some server has a sandbox of that name, or is about to. To be called under the lock. */
export async function assertNameIsFree(runtime: RuntimeDirectory, name: string): Promise<void> {
  const { found, silent } = await inventory(runtime, { isLocked: true });
  const isTaken =
    found.some(
      (server) =>
        (server.kind === "sandbox" && server.name === name) ||
        server.network.claims.includes(name) ||
        server.sandboxes.some((each) => each.name === name),
    ) || silent.some((each) => each.kind === "sandbox" && each.name === name);
  if (!isTaken) return;
  throw new NetnsError(
    "NAME_BUSY",
    `a sandbox called ${name} is there already: choose another name, or end it with netns-rootless rm ${name}`,
  );
}

/** A sandbox by its name, and a connection to its server. Throws a NetnsError (NOT_FOUND) that tells what there is. */
export async function findSandbox(
  runtime: RuntimeDirectory,
  name: string,
): Promise<{ client: Client; sandbox: SandboxInfo; server: Found }> {
  const { found, silent } = await inventory(runtime);
  for (const server of found) {
    const sandbox = server.sandboxes.find((each) => each.name === name);
    if (sandbox === undefined) continue;
    const client = await connectServer(runtime, server.kind, server.name);
    if (client !== null) return { client, sandbox, server };
  }
  throw noSandbox(name, { found, silent });
}

/** That there is no sandbox of that name, with what there is. */
export function noSandbox(name: string, { found, silent }: Inventory): NetnsError {
  const names = found.flatMap(({ sandboxes }) => sandboxes.map((each) => each.name));
  return notFound("sandbox", name, names, silent);
}

/** A network by its name. Throws a NetnsError (NOT_FOUND). */
export async function findNetwork(runtime: RuntimeDirectory, name: string): Promise<Client> {
  const client = await connectServer(runtime, "network", name);
  if (client !== null) return client;
  const names = serverSockets(runtime).flatMap((each) => (each.kind === "network" ? [each.name] : []));
  throw notFound("network", name, names, []);
}

function notFound(what: string, name: string, names: readonly string[], silent: readonly Silent[]): NetnsError {
  const like = nearest(name, names);
  const list = what === "sandbox" ? "netns-rootless ls" : "netns-rootless network ls";
  let hint = names.length === 0 ? `there is no ${what} now` : `see ${list}`;
  if (like !== null) hint = `did you mean ${like}? See ${list}`;
  if (silent.length > 0)
    hint += ` (${silent.map((each) => each.name).join(", ")} does not answer; see netns-rootless prune)`;
  return new NetnsError("NOT_FOUND", `no ${what} is called ${name}: ${hint}`);
}

/** A descriptor or -errno. A listener whose queue is full is waited for. */
async function connectPath(file: string): Promise<number> {
  for (let tries = 0; ; tries++) {
    const fd = native().connectChannel(file);
    if (fd !== -EAGAIN || tries === CONNECT_TRIES) return fd;
    await new Promise((resolve) => setTimeout(resolve, CONNECT_WAIT_MS));
  }
}

export function unlinkIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

async function withPatience<T>(answer: Promise<T>): Promise<T | "silent"> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"silent">((resolve) => {
    timer = setTimeout(() => resolve("silent"), PATIENCE_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
