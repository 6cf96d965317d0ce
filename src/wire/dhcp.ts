/**
 * DHCPv4 messages (RFC 2131, figure 1) and their options (RFC 2132):
 *
 *     0  op, htype, hlen, hops     12  ciaddr    28  chaddr (16)    236  magic 0x63825363
 *     4  xid                       16  yiaddr    44  sname (64)     240  options: code, length, bytes
 *     8  secs, flags               20  siaddr   108  file (128)
 *                                  24  giaddr
 */
export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

const FIXED = 240;
/** The shortest message that every client takes: BOOTP's 300 bytes (RFC 1542 2.1). */
const SHORTEST = 300;
const MAGIC = 0x63825363;
const BOOT_REQUEST = 1;
const BOOT_REPLY = 2;
const ETHERNET = 1;

export enum DhcpType {
  Discover = 1,
  Offer = 2,
  Request = 3,
  Decline = 4,
  Ack = 5,
  Nak = 6,
  Release = 7,
  Inform = 8,
}

export enum DhcpOption {
  Pad = 0,
  SubnetMask = 1,
  Router = 3,
  DnsServers = 6,
  DomainName = 15,
  InterfaceMtu = 26,
  RequestedAddress = 50,
  LeaseTime = 51,
  MessageType = 53,
  ServerId = 54,
  Renewal = 58,
  Rebinding = 59,
  DomainSearch = 119,
  End = 255,
}

/** What a server needs of a client's message. Addresses are 32-bit integers, 0 for none. */
export interface DhcpRequest {
  readonly type: number;
  readonly xid: number;
  readonly flags: number;
  readonly clientAddress: number;
  readonly relayAddress: number;
  /** 16 bytes as sent. */
  readonly hardwareAddress: Uint8Array;
  readonly requestedAddress: number;
  readonly serverId: number;
  /** Seconds that the client would like; 0: as the server likes. */
  readonly leaseTime: number;
}

/** Reads a client's message; null where it is not one for an Ethernet client, or cut short. */
export function parseDhcp(bytes: Uint8Array): DhcpRequest | null {
  if (bytes.length < FIXED) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== BOOT_REQUEST || bytes[1] !== ETHERNET || bytes[2] !== 6) return null;
  if (view.getUint32(FIXED - 4) !== MAGIC) return null;
  let type = 0;
  let requestedAddress = 0;
  let serverId = 0;
  let leaseTime = 0;
  for (let at = FIXED; at < bytes.length && bytes[at] !== DhcpOption.End; ) {
    if (bytes[at] === DhcpOption.Pad) {
      at++;
      continue;
    }
    const length = bytes[at + 1];
    const value = at + 2;
    if (length === undefined || value + length > bytes.length) return null;
    if (bytes[at] === DhcpOption.MessageType && length === 1) type = bytes[value];
    else if (bytes[at] === DhcpOption.RequestedAddress && length === 4) requestedAddress = view.getInt32(value);
    else if (bytes[at] === DhcpOption.ServerId && length === 4) serverId = view.getInt32(value);
    else if (bytes[at] === DhcpOption.LeaseTime && length === 4) leaseTime = view.getUint32(value);
    at = value + length;
  }
  if (type === 0) return null;
  return {
    type,
    xid: view.getUint32(4),
    flags: view.getUint16(10),
    clientAddress: view.getInt32(12),
    relayAddress: view.getInt32(24),
    hardwareAddress: bytes.slice(28, 44),
    requestedAddress,
    serverId,
    leaseTime,
  };
}

/**
 * Writes a server's answer to `request`.
 * @param yourAddress the client's address, 0 in a NAK or for INFORM
 * @param options without the message type, in this order, each at most 255 bytes
 */
export function writeDhcpReply(
  request: DhcpRequest,
  type: DhcpType,
  yourAddress: number,
  serverAddress: number,
  options: readonly (readonly [DhcpOption, Uint8Array])[],
): Uint8Array {
  const length = options.reduce((sum, [, value]) => sum + 2 + value.length, FIXED + 4);
  const bytes = new Uint8Array(Math.max(length, SHORTEST));
  const view = new DataView(bytes.buffer);
  bytes[0] = BOOT_REPLY;
  bytes[1] = ETHERNET;
  bytes[2] = 6;
  view.setUint32(4, request.xid);
  view.setUint16(10, request.flags);
  view.setInt32(12, type === DhcpType.Nak ? 0 : request.clientAddress);
  view.setInt32(16, yourAddress);
  view.setInt32(20, type === DhcpType.Nak ? 0 : serverAddress);
  view.setInt32(24, request.relayAddress);
  bytes.set(request.hardwareAddress, 28);
  view.setUint32(FIXED - 4, MAGIC);
  let at = FIXED;
  for (const [code, value] of [[DhcpOption.MessageType, Uint8Array.of(type)] as const, ...options]) {
    bytes[at] = code;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = DhcpOption.End;
  return bytes;
}

/** Names in the form of option 119 (RFC 3397, without compression). Names that are no DNS names are left out. */
export function encodeDomainSearch(names: readonly string[]): Uint8Array {
  const bytes: number[] = [];
  for (const name of names) {
    const labels = name.replace(/\.$/, "").split(".");
    if (labels.some((label) => !/^[\x21-\x7e]{1,63}$/.test(label))) continue;
    const encoded = labels.flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]);
    if (encoded.length > 254 || bytes.length + encoded.length + 1 > 255) continue;
    bytes.push(...encoded, 0);
  }
  return Uint8Array.from(bytes);
}
