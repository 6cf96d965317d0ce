/**
 * Where the installed program begins: it runs the bundle of main.ts and all that this loads, dist/bundle/netns-rootless.cjs.
 *
 * Theory of operation. Of the time until a command runs, most went into finding and compiling some eighty modules. The build
 * puts them into one file, and beside it what V8 made of its functions (the code cache); both are made by scripts/bundle.mjs.
 * V8 refuses a cache of another version of itself, of other flags or of a text of another length, and compiles then, as it does
 * where there is none. CommonJS, since Node loads that a few milliseconds sooner; docs/decisions/start-up.md has the whole story.
 */
import fs = require("node:fs");
import path = require("node:path");
import vm = require("node:vm");

/** What the bundle's text evaluates to. */
type Bundle = (load: NodeJS.Require) => void;

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`netns-rootless: Node.js ${process.versions.node} is too old: 20.19 or newer is needed\n`);
  process.exit(125);
}

/** Undefined where there is none. */
function readCache(file: string): Buffer | undefined {
  try {
    return fs.readFileSync(file);
  } catch {
    return undefined;
  }
}

const filename = path.join(__dirname, "../../bundle/netns-rootless.cjs");
const cachedData = readCache(`${filename}.cache`);
// The bundle is ASCII, and such a string takes half the room.
const script = new vm.Script(fs.readFileSync(filename, "latin1"), {
  filename,
  ...(cachedData && { cachedData }),
});
(script.runInThisContext() as Bundle)(require); // made so by scripts/bundle.mjs
