/** What a run of the bench found, as it is written with --json. */
import type { Machine } from "./machine.js";
import type { Section } from "./rows/row.js";
import { advantage, median, type Summary, summarize } from "./statistics.js";
import type { Role } from "./tools/tool.js";

export interface Result {
  readonly row: string;
  /** A row can have several, such as p50 and p99. */
  readonly metric: string;
  readonly section: Section;
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly mtu: number;
  /** Congestion control on the routes inside and in the bed; null: as installed. */
  readonly congestion: string | null;
  readonly tool: string;
  readonly role: Role;
  /** One value per round that succeeded, in the unit. */
  readonly values: number[];
  readonly errors: string[];
}

export interface Report {
  readonly schema: 2;
  readonly date: string;
  readonly command: string;
  readonly machine: Machine;
  readonly tools: { readonly name: string; readonly version: string }[];
  readonly rounds: number;
  /** What a measurement lasts, and the longer ones of TCP with one flow. */
  readonly seconds: number;
  readonly longest: number;
  /** False when time ran out before every round was made. */
  readonly complete: boolean;
  readonly results: Result[];
}

/** One line of the table: the same measurement for every tool. */
export interface Comparison {
  readonly row: string;
  readonly metric: string;
  readonly section: Section;
  readonly title: string;
  readonly unit: string;
  readonly mtu: number;
  readonly congestion: string | null;
  readonly better: "higher" | "lower";
  /** By tool; null where it failed, and no entry where it does not apply. */
  readonly summaries: ReadonlyMap<string, Summary | null>;
  /** The peer with the best median. */
  readonly bestPeer: string | null;
  /** How many times better ours is, by medians; null where one is missing. */
  readonly toBestPeer: number | null;
  readonly toLimit: number | null;
}

interface Peer {
  readonly tool: string;
  readonly value: number | null;
}

function beats(peer: Peer, best: Peer | null, better: "higher" | "lower"): boolean {
  return best === null || (advantage(peer.value, best.value, better) ?? 0) > 1;
}

/** Puts the results of one measurement side by side, in the order in which they were first seen. */
export function compare(results: readonly Result[]): Comparison[] {
  const groups = new Map<string, Result[]>();
  for (const result of results) {
    const key = `${result.row} ${result.metric} ${result.mtu} ${result.congestion}`;
    groups.set(key, [...(groups.get(key) ?? []), result]);
  }
  return [...groups.values()].flatMap((group) => {
    const first = group[0];
    if (first === undefined) return [];
    const medianOf = (role: Role) => median(group.find((result) => result.role === role)?.values ?? []);
    const ours = medianOf("ours");
    const peers: Peer[] = group
      .filter((result) => result.role === "peer")
      .map((result) => ({ tool: result.tool, value: median(result.values) }))
      .filter((peer) => peer.value !== null);
    const best = peers.reduce<Peer | null>((best, peer) => (beats(peer, best, first.better) ? peer : best), null);
    return [
      {
        row: first.row,
        metric: first.metric,
        section: first.section,
        title: first.title,
        unit: first.unit,
        mtu: first.mtu,
        congestion: first.congestion,
        better: first.better,
        summaries: new Map(group.map((result) => [result.tool, summarize(result.values)])),
        bestPeer: best?.tool ?? null,
        toBestPeer: advantage(ours, best?.value ?? null, first.better),
        toLimit: advantage(ours, medianOf("limit"), first.better),
      },
    ];
  });
}
