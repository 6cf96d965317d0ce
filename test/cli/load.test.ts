import { spawnSync } from "node:child_process";
import { getHeapSpaceStatistics } from "node:v8";
import test from "ava";
import { collectGarbage } from "../../src/cli/load.js";

const MEBI = 1 << 20;

/** Bytes of V8's young generation, full or not. */
function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")?.space_size ?? Number.NaN;
}

test("garbage goes, and the room that it took in the young generation with it", (t) => {
  const kept: object[] = [];
  for (let i = 0; i < 1_000_000; i++) kept[i % 20_000] = { numbers: [i] };
  t.true(young() >= 8 * MEBI, `${young()} bytes: the load was too small to show anything`);
  const before = process.memoryUsage();
  collectGarbage();
  const after = process.memoryUsage();
  t.true(young() <= 2 * MEBI, `${young()} bytes`);
  t.true(after.heapTotal < before.heapTotal - 4 * MEBI, `${before.heapTotal} to ${after.heapTotal} bytes`);
  t.true(Math.abs(after.external - before.external) < MEBI, `${before.external} to ${after.external} bytes`);
  t.is(kept.length, 20_000);
});

/** Has a process of its own do this, with `collectGarbage` and `ofFiles`, the resident kilobytes of files, such as code. */
function alone(script: string, ...options: string[]): unknown {
  const module = JSON.stringify(new URL("../../src/cli/load.js", import.meta.url).href);
  const ofFiles = `() => Number(require("fs").readFileSync("/proc/self/status", "utf8").match(/^RssFile:\\s+(\\d+) kB$/m)[1])`;
  const whole = `import(${module}).then(({ collectGarbage }) => { const ofFiles = ${ofFiles}; ${script} })`;
  const { stdout, stderr } = spawnSync(process.execPath, [...options, "-e", whole], { encoding: "utf8" });
  return stderr === "" ? JSON.parse(stdout) : stderr;
}

test("code that was only wanted under load is let go, and is there when it is wanted again", (t) => {
  const [before, after, text] = alone(
    "const before = ofFiles(); collectGarbage(); const after = ofFiles(); console.log(JSON.stringify([before, after, new Intl.NumberFormat('en').format(1234)]))",
  ) as [number, number, string];
  t.true(after < before / 2, `${before} to ${after} kB`);
  t.is(text, "1,234");
});

test("code that Node has put into memory of no file stays", (t) => {
  const works = "collectGarbage(); console.log(JSON.stringify(new Intl.NumberFormat('en').format(1234)))";
  t.is(alone(works, "--use-largepages=silent"), "1,234");
});

test("what runs some hundred times is compiled, which V8 alone leaves until later", (t) => {
  const module = JSON.stringify(new URL("../../src/cli/load.js", import.meta.url).href);
  const marked = (tell: string) => {
    const script = `import(${module}).then(({ compileSooner }) => {
      ${tell};
      function work(x) { let sum = 0; sum += x & 1; sum ^= x >> 2; sum += x & 3; sum ^= x >> 4; sum += x & 5; sum ^= x >> 6; return sum; }
      for (let i = 0, all = 0; i < 600; i++) all += work(i);
    })`;
    return /marking .*\bwork\b/.test(
      spawnSync(process.execPath, ["--trace-opt", "-e", script], { encoding: "utf8" }).stdout,
    );
  };
  t.deepEqual([marked(""), marked("compileSooner()")], [false, true]);
});
