/**
 * The socket of slirp4netns's API: one request and one answer per connection.
 *
 * Theory of operation. A request has no length before it and no end behind it. Some clients shut their side down when they have
 * sent it, others wait for the answer without that, so it is over when its JSON is, when the client's side ends, or when it is
 * too large; and since a client may send a piece and then nothing, PATIENCE_MS after the connection was made what came is taken
 * for all of it.
 *
 *     reading ──complete, end, too large, PATIENCE_MS──▶ answered ──read by the client, PATIENCE_MS──▶ closed
 *
 * Bounds: TOO_LARGE bytes and 2 × PATIENCE_MS per client, MAX_CLIENTS at once; one more takes the place of the one that has been
 * there longest, so that no number of silent ones keeps others out.
 */
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { NetnsError } from "../../errors.js";
import { isComplete, TOO_LARGE } from "./requests.js";

const PATIENCE_MS = 2000;
const MAX_CLIENTS = 64;

export class ApiSocket {
  readonly #server: Server;
  readonly #answer: (request: Uint8Array) => Promise<string>;
  /** In the order in which they came. */
  readonly #clients = new Set<Socket>();

  /**
   * Listens at a path, in the place of what may have been there. Rejects with a NetnsError.
   * @param answer gives the answer to a request, whatever it may be; never rejects
   */
  static open(path: string, answer: (request: Uint8Array) => Promise<string>): Promise<ApiSocket> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        reject(
          new NetnsError("NAMESPACE", `--api-socket ${path}: cannot listen there (${error.message})`, { cause: error }),
        );
      };
      try {
        rmSync(path, { force: true });
      } catch {
        // A directory, say: then listening there fails too, with the reason that counts.
      }
      const server = createServer({ allowHalfOpen: true });
      server.once("error", fail);
      server.listen(path, () => {
        server.off("error", fail);
        resolve(new ApiSocket(server, answer));
      });
    });
  }

  private constructor(server: Server, answer: (request: Uint8Array) => Promise<string>) {
    this.#server = server;
    this.#answer = answer;
    // Out of descriptors, say: that client is lost, the next one may not be.
    server.on("error", () => {});
    server.on("connection", (socket) => this.#serve(socket));
  }

  /** Ends all connections; the socket's file goes too. */
  close(): void {
    for (const socket of this.#clients) socket.destroy();
    this.#server.close();
  }

  #serve(socket: Socket): void {
    this.#makeRoom();
    this.#clients.add(socket);
    const pieces: Buffer[] = [];
    let length = 0;
    let answered = false;
    const finish = () => {
      if (answered) return;
      answered = true;
      this.#answer(Buffer.concat(pieces)).then((text) => socket.end(text));
      socket.resume(); // what still comes is nothing to us, but the end of the client's side is
      restart();
    };
    let timer = setTimeout(finish, PATIENCE_MS);
    const restart = () => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    };
    socket.on("data", (piece: Buffer) => {
      if (answered) return;
      pieces.push(piece.subarray(0, TOO_LARGE - length));
      length = Math.min(TOO_LARGE, length + piece.length);
      if (isComplete(Buffer.concat(pieces))) finish();
    });
    socket.on("end", finish);
    socket.on("finish", () => socket.destroySoon());
    socket.on("error", () => {});
    socket.on("close", () => {
      answered = true;
      clearTimeout(timer);
      this.#clients.delete(socket);
    });
  }

  #makeRoom(): void {
    if (this.#clients.size < MAX_CLIENTS) return;
    for (const longest of this.#clients) {
      longest.destroy();
      this.#clients.delete(longest);
      return;
    }
  }
}
