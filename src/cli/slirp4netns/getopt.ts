/**
 * A command line as GNU's getopt_long(3) reads it, for an executable whose callers rely on that: options and operands in any
 * order, `-cm1500`, `--mtu 1500`, `--mtu=1500`, a long name shortened as far as it stays clear, `--` before operands that begin
 * with a hyphen. What is wrong is told in getopt_long's own words.
 */

/** What an option is known by. */
export interface Flag {
  readonly long: string;
  readonly short?: string;
  /** Whether it wants an argument. */
  readonly argument: boolean;
}

/** An option as it was found, in the order of the command line. */
export interface Found<F extends Flag> {
  readonly flag: F;
  /** Empty where it takes none. */
  readonly argument: string;
}

/** A command line that cannot be read. The message is getopt_long's, without the program's name before it. */
export class GetoptError extends Error {}

/**
 * Reads options one after the other, so that the caller can stop at one of them; then `operands` has what is no option.
 * Throws a GetoptError at the first that is wrong.
 */
export class Getopt<F extends Flag> {
  readonly #flags: readonly F[];
  readonly #words: readonly string[];
  readonly #operands: string[] = [];
  #at = 0;
  /** What is left of a word such as `-cm1500`. */
  #letters = "";

  constructor(flags: readonly F[], words: readonly string[]) {
    this.#flags = flags;
    this.#words = words;
  }

  /** Those that were passed so far, and all of them once next() has said null. */
  get operands(): readonly string[] {
    return this.#operands;
  }

  /** The next option, or null behind the last. */
  next(): Found<F> | null {
    if (this.#letters !== "") return this.#letter();
    while (this.#at < this.#words.length) {
      const word = this.#words[this.#at++];
      if (word === "--") {
        this.#operands.push(...this.#words.slice(this.#at));
        this.#at = this.#words.length;
      } else if (word.startsWith("--")) {
        return this.#long(word.slice(2));
      } else if (word.startsWith("-") && word !== "-") {
        this.#letters = word.slice(1);
        return this.#letter();
      } else {
        this.#operands.push(word);
      }
    }
    return null;
  }

  #letter(): Found<F> {
    const letter = this.#letters.slice(0, 1);
    this.#letters = this.#letters.slice(1);
    const flag = this.#flags.find(({ short }) => short === letter);
    if (flag === undefined) throw new GetoptError(`invalid option -- '${letter}'`);
    if (!flag.argument) return { flag, argument: "" };
    const rest = this.#letters;
    this.#letters = "";
    if (rest !== "") return { flag, argument: rest };
    return { flag, argument: this.#following(`option requires an argument -- '${letter}'`) };
  }

  #long(text: string): Found<F> {
    const end = text.indexOf("=");
    const name = end < 0 ? text : text.slice(0, end);
    const flag = this.#named(name, `--${text}`);
    if (!flag.argument) {
      if (end >= 0) throw new GetoptError(`option '--${flag.long}' doesn't allow an argument`);
      return { flag, argument: "" };
    }
    if (end >= 0) return { flag, argument: text.slice(end + 1) };
    return { flag, argument: this.#following(`option '--${flag.long}' requires an argument`) };
  }

  #named(name: string, word: string): F {
    const exact = this.#flags.find(({ long }) => long === name);
    if (exact !== undefined) return exact;
    const candidates = this.#flags.filter(({ long }) => long.startsWith(name));
    if (candidates.length === 1) return candidates[0];
    if (candidates.length === 0) throw new GetoptError(`unrecognized option '${word}'`);
    const names = candidates.map(({ long }) => `'--${long}'`).join(" ");
    throw new GetoptError(`option '${word}' is ambiguous; possibilities: ${names}`);
  }

  #following(otherwise: string): string {
    if (this.#at >= this.#words.length) throw new GetoptError(otherwise);
    return this.#words[this.#at++];
  }
}
