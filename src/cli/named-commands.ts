/** The command line of sandboxes and networks with names: added to the program for everything but a plain `run` or `attach`. */
import type { Command } from "commander";
import { NetnsError } from "../errors.js";
import type { PreparedLauncher } from "../sandbox/sandbox.js";
import type { CaptureWishes } from "./capture.js";
import type { NamedWishes } from "./named.js";
import type { NetworkWishes } from "./options.js";
import type { VxlanWishes } from "./vxlan.js";

export interface NamedCommands {
  readonly program: Command;
  readonly prepared: PreparedLauncher | null;
  readonly done: (exitCode: number) => void;
  /** Adds the options that belong to a network, and those that belong to one sandbox. */
  readonly withNetworkOptions: (command: Command) => Command;
  readonly withSandboxOptions: (command: Command) => Command;
}

const EXAMPLES = {
  create: `
Examples:
  netns-rootless create web -p 6000:8080 -- python3 -m http.server 8080   a server that stays when the shell ends
  netns-rootless create red --network demo                                a namespace to work in: exec red -- ...
  netns-rootless logs -f web                                              what the server writes
  netns-rootless rm web                                                   ends it

Prints the name. With a command the sandbox ends when that does; without one it stays until rm.
`,
  exec: `
Examples:
  netns-rootless exec red -- ip address
  netns-rootless exec red -- ping -c 1 blue
  netns-rootless exec red -- bash

The exit code is the command's; 137 when the sandbox ends before.
`,
  network: `
Examples:
  netns-rootless network create demo --cidr 10.1.0.0/24
  netns-rootless run --network demo --name red -- bash      in one terminal
  netns-rootless run --network demo --name blue -- bash     in another: ping red
  netns-rootless network proxy demo 1080
  curl --socks5-hostname 127.0.0.1:1080 http://red:8080/    from the host
  netns-rootless network rm demo
  netns-rootless network create far --vxlan 42 --remote 192.0.2.7      and with --remote of this machine on that one

A network that run or create make by themselves (--network of a new name) ends with its last member; one that is made by
network create stays.
`,
  capture: `
Examples:
  netns-rootless capture red | tshark -i -                          live
  netns-rootless capture red -w red.pcapng --filter "port 53"       until Ctrl-C
  netns-rootless capture --network demo -c 1000 -w demo.pcapng      all members, each as an interface of its name
  netns-rootless capture red --split -w - | tcpdump -r -            packets as a cable would carry them

FILTER: host ADDRESS, port NUMBER, proto tcp|udp|icmp|icmp6|arp, joined by and, or, not and ( ).
Without --split a long TCP segment is shown as the kernels exchange it, up to 64 KB in one packet.
`,
  port: `
Examples:
  netns-rootless port add web 5000:3000          host port 5000 leads to port 3000 inside, at once
  netns-rootless port add web 0:3000             a free host port, which is printed
  netns-rootless port rm web 5000                nobody new is let in; connections that are open stay
  netns-rootless port ls
`,
};

/** The options that were written, and not left at what they are anyway. */
export function givenOptions(command: Command): ReadonlySet<string> {
  return new Set(
    command.options
      .map((option) => option.attributeName())
      .filter((name) => command.getOptionValueSource(name) === "cli"),
  );
}

export function addNamedCommands(parts: NamedCommands): void {
  addCaptureCommand(parts);
  addSandboxCommands(parts);
  addNetworkCommands(parts);
  addPortCommands(parts);
  parts.program
    .command("prune")
    .description("Takes away what crashed sessions of yours left. What runs is left alone.")
    .action(async () => {
      const { prune } = await import("./prune.js");
      parts.done(await prune());
    });
  parts.program
    .command("serve", { hidden: true })
    .argument("<order>")
    .action(async (order: string) => {
      const { serve } = await import("./serve.js");
      parts.done(await serve(order));
    });
}

function addSandboxCommands({ program, prepared, done, withNetworkOptions, withSandboxOptions }: NamedCommands): void {
  withSandboxOptions(withNetworkOptions(program.command("create")))
    .summary("make a sandbox that stays, with a name")
    .description("Makes a sandbox with a name that stays when this program ends, for a command or to work in by exec.")
    .usage("NAME [options] [-- COMMAND [ARGUMENTS...]]")
    .argument("<name>")
    .argument("[command...]")
    .addHelpText("after", EXAMPLES.create)
    .action(async (name: string, words: string[], wishes: NamedWishes, command: Command) => {
      const { create } = await import("./create.js");
      done(await create(name, words, wishes, givenOptions(command), prepared));
    });

  program
    .command("exec")
    .summary("run a command in a sandbox that is there")
    .description("Runs one more command in a sandbox, with this terminal.")
    .usage("NAME -- COMMAND [ARGUMENTS...]")
    .argument("<name>")
    .argument("[command...]")
    .passThroughOptions()
    .addHelpText("after", EXAMPLES.exec)
    .action(async (name: string, words: string[]) => {
      const command = words[0] === "--" ? words.slice(1) : words;
      if (command.length === 0) {
        throw new NetnsError(
          "USAGE",
          "exec: no command given; expected netns-rootless exec NAME -- COMMAND [ARGUMENTS...]",
        );
      }
      const { exec } = await import("./exec.js");
      await exec(name, command);
    });

  program
    .command("ls")
    .summary("list the sandboxes")
    .description("Lists the sandboxes of yours that are there now.")
    .option("--json", "all of it, as a JSON array")
    .option("-q, --quiet", "names only")
    .action(async (options: { json?: boolean; quiet?: boolean }) => {
      const { list } = await import("./list.js");
      done(await list(options));
    });

  program
    .command("inspect")
    .summary("tell all about a sandbox, as JSON")
    .description("Tells all that is to be known of a sandbox, as JSON.")
    .argument("<name>")
    .action(async (name: string) => {
      const { inspect } = await import("./inspect.js");
      done(await inspect(name));
    });

  program
    .command("rm")
    .summary("end sandboxes")
    .description(
      "Ends sandboxes, with all that runs in them, and removes their logs. Prints the names of those that it ended.",
    )
    .argument("[names...]")
    .option("--all", "all of yours")
    .action(async (names: string[], options: { all?: boolean }) => {
      const { remove } = await import("./remove.js");
      done(await remove(names, options));
    });

  program
    .command("logs")
    .summary("show what a sandbox's command wrote")
    .description(
      "Shows what the command of a sandbox that was made by create or run --detach wrote: the last megabyte at least.",
    )
    .argument("<name>")
    .option("-f, --follow", "go on until the sandbox ends")
    .action(async (name: string, options: { follow?: boolean }) => {
      const { logs } = await import("./logs.js");
      done(await logs(name, options));
    });
}

function addNetworkCommands({ program, done, withNetworkOptions }: NamedCommands): void {
  const network = program
    .command("network")
    .summary("networks that several sandboxes share")
    .description("Networks that several sandboxes share: one switch, one DNS and DHCP for all members.")
    .helpCommand(false)
    .addHelpText("after", EXAMPLES.network);

  withNetworkOptions(network.command("create"))
    .description("Makes a network that stays until network rm. Prints its name.")
    .argument("<name>")
    .option("--vxlan <number>", "join networks of this VXLAN number (VNI) on other machines; the MTU is 1450 then")
    .option(
      "--remote <address>",
      "another machine that has it, ADDR or ADDR:PORT (repeatable; each must know all)",
      (value, previous: string[] = []) => [...previous, value],
    )
    .option("--vxlan-port <port>", "UDP port of VXLAN, here and there (default: 4789)")
    .action(async (name: string, wishes: NetworkWishes & VxlanWishes, command: Command) => {
      const { createNetwork } = await import("./networks.js");
      done(await createNetwork(name, wishes, givenOptions(command)));
    });
  network
    .command("ls")
    .description("Lists the networks.")
    .option("--json", "all of it, as a JSON array")
    .action(async (options: { json?: boolean }) => {
      const { listNetworks } = await import("./networks.js");
      done(await listNetworks(options));
    });
  network
    .command("inspect")
    .description("Tells all that is to be known of a network and its members, as JSON.")
    .argument("<name>")
    .action(async (name: string) => {
      const { inspectNetwork } = await import("./networks.js");
      done(await inspectNetwork(name));
    });
  network
    .command("proxy")
    .description(
      "Opens a SOCKS 5 proxy on the host that leads to the members by their names and addresses, and nowhere else, until the network ends. Prints where it listens.",
    )
    .usage("NETWORK [[ADDR:]PORT]")
    .argument("<name>")
    .argument("[place]", "default: a free port of 127.0.0.1")
    .action(async (name: string, place: string | undefined) => {
      const { openProxy } = await import("./networks.js");
      done(await openProxy(name, place));
    });
  network
    .command("rm")
    .description("Ends networks that nobody is a member of.")
    .argument("<names...>")
    .option("--force", "end the members, too")
    .action(async (names: string[], options: { force?: boolean }) => {
      const { removeNetworks } = await import("./networks.js");
      done(await removeNetworks(names, options));
    });
}

function addCaptureCommand({ program, done }: NamedCommands): void {
  program
    .command("capture")
    .summary("watch the packets of a sandbox or a network")
    .description(
      "Writes the packets of a sandbox, or of all in a network, as pcapng, until the sandbox ends or a signal comes.",
    )
    .usage("NAME|--network NET [options]")
    .argument("[name]")
    .option("--network <name>", "all members of this network")
    .option("-w, --write <file>", "file to write to; -, the default: standard output, for a program that reads it")
    .option("-c, --count <packets>", "end after so many packets")
    .option("--filter <expression>", "only these packets")
    .option("--split", "split long segments into what a cable would carry")
    .option("-s, --snaplen <bytes>", "keep only the beginning of each packet")
    .option("-q, --quiet", "tell errors only")
    .addHelpText("after", EXAMPLES.capture)
    .action(async (name: string | undefined, wishes: CaptureWishes) => {
      const { capture } = await import("./capture.js");
      done(await capture(name, wishes));
    });
}

function addPortCommands({ program, done }: NamedCommands): void {
  const port = program
    .command("port")
    .summary("publish ports of a sandbox that runs")
    .description("Publishes ports of sandboxes that run, and closes them again.")
    .helpCommand(false)
    .addHelpText("after", EXAMPLES.port);
  port
    .command("add")
    .description("Publishes ports, and prints them.")
    .usage("NAME [ADDR:]HOST:INSIDE[/tcp|udp]...")
    .argument("<name>")
    .argument("<specs...>")
    .action(async (name: string, specs: string[]) => {
      const { addPorts } = await import("./ports.js");
      done(await addPorts(name, specs));
    });
  port
    .command("ls")
    .description("Lists the published ports, of one sandbox or of all.")
    .argument("[name]")
    .option("--json", "as a JSON array")
    .action(async (name: string | undefined, options: { json?: boolean }) => {
      const { listPorts } = await import("./ports.js");
      done(await listPorts(name, options));
    });
  port
    .command("rm")
    .description("Publishes ports no more.")
    .usage("NAME [ADDR:]HOST[/tcp|udp]...")
    .argument("<name>")
    .argument("<specs...>")
    .action(async (name: string, specs: string[]) => {
      const { removePorts } = await import("./ports.js");
      done(await removePorts(name, specs));
    });
}
