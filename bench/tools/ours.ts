import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { firstLine } from "../processes.js";
import { Shell } from "../shell.js";
import { awaitRoute, type Tool } from "./tool.js";

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

export const ours: Tool = {
  name: "netns-rootless",
  role: "ours",

  async version() {
    if (!existsSync(MAIN)) throw new Error(`netns-rootless is not built: ${MAIN} is missing; run: npm run build`);
    return (await firstLine(process.execPath, [MAIN, "--version"])) ?? "unknown";
  },

  async start(bed, { mtu, congestion }) {
    const options = ["--mtu", `${mtu}`, ...(congestion === null ? [] : ["--congestion", congestion])];
    const running = bed.start("netns-rootless", [process.execPath, MAIN, "run", ...options, "--", "sh"]);
    const sandbox = { shell: new Shell(running), pids: [running.pid], close: () => bed.stop(running) };
    try {
      await awaitRoute(sandbox.shell, mtu);
      return sandbox;
    } catch (error) {
      await sandbox.close();
      throw error;
    }
  },
};
