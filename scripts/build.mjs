/**
 * Builds what is out of date: TypeScript with tsc into dist/, the addon and the launcher with node-gyp into native/build/,
 * and of both the bundle that is started (bundle.mjs).
 * Decides by the state of the sources (paths, sizes, times) and of Node, kept beside each output; some 20 ms when nothing is to do.
 * Two builds at once wait for each other. `--sanitize`: also native/build-asan/, with ASan and UBSan, for the tests.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const sanitize = process.argv.includes("--sanitize");
const LOCK_PATIENCE_MS = 10 * 60_000;

function die(message) {
  process.stderr.write(`build: ${message}\n`);
  process.exit(1);
}

/** A digest of the names, sizes and times of all files below some paths, and of a few words more. */
function stateOf(paths, ...words) {
  const hash = createHash("sha256").update(words.join("\n"));
  const visit = (file) => {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (!stat) return;
    if (stat.isDirectory()) for (const name of readdirSync(file).sort()) visit(path.join(file, name));
    else hash.update(`${file}\0${stat.size}\0${stat.mtimeMs}\n`);
  };
  for (const each of paths) visit(path.join(root, each));
  return hash.digest("hex");
}

/** The parts, in the order of their making: what each is made of, a file that must be there, and how it is made. */
const parts = [
  {
    stamp: "native/build/.state",
    output: "native/build/Release/engine.node",
    state: () =>
      stateOf(["native/engine", "native/launcher", "native/binding.gyp"], process.versions.modules, process.arch),
    make: makeNative,
  },
  {
    stamp: "dist/.state",
    output: "dist/src/cli/main.js",
    state: () => stateOf(["src", "test", "bench", "tsconfig.json", "package.json"], "typescript"),
    make: makeTypeScript,
  },
  {
    stamp: "dist/bundle/.state",
    output: "dist/bundle/netns-rootless.cjs",
    state: () => stateOf(["src", "package-lock.json", "scripts/bundle.mjs"], process.version, process.arch),
    make: makeBundle,
  },
];
if (sanitize) {
  parts.push({
    stamp: "native/build-asan/.state",
    output: "native/build-asan/engine.node",
    state: () =>
      stateOf(["native/engine", "native/launcher", "scripts/build.mjs"], process.versions.modules, process.arch),
    make: makeSanitized,
  });
}

function isFresh({ stamp, output, state }) {
  if (!existsSync(path.join(root, output))) return false;
  try {
    return readFileSync(path.join(root, stamp), "utf8") === state();
  } catch {
    return false;
  }
}

function run(program, args, cwd, what) {
  const result = spawnSync(program, args, { cwd, encoding: "utf8", maxBuffer: 1 << 26 });
  if (result.error) die(`${what} failed: ${program}: ${result.error.message}`);
  if (result.status === 0) return;
  process.stderr.write(result.stdout + result.stderr);
  die(`${what} failed, see above`);
}

/** Node's own headers, so that node-gyp downloads none: beside this Node, or nowhere. */
function headers() {
  const prefix = path.dirname(path.dirname(process.execPath));
  return existsSync(path.join(prefix, "include/node/node_api.h")) ? prefix : null;
}

function need(program, hint) {
  const found = (process.env.PATH ?? "").split(":").some((place) => existsSync(path.join(place, program)));
  if (!found) die(`${program} is not installed: it is needed to build the native part (${hint})`);
}

function needModules() {
  if (!existsSync(path.join(root, "node_modules/typescript"))) die("dependencies are missing: run `npm ci` first");
}

function makeTypeScript() {
  needModules();
  // What tsc believes about its output is worth nothing once that was removed.
  if (!existsSync(path.join(root, "dist/src/cli/main.js")))
    rmSync(path.join(root, "dist/.tsbuildinfo"), { force: true });
  run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "."], root, "compiling TypeScript");
}

function makeBundle() {
  run(process.execPath, ["scripts/bundle.mjs"], root, "bundling");
}

function makeNative() {
  needModules();
  const compiler = "apt install build-essential python3, or the like";
  for (const program of ["make", "gcc", "g++", "python3"]) need(program, compiler);
  const gyp = path.join(root, "node_modules/node-gyp/bin/node-gyp.js");
  if (!existsSync(gyp)) die("node-gyp is missing: run `npm ci` with development dependencies first");
  const nodedir = headers();
  const args = [gyp, "rebuild", "--loglevel=error", ...(nodedir ? [`--nodedir=${nodedir}`] : [])];
  run(process.execPath, args, path.join(root, "native"), "building the native part");
}

function makeSanitized() {
  for (const program of ["gcc", "g++"]) need(program, "apt install build-essential, or the like");
  const include = headers();
  if (!include) die(`Node's headers are not beside ${process.execPath}: they are needed for the build with sanitizers`);
  const native = path.join(root, "native");
  const out = path.join(native, "build-asan");
  mkdirSync(out, { recursive: true });
  const sources = (folder, end) =>
    readdirSync(path.join(native, folder))
      .filter((name) => name.endsWith(end))
      .map((name) => `${folder}/${name}`);
  const common = [
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
    "-fvisibility=hidden",
    "-D_GNU_SOURCE",
  ];
  run(
    "g++",
    [
      "-std=gnu++20",
      ...common,
      "-fno-exceptions",
      "-fno-rtti",
      "-fPIC",
      "-shared",
      "-DNAPI_VERSION=8",
      `-I${include}/include/node`,
      ...sources("engine", ".cc"),
      "-o",
      `${out}/engine.node`,
    ],
    native,
    "building with sanitizers",
  );
  run(
    "gcc",
    ["-std=gnu17", ...common, ...sources("launcher", ".c"), "-o", `${out}/launcher`],
    native,
    "building with sanitizers",
  );
}

const stale = () => parts.filter((part) => !isFresh(part));

/** Holds native/.lock while it works; one whose owner is gone is removed. */
function withLock(work) {
  const lock = path.join(root, "native/.build-lock");
  const since = Date.now();
  for (;;) {
    try {
      const fd = openSync(lock, "wx");
      writeFileSync(fd, String(process.pid));
      closeSync(fd);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") die(`cannot write to ${path.dirname(lock)}: ${error.message}`);
    }
    let owner = 0;
    try {
      owner = Number(readFileSync(lock, "utf8"));
    } catch {
      continue; // gone meanwhile
    }
    if (owner > 0 && !existsSync(`/proc/${owner}`)) rmSync(lock, { force: true });
    else if (Date.now() - since > LOCK_PATIENCE_MS)
      die(`another build (process ${owner}) does not end; if there is none, remove ${lock}`);
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  process.on("exit", () => rmSync(lock, { force: true }));
  work();
}

if (stale().length > 0) {
  withLock(() => {
    for (const part of stale()) {
      const state = part.state();
      part.make();
      writeFileSync(path.join(root, part.stamp), state);
    }
  });
}
