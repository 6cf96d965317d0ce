/**
 * ARP for IPv4 over Ethernet (RFC 826):
 *
 *     0  hardware type 1       6  operation              18  target MAC (6)
 *     2  protocol type 0x0800  8  sender MAC (6)         24  target IPv4 (4)
 *     4  lengths 6, 4         14  sender IPv4 (4)
 */
export const ARP_LENGTH = 28;

export enum ArpOperation {
  Request = 1,
  Reply = 2,
}

/** Offsets into the message. */
export const ARP_SENDER_MAC = 8;
export const ARP_SENDER_IP = 14;
export const ARP_TARGET_MAC = 18;
export const ARP_TARGET_IP = 24;

const ETHERNET = 1;
const IPV4 = 0x0800;
const LENGTHS = 0x0604;

/** True where `length` bytes at `at` hold ARP for IPv4 over Ethernet. */
export function isArp(view: DataView, at: number, length: number): boolean {
  return (
    length >= ARP_LENGTH &&
    view.getUint16(at) === ETHERNET &&
    view.getUint16(at + 2) === IPV4 &&
    view.getUint16(at + 4) === LENGTHS
  );
}

export const arpOperation = (view: DataView, at: number): number => view.getUint16(at + 6);

/** IPv4 addresses as 32-bit integers, MAC addresses as in wire/ethernet. */
export function writeArp(
  view: DataView,
  at: number,
  operation: ArpOperation,
  senderHigh: number,
  senderLow: number,
  senderIp: number,
  targetHigh: number,
  targetLow: number,
  targetIp: number,
): void {
  view.setUint16(at, ETHERNET);
  view.setUint16(at + 2, IPV4);
  view.setUint16(at + 4, LENGTHS);
  view.setUint16(at + 6, operation);
  view.setInt32(at + 8, senderHigh);
  view.setUint16(at + 12, senderLow);
  view.setInt32(at + 14, senderIp);
  view.setInt32(at + 18, targetHigh);
  view.setUint16(at + 22, targetLow);
  view.setInt32(at + 24, targetIp);
}
