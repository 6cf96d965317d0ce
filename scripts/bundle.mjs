/**
 * Makes dist/bundle/netns-rootless.cjs of tsc's output: src/cli/main.ts and all that it loads, in one file, for a quick start.
 * src/cli/start.cts runs it. The tests, and programs that import the package, use tsc's output as it is.
 *
 * Beside it, `.cache` is what V8 made of the functions that a start needs: this runs `run -- true` once and asks for it at the
 * end. Where that does not work (a build machine may forbid namespaces), the cache has what ran until then.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const bundle = path.join(root, "dist/bundle/netns-rootless.cjs");
const cache = `${bundle}.cache`;
const launcher = path.join(root, "native/build/Release/launcher");
/** Set in the environment of the process that makes the cache. */
const TRIAL = "NETNS_ROOTLESS_TRIAL";
const TRIAL_MS = 10_000;

/** What takes milliseconds to load and few starts need: parts of Node, and a module that loads a library; with the functions that are used of them. */
const LATE = {
  [path.join(root, "dist/src/wire/unusual-address.js")]: ["parseUnusualAddress"],
  "node:child_process": ["spawn"],
  "node:crypto": ["createHash", "randomBytes", "randomFillSync"],
  "node:dgram": ["createSocket"],
};

/** Loads them at the first call. */
const late = {
  name: "late",
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path, namespace }) =>
      path in LATE && namespace !== "late" ? { path, namespace: "late" } : { path, external: true },
    );
    build.onResolve({ filter: /^\.\.?\/.*\.js$/ }, ({ path: name, resolveDir }) => {
      const file = path.resolve(resolveDir, name);
      return file in LATE ? { path: file, namespace: "late" } : undefined;
    });
    build.onResolve({ filter: /^\//, namespace: "late" }, ({ path }) => ({ path }));
    build.onLoad({ filter: /.*/, namespace: "late" }, ({ path }) => ({
      contents: LATE[path]
        .map((name) => `export const ${name} = (...args) => require("${path}").${name}(...args);`)
        .join("\n"),
    }));
  },
};

/** The thread of a shard (src/network/worker.ts): a script of its own, which Node loads as it is. */
async function makeWorker() {
  const { build } = await import("esbuild");
  await build({
    entryPoints: [path.join(root, "dist/src/network/worker.js")],
    outfile: path.join(root, "dist/bundle/worker.cjs"),
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    logLevel: "warning",
    // As in the program's bundle: what looks for files takes itself for start.cjs.
    define: { "import.meta.dirname": "moduleFolder" },
    banner: { js: `const moduleFolder = require("node:path").join(__dirname, "../src/cli");` },
  });
}

async function makeBundle() {
  const { build } = await import("esbuild");
  const { outputFiles } = await build({
    entryPoints: [path.join(root, "dist/src/cli/main.js")],
    bundle: true,
    write: false,
    platform: "node",
    target: "node20",
    format: "cjs",
    logLevel: "warning",
    // A third less to read; with names, and lines of a length that a stack trace can point into.
    minifyWhitespace: true,
    lineLimit: 160,
    // Loads files of its own by their paths; wanted with --log-file only.
    external: ["pino"],
    plugins: [late],
    // Every file of ours takes itself for start.cjs, which is as deep as they are.
    define: { "import.meta.dirname": "moduleFolder" },
    // vm.Script has no import() of its own, and all that is left to import is CommonJS.
    supported: { "dynamic-import": false },
  });
  const text = outputFiles[0].text.replace(/^#!.*\n/, "");
  mkdirSync(path.dirname(bundle), { recursive: true });
  rmSync(cache, { force: true }); // V8 knows a text by its length only: never an old cache beside a new text
  writeFileSync(
    bundle,
    `(function (require) {
const module = { exports: {} };
const moduleFolder = require("node:path").dirname(require.main.filename);
${text}
})
`,
  );
}

/** Runs the bundle as start.cts does, in a process of its own, since it ends with that. */
function makeCache() {
  const script = new Script(readFileSync(bundle, "latin1"), { filename: bundle });
  const start = path.join(root, "dist/src/cli/start.cjs");
  process.argv[1] = start;
  const file = openSync(`${cache}.new`, "w"); // now: at the end it is confined, and opens no file
  process.on("exit", () => {
    writeSync(file, script.createCachedData());
    process.reallyExit(0);
  });
  const load = createRequire(start);
  script.runInThisContext()(Object.assign((name) => load(name), { main: { filename: start } }));
}

if (process.env[TRIAL]) {
  makeCache();
} else {
  await makeBundle();
  await makeWorker();
  const { NODE_OPTIONS: _, ...env } = process.env;
  const words = ["front", process.execPath, fileURLToPath(import.meta.url), "run", "--", "true"];
  spawnSync(launcher, words, { env: { ...env, [TRIAL]: "1" }, stdio: "ignore", timeout: TRIAL_MS });
  if ((statSync(`${cache}.new`, { throwIfNoEntry: false })?.size ?? 0) > 0) renameSync(`${cache}.new`, cache);
  else rmSync(`${cache}.new`, { force: true });
}
