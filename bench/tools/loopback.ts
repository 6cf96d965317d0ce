import { unusedPort } from "../ports.js";
import { Shell } from "../shell.js";
import { BOUND_SHELL, setSubnetCongestion, type Tool } from "./tool.js";

async function plug(shell: Shell, address: string, mtu: number): Promise<void> {
  await shell.must(`ip address add ${address} dev eth0 && ip link set eth0 mtu ${mtu} up`);
}

/** Both ends in the bed's own namespace, over its loopback interface (MTU 65536 whatever is asked for): the limit. */
export const loopback: Tool = {
  name: "loopback",
  role: "limit",
  abilities: ["network", "published", "launch", "members"],

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

  /** Not over loopback, which joins no two namespaces, but over a pair of veth: what the kernel has for that. */
  async pair(bed, setup) {
    const first = bed.start("a namespace", ["unshare", "--user", "--map-root-user", "--net", ...BOUND_SHELL]);
    const server = new Shell(first);
    try {
      const pid = (await server.must("echo $$")).trim();
      const enter = [
        "nsenter",
        "--preserve-credentials",
        "--user",
        `--target=${pid}`,
        "unshare",
        "--net",
        ...BOUND_SHELL,
      ];
      const second = bed.start("another namespace", enter);
      const client = new Shell(second);
      const close = async () => {
        await Promise.all([bed.stop(second), bed.stop(first)]);
      };
      try {
        const other = (await client.must("echo $$")).trim();
        await server.must(`ip link add eth0 type veth peer name eth0 netns ${other}`);
        await plug(server, "10.0.2.100/24", setup.mtu);
        await plug(client, "10.0.2.101/24", setup.mtu);
        if (setup.congestion !== null) {
          await setSubnetCongestion(server, setup.congestion);
          await setSubnetCongestion(client, setup.congestion);
        }
        return { client, server, address: "10.0.2.100", close };
      } catch (error) {
        await bed.stop(second);
        throw error;
      }
    } catch (error) {
      await bed.stop(first);
      throw error;
    }
  },
};
