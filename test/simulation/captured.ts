/** Frames of real programs, captured behind a veth interface: BusyBox udhcpc 1.35, iputils ping, and Linux fragmenting. */
const fromHex = (hex: string) => Uint8Array.from(Buffer.from(hex.replace(/\s/g, ""), "hex"));
const withVnet = (bytes: Uint8Array) => Uint8Array.from([...new Uint8Array(12), ...bytes]);

/** DHCPDISCOVER of udhcpc, xid 0x184fb763. */
export const UDHCPC_DISCOVER = withVnet(
  fromHex(`
  ffffffffffff0211223344550800 4500014800000000401179a600000000ffffffff 004400430134672201010600184fb7630000000000000000
  00000000000000000000000002112233445500000000000000000000${"00".repeat(192)}
  638253633501013902024037070103060c0f1c2a3c0c756468637020312e33352e303d0701021122334455ff${"00".repeat(28)}`),
);

/** `ping -c1 10.0.2.2`. */
export const PING_GATEWAY = withVnet(
  fromHex(`
  52550a0002020211223344550800 450000541489400040010dbb0a0002640a000202 08009bd54e900001d9cd006b00000000698d0b0000000000
  101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637`),
);

/** `sendto(b"x" * 3000, ("198.51.100.7", 9))` from port 5000 at MTU 1500: three fragments. */
export const FRAGMENTED_DATAGRAM = [
  `52550a0002020211223344550800 450005dccbc22000401152b00a000264c6336407 138800090bc0bc5c${"78".repeat(1472)}`,
  `52550a0002020211223344550800 450005dccbc220b9401151f70a000264c6336407 ${"78".repeat(1480)}`,
  `52550a0002020211223344550800 45000044cbc20172401176d60a000264c6336407 ${"78".repeat(48)}`,
].map((hex) => withVnet(fromHex(hex)));
