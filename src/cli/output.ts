/**
 * What we say to the person. Node's streams are opened when first written to, which costs a millisecond each, and most starts
 * say nothing. A reader that went away is no reason to end the command.
 */
const opened = new Set<NodeJS.WriteStream>();

function write(stream: NodeJS.WriteStream, text: string): void {
  if (!opened.has(stream)) {
    opened.add(stream);
    stream.on("error", () => {});
  }
  stream.write(text);
}

/** To stdout: what was asked for. */
export function print(text: string): void {
  write(process.stdout, text);
}

/** To stderr: everything else. */
export function warn(text: string): void {
  write(process.stderr, text);
}
