import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "ava";
import { type LogOptions, openLog } from "../../src/cli/log.js";
import { NetnsError } from "../../src/errors.js";

/** What reaches stderr of one message of each level. */
async function told(options: LogOptions): Promise<string[]> {
  const log = await openLog(options);
  const lines: string[] = [];
  const write = process.stderr.write;
  process.stderr.write = (text: string | Uint8Array) => {
    lines.push(String(text));
    return true;
  };
  try {
    log.debug("d");
    log.info("i");
    log.warn("w", { why: "because" });
    log.error("e");
  } finally {
    process.stderr.write = write;
  }
  return lines;
}

test.serial("stderr gets warnings and errors; with --quiet errors only; with --verbose all", async (t) => {
  const line = (level: string) => `netns-rootless: ${level}\n`;
  t.deepEqual(await told({}), ["w", "e"].map(line));
  t.deepEqual(await told({ quiet: true }), ["e"].map(line));
  t.deepEqual(await told({ verbose: true }), ["d", "i", "w", "e"].map(line));
});

test.serial("--log-file gets everything, one JSON object a line, whatever stderr gets", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "log-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const logFile = path.join(folder, "log");
  await told({ quiet: true, logFile });
  const written: { msg: string; why?: string; level: number }[] = readFileSync(logFile, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.deepEqual(
    written.map(({ msg, level }) => [msg, level]),
    [
      ["d", 20],
      ["i", 30],
      ["w", 40],
      ["e", 50],
    ],
  );
  t.is(written[2].why, "because");
});

test("a log file that cannot be written is wrong use", async (t) => {
  const error = await t.throwsAsync(openLog({ logFile: "/nowhere/log" }), { instanceOf: NetnsError });
  t.is(error.code, "USAGE");
});

test.serial("a log file on a full disk is told once, and nothing else suffers", async (t) => {
  const lines = await told({ quiet: true, logFile: "/dev/full" });
  t.is(lines.length, 2);
  t.regex(lines[0], /^netns-rootless: --log-file \/dev\/full: cannot be written any more \(ENOSPC.*\n$/);
  t.is(lines[1], "netns-rootless: e\n");
});

test("a log file needs a name", async (t) => {
  await t.throwsAsync(openLog({ logFile: "" }), { instanceOf: NetnsError, message: /--log-file: the name is empty/ });
});
