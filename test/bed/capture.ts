/**
 * Captures of whole test runs: with NETNS_ROOTLESS_TEST_CAPTURE=DIRECTORY, every sandbox of every bed in which a command is started (`run`,
 * `create`, `exec`) has its offloads off and leaves a capture there (programs/captures.py), and scripts/captures.mjs has them judged. The
 * command waits until its capture has begun.
 */
const DIRECTORY = process.env.NETNS_ROOTLESS_TEST_CAPTURE;
/** In the bed, where every sandbox sees it. */
export const CAPTURES = "/tmp/.captures";
let beds = 0;

/** Asks for the capture of its own network namespace, waits for it, and becomes the command. */
const WAIT = `n=$(readlink /proc/self/ns/net); read -r name </proc/sys/kernel/random/uuid; echo "$n $name" >${CAPTURES}/ask
until [ -e ${CAPTURES}/$name ]; do sleep 0.01; done
[ ! -s ${CAPTURES}/$name ] || { echo "no capture" >&2; exit 99; }
exec "$@"`;

export const isCapturing = DIRECTORY !== undefined;

/** What a bed's owner does to make captures, named after the test, possible in it. */
export function startCaptures(programs: string, title: string): string {
  const name = `${process.pid}-${++beds}-${title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 80)}`;
  return `python3 ${programs}/captures.py ${CAPTURES} '${DIRECTORY}/${name}' >'${DIRECTORY}/${name}.log' 2>&1 & captures=$!
    until [ -e ${CAPTURES}/ready ]; do kill -0 $captures || break; sleep 0.02; done; [ -e ${CAPTURES}/ready ]`;
}

/** What it does at the end. */
export const STOP_CAPTURES = "kill $captures && wait $captures";

/** The same for a command line of ours. */
export function capturedArguments(args: readonly string[]): readonly string[] {
  const command = args.indexOf("--") + 1;
  const isOne = command > 0 && (args[0] === "create" || args[0] === "exec");
  return isOne ? [...args.slice(0, command), ...captured(args.slice(command))] : args;
}

export function captured(command: readonly string[]): readonly string[] {
  return isCapturing ? ["sh", "-c", WAIT, "sh", ...command] : command;
}
