import { Shell } from "../shell.js";
import type { Tool } from "./tool.js";

/** Both ends in the bed's own namespace, over its loopback interface (MTU 65536 whatever is asked for): the limit. */
export const loopback: Tool = {
  name: "loopback",
  role: "limit",

  async version() {
    return "plain loopback, no sandbox";
  },

  // The bed's routes have the congestion control already.
  async start(bed) {
    const running = bed.start("the shell on loopback", ["sh"]);
    return { shell: new Shell(running), pids: [], close: () => bed.stop(running) };
  },
};
