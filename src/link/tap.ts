/** TAP devices that somebody else made, and whose descriptors were handed to us. */
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { TapFeature } from "../native/system.js";

export interface TapOffloads {
  /** The kernel takes UDP super-frames. */
  readonly uso: boolean;
  /** There is no virtio header: frames are exchanged whole, with their checksums, no longer than the MTU. */
  readonly plain?: boolean;
}

/**
 * Makes the TAP behind a descriptor ready to be a link, and tells what it can. The descriptor stays the caller's.
 * Throws a NetnsError (USAGE) where it is none that we can use.
 */
export function prepareTap(fd: number): TapOffloads {
  const found = native().prepareTap(fd);
  if (found < 0) {
    throw new NetnsError(
      "USAGE",
      `descriptor ${fd} is not a TAP device that can be used (errno ${-found}): open /dev/net/tun and attach it by TUNSETIFF with IFF_TAP | IFF_NO_PI`,
    );
  }
  return { uso: (found & TapFeature.Uso) !== 0, plain: (found & TapFeature.Header) === 0 };
}
