/**
 * The run: every tool's sandbox is made once per setup and they stand side by side, idle, while one after the other is
 * measured. In each round each row is measured for every tool before the next row, and the order of the tools moves on by one
 * with every round, so that what else happens on the machine meets all of them alike.
 */
import type { Bed } from "./bed.js";
import type { BenchOptions } from "./options.js";
import type { Result } from "./results.js";
import type { Row } from "./rows/row.js";
import type { Sandbox, Setup, Tool } from "./tools/tool.js";

export interface Plan {
  readonly bed: Bed;
  readonly tools: readonly Tool[];
  readonly rows: readonly Row[];
  readonly setups: readonly Setup[];
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

/** The sandboxes of one setup, and what was measured in them. */
class Stage {
  readonly results = new Map<string, Result>();
  readonly #plan: Plan;
  readonly #setup: Setup;
  readonly #sandboxes = new Map<Tool, Sandbox>();

  constructor(plan: Plan, setup: Setup) {
    this.#plan = plan;
    this.#setup = setup;
  }

  /** False when time ran out. */
  async round(round: number, deadline: number): Promise<boolean> {
    const { tools, rows } = this.#plan;
    for (const row of rows) {
      if (!row.mtus.includes(this.#setup.mtu)) continue;
      for (let turn = 0; turn < tools.length; turn++) {
        if (Date.now() > deadline) return false;
        const tool = tools[(turn + round) % tools.length];
        if (tool !== undefined) await this.#measure(row, tool);
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
    const { mtu, congestion } = this.#setup;
    const what = `${row.title}, MTU ${mtu}, ${congestion ?? "as installed"}, ${tool.name}`;
    const result = this.#resultOf(row, tool);
    try {
      const sandbox = this.#sandboxes.get(tool) ?? (await tool.start(bed, this.#setup));
      this.#sandboxes.set(tool, sandbox);
      const sample = await row.measure({ bed, sandbox, seconds: options.seconds, warmUp: options.warmUp });
      result.values.push(sample.value);
      if (sample.cpuPerGb !== null) result.cpuPerGb.push(sample.cpuPerGb);
      progress(`${what}: ${sample.value.toFixed(2)} ${row.unit}`);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      result.errors.push(reason);
      progress(`${what}: failed: ${reason}`);
      await this.#sandboxes.get(tool)?.close();
      this.#sandboxes.delete(tool);
    }
  }

  #resultOf(row: Row, tool: Tool): Result {
    const key = `${row.id} ${tool.name}`;
    const known = this.results.get(key);
    if (known !== undefined) return known;
    const { id, title, unit, better } = row;
    const figures = { values: [], cpuPerGb: [], errors: [] };
    const result = { row: id, title, unit, better, ...this.#setup, tool: tool.name, role: tool.role, ...figures };
    this.results.set(key, result);
    return result;
  }
}
