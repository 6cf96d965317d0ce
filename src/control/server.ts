/**
 * The server of one network: what it does for those who speak to it over its control socket.
 *
 * Theory of operation. A sandbox comes as the channel of a launcher that somebody started (its command, environment, terminal
 * and standard streams are that one's) and with the wishes about it. The server leases addresses, takes the ports, configures
 * the launcher, gets the TAP from it, and makes it a member of the network. From then on it holds the launcher: where the server ends, for
 * whatever reason, the channels end, and with them the sandboxes.
 *
 *     claim   the name is the client's until it joins or goes        join    as above; answers when the command was started
 *     keep    a detached sandbox goes on without the client, which may give a file for what the command writes
 *     info    all that is to be known, the sandboxes as parts        signal  for the sandbox that this client waits for
 *     remove  ends a sandbox        port-add, port-remove            proxy   opens one that leads to the members
 *     end     ends the server, if nobody is there, or by force      capture, capture-stop   see captures.ts
 *
 * A sandbox belongs to the client that joined: it hears "ended", and when it goes before, the sandbox goes too. So whoever makes a
 * detached one and is killed meanwhile leaves nothing; once it says `keep`, the sandbox is its own. A server ends when nobody is
 * left: no sandbox, no claim, unless it `stays` and nobody ends it.
 *
 * The names of sandboxes are one user's: whoever claims one has asked all servers before, under the lock of the runtime directory.
 */
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { soloNames } from "../network/names.js";
import type { Network } from "../network/network.js";
import type { Log, PublishSpec } from "../policy/config.js";
import type { Publisher } from "../publish/publisher.js";
import { adopt } from "../sandbox/adopt.js";
import { hosts, resolvConf } from "../sandbox/files.js";
import { randomMac } from "../sandbox/launch.js";
import type { InsideNetwork, InsideSubnet, Sandbox } from "../sandbox/sandbox.js";
import { type Address, type Endpoint, formatAddress, formatEndpoint } from "../wire/address.js";
import { CaptureDesk } from "./captures.js";
import { Listener, type Operation, type Operations, type Peer } from "./listener.js";
import { keepLog } from "./log-file.js";
import { type JoinRequest, type NetworkInfo, VERSION } from "./messages.js";
import { settledWithin } from "./parallel.js";
import { tellSandboxes } from "./parts.js";
import { Resident } from "./resident.js";

/** Characters of a command that are kept to be shown. */
const LONGEST_SHOWN = 200;
/** How long what a command wrote last may take to get into its log when all ends, and what a capture holds to its reader. */
const LAST_LOGS_MS = 1000;
const LAST_PACKETS_MS = 3000;

/** Listeners of proxies, which stay as long as the network. */
const MOST_PROXIES = 64;

/** A name that is about to be a sandbox's, or is a detached one's that nobody has kept yet. */
interface Claim {
  readonly peer: Peer;
  hasJoined: boolean;
  isKept: boolean;
  /** The pipe for what its command writes. */
  output: number | null;
}

export interface ServedSubnet {
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
}

/** What a server is made of; the commands check and make it (cli/serve.ts). */
export interface ServerParts {
  readonly kind: "network" | "sandbox";
  readonly name: string;
  /** It stays when nobody is left. */
  readonly stays: boolean;
  readonly network: Network;
  /** Its way to others elsewhere; null: it has none. */
  readonly vxlan: { readonly vni: number; readonly port: number; readonly remotes: readonly Endpoint[] } | null;
  readonly v4: ServedSubnet | null;
  readonly v6: ServedSubnet | null;
  readonly mtu: number;
  readonly congestion: readonly string[];
  /** Null: nothing answers at the DNS address, and the host's resolv.conf stays. */
  readonly resolver: { readonly search: readonly string[]; readonly options: readonly string[] } | null;
  readonly log: Log;
  /** `--publish` and `--host-ip` as they were typed; throws a NetnsError. */
  readonly parsePorts: (publish: readonly string[], hostIp: string | null) => WishedPorts;
  readonly parseAddress: (text: string) => Address;
  /** `[ADDR:]PORT`; undefined: any free port of the loopback. Throws a NetnsError. */
  readonly parseProxyPlace: (text: string | undefined) => Endpoint;
}

export interface WishedPorts {
  readonly publish: readonly PublishSpec[];
  /** Addresses of the host on which every port appears that the sandbox listens on; null: all of them. */
  readonly automatic: readonly (Address | null)[];
}

export class Server {
  /** Settles when nobody is left and it need not stay, or when it was told to end. */
  readonly over: Promise<void>;
  readonly #parts: ServerParts;
  readonly #listener: Listener;
  readonly #residents = new Map<string, Resident>();
  readonly #claims = new Map<string, Claim>();
  readonly #logs = new Set<Promise<void>>();
  readonly #captures: CaptureDesk;
  readonly #since = Date.now();
  #stays: boolean;
  #used = false;
  #proxies = 0;
  #isEnding = false;
  #end: () => void = () => {};

  /** @param more operations beside its own */
  constructor(parts: ServerParts, more: Operations = new Map()) {
    this.#parts = parts;
    this.#captures = new CaptureDesk(parts.network, () => this.residents());
    this.#stays = parts.stays;
    this.over = new Promise((resolve) => {
      this.#end = resolve;
    });
    const own: [string, Operation][] = [
      ["info", (_, peer) => this.#info(peer)],
      ["claim", (fields, peer) => this.#claim(text(fields.name), peer)],
      ["join", (fields, peer, fds) => this.#join(fields, peer, fds)],
      ["keep", (fields, peer, fds) => this.#keep(fields, peer, fds)],
      ["signal", (fields) => this.#signal(fields)],
      ["remove", (fields) => this.#resident(fields).remove()],
      ["port-add", (fields, peer) => this.#addPort(fields, peer)],
      ["port-remove", (fields) => this.#removePort(fields)],
      ["proxy", (fields) => this.#openProxy(fields.place)],
      ["end", (fields) => this.#endAll(fields.force === true)],
      ["capture", (fields, peer, fds) => this.#captures.begin(fields, peer, fds)],
      ["capture-stop", (_, peer) => this.#captures.stopOf(peer)],
    ];
    this.#listener = new Listener(new Map([...own, ...more]), () => this.#look());
  }

  /** Returns 0 or -errno. */
  listen(path: string): number {
    return this.#listener.listen(path);
  }

  /** Serves a connection that was made otherwise. */
  serve(fd: number): void {
    this.#listener.serve(fd);
  }

  /** The sandbox of that name. Throws a NetnsError (NOT_FOUND). */
  resident(name: string): Resident {
    const resident = this.#residents.get(name);
    if (resident === undefined) throw new NetnsError("NOT_FOUND", `no sandbox is called ${name} (any more)`);
    return resident;
  }

  residents(): readonly Resident[] {
    return [...this.#residents.values()];
  }

  /**
   * Takes a sandbox in. `open` makes it: of a launcher that somebody handed over, or of one of ours.
   * Rejects with a NetnsError; nothing of it is left then.
   */
  async admit(wish: JoinRequest, open: (inside: InsideSandbox) => Promise<Sandbox>): Promise<Resident> {
    const { network, kind, log, parsePorts, parseAddress } = this.#parts;
    const solo = kind === "sandbox";
    if (this.#residents.has(wish.name)) throw nameTaken(wish.name);
    const { publish, automatic } = parsePorts(wish.publish, wish.hostIp);
    let ports: Publisher | null = null;
    let sandbox: Sandbox | null = null;
    let lease: ReturnType<Network["lease"]> | null = null;
    try {
      ports = network.openPorts(publish);
      lease = network.lease({
        ...(wish.ip !== null && { v4: parseAddress(wish.ip) }),
        ...(wish.ip6 !== null && { v6: parseAddress(wish.ip6) }),
      });
      const hostname = wish.hostname ?? wish.name;
      sandbox = await open(this.#inside(wish, hostname, lease.v4, lease.v6));
      for (const note of sandbox.notes) log.info(`${wish.name}: ${note}`);
      sandbox.exited.catch(() => {}); // who waits for it hears of it
      const joining = network.join(sandbox, {
        name: solo ? null : wish.name,
        lease,
        ports,
        isolate: wish.isolate,
        automatic,
        ...(solo && { names: soloNames(hostname, lease) }),
      });
      lease = null; // join() gives it back where it fails
      const member = await joining;
      const networkName = solo ? null : this.#parts.name;
      const resident = new Resident({ wish, hostname, networkName, network, sandbox, member, log });
      this.#residents.set(wish.name, resident);
      this.#captures.arrived(resident);
      this.#used = true;
      resident.ended.then(() => {
        this.#residents.delete(wish.name);
        this.#look();
      });
      sandbox.start();
      return resident;
    } catch (error) {
      lease?.release();
      if (ports !== null) network.closePorts(ports);
      await sandbox?.release();
      await network.settle(); // then the ports can be taken again
      throw error;
    }
  }

  /** Ends all that is there, and the network: the end of their connections tells the clients that nothing is left. */
  async close(): Promise<void> {
    this.#isEnding = true;
    this.#listener.stopListening();
    await Promise.all(this.residents().map((resident) => resident.remove()));
    await Promise.all([
      settledWithin(LAST_PACKETS_MS, this.#captures.stopAll()),
      settledWithin(LAST_LOGS_MS, Promise.all(this.#logs)),
    ]);
    await this.#parts.network.close();
    await this.#listener.close();
  }

  #info(peer: Peer): NetworkInfo {
    const { kind, name, network, v4, v6, mtu, resolver, vxlan } = this.#parts;
    const all = this.residents().map((resident) => resident.info());
    tellSandboxes(peer, all);
    return {
      version: VERSION,
      kind,
      name,
      server: process.pid,
      subnets: [v4, v6]
        .filter((subnet) => subnet !== null)
        .map(({ network: first, prefix, gateway, dns }) => ({
          subnet: `${formatAddress(first)}/${prefix}`,
          gateway: formatAddress(gateway),
          dns: resolver === null ? null : formatAddress(dns),
        })),
      mtu,
      vxlan: vxlan && { ...vxlan, remotes: vxlan.remotes.map((remote) => formatEndpoint(remote)) },
      stays: this.#stays,
      since: this.#since,
      members: all.length,
      claims: [...this.#claims.keys()],
      counters: network.counters(),
    };
  }

  #claim(name: string, peer: Peer): void {
    if (this.#residents.has(name) || this.#claims.has(name)) throw nameTaken(name);
    if (this.#isEnding) throw this.#ends();
    if (this.#parts.kind === "sandbox" && name !== this.#parts.name) {
      throw new NetnsError("USAGE", `${this.#parts.name} has a network of its own; nobody else can join it`);
    }
    const claim: Claim = { peer, hasJoined: false, isKept: false, output: null };
    this.#claims.set(name, claim);
    peer.gone.then(() => this.#forgetClaim(name, claim));
  }

  #forgetClaim(name: string, claim: Claim): void {
    if (claim.output !== null) native().closeFd(claim.output);
    claim.output = null;
    if (this.#claims.get(name) !== claim) return;
    this.#claims.delete(name);
    this.#look();
  }

  #claimOf(name: string, peer: Peer): Claim {
    const claim = this.#claims.get(name);
    if (claim?.peer.gone === peer.gone) return claim;
    if (this.#isEnding) throw this.#ends();
    throw new NetnsError("INTERNAL", `the name ${name} was not claimed before`);
  }

  /** The launcher's channel comes with it. */
  async #join(fields: Readonly<Record<string, unknown>>, peer: Peer, fds: readonly number[]): Promise<void> {
    const ours = [...fds]; // those that nobody has taken yet
    let release = () => {};
    try {
      const wish = joinRequest(fields);
      const claim = this.#claimOf(wish.name, peer);
      release = () => this.#forgetClaim(wish.name, claim);
      const resident = await this.admit(wish, async (inside) => {
        const channel = ours.shift();
        if (channel === undefined) throw new NetnsError("INTERNAL", "no launcher came with the request");
        const { commandLength, detach } = wish;
        const sandbox = await adopt({ ...inside, channel, commandLength, hold: commandLength === 0, detach });
        claim.output = sandbox.output;
        return sandbox;
      });
      if (peer.isGone) {
        await resident.remove(); // whoever wanted it has gone before it was told
        return;
      }
      if (this.#isEnding) {
        await resident.remove();
        throw this.#ends();
      }
      claim.hasJoined = true;
      this.#holdFor(resident, claim);
      if (wish.detach) release = () => {}; // it is claimed until it is kept
      tellSandboxes(peer, [resident.info()]);
    } finally {
      for (const fd of ours) native().closeFd(fd);
      release();
    }
  }

  /** Its client waits in front of it, for its end, or leaves it and thereby ends it. */
  #holdFor(resident: Resident, claim: Claim): void {
    const { peer } = claim;
    peer.gone.then(async () => {
      if (!claim.isKept) await resident.remove();
    });
    resident.ended.then(({ code, signal }) => {
      if (!peer.isGone) peer.event("ended", { name: resident.name, code, signal });
    });
  }

  /** It may have ended already; what its command wrote is still there. */
  #keep(fields: Readonly<Record<string, unknown>>, peer: Peer, fds: readonly number[]): void {
    const ours = [...fds];
    try {
      const name = text(fields.name);
      const claim = this.#claimOf(name, peer);
      if (!claim.hasJoined) throw new NetnsError("INTERNAL", `the sandbox ${name} is not there yet`);
      claim.isKept = true;
      const pipe = claim.output;
      const file = pipe === null ? undefined : ours.shift();
      if (pipe !== null && file !== undefined) {
        claim.output = null;
        const written = keepLog(pipe, file);
        this.#logs.add(written);
        written.then(() => this.#logs.delete(written));
      }
      this.#forgetClaim(name, claim);
    } finally {
      for (const fd of ours) native().closeFd(fd);
    }
  }

  #inside(wish: JoinRequest, hostname: string, v4: Address | null, v6: Address | null): InsideSandbox {
    const parts = this.#parts;
    const subnet = (address: Address | null, of: ServedSubnet | null): InsideSubnet | null =>
      address && of && { address: formatAddress(address), prefix: of.prefix, gateway: formatAddress(of.gateway) };
    const subnets = { v4: subnet(v4, parts.v4), v6: subnet(v6, parts.v6) };
    const dns = (parts.v4 ?? parts.v6)?.dns;
    const { resolver } = parts;
    return {
      network: {
        ifname: wish.ifname,
        mac: wish.mac ?? randomMac(),
        mtu: parts.mtu,
        ...subnets,
        congestion: parts.congestion,
        queues: 1,
      },
      root: wish.root,
      hostname,
      resolvConf:
        resolver === null || dns === undefined ? null : resolvConf({ nameserver: formatAddress(dns), ...resolver }),
      hosts: hosts({ hostname, subnets: [subnets.v4, subnets.v6].filter((each) => each !== null) }),
    };
  }

  #signal(fields: Readonly<Record<string, unknown>>): void {
    this.#resident(fields).signal(text(fields.signal) as NodeJS.Signals, fields.fromTerminal === true); // unknown ones go nowhere
  }

  async #addPort(fields: Readonly<Record<string, unknown>>, peer: Peer): Promise<void> {
    const resident = this.#resident(fields);
    const added: ReturnType<Resident["member"]["addPort"]>[] = [];
    try {
      for (const spec of this.#parts.parsePorts([text(fields.spec)], null).publish)
        added.push(resident.member.addPort(spec));
    } catch (error) {
      for (const port of added) void resident.member.removePort(port);
      await this.#parts.network.settle();
      throw error;
    }
    tellSandboxes(peer, [resident.info()]);
  }

  async #removePort(fields: Readonly<Record<string, unknown>>): Promise<void> {
    const { member, ...resident } = this.#resident(fields);
    const { port, protocol, address } = fields;
    const matching = member.published.filter(
      (each) =>
        each.port === port &&
        (protocol === null || each.spec.protocol === protocol) &&
        (address === null || formatAddress(each.address) === address),
    );
    if (matching.length === 0) {
      throw new NetnsError(
        "NOT_FOUND",
        `host port ${port} is not published by ${resident.name}; see netns-rootless port ls ${resident.name}`,
      );
    }
    await Promise.all(matching.map((port) => member.removePort(port)));
  }

  #openProxy(place: unknown): { at: string } {
    if (this.#proxies >= MOST_PROXIES) {
      throw new NetnsError(
        "NETWORK_FULL",
        `the network has ${MOST_PROXIES} proxies already, which end with it; use one of them`,
      );
    }
    const proxy = this.#parts.network.openProxy(this.#parts.parseProxyPlace(place === null ? undefined : text(place)));
    this.#proxies++;
    return { at: formatEndpoint(proxy.local) };
  }

  async #endAll(force: boolean): Promise<void> {
    const users = new Set([...this.#residents.keys(), ...this.#claims.keys()]);
    if (users.size > 0 && !force) {
      const names = [...users].join(", ");
      throw new NetnsError(
        "USAGE",
        `the network ${this.#parts.name} is in use by ${names}; end them first, or add --force`,
      );
    }
    this.#stays = false;
    this.#used = true;
    this.#isEnding = true; // whoever is just joining is shown out
    await Promise.all(this.residents().map((resident) => resident.remove()));
    for (const [name, claim] of [...this.#claims]) this.#forgetClaim(name, claim);
    this.#look();
  }

  #ends(): NetnsError {
    return new NetnsError("NOT_FOUND", `the network ${this.#parts.name} was removed meanwhile`);
  }

  #resident(fields: Readonly<Record<string, unknown>>): Resident {
    return this.resident(text(fields.name));
  }

  /** Ends where nobody is left; a new server waits for the first as long as somebody is connected. */
  #look(): void {
    if (this.#stays || this.#residents.size > 0 || this.#claims.size > 0) return;
    if (!this.#used && this.#listener.connections > 0) return;
    this.#isEnding = true; // whoever asks to join now wants another
    this.#end();
  }
}

/** What a launcher is to be told. */
export interface InsideSandbox {
  readonly network: InsideNetwork;
  readonly root: boolean;
  readonly hostname: string;
  readonly resolvConf: string | null;
  readonly hosts: string;
}

function nameTaken(name: string): NetnsError {
  return new NetnsError(
    "NAME_BUSY",
    `a sandbox called ${name} is there already: choose another name, or netns-rootless rm ${name}`,
  );
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new NetnsError("USAGE", "a text is missing in the request");
  return value;
}

function joinRequest(fields: Readonly<Record<string, unknown>>): JoinRequest {
  const optional = (value: unknown) => (value === null || value === undefined ? null : text(value));
  const { publish, commandLength } = fields;
  if (!Array.isArray(publish)) throw new NetnsError("USAGE", "publish is missing in the request");
  if (typeof commandLength !== "number" || !Number.isInteger(commandLength) || commandLength < 0) {
    throw new NetnsError("USAGE", "commandLength is missing in the request");
  }
  return {
    name: text(fields.name),
    hostname: optional(fields.hostname),
    publish: publish.map(text),
    hostIp: optional(fields.hostIp),
    ip: optional(fields.ip),
    ip6: optional(fields.ip6),
    mac: optional(fields.mac),
    ifname: text(fields.ifname),
    isolate: fields.isolate === true,
    root: fields.root === true,
    detach: fields.detach === true,
    commandLength,
    command: text(fields.command).slice(0, LONGEST_SHOWN),
  };
}
