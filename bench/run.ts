/**
 * The run: every tool's sandbox is made once per setup and they stand side by side, idle, while one after the other is
 * measured. In each round each row is measured for every tool before the next row, and the order of the tools moves on by one
 * with every round, so that what else happens on the machine meets all of them alike.
 */
import type { Bed } from "./bed.js";
import type { BenchOptions, Variant } from "./options.js";
import type { Result } from "./results.js";
import type { Metric, Row } from "./rows/row.js";
import type { Sandbox, Setup, Tool } from "./tools/tool.js";

/** A setup, and what the rows call it. */
export interface PlannedSetup extends Setup {
  readonly variant: Variant;
}

export interface Plan {
  readonly bed: Bed;
  readonly tools: readonly Tool[];
  readonly rows: readonly Row[];
  readonly setups: readonly PlannedSetup[];
  readonly options: BenchOptions;
  /** One line per step, for who is waiting. */
  readonly progress: (line: string) => void;
}

export interface Outcome {
  readonly results: Result[];
  readonly complete: boolean;
}

export async function runPlan(plan: Plan): Promise<Outcome> {
  const deadline = Date.now() + plan.options.limitMs;
  const results: Result[] = [];
  let complete = true;
  for (const setup of plan.setups) {
    await plan.bed.setCongestion(setup.congestion);
    const stage = new Stage(plan, setup);
    try {
      for (let round = 0; round < plan.options.rounds; round++) {
        complete = (await stage.round(round, deadline)) && complete;
      }
    } finally {
      results.push(...stage.results.values());
      await stage.close();
    }
  }
  return { results, complete };
}

/** A row that failed so often for a tool is not tried again: what hangs takes long. */
const FAILURES_MOST = 2;

/** The sandboxes of one setup, and what was measured in them. */
class Stage {
  readonly results = new Map<string, Result>();
  readonly #plan: Plan;
  readonly #setup: PlannedSetup;
  readonly #sandboxes = new Map<Tool, Sandbox>();

  constructor(plan: Plan, setup: PlannedSetup) {
    this.#plan = plan;
    this.#setup = setup;
  }

  /** False when time ran out. */
  async round(round: number, deadline: number): Promise<boolean> {
    const { mtu, variant } = this.#setup;
    const { options } = this.#plan;
    for (const row of this.#plan.rows) {
      const [mtus, variants] = options.quick
        ? [row.mtus.slice(0, 1), row.variants.slice(0, 1)]
        : [row.mtus, row.variants];
      if (!mtus.includes(mtu) || !variants.includes(variant)) continue;
      const tools = this.#plan.tools.filter((tool) => tool.abilities.includes(row.ability));
      for (let turn = 0; turn < tools.length; turn++) {
        if (Date.now() > deadline) return false;
        const tool = tools[(turn + round) % tools.length];
        if (tool !== undefined && this.#failures(row, tool) < FAILURES_MOST) await this.#measure(row, tool);
      }
    }
    return true;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.close()));
  }

  /** A failure is a result too: the other tools are measured nevertheless, and this one starts afresh. */
  async #measure(row: Row, tool: Tool): Promise<void> {
    const { bed, options, progress } = this.#plan;
    const setup = this.#setup;
    const what = `${row.id}, MTU ${setup.mtu}, ${setup.congestion ?? "as installed"}, ${tool.name}`;
    try {
      const seconds = options.seconds * (options.quick ? 1 : row.length);
      const sample = await row.measure({ bed, tool, setup, seconds, sandbox: () => this.#sandbox(tool) });
      const told = row.metrics.flatMap((metric) => {
        const value = sample[metric.id];
        if (value === undefined) return [];
        this.#resultOf(row, metric, tool).values.push(value);
        return `${value.toFixed(2)} ${metric.unit}`;
      });
      if (told.length > 0) progress(`${what}: ${told.join(", ")}`);
    } catch (error) {
      const reason = (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, " | ");
      progress(`${what}: failed: ${reason}`);
      // It is told once per row, but none of its lines has a value.
      const [first] = row.metrics.map((metric) => this.#resultOf(row, metric, tool));
      first?.errors.push(reason);
      await this.#sandboxes.get(tool)?.close();
      this.#sandboxes.delete(tool);
    }
  }

  #failures(row: Row, tool: Tool): number {
    return row.metrics.reduce(
      (sum, metric) => sum + (this.results.get(keyOf(row, metric, tool))?.errors.length ?? 0),
      0,
    );
  }

  async #sandbox(tool: Tool): Promise<Sandbox> {
    const known = this.#sandboxes.get(tool);
    if (known !== undefined) return known;
    const sandbox = await tool.start(this.#plan.bed, this.#setup);
    this.#sandboxes.set(tool, sandbox);
    return sandbox;
  }

  #resultOf(row: Row, metric: Metric, tool: Tool): Result {
    const key = keyOf(row, metric, tool);
    const known = this.results.get(key);
    if (known !== undefined) return known;
    const { id, section, title, unit, better } = metric;
    const { mtu, congestion } = this.#setup;
    const what = { row: row.id, metric: id, section, title, unit, better, mtu, congestion };
    const result = { ...what, tool: tool.name, role: tool.role, values: [], errors: [] };
    this.results.set(key, result);
    return result;
  }
}

function keyOf(row: Row, metric: Metric, tool: Tool): string {
  return `${row.id} ${metric.id} ${tool.name}`;
}
