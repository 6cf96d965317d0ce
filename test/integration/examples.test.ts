/** The scenes of the tutorials (examples/), as an ordinary user runs them: short, and with the output that is written down. */
import { readdirSync, readFileSync } from "node:fs";
import test from "ava";
import { Bed, HOST, MAIN, ROOT } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";
import { nameServer, webServer } from "../bed/services.js";

const EXAMPLES = `${ROOT}/examples`;
const names = readdirSync(EXAMPLES)
  .filter((file) => file.endsWith(".sh"))
  .map((file) => file.slice(0, -3))
  .sort();

/** `…` stands for any text within a line, a line of nothing else for any number of lines, none too (examples/README.md). */
function pattern(expected: string): RegExp {
  const lines = expected.split("\n").map((line) => {
    if (line === "…") return "(?:[^\\n]*\\n)*?";
    return `${line.split("…").map(literally).join("[^\\n]*")}\\n`;
  });
  return new RegExp(`^${lines.join("").replace(/\\n$/, "")}$`);
}

const literally = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** Says which is the first line that is not as expected, since a pattern alone does not. */
function difference(expected: string, output: string): string {
  const lines = expected.split("\n");
  for (let count = 1; count <= lines.length; count++) {
    const beginning = `${lines.slice(0, count).join("\n")}\n…\n`;
    if (!pattern(beginning).test(output)) return `line ${count} (${lines[count - 1]}) is not in\n${output}`;
  }
  return `the end is not that of\n${output}`;
}

/** A bed with what the examples call, and the machines of the internet that they speak to. */
async function bedOf(t: Parameters<typeof Bed.create>[0]) {
  const bed = await Bed.create(t, { families: "4" });
  await nameServer(bed, ["--address=/example.com/203.0.113.10"]);
  await webServer(bed);
  // On PATH as an installed program is.
  await bed.admin(`mkdir -m 755 /tmp/bin && printf '#!/bin/sh\\nexec %s "$@"\\n' '${MAIN.join(" ")}' >/tmp/bin/netns-rootless
    chmod 755 /tmp/bin/netns-rootless`);
  await bed.netns(["ls"]).succeed(); // its runtime directory stays
  const env = { PATH: `/tmp/bin:${process.env.PATH}:/usr/sbin:/sbin` };
  return { bed, run: (name: string) => bed.host([`${EXAMPLES}/${name}.sh`], { env }) };
}

test("there is one for each scene, each at most fifteen lines, and it says what the root way would have been", (t) => {
  t.deepEqual(names, ["bridge", "clean-up", "one-namespace", "red-and-blue", "two-servers", "watch"]);
  for (const name of names) {
    const lines = readFileSync(`${EXAMPLES}/${name}.sh`, "utf8").trimEnd().split("\n");
    t.true(lines.length <= 15, `${name} has ${lines.length} lines`);
    t.is(lines.filter((line) => line.startsWith("# As root: ")).length, 1, name);
  }
});

for (const name of names) {
  test.serial(`${name}: does what is written down, and leaves nothing`, async (t) => {
    const { bed, run } = await bedOf(t);
    const before = await state(bed);
    const example = run(name);
    if (name === "bridge") {
      await example.until(/\n200\n(.*\n)*200\n/, 60_000);
      const answer = await bed.internet([
        "curl",
        "-s",
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        `http://${HOST}:5000/`,
      ]);
      t.is(await answer.succeed(), "200");
    }
    example.end();
    const output = await example.succeed(60_000);
    const expected = readFileSync(`${EXAMPLES}/${name}.expected`, "utf8");
    t.true(pattern(expected).test(output), difference(expected, output));
    await nothingLeft(bed, before);
  });
}
