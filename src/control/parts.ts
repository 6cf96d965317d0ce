/**
 * Sandboxes over a control connection: as parts before the answer, since a packet holds neither many of them nor thousands of ports.
 * One whose ports do not fit into a piece is told again with the next ones; pieces are put together by its name.
 */
import type { Client } from "./client.js";
import type { Peer } from "./listener.js";
import type { SandboxInfo } from "./messages.js";

/** Well below MAX_PACKET, since a piece is added as long as less than this is there. */
const PART_BYTES = 24_576;
const PORTS_OF_PIECE = 128;

export function tellSandboxes(peer: Pick<Peer, "part">, sandboxes: readonly SandboxInfo[]): void {
  let part: SandboxInfo[] = [];
  let bytes = 0;
  for (const piece of sandboxes.flatMap(pieces)) {
    part.push(piece);
    bytes += Buffer.byteLength(JSON.stringify(piece));
    if (bytes < PART_BYTES) continue;
    peer.part(part);
    part = [];
    bytes = 0;
  }
  if (part.length > 0) peer.part(part);
}

function pieces(sandbox: SandboxInfo): SandboxInfo[] {
  const told: SandboxInfo[] = [];
  for (let at = 0; at === 0 || at < sandbox.ports.length; at += PORTS_OF_PIECE) {
    told.push({ ...sandbox, ports: sandbox.ports.slice(at, at + PORTS_OF_PIECE) });
  }
  return told;
}

/** Asks for what is answered with sandboxes. Rejects as Client.request() does. */
export async function requestSandboxes(
  client: Client,
  op: string,
  fields: Readonly<Record<string, unknown>> = {},
  fds: readonly number[] = [],
): Promise<{ answer: unknown; sandboxes: SandboxInfo[] }> {
  const sandboxes: SandboxInfo[] = [];
  const answer = await client.request(op, fields, fds, (part) => {
    for (const piece of part as SandboxInfo[]) add(sandboxes, piece); // by tellSandboxes()
  });
  return { answer, sandboxes };
}

/** The same where there is one. */
export async function requestSandbox(
  client: Client,
  op: string,
  fields: Readonly<Record<string, unknown>>,
  fds: readonly number[] = [],
): Promise<SandboxInfo> {
  const { sandboxes } = await requestSandboxes(client, op, fields, fds);
  if (sandboxes.length !== 1) throw new RangeError(`${op} was answered with ${sandboxes.length} sandboxes`);
  return sandboxes[0];
}

function add(sandboxes: SandboxInfo[], piece: SandboxInfo): void {
  const last = sandboxes.at(-1);
  if (last?.name !== piece.name) sandboxes.push(piece);
  else sandboxes[sandboxes.length - 1] = { ...last, ports: [...last.ports, ...piece.ports] };
}
