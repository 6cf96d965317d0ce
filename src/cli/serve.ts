/**
 * `serve`: the process that serves a network, started by `create`, `network create` and `run --network`, never by a person.
 *
 * Theory of operation. It is started with a connection to its starter as descriptor 3, in a session of its own, with nothing
 * as its standard input and output. It opens network and control socket, confines itself, and then answers on that connection like on any
 * other; where it cannot, it says why in an event "failed". It ends when its server is over (control/server.ts), or by SIGTERM,
 * SIGINT or SIGHUP, with all that it holds.
 */
import { Connection } from "../control/connection.js";
import { unlinkIfThere } from "../control/directory.js";
import { runtimeDirectory, type ServerKind } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { SILENT_LOG } from "../policy/config.js";
import { rememberHostFacts } from "../sandbox/host-facts.js";
import { HostResolvConf } from "../services/resolv-conf.js";
import { confineServer } from "./confinement.js";
import { LOAD } from "./load.js";
import type { ServerWishes } from "./named.js";
import { openServer } from "./served.js";
import { catchSignals } from "./signals.js";
import type { VxlanWishes } from "./vxlan.js";

const STARTER = 3;
const EADDRINUSE = 98;

export interface ServeOrder {
  readonly kind: ServerKind;
  readonly name: string;
  readonly stays: boolean;
  readonly wishes: ServerWishes & VxlanWishes;
}

/** @param order a ServeOrder as JSON. Returns the exit code. */
export async function serve(order: string): Promise<number> {
  let removeSocket = () => {};
  try {
    const { kind, name, stays, wishes } = JSON.parse(order) as ServeOrder; // written by named.ts
    const log = SILENT_LOG;
    const resolvConf = new HostResolvConf();
    const { server, network } = await openServer({
      kind,
      name,
      stays,
      wishes,
      log,
      own: { ...LOAD, resolvConf },
    });
    const runtime = runtimeDirectory();
    const socket = runtime.socket(kind, name);
    const error = server.listen(socket);
    if (error !== 0) {
      const busy = error === -EADDRINUSE;
      throw new NetnsError(
        busy ? "NAME_BUSY" : "HOST_LACKS",
        busy ? `a ${kind} called ${name} is there already` : `cannot listen at its control socket (errno ${-error})`,
      );
    }
    removeSocket = () => unlinkIfThere(socket);
    rememberHostFacts();
    removeSocket = confineServer(wishes, socket, runtime.lock, resolvConf, log);
    server.serve(STARTER);
    let stop = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const release = catchSignals(() => stop());
    await Promise.race([server.over, stopped, network.failed.catch(() => {})]);
    removeSocket(); // before it is closed: until then nobody takes it for a dead one's
    removeSocket = () => {};
    await server.close();
    release();
    return 0;
  } catch (error) {
    removeSocket();
    if (!(error instanceof NetnsError)) throw error;
    await tellStarter(error);
    return error.exitCode;
  }
}

/** Answers the starter's first request, which comes in any case: a socket that is closed with something unread takes what it said with it. */
function tellStarter({ code, message }: NetnsError): Promise<void> {
  return new Promise((resolve) => {
    const starter: Connection = new Connection(STARTER, {
      received: () => {
        starter.send({ event: "failed", code, message });
        starter.close();
      },
      closed: resolve,
    });
  });
}
