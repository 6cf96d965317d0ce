/** `doctor`: what this host lacks, and how to mend it. */
import { checkHost, type Finding } from "../sandbox/host-checks.js";
import { print } from "./output.js";

/** Returns 0 if `run` can work here, else 1. */
export async function doctor(write: (text: string) => void = print): Promise<number> {
  const native = await checkNative();
  // The checks of the host try to make a sandbox, and that takes the native part.
  const findings = native.ok ? [native, ...(await checkHost())] : [native];
  for (const finding of findings) write(describe(finding));
  const fatal = findings.filter(({ ok, severity }) => !ok && severity === "fatal").length;
  write(
    fatal === 0
      ? "run works on this host\n"
      : `run cannot work on this host before ${fatal === 1 ? "this is" : "these are"} mended\n`,
  );
  return fatal === 0 ? 0 : 1;
}

/** `ok`: fine; `--`: slower, or something small is missing; `!!`: nothing works before it is mended. */
export function describe({ ok, severity, what, fix }: Finding): string {
  const mark = ok ? "ok" : severity === "fatal" ? "!!" : "--";
  return ok || fix === null ? `${mark}  ${what}\n` : `${mark}  ${what}\n      fix: ${fix}\n`;
}

async function checkNative(): Promise<Finding> {
  try {
    const { native } = await import("../native/binding.js");
    native();
    return { ok: true, severity: "fatal", what: "the native engine can be loaded", fix: null };
  } catch (error) {
    const what = error instanceof Error ? error.message.split("\n", 1)[0] : String(error);
    return { ok: false, severity: "fatal", what, fix: "build it again: npm ci" };
  }
}
