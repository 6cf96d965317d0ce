/** The floors of the design: imports go down, or stay within a room; no file needs itself to be loaded. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import ts from "typescript";

const SOURCE = fileURLToPath(new URL("../../src/", import.meta.url));
const COMPILED = fileURLToPath(new URL("../src/", import.meta.url));

/** Rooms (and files of the top) by floor, the highest first. */
const FLOORS: readonly (readonly string[])[] = [
  ["cli", "index.ts"],
  ["control"],
  ["network"],
  ["watch", "proxy"],
  ["stack", "publish"],
  ["tcp", "udp", "icmp", "services", "capture", "vxlan"],
  ["link", "host", "sandbox"],
  ["wire", "flow", "policy", "native"],
];
/** Belongs to no floor: everybody may import it, and it imports nothing. */
const GROUND = "errors.ts";

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

/** What of ours a text imports, types included, as files relative to src/. */
function importsOf(file: string, text: string): string[] {
  return ts
    .preProcessFile(text, true, true)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((name) => name.startsWith("."))
    .map((name) => path.normalize(path.join(path.dirname(file), name.replace(/\.js$/, ".ts"))));
}

function ownImports(file: string): string[] {
  return importsOf(file, readFileSync(path.join(SOURCE, file), "utf8"));
}

/** The same without those of types, which are gone after compiling. */
function loadedImports(file: string): string[] {
  return importsOf(file, readFileSync(path.join(COMPILED, file.replace(/\.ts$/, ".js")), "utf8"));
}

function room(file: string): string {
  return file.split(path.sep)[0];
}

function floor(file: string): number {
  return FLOORS.findIndex((rooms) => rooms.includes(room(file)));
}

test("there are files to look at", (t) => {
  t.true(files.length > 20);
});

test("every file is in a room that has a floor", (t) => {
  t.deepEqual(
    files.filter((file) => file !== GROUND && floor(file) < 0),
    [],
  );
});

test("no file imports upward, nor from another room of its floor except at the top and bottom", (t) => {
  const wrong: string[] = [];
  for (const file of files) {
    for (const imported of ownImports(file)) {
      if (imported === GROUND) continue;
      const sameFloor = floor(imported) === floor(file);
      const edge = floor(file) === 0 || floor(file) === FLOORS.length - 1;
      const fine = floor(imported) > floor(file) || (sameFloor && (edge || room(imported) === room(file)));
      if (file === GROUND || !fine) wrong.push(`${file} imports ${imported}`);
    }
  }
  t.deepEqual(wrong, []);
});

test("there is no circle of imports", (t) => {
  const finished = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, way: readonly string[]) => {
    if (finished.has(file)) return;
    if (way.includes(file)) {
      circles.push([...way.slice(way.indexOf(file)), file].join(" -> "));
      return;
    }
    for (const imported of loadedImports(file)) visit(imported, [...way, file]);
    finished.add(file);
  };
  for (const file of files) visit(file, []);
  t.deepEqual(circles, []);
});

test("every import leads to a file", (t) => {
  for (const file of files) {
    for (const imported of ownImports(file)) t.true(files.includes(imported), `${file} imports ${imported}`);
  }
});

test("only native/binding.ts loads the addon", (t) => {
  const loaders = files.filter((file) =>
    /createRequire|process\.dlopen|\.node["'`]/.test(readFileSync(path.join(SOURCE, file), "utf8")),
  );
  t.deepEqual(loaders, [path.join("native", "binding.ts")]);
});
