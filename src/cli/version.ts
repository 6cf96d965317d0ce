import { readFileSync } from "node:fs";
import path from "node:path";

/** Our own, of package.json. In the bundle every file takes itself for start.cjs: so this one is as deep as that. */
export function version(): string {
  const { version } = JSON.parse(readFileSync(path.join(import.meta.dirname, "../../../package.json"), "utf8")) as {
    version: string;
  };
  return version;
}
