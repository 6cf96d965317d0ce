/** scripts/netns-rootless, in a made-up checkout in which everything is built already. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";

const WRAPPER = fileURLToPath(new URL("../../../scripts/netns-rootless", import.meta.url));

test("it finds its own checkout, whatever CDPATH says", (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), "netns-rootless-wrapper-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  for (const folder of [
    "elsewhere/scripts",
    "checkout/scripts",
    "checkout/src",
    "checkout/native/engine",
    "checkout/native/launcher",
    "checkout/native/build",
    "checkout/node_modules",
    "checkout/dist/bundle",
    "checkout/dist/src/cli",
  ])
    mkdirSync(path.join(directory, folder), { recursive: true });
  const checkout = path.join(directory, "checkout");
  for (const file of ["netns-rootless", "start.sh"])
    copyFileSync(path.join(path.dirname(WRAPPER), file), path.join(checkout, "scripts", file));
  writeFileSync(path.join(checkout, "dist/src/cli/start.cjs"), "console.log(process.argv[2])");
  for (const file of [
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "native/binding.gyp",
    "node_modules/.package-lock.json",
    "dist/bundle/.state",
    "native/build/.state",
  ])
    writeFileSync(path.join(checkout, file), "{}");
  const env = { ...process.env, CDPATH: path.join(directory, "elsewhere") };
  t.is(execFileSync("sh", ["scripts/netns-rootless", "hello"], { cwd: checkout, env, encoding: "utf8" }), "hello\n");
});
