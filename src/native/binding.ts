/**
 * The one place that loads the addon, and that knows where the native part lies: native/build/Release, made by node-gyp.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { NetnsError } from "../errors.js";
import type { ChannelBinding } from "./channel.js";

/** All that the addon exports. */
export type Addon = ChannelBinding;

const folder = new URL("../../../native/build/Release/", import.meta.url);
let loaded: Addon | null = null;

/** The addon, loaded at the first call. Throws a NetnsError (NATIVE) that says what to do when that fails. */
export function native(): Addon {
  if (loaded) return loaded;
  const file = fileURLToPath(new URL("engine.node", folder));
  try {
    loaded = createRequire(import.meta.url)(file) as Addon; // the addon's own exports, declared beside it
    return loaded;
  } catch (cause) {
    const text = `cannot load ${file}: build it with npm ci, or install the package again`;
    throw new NetnsError("NATIVE", text, { cause });
  }
}

/** The launcher's executable. */
export function launcherPath(): string {
  return fileURLToPath(new URL("launcher", folder));
}
