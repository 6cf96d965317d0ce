/** The stack on an engine that moves nothing, put together as src/network does it, and a sandbox that says what it is told. */
import { Counters } from "../../src/flow/counters.js";
import { FlowTable } from "../../src/flow/table.js";
import { Timers } from "../../src/flow/timers.js";
import { HostSockets } from "../../src/host/host-sockets.js";
import { Icmp } from "../../src/icmp/icmp.js";
import { EventKind, SLOT_SIZE, VNET_HEADER } from "../../src/native/engine.js";
import { NatPolicy } from "../../src/policy/nat-policy.js";
import { DhcpServer } from "../../src/services/dhcp.js";
import { Egress } from "../../src/stack/egress.js";
import { Reassembly } from "../../src/stack/fragments.js";
import { Ingress } from "../../src/stack/ingress.js";
import { Neighbours } from "../../src/stack/neighbours.js";
import { Tcp } from "../../src/tcp/tcp.js";
import { Udp } from "../../src/udp/udp.js";
import { parseAddress } from "../../src/wire/address.js";
import { addWords, checksum } from "../../src/wire/checksum.js";
import { StillEngine } from "./engine.js";

const OUR_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02);
const SANDBOX_MAC = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
const LINK = 0;
const IP = VNET_HEADER + 14;
/** Offset of the transport header in a frame with its vnet header. */
export const TRANSPORT = IP + 20;

export enum TcpFlag {
  Syn = 0x02,
  Rst = 0x04,
  Ack = 0x10,
}

export class BenchStack {
  readonly engine = new StillEngine();
  readonly view = new DataView(this.engine.memory.slab);
  readonly #flows: FlowTable;
  readonly #bytes = new Uint8Array(this.engine.memory.slab);

  constructor() {
    const { engine } = this;
    const { memory } = engine;
    const clock = { now: () => memory.clock[0] };
    let seed = 1;
    const random = {
      uint32: () => {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        return seed;
      },
    };
    const counters = new Counters();
    const neighbours = new Neighbours();
    const timers = new Timers(clock.now());
    const flows = new FlowTable({ random, limit: 65_536 });
    this.#flows = flows;
    const network = parseAddress("10.0.2.0");
    const gateway = parseAddress("10.0.2.2");
    const dns = parseAddress("10.0.2.3");
    const sandbox = parseAddress("10.0.2.100");
    const mtu = 1500;
    const policy = new NatPolicy({
      v4: { network, prefix: 24, gateway, dns },
      v6: null,
      serveDns: false,
      hostLoopback: "closed",
      outboundAddress: null,
      outboundAddress6: null,
    });
    const egress = new Egress({ memory, neighbours, clock, counters, mtu, gateway, v6: null, mac: OUR_MAC });
    const sockets = new HostSockets(engine, {
      frame: (link, offset, length) => ingress.frame(link, offset, length),
      linkDown: () => {},
    });
    const parts = {
      output: egress,
      streams: sockets,
      datagrams: sockets,
      policy,
      clock,
      random,
      counters,
      flows,
      timers,
    };
    const tcp = new Tcp(parts);
    const addressOf = () => sandbox;
    const dhcp = new DhcpServer({ addressOf, prefix: 24, gateway, dns: [], mtu, counters, respond: () => {} });
    const udp = new Udp({ ...parts, dns: null, dhcp, dhcpv6: null });
    const ingress = new Ingress({
      slab: memory.slab,
      egress,
      neighbours,
      reassembly: new Reassembly({ clock, counters, timers, output: egress }),
      counters,
      mac: OUR_MAC,
      network,
      prefix: 24,
      own: [gateway],
      v6: null,
      protocols: { tcp, udp, icmp: new Icmp({ ...parts, tcp, udp }) },
    });
    egress.addLink(LINK, true);
    neighbours.seed(LINK, sandbox, SANDBOX_MAC);
    engine.start(() => {
      egress.beginTurn();
      sockets.dispatch();
      timers.advance(clock.now());
      tcp.endOfTurn(true);
      sockets.endOfTurn();
    });
  }

  flowCount(): number {
    return this.#flows.size;
  }

  /** Lets time pass, until the next turn. */
  pass(milliseconds: number): void {
    this.engine.memory.clock[0] += milliseconds;
  }

  /**
   * Puts a TCP segment of the sandbox into slot `index` of the coming turn. The numbers may be negative, so that they
   * stay small integers, which nothing is allocated for.
   */
  tcp(index: number, port: number, flags: number, sequence: number, acknowledgment: number, payload: number): void {
    const at = this.#packet(index, 6, 20 + payload, 16);
    const { view } = this;
    view.setUint16(at, port);
    view.setUint16(at + 2, 80);
    view.setUint32(at + 4, sequence);
    view.setUint32(at + 8, acknowledgment);
    view.setUint16(at + 12, 0x5000 | flags);
    view.setUint16(at + 14, 65_535);
    view.setUint32(at + 16, 0);
    this.engine.event(EventKind.Frame, LINK, TRANSPORT + 20 + payload);
  }

  /** A SYN with the options that Linux sends: its own window scale is 10. */
  syn(index: number, port: number, sequence: number): void {
    const at = this.#packet(index, 6, 28, 16);
    const { view } = this;
    view.setUint16(at, port);
    view.setUint16(at + 2, 80);
    view.setUint32(at + 4, sequence);
    view.setUint32(at + 8, 0);
    view.setUint16(at + 12, 0x7000 | TcpFlag.Syn);
    view.setUint16(at + 14, 65_535);
    view.setUint32(at + 16, 0);
    view.setUint32(at + 20, 0x020405b4); // MSS 1460
    view.setUint32(at + 24, 0x0103030a); // no operation, window scale 10
    this.engine.event(EventKind.Frame, LINK, TRANSPORT + 28);
  }

  /** Puts a UDP datagram of the sandbox into slot `index` of the coming turn. */
  udp(index: number, port: number, payload: number): void {
    const at = this.#packet(index, 17, 8 + payload, 6);
    const { view } = this;
    view.setUint16(at, port);
    view.setUint16(at + 2, 4433);
    view.setUint16(at + 4, 8 + payload);
    view.setUint16(at + 6, 0);
    this.engine.event(EventKind.Frame, LINK, TRANSPORT + 8 + payload);
  }

  /** The headers in front, with the checksum left to whoever receives it; returns where the transport header begins. */
  #packet(index: number, protocol: number, length: number, checksumOffset: number): number {
    const { view } = this;
    const start = index * SLOT_SIZE;
    const ip = start + IP;
    this.#bytes.fill(0, start, ip);
    view.setUint8(start, 1);
    view.setUint16(start + 6, 34, true);
    view.setUint16(start + 8, checksumOffset, true);
    this.#bytes.set(OUR_MAC, start + VNET_HEADER);
    this.#bytes.set(SANDBOX_MAC, start + VNET_HEADER + 6);
    view.setUint16(start + VNET_HEADER + 12, 0x0800);
    view.setUint32(ip, 0x45000000 | (20 + length));
    view.setUint32(ip + 4, 0x00074000);
    view.setUint32(ip + 8, 0x40000000 | (protocol << 16));
    view.setUint32(ip + 12, 0x0a000264); // 10.0.2.100
    view.setUint32(ip + 16, 0xcb007101); // 203.0.113.1
    view.setUint16(ip + 10, checksum(addWords(view, ip, ip + 20, 0)));
    return start + TRANSPORT;
  }
}
