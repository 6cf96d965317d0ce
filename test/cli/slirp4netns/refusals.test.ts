/**
 * What slirp4netns refuses before it does anything, and how: the same rows for Debian's and for ours. No namespace is entered, so
 * that no bed is needed; the process id is this test's own.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import test from "ava";

const MAIN = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));
const PROGRAMS = [
  { name: "slirp4netns", command: ["slirp4netns"] },
  { name: "netns-rootless", command: [process.execPath, MAIN, "slirp4netns"] },
] as const;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run([program, ...first]: readonly string[], args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    // Under the name that it goes by, whatever it was started as.
    execFile(program, [...first, ...args], { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

const PID = String(process.pid);
const TOO_LONG = `/tmp/${"x".repeat(110)}`;

/** Refused with the usage on stdout, and this on stderr. */
const WITH_USAGE: readonly (readonly [args: readonly string[], stderr: string])[] = [
  [[], ""],
  [[PID], ""],
  [["-c", PID], ""],
  [["--foo"], "slirp4netns: unrecognized option '--foo'\n"],
  [["--foo=bar", PID, "tap0"], "slirp4netns: unrecognized option '--foo=bar'\n"],
  [["-x", PID, "tap0"], "slirp4netns: invalid option -- 'x'\n"],
  [["-cx", PID, "tap0"], "slirp4netns: invalid option -- 'x'\n"],
  [["-m"], "slirp4netns: option requires an argument -- 'm'\n"],
  [["--mtu"], "slirp4netns: option '--mtu' requires an argument\n"],
  [["--configure=3", PID, "tap0"], "slirp4netns: option '--configure' doesn't allow an argument\n"],
  [
    ["--enable", PID, "tap0"],
    "slirp4netns: option '--enable' is ambiguous; possibilities: '--enable-ipv6' '--enable-sandbox' '--enable-seccomp'\n",
  ],
  [["-m", "0", PID, "tap0"], "MTU must be a positive integer (< 65522)\n"],
  [["-m", "-5", PID, "tap0"], "MTU must be a positive integer (< 65522)\n"],
  [["-m", "65522", PID, "tap0"], "MTU must be a positive integer (< 65522)\n"],
  [["-m1500x", PID, "tap0"], "MTU must be a positive integer (< 65522)\n"],
  [["--mtu=", PID, "tap0"], "MTU must be a positive integer (< 65522)\n"],
  [["-e", "-1", PID, "tap0"], "exit-fd must be a non-negative integer\n"],
  [["--exit-fd=x", PID, "tap0"], "exit-fd must be a non-negative integer\n"],
  [["-r", "-1", PID, "tap0"], "ready-fd must be a non-negative integer\n"],
  [["--ready-fd=1x", PID, "tap0"], "ready-fd must be a non-negative integer\n"],
  [["abc", "tap0"], "PID must be a positive integer\n"],
  [["0", "tap0"], "PID must be a positive integer\n"],
  [["12ab", "tap0"], "PID must be a positive integer\n"],
  [["--", "-1", "tap0"], "PID must be a positive integer\n"],
  [
    ["--netns-type=path", "/nonexistent", "tap0"],
    "existing path expected when --netns-type=path: No such file or directory\n",
  ],
  [["--netns-type=foo", PID, "tap0"], "existing path expected when --netns-type=path: No such file or directory\n"],
  [["--userns-path=/nonexistent", PID, "tap0"], "userns path doesn't exist: /nonexistent\n"],
  [
    ["--macaddress=02:00:00:00:00:01", PID, "tap0"],
    "--macaddr cannot be specified when --configure or -c is not specified\n",
  ],
  [["--target-type=foo", PID, "tap0"], '--target-type must be either "netns" or "bess"\n'],
  [["--target-type=bess", "-c", "/tmp/b"], "--configure conflicts with --target-type=bess\n"],
  [["--target-type=bess", "--netns-type=pid", "/tmp/b"], "--netns-type conflicts with --target-type=bess\n"],
  [
    ["--target-type=bess", "--userns-path=/proc/self/ns/user", "/tmp/b"],
    "--userns-path conflicts with --target-type=bess\n",
  ],
];

/** Refused with this on stderr alone. */
const WITHOUT_USAGE: readonly (readonly [args: readonly string[], stderr: RegExp])[] = [
  [["--cidr=foo", PID, "tap0"], /^invalid CIDR: foo\n$/],
  [["--cidr=", PID, "tap0"], /^invalid CIDR: \n$/],
  [["--cidr=fd00::/64", PID, "tap0"], /^invalid CIDR: fd00::\/64\n$/],
  [["--cidr=10.0.2.0/26", PID, "tap0"], /^prefix length needs to be 1-25\n$/],
  [["--cidr=10.0.2.0/0", PID, "tap0"], /^prefix length needs to be 1-25\n$/],
  [
    ["--cidr=10.0.2.100/24", PID, "tap0"],
    /^CIDR needs to be a network address like 10\.0\.2\.0\/24, not like 10\.0\.2\.100\/24\n$/,
  ],
  [["--cidr=999.0.2.0/24", PID, "tap0"], /^invalid network address: 999\.0\.2\.0\n$/],
  [["--outbound-addr=nonsense", PID, "tap0"], /^outbound-addr has to be valid ipv4 address or interface name\.\n?$/],
  [["--outbound-addr=::1", PID, "tap0"], /^outbound-addr has to be valid ipv4 address or interface name\.\n?$/],
  // Debian's says "ipv4 address or iterface name" of this one too, which is wrong twice.
  [
    ["--outbound-addr6=nonsense", PID, "tap0"],
    /^outbound-addr6? has to be valid ipv[46] address or in?terface name\.\n?$/,
  ],
  [
    ["-c", "--macaddress=aa:bb:cc:dd:ee:gg", PID, "tap0"],
    /^"aa:bb:cc:dd:ee:gg" is an invalid MAC address\.\nmacaddress has to be a valid MAC address \(hex string, 6 bytes, each byte separated by a ':'\)\.\n?$/,
  ],
  [["-c", "--macaddress=aa:bb:cc:dd:ee:ff:00", PID, "tap0"], /^"aa:bb:cc:dd:ee:ff:00" is an invalid MAC address\./],
];

for (const { name, command } of PROGRAMS) {
  for (const [args, stderr] of WITH_USAGE) {
    test(`${name} refuses ${JSON.stringify(args.join(" "))}, and shows its usage`, async (t) => {
      const outcome = await run(command, args);
      t.is(outcome.code, 1);
      t.is(outcome.stderr, stderr);
      t.regex(outcome.stdout, /^Usage: slirp4netns \[OPTION\]\.\.\. /m);
    });
  }

  for (const [args, stderr] of WITHOUT_USAGE) {
    test(`${name} refuses ${JSON.stringify(args.join(" "))}`, async (t) => {
      const outcome = await run(command, args);
      t.is(outcome.code, 1);
      t.regex(outcome.stderr, stderr);
      t.notRegex(outcome.stdout, /Usage/);
    });
  }

  test(`${name} -h and --help name every option`, async (t) => {
    for (const args of [["-h"], ["--help"], ["--hel", "whatever"], ["-ch"]]) {
      const { code, stdout, stderr } = await run(command, args);
      t.is(code, 0);
      t.is(stderr, "");
      t.regex(stdout, /^Usage: slirp4netns \[OPTION\]\.\.\. PID\|PATH/);
      // What rootlesskit, dockerd-rootless.sh and podman look for in it.
      for (const option of [
        ...[
          "-c, --configure",
          "-e, --exit-fd=",
          "-r, --ready-fd=",
          "-m, --mtu=",
          "-6, --enable-ipv6",
          "-a, --api-socket=",
        ],
        ...[
          "--cidr=",
          "--disable-host-loopback",
          "--netns-type=",
          "--userns-path=",
          "--enable-sandbox",
          "--enable-seccomp",
        ],
        ...["--outbound-addr=", "--outbound-addr6=", "--disable-dns", "--macaddress=", "--target-type=", "-h, --help"],
        "-v, --version",
      ]) {
        t.true(stdout.includes(option), option);
      }
    }
  });

  test(`${name} -v and --version have the lines that programs read`, async (t) => {
    for (const args of [["-v"], ["--version"], ["--vers", "whatever"]]) {
      const { code, stdout, stderr } = await run(command, args);
      t.is(code, 0);
      t.is(stderr, "");
      const lines = stdout.split("\n");
      t.regex(lines[0], /^slirp4netns version 1\.[23]\.\d+$/);
      t.regex(lines[1], /^commit: \S+$/);
      t.regex(lines[2], /^libslirp: \d+\.\d+\.\d+\b/);
      const [, version] = stdout.match(/^SLIRP_CONFIG_VERSION_MAX: (\d+)$/m) ?? [];
      t.true(Number(version) >= 3, "the features that callers look for are from 3 on");
      t.regex(stdout, /^libseccomp: \d+\.\d+\.\d+\b/m);
      t.is(stdout.at(-1), "\n");
    }
  });

  test(`${name} stops at the first of -h, -v and what is wrong`, async (t) => {
    t.regex((await run(command, ["-v", "--foo"])).stdout, /^slirp4netns version/);
    t.regex((await run(command, ["-h", "-v"])).stdout, /^Usage/);
    t.is((await run(command, ["--foo", "-h"])).code, 1);
  });
}

// What slirp4netns takes and ours refuses, since nothing could come of it.
const OURS = PROGRAMS[1].command;
for (const [args, stderr] of [
  // User Mode Linux is not in Debian's archive for this architecture's CI: a transport that nobody tests is none.
  [["--target-type=bess", "/tmp/bess.sock"], /--target-type=bess is not supported.*use slirp4netns itself/],
  // slirp4netns makes a network that no host can have addresses of.
  [["--cidr=127.0.0.0/8", PID, "tap0"], /^invalid network address: 127\.0\.0\.0\n$/],
  [["--cidr=224.0.0.0/8", PID, "tap0"], /^invalid network address: 224\.0\.0\.0\n$/],
  // slirp4netns finds it out when everything else is done.
  [["-a", TOO_LONG, PID, "tap0"], /^the specified API socket path is too long \(>= 108\)\n$/],
  [["-c", "-m", "60", PID, "tap0"], /^cannot set MTU: Invalid argument\n$/],
  [[PID, "lo"], /TUNSETIFF/],
  // slirp4netns takes five bytes for six, and leaves a multicast address to the kernel, which refuses it.
  [["-c", "--macaddress=aa:bb:cc:dd:ee", PID, "tap0"], /is an invalid MAC address/],
  [["-c", "--macaddress=01:00:5e:00:00:01", PID, "tap0"], /is an invalid MAC address/],
  // Only slirp4netns 1.3 has it.
  [["--netns-type=tapfd", "x"], /^tapfd must be a non-negative integer\n$/],
  [["--netns-type=tapfd", "-c", "5"], /^--configure conflicts with --netns-type=tapfd/],
] as const) {
  test(`ours refuses ${JSON.stringify(args.join(" "))}`, async (t) => {
    const outcome = await run(OURS, args);
    t.is(outcome.code, 1);
    t.regex(outcome.stderr, stderr);
  });
}
