/** The command line: what there is, and its help. Options are checked in options.ts, commands loaded when they are called. */
import { Command, CommanderError } from "commander";
import { NetnsError, printable } from "../errors.js";
import type { PreparedLauncher } from "../sandbox/sandbox.js";
import type { AttachWishes } from "./attach.js";
import { PREFIX } from "./log.js";
import type { NamedWishes } from "./named.js";
import { DEFAULT_CIDR, DEFAULT_CIDR6, DEFAULT_IFNAME, DEFAULT_MTU } from "./options.js";
import { print, warn } from "./output.js";
import type { RunWishes } from "./run.js";
import { version } from "./version.js";

const EXAMPLES = `
Examples:
  netns-rootless run -p 6000:8080 -- python3 -m http.server 8080   http://127.0.0.1:6000/ is served from inside
  netns-rootless run -p 127.0.0.1:0:8080 -- npm run dev             a free port, on the loopback only
  netns-rootless run -p 8000-8010:8000-8010 -p 53:53/udp -- ./serve  a range, and UDP
  netns-rootless run --allow-host-loopback=5432 -- psql -h host.internal
  netns-rootless run --root -- sh -c 'ip addr; apk add curl'        as root inside
  netns-rootless create web -p 6000:8080 -- ./serve                 a server that stays; ls, logs web, exec web, rm web
  netns-rootless run --network demo --name red -- bash              one of several that reach each other by name
  netns-rootless attach "$PID" -p 6000:8080                         for a namespace that exists already
  netns-rootless doctor                                             what this host lacks, and how to mend it

Exit codes of run: the command's own; 128 + n where signal n ended it; 127 not found; 126 not executable;
2 wrong option; 125 a part of ours failed, or this host cannot do it (see doctor).
`;

/**
 * Runs what the arguments (without node and script) ask for, and returns the exit code. Throws a NetnsError.
 * @param prepared a launcher that waits already, for `run`
 */
export async function runProgram(args: readonly string[], prepared: PreparedLauncher | null = null): Promise<number> {
  if (args.length === 0) {
    throw new NetnsError("USAGE", "nothing to do; expected run, create, attach or doctor, see netns-rootless --help");
  }
  let code = 0;
  const done = (exitCode: number) => {
    code = exitCode;
  };
  const program = createProgram(prepared, done);
  // `run` is most starts, and they should be quick: it begins as if there were no other command.
  if (args[0] !== "run") addOtherCommands(program, done);
  if (args[0] !== "run" && args[0] !== "attach") {
    const { addNamedCommands } = await import("./named-commands.js");
    addNamedCommands({ program, prepared, done, withNetworkOptions, withSandboxOptions });
  }
  try {
    await program.parseAsync(settleOptionalValues(args, program), { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
}

function createProgram(prepared: PreparedLauncher | null, done: (exitCode: number) => void): Command {
  const program = new Command("netns-rootless")
    .description("A network of its own for a program, without root.")
    .helpOption("-h, --help", "print help")
    .helpCommand(false)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: print,
      writeErr: warn,
      outputError: (text, write) => write(`${PREFIX}${oneLine(text)}\n`),
    })
    .addHelpText("after", EXAMPLES);

  withSandboxOptions(withNetworkOptions(program.command("run")))
    .summary("run a command in a network of its own")
    .description(
      "Runs a command in a network of its own. Everything before the command is ours, everything after it is the command's.",
    )
    .usage("[options] -- COMMAND [ARGUMENTS...]")
    .argument("[command...]")
    .option("--name <name>", "a name, by which exec, port, ls and others find it")
    .option("-d, --detach", "do not wait for it: prints its name; see create")
    .option(
      "--pcap <file>",
      "write all that enters and leaves the sandbox to this file, for wireshark and others (pcapng)",
    )
    .passThroughOptions()
    .addHelpText("after", EXAMPLES)
    .action(async (command: string[], wishes: RunWishes & NamedWishes, self: Command) => {
      if (command.length === 0) {
        throw new NetnsError(
          "USAGE",
          "run: no command given; expected netns-rootless run [options] -- COMMAND [ARGUMENTS...]",
        );
      }
      if (isNamed(wishes)) {
        const { runNamed } = await import("./run-named.js");
        const { givenOptions } = await import("./named-commands.js");
        done(await runNamed(command, wishes, givenOptions(self), prepared));
        return;
      }
      const { run } = await import("./run.js");
      done(await run(command, wishes, prepared));
    });
  return program;
}

/** Those that know no names, beside `run`. */
function addOtherCommands(program: Command, done: (exitCode: number) => void): void {
  withNetworkOptions(program.command("attach"))
    .summary("give a network to a namespace that exists already")
    .description(
      "Gives a network to the namespace of a process, or at a path such as /run/netns/NAME, until it ends or a signal comes.",
    )
    .argument("<target>", "process id, or path of a network namespace")
    .action(async (target: string, wishes: AttachWishes) => {
      const { attach } = await import("./attach.js");
      done(await attach(target, wishes));
    });

  program.version(version(), "-V, --version", "print the version");
  program
    .command("doctor")
    .description("Tells what this host lacks, with the fix for each. Exit code 0 if run can work, else 1.")
    .action(async () => {
      const { doctor } = await import("./doctor.js");
      done(await doctor());
    });
}

/** Whether others are to see the sandbox, or it is to see others. */
function isNamed({ name, network, detach, ip, ip6, isolate }: NamedWishes): boolean {
  return [name, network, ip, ip6].some((wish) => wish !== undefined) || detach === true || isolate === true;
}

/** Options of one sandbox, beside those of its network. */
function withSandboxOptions(command: Command): Command {
  return command
    .option("--root", "be root inside (your own user outside)")
    .option("--hostname <name>", "hostname inside (default: the host's, or the sandbox's name)")
    .option("--network <name>", "be a member of this network, which is made if it is not there")
    .option("--ip <address>", "its IPv4 address (default: the first that is free)")
    .option("--ip6 <address>", "its IPv6 address")
    .option("--isolate", "reach the gateway and the outside, but no other member of the network");
}

function withNetworkOptions(command: Command): Command {
  const collect = (value: string, previous: unknown): string[] => [...(Array.isArray(previous) ? previous : []), value];
  return command
    .option(
      "-p, --publish <spec>",
      "[ADDR:]HOST:INSIDE[/tcp|udp]: host port that leads inside; ranges 8000-8010:8000-8010; host port 0: any free one, which is printed; [ADDR:]auto: every TCP port that is listened on inside, at the same number (repeatable)",
      collect,
    )
    .option(
      "--host-ip <address>",
      "an address of the host for the sandbox alone, such as 127.0.2.10, with every TCP port that it listens on",
    )
    .option("-4, --ipv4-only", "no IPv6 inside")
    .option(
      "-6, --ipv6-only",
      "no IPv4 inside; -46: both, also where the host has no IPv6 now (default: IPv6 if the host has it)",
    )
    .option("--cidr <subnet>", "subnet inside: gateway .2, DNS .3, sandbox .100", DEFAULT_CIDR)
    .option("--cidr6 <subnet>", "IPv6 subnet inside: gateway ::2, DNS ::3, sandbox ::100", DEFAULT_CIDR6)
    .option("--mtu <bytes>", "largest packet, 576 to 65521", String(DEFAULT_MTU))
    .option("--ifname <name>", "interface inside", DEFAULT_IFNAME)
    .option("--mac <address>", "its MAC address (default: random)")
    .option("--dns <address>", "ask this resolver instead of the host's; ADDR or ADDR:PORT (repeatable)", collect)
    .option(
      "--dns-search <domain>",
      "try short names in this domain, instead of the host's; . alone: in none (repeatable)",
      collect,
    )
    .option("--no-dns", "no DNS of ours; the host's resolv.conf stays")
    .option("--allow-host-loopback [=ports]", "reach the host's loopback at the gateway: all ports, or =5432,8000-8010")
    .option(
      "--outbound-addr <address>",
      "address of the host to send from, or interface whose addresses (at the start) to send from",
    )
    .option("--outbound-addr6 <address>", "the same for IPv6")
    .option("--congestion <name>", "TCP congestion control inside; host: the host's (default: cubic, else reno)")
    .option("--shards <number>", "threads that carry the network, 1 to 16", "1")
    .option("--no-confine", "keep all rights of this user in the process that carries the network, to debug it")
    .option("-q, --quiet", "tell errors only")
    .option("-v, --verbose", "tell every refusal, and all counters at the end")
    .option("--log-file <path>", "append everything as JSON lines to this file");
}

/** Commands for which everything from the first argument on is somebody else's. */
const PASSES_THROUGH = ["run", "exec"];

/**
 * An option whose value may be left out takes it behind `=` only (`--allow-host-loopback=80`), as GNU's getopt_long has it;
 * commander would take the next argument, which is the command. So a bare one is written out as `=all` here.
 */
function settleOptionalValues(args: readonly string[], program: Command): string[] {
  const command = program.commands.find((each) => each.name() === args[0]);
  if (command === undefined) return [...args];
  const settled = [...args];
  for (let i = 1; i < settled.length; i++) {
    const arg = settled[i];
    if (arg === "--") break;
    if (!arg.startsWith("-") || arg === "-") {
      // The command itself; attach has options behind its target too.
      if (PASSES_THROUGH.includes(command.name())) break;
      continue;
    }
    if (arg.startsWith("--")) {
      const option = command.options.find(({ long }) => long === arg);
      if (option?.required) i++;
      else if (option?.optional) settled[i] = `${arg}=all`;
    } else {
      // Of letters behind one hyphen, the first that wants a value takes the rest of them, or the next argument.
      const letters = [...arg.slice(1)];
      const taker = letters.findIndex((letter) =>
        command.options.some(({ short, required }) => short === `-${letter}` && required),
      );
      if (taker >= 0 && taker === letters.length - 1) i++;
    }
  }
  return settled;
}

/** Commander says some things in two lines, and begins them with `error: `. */
function oneLine(text: string): string {
  return printable(
    text
      .trim()
      .replace(/^error: /, "")
      .replace(/\s*\n\s*/g, " "),
  );
}
