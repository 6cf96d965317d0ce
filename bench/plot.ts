/**
 * The plot: one line per comparison, one mark per tool. Where a mark stands tells how many times better than the best peer
 * the tool is (logarithmic; to the right is better, whichever way the unit runs), so that unlike things fit on one axis.
 */
import { type Comparison, compare, type Report } from "./results.js";
import { advantage } from "./statistics.js";

const LEFT = 430;
const WIDTH = 560;
const LINE = 18;
const TOP = 62;
const RIGHT = 90;
const DECADES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100];
const COLOURS = ["#0b6bcb", "#c2410c", "#7e22ce", "#15803d", "#57606a", "#a16207"];
const STYLE =
  "text { font: 12px sans-serif; fill: #1f2328 } .small { font-size: 11px; fill: #57606a } .section { font-weight: bold }";

interface Mark {
  readonly tool: string;
  readonly ratio: number;
}

interface Line {
  readonly comparison: Comparison;
  readonly marks: readonly Mark[];
}

export function renderPlot(report: Report): string {
  const tools = report.tools.map((tool) => tool.name);
  const lines = compare(report.results)
    .map(lineOf)
    .filter((line) => line !== null);
  const sections = [...new Set(lines.map((line) => line.comparison.section))];
  const ratios = [1, ...lines.flatMap((line) => line.marks.map((mark) => mark.ratio))];
  const ticks = ticksAround(Math.min(...ratios), Math.max(...ratios));
  const x = scale(ticks);
  const colour = (tool: string) => COLOURS[tools.indexOf(tool) % COLOURS.length] ?? "#000";

  const body: string[] = [];
  let y = TOP;
  for (const section of sections) {
    y += LINE * 1.4;
    body.push(text(12, y, section, "section"));
    for (const { comparison, marks } of lines.filter((line) => line.comparison.section === section)) {
      y += LINE;
      body.push(text(24, y, titleOf(comparison)));
      body.push(`<line x1="${LEFT}" y1="${y - 4}" x2="${LEFT + WIDTH}" y2="${y - 4}" stroke="#eaeef2"/>`);
      body.push(...marks.map((mark) => dot(x(mark.ratio), y - 4, colour(mark.tool), titleOf(comparison), mark)));
      if (comparison.toBestPeer !== null) body.push(text(LEFT + WIDTH + 12, y, `${ratioText(comparison.toBestPeer)}`));
    }
  }
  const height = y + 24;
  const grid = ticks.flatMap((tick) => [
    `<line x1="${x(tick)}" y1="${TOP}" x2="${x(tick)}" y2="${height - 12}" stroke="${tick === 1 ? "#1f2328" : "#d0d7de"}"/>`,
    text(x(tick), TOP - 6, `${tick}×`, "small", "middle"),
  ]);
  const legend = tools.flatMap((tool, index) => [
    `<circle cx="${LEFT + index * 125 - 120}" cy="16" r="5" fill="${colour(tool)}"/>`,
    text(LEFT + index * 125 - 110, 20, tool),
  ]);
  const width = LEFT + WIDTH + RIGHT;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>netns-rootless and its peers, ${report.date.slice(0, 10)}</title>
<style>${STYLE}</style>
<rect width="100%" height="100%" fill="#fff"/>
${[...legend, text(LEFT + WIDTH / 2, 40, "times better than the best peer (medians)", "small", "middle"), ...grid, ...body].join("\n")}
</svg>
`;
}

/** Null where there is no peer to stand beside. */
function lineOf(comparison: Comparison): Line | null {
  const best = comparison.bestPeer === null ? null : (comparison.summaries.get(comparison.bestPeer)?.median ?? null);
  const marks = [...comparison.summaries].flatMap(([tool, summary]) => {
    const ratio = advantage(summary?.median ?? null, best, comparison.better);
    return ratio === null ? [] : [{ tool, ratio }];
  });
  return marks.length < 2 ? null : { comparison, marks };
}

/** The ticks from the last one below to the first one above. */
function ticksAround(least: number, most: number): number[] {
  const from = DECADES.findLastIndex((tick) => tick <= least);
  const to = DECADES.findIndex((tick) => tick >= most);
  return DECADES.slice(Math.max(0, from), to === -1 ? DECADES.length : Math.max(to, from + 1) + 1);
}

/** What is beyond the axis stands at its end. */
function scale(ticks: readonly number[]): (ratio: number) => number {
  const low = Math.log10(ticks[0] ?? 0.1);
  const high = Math.log10(ticks.at(-1) ?? 10);
  return (ratio) => {
    const share = (Math.log10(ratio) - low) / (high - low);
    return Math.round((LEFT + WIDTH * Math.min(1, Math.max(0, share))) * 10) / 10;
  };
}

function titleOf({ title, mtu, congestion }: Comparison): string {
  return `${title}, MTU ${mtu}${congestion === null ? ", as installed" : ""}`;
}

function ratioText(ratio: number): string {
  return `${ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(1)}×`;
}

function dot(x: number, y: number, colour: string, what: string, mark: Mark): string {
  const title = `<title>${escapeXml(`${mark.tool}: ${what}: ${ratioText(mark.ratio)}`)}</title>`;
  return `<circle cx="${x}" cy="${y}" r="5" fill="${colour}" fill-opacity="0.85">${title}</circle>`;
}

function text(x: number, y: number, content: string, style = "", anchor = "start"): string {
  const kind = style === "" ? "" : ` class="${style}"`;
  return `<text x="${x}" y="${y}" text-anchor="${anchor}"${kind}>${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
