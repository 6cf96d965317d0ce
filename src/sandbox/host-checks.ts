/**
 * What a host must have, what it should have, and how to give it that: for `doctor`, and for a start that failed.
 * The facts come through HostFacts, so that a test can describe any host.
 */
import { getSystemErrorName } from "node:util";
import { type ErrorCode, NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { type HostFacts, hostFacts } from "./host-facts.js";
import { hostHasIPv6 } from "./host-ipv6.js";
import { startLauncher } from "./launcher-process.js";
import { type LauncherFailure, runArguments } from "./launcher-protocol.js";

export interface Finding {
  readonly ok: boolean;
  /** `fatal`: nothing works without it; `degraded`: something is slower or missing. */
  readonly severity: "fatal" | "degraded";
  /** One line: what was found. */
  readonly what: string;
  /** One line: how to mend it; null where there is nothing to mend. */
  readonly fix: string | null;
}

/** Tries to make a sandbox, and tells which step the host refused. */
export type Attempt = () => Promise<LauncherFailure | null>;

const OLDEST_KERNEL = "4.18";
const USO_KERNEL = "6.2";
const PEEK_OFFSET_KERNEL = "6.9";
const FEW_FILES = 4096;
const LOSS_BASED = ["reno", "cubic"];

export async function checkHost(facts: HostFacts = hostFacts(), attempt: Attempt = attemptLaunch): Promise<Finding[]> {
  const failure = await attempt();
  const users = checkUserNamespaces(facts);
  const tun = checkTun(facts);
  const findings = [checkKernel(facts), users, tun];
  if (failure === null) {
    // What counts is that it works: a profile or a privilege may allow us what is closed in general.
    if (!users.ok) findings[1] = fine("user namespaces can be made");
  } else if (users.ok && tun.ok) {
    findings.push({ ok: false, severity: "fatal", ...describe(failure, facts) });
  }
  return [
    ...findings,
    checkIPv6(facts),
    checkPing(facts),
    checkOpenFiles(facts),
    checkConfinement(facts),
    ...checkSpeed(facts),
  ];
}

/** The error for a step of the launcher that failed: one line, with the way to mend it. */
export function explainFailure(failure: LauncherFailure, facts: HostFacts = hostFacts()): NetnsError {
  const { what, fix, code } = describe(failure, facts);
  return new NetnsError(code, fix === null ? what : `${what}: ${fix}`);
}

function fine(what: string, severity: Finding["severity"] = "fatal"): Finding {
  return { ok: true, severity, what, fix: null };
}

/** Whether a kernel release such as `6.8.0-45-generic` is `wanted` (`6.9`) or newer. */
function isKernel(release: string, wanted: string): boolean {
  const [major = 0, minor = 0] = release.split(".").map((part) => Number.parseInt(part, 10));
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

function release(facts: HostFacts): string {
  return facts.read("/proc/sys/kernel/osrelease") ?? "0.0";
}

function checkKernel(facts: HostFacts): Finding {
  const running = release(facts);
  if (isKernel(running, OLDEST_KERNEL)) return fine(`Linux ${running}`);
  return {
    ok: false,
    severity: "fatal",
    what: `Linux ${running} is too old`,
    fix: `install a kernel ${OLDEST_KERNEL} or newer`,
  };
}

function inContainer(facts: HostFacts): boolean {
  return facts.read("/.dockerenv") !== null || facts.read("/run/.containerenv") !== null;
}

function closedUserNamespaces(facts: HostFacts): { what: string; fix: string } | null {
  if (facts.read("/proc/self/uid_map") === null) {
    return { what: "this kernel has no user namespaces", fix: "install a kernel built with CONFIG_USER_NS" };
  }
  if (facts.read("/proc/sys/user/max_user_namespaces") === "0") {
    return {
      what: "user namespaces are switched off (user.max_user_namespaces is 0)",
      fix: "sudo sysctl -w user.max_user_namespaces=15000",
    };
  }
  if (facts.user !== 0 && facts.read("/proc/sys/kernel/unprivileged_userns_clone") === "0") {
    return {
      what: "ordinary users may not make user namespaces (kernel.unprivileged_userns_clone is 0)",
      fix: "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    };
  }
  if (facts.user !== 0 && facts.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") === "1") {
    return {
      what: "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
      fix: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    };
  }
  return null;
}

function checkUserNamespaces(facts: HostFacts): Finding {
  const closed = closedUserNamespaces(facts);
  return closed ? { ok: false, severity: "fatal", ...closed } : fine("user namespaces are allowed");
}

function closedTun(error: string): { what: string; fix: string } {
  if (error === "ENOENT") {
    const make = "sudo mkdir -p /dev/net && sudo mknod -m 666 /dev/net/tun c 10 200";
    return { what: "/dev/net/tun is missing", fix: `sudo modprobe tun, or where that does not make it: ${make}` };
  }
  if (error === "EACCES" || error === "EPERM") {
    return { what: `/dev/net/tun is closed to this user (${error})`, fix: "sudo chmod 0666 /dev/net/tun" };
  }
  if (error === "ENODEV" || error === "ENXIO") {
    return { what: `/dev/net/tun has no driver (${error})`, fix: "sudo modprobe tun" };
  }
  return { what: `/dev/net/tun cannot be opened (${error})`, fix: "sudo modprobe tun && sudo chmod 0666 /dev/net/tun" };
}

function checkTun(facts: HostFacts): Finding {
  const error = facts.tryOpen("/dev/net/tun");
  return error === null ? fine("/dev/net/tun can be opened") : { ok: false, severity: "fatal", ...closedTun(error) };
}

function checkIPv6(facts: HostFacts): Finding {
  if (hostHasIPv6(facts.read)) return fine("this host has IPv6, and so have its sandboxes", "degraded");
  const what = "this host has no IPv6 address: its sandboxes have IPv4 only (-46 gives them both)";
  return { ok: false, severity: "degraded", what, fix: null };
}

function checkPing(facts: HostFacts): Finding {
  const range = facts.read("/proc/sys/net/ipv4/ping_group_range");
  const [least = 1, most = 0] = (range ?? "").split(/\s+/).map(Number);
  if (range !== null && facts.groups.some((group) => group >= least && group <= most)) {
    return fine("ping sockets are allowed", "degraded");
  }
  return {
    ok: false,
    severity: "degraded",
    what: "no ping to the outside: net.ipv4.ping_group_range has none of your groups",
    fix: 'sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"',
  };
}

function checkOpenFiles(facts: HostFacts): Finding {
  const limit = /^Max open files +\S+ +(\S+)/m.exec(facts.read("/proc/self/limits") ?? "")?.[1] ?? "unlimited";
  if (limit === "unlimited" || Number(limit) >= FEW_FILES) return fine(`up to ${limit} open files`, "degraded");
  return {
    ok: false,
    severity: "degraded",
    what: `only ${limit} open files are allowed (hard limit), so about as many connections at once`,
    fix: `add "* hard nofile 65536" to /etc/security/limits.conf and log in again`,
  };
}

function checkConfinement(facts: HostFacts): Finding {
  const error = facts.confinement();
  if (error === null) return fine("the process that carries a network can be confined (seccomp)", "degraded");
  const kernel = "a kernel built with CONFIG_SECCOMP_FILTER, on x86-64 or arm64, can";
  return {
    ok: false,
    severity: "degraded",
    what: `the process that carries a network cannot be confined (${error}): it keeps all rights of your user`,
    fix: inContainer(facts) ? "start this container with --security-opt seccomp=unconfined" : kernel,
  };
}

function checkSpeed(facts: HostFacts): Finding[] {
  const running = release(facts);
  const since = (what: string, wanted: string): Finding =>
    isKernel(running, wanted)
      ? fine(what, "degraded")
      : { ok: false, severity: "degraded", what: `no ${what}`, fix: `a kernel ${wanted} or newer has it` };
  const controls = (facts.read("/proc/sys/net/ipv4/tcp_available_congestion_control") ?? "").split(/\s+/);
  const lossBased = LOSS_BASED.filter((name) => controls.includes(name));
  return [
    since("UDP segmentation offload on the TAP (UDP out is slower without)", USO_KERNEL),
    since("SO_PEEK_OFF for TCP (TCP in needs more memory without)", PEEK_OFFSET_KERNEL),
    lossBased.length > 0
      ? fine(`congestion control for the way inside: ${lossBased.join(", ")}`, "degraded")
      : {
          ok: false,
          severity: "degraded",
          what: `no loss-based congestion control (there is ${controls.join(", ")}): TCP out of the sandbox is slower`,
          fix: "sudo modprobe tcp_cubic",
        },
  ];
}

/** The steps that need what a restricted user namespace takes away. */
const PRIVILEGED_STEPS = ["unshare", "id-map", "hostname", "tap-create", "network", "mount", "fork"];

function describe(failure: LauncherFailure, facts: HostFacts): { what: string; fix: string | null; code: ErrorCode } {
  const { step, detail } = failure;
  const error = failure.errno > 0 ? getSystemErrorName(-failure.errno) : "unknown error";
  const refused = error === "EPERM" || error === "EACCES";

  if (step === "tun-open") return { ...closedTun(error), code: "HOST_LACKS" };
  if (PRIVILEGED_STEPS.includes(step) && (refused || error === "ENOSPC" || error === "EINVAL")) {
    const closed = closedUserNamespaces(facts);
    if (closed) return { ...closed, code: "HOST_LACKS" };
  }
  if (step === "unshare") return { ...refusedNamespace(error, facts), code: "HOST_LACKS" };
  if (step.startsWith("target")) return { ...describeTarget(step, error, detail), code: "NAMESPACE" };
  if (step === "tap-create" && error === "EBUSY") {
    const fix = "choose another name with --ifname";
    return { what: `the namespace has an interface ${detail} already`, fix, code: "NAMESPACE" };
  }
  if (step === "network" && ["EAFNOSUPPORT", "EOPNOTSUPP"].includes(error)) {
    return { what: `this kernel has no IPv6 (${detail}: ${error})`, fix: "leave out -6", code: "HOST_LACKS" };
  }
  if (step === "network" && error === "EEXIST") {
    const fix = "remove it there (ip route del default), or attach to a namespace without one";
    return { what: "the namespace has such an address or route already", fix, code: "NAMESPACE" };
  }
  if (step === "network" && error === "ENETUNREACH") {
    return { what: "the gateway is not in the subnet of the sandbox", fix: "choose another --cidr", code: "USAGE" };
  }
  if (step === "fork" && error === "ENOSPC") {
    const fix = "sudo sysctl -w user.max_pid_namespaces=15000 user.max_mnt_namespaces=15000";
    return { what: "no more PID or mount namespaces are allowed", fix, code: "HOST_LACKS" };
  }
  if (step === "fork" && error === "EAGAIN") {
    const fix = "end some, or raise the limit (ulimit -u)";
    return { what: "this user may start no more processes (EAGAIN)", fix, code: "HOST_LACKS" };
  }
  if (step === "options") return { what: detail, fix: null, code: "USAGE" };
  if (step === "protocol")
    return { what: `the launcher did not understand us (${detail})`, fix: null, code: "INTERNAL" };
  const fix = inContainer(facts) && refused ? "this container forbids it: allow it with --privileged" : null;
  return { what: `the sandbox could not be made (step ${step}, ${detail}: ${error})`, fix, code: "NAMESPACE" };
}

function refusedNamespace(error: string, facts: HostFacts): { what: string; fix: string } {
  if (error === "ENOSPC" || error === "EUSERS") {
    return {
      what: `no more namespaces are allowed (${error})`,
      fix: "end some, or sudo sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000",
    };
  }
  if (error === "EINVAL" || error === "ENOSYS") {
    return {
      what: `this kernel has no user or network namespaces (${error})`,
      fix: "install a kernel built with CONFIG_USER_NS and CONFIG_NET_NS",
    };
  }
  if (inContainer(facts)) {
    return {
      what: `this container may not make user namespaces (${error})`,
      fix: "start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/net/tun",
    };
  }
  return {
    what: `user namespaces are refused (${error})`,
    fix: "leave the chroot, or allow user namespaces in the seccomp filter, AppArmor or SELinux policy that confines this process",
  };
}

function describeTarget(step: string, error: string, detail: string): { what: string; fix: string | null } {
  if (step === "target-own") {
    return {
      what: `${detail} is the network that this command runs in`,
      fix: "name a process in another network namespace",
    };
  }
  if (step === "target-type") {
    return {
      what: `${detail} is not a network namespace`,
      fix: "name a process id, or a file such as /run/netns/NAME",
    };
  }
  if (step === "target-userns") {
    return { what: `${detail} is not a user namespace`, fix: "name a file such as /proc/PID/ns/user" };
  }
  if (error === "ENOENT" || error === "ESRCH") {
    return { what: `${detail} does not exist`, fix: "name a running process, or a file such as /run/netns/NAME" };
  }
  if (error === "EPERM" || error === "EACCES") {
    return {
      what: `${detail} cannot be entered (${error}): its namespace belongs to somebody else`,
      fix: "attach as the user who made it",
    };
  }
  return { what: `${detail} cannot be entered (${error})`, fix: null };
}

class Refused extends Error {
  constructor(readonly failure: LauncherFailure) {
    super(failure.step);
  }
}

/** Makes a sandbox and lets it go, without running anything in it. */
async function attemptLaunch(): Promise<LauncherFailure | null> {
  const mac = "02:00:00:00:00:01";
  const network = {
    ifname: "tap0",
    mac,
    mtu: 1500,
    v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
    v6: null,
    congestion: [],
    queues: 1,
  };
  const texts = { hostname: null, resolvConf: "", hosts: "" };
  const options = { network, command: ["true"], env: process.env, root: false, ...texts };
  try {
    const sandbox = await startLauncher({
      arguments: runArguments(options, mac),
      env: process.env,
      mac,
      queues: 1,
      explain: (failure) => new Refused(failure),
    });
    native().closeFd(sandbox.taps[0]);
    await sandbox.release();
    return null;
  } catch (error) {
    if (error instanceof Refused) return error.failure;
    throw error; // the native part itself is missing
  }
}
