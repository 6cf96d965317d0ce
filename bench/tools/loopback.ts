import { unusedPort } from "../ports.js";
import { Shell } from "../shell.js";
import type { Tool } from "./tool.js";

/** Both ends in the bed's own namespace, over its loopback interface (MTU 65536 whatever is asked for): the limit. */
export const loopback: Tool = {
  name: "loopback",
  role: "limit",
  abilities: ["network", "published", "launch"],

  async version() {
    return "plain loopback, no sandbox";
  },

  // The bed's routes have the congestion control already, and any port is "published" as it is.
  async start(bed) {
    const running = bed.start("the shell on loopback", ["sh"]);
    return { shell: new Shell(running), port: unusedPort(), pids: [], close: () => bed.stop(running) };
  },

  launch(_bed, _setup, command) {
    return command;
  },
};
