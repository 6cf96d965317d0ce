/** What the main thread and the thread of a shard say to each other. Descriptors are numbers: they belong to the whole process. */
import type { Log } from "../policy/config.js";
import type { ShardPlace, SoloConfig } from "./config.js";

/** What a shard's thread begins with. */
export interface ShardStart {
  readonly config: Omit<SoloConfig, "log" | "began" | "rested" | "resolvConf">;
  readonly place: ShardPlace;
  /** Collect garbage in the thread, too, when a load has ended. */
  readonly collects: boolean;
}

export type ToShard =
  | { readonly kind: "join"; readonly tap: number; readonly mac: Uint8Array; readonly uso: boolean }
  /** Answers a request: sockets made inside, or none and the errno. */
  | {
      readonly kind: "sockets";
      readonly family: 4 | 6;
      readonly type: "stream" | "datagram";
      readonly fds: readonly number[];
      readonly errno: number;
    }
  | { readonly kind: "drain"; readonly milliseconds: number }
  | { readonly kind: "close" };

export type FromShard =
  /** The first one: it is there, and has its listeners. */
  | { readonly kind: "up" }
  | {
      readonly kind: "log";
      readonly level: keyof Log;
      readonly message: string;
      readonly fields: Record<string, unknown> | undefined;
    }
  | {
      readonly kind: "sockets";
      readonly family: 4 | 6;
      readonly type: "stream" | "datagram";
      readonly count: number;
    }
  | { readonly kind: "drained" }
  | { readonly kind: "failed"; readonly message: string }
  /** The last one. */
  | { readonly kind: "closed"; readonly counters: Record<string, number> };
