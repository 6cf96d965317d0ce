import { readFileSync } from "node:fs";

/** Our own, of package.json. In the bundle every file takes itself for start.cjs: so this one is as deep as that. */
export function version(): string {
  const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  return version;
}
