/** Ethernet II: destination (6 bytes), source (6 bytes), EtherType (2 bytes). */
export const ETHERNET_HEADER = 14;
export const MAC_LENGTH = 6;
/** A hardware address of 6 bytes. */
export type Mac = Uint8Array;

export enum EtherType {
  IPv4 = 0x0800,
  ARP = 0x0806,
  IPv6 = 0x86dd,
}

export const BROADCAST_MAC: Mac = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);

/** The first four bytes and the last two of an address: how tables hold and compare one. */
export const macHigh = (view: DataView, at: number): number => view.getInt32(at);
export const macLow = (view: DataView, at: number): number => view.getUint16(at + 4);

export const etherType = (view: DataView, at: number): number => view.getUint16(at + 12);

/** True for multicast and broadcast addresses, which cannot be a source. */
export function isGroupMac(view: DataView, at: number): boolean {
  return (view.getUint8(at) & 1) !== 0;
}

/** Parses `aa:bb:cc:dd:ee:ff`. Throws a RangeError on anything else. */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new RangeError(`not a MAC address: ${text}`);
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

export function formatMac(mac: Mac): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

export function writeEthernet(
  view: DataView,
  at: number,
  destinationHigh: number,
  destinationLow: number,
  sourceHigh: number,
  sourceLow: number,
  type: EtherType,
): void {
  view.setInt32(at, destinationHigh);
  view.setUint16(at + 4, destinationLow);
  view.setInt32(at + 6, sourceHigh);
  view.setUint16(at + 10, sourceLow);
  view.setUint16(at + 12, type);
}
