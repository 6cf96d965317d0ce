/**
 * A program for the bed: a network `lab` with one member, and a VXLAN port to others. The command is the member's; its exit code is
 * ours, and at the end the network's counters are told on standard error.
 *
 * Usage: node vxlan-network.js VNI PORT REMOTE:PORT,... NAME ADDRESS COMMAND...
 */

import { Network } from "../../src/network/network.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import { hosts, resolvConf } from "../../src/sandbox/files.js";
import { launch } from "../../src/sandbox/launch.js";
import { Vxlan } from "../../src/vxlan/vxlan.js";
import { endpoint, formatAddress, parseAddress } from "../../src/wire/address.js";

const [vni, port, list, name, address, ...command] = process.argv.slice(2);
const remotes = list.split(",").map((each) => {
  const colon = each.lastIndexOf(":");
  return endpoint(parseAddress(each.slice(0, colon).replace(/[[\]]/g, "")), Number(each.slice(colon + 1)));
});
const mtu = remotes.some((remote) => remote[0] === 6) ? 1430 : 1450;
const network = await Network.open({
  cidr: { network: parseAddress("10.0.2.0"), prefix: 24 },
  mtu,
  gateway: parseAddress("10.0.2.2"),
  dns: parseAddress("10.0.2.3"),
  sandbox: parseAddress("10.0.2.100"),
  ipv4: true,
  v6: {
    network: parseAddress("fd00::"),
    prefix: 64,
    gateway: parseAddress("fd00::2"),
    dns: parseAddress("fd00::3"),
    sandbox: parseAddress("fd00::100"),
  },
  name: "lab",
  solo: false,
  upstreams: null,
  serveDns: true,
  search: [],
  hostLoopback: "closed",
  outboundAddress: null,
  outboundAddress6: null,
  congestion: ["cubic", "reno"],
  log: SILENT_LOG,
});
const vxlan = new Vxlan(network, { vni: Number(vni), port: Number(port), remotes, mtu });
const lease = network.lease({ v4: parseAddress(address) });
const v4 = { address, prefix: 24, gateway: "10.0.2.2" };
const v6 = lease.v6 && { address: formatAddress(lease.v6), prefix: 64, gateway: "fd00::2" };
const sandbox = await launch({
  network: { ifname: "tap0", mac: null, mtu, v4, v6, congestion: ["cubic", "reno"], queues: 1 },
  command,
  env: process.env,
  root: false,
  hostname: name,
  resolvConf: resolvConf({ nameserver: "10.0.2.3", search: ["lab.internal"], options: [] }),
  hosts: hosts({ hostname: name, subnets: [v4] }),
});
await network.join(sandbox, { name, lease });
sandbox.start();
const { code } = await sandbox.exited;
vxlan.close();
console.error(JSON.stringify(network.counters()));
await network.close();
await sandbox.release();
process.exitCode = code ?? 1;
