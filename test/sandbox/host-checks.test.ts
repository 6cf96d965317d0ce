import test from "ava";
import { checkHost, explainFailure, type Finding } from "../../src/sandbox/host-checks.js";
import type { HostFacts } from "../../src/sandbox/host-facts.js";
import { hostHasIPv6 } from "../../src/sandbox/host-ipv6.js";

/** As the kernel has it: a loopback, a global and a link-local address. */
const LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo";
const LINK_LOCAL = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0";
const IF_INET6 = `20010db8000000000000000000000009 04 40 00 80     eth0\n${LINK_LOCAL}\n${LOOPBACK}`;

/** A host on which everything works, with some files changed (null: missing). */
function host(changes: Record<string, string | null> = {}, tun: string | null = null): HostFacts {
  const files: Record<string, string | null> = {
    "/proc/sys/kernel/osrelease": "6.12.1-amd64",
    "/proc/self/uid_map": "0 0 4294967295",
    "/proc/sys/user/max_user_namespaces": "96365",
    "/proc/net/if_inet6": IF_INET6,
    "/proc/sys/net/ipv4/ping_group_range": "0\t2147483647",
    "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno cubic",
    "/proc/self/limits":
      "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files",
    ...changes,
  };
  return {
    read: (path) => files[path] ?? null,
    tryOpen: () => tun,
    confinement: () => null,
    user: 1000,
    groups: [1000, 27],
  };
}

const works = async () => null;
const refusedUnshare = async () => ({ step: "unshare", errno: 1, detail: "" });
const bad = (findings: Finding[]) => findings.filter((finding) => !finding.ok);

test("a host that has everything gets no complaint", async (t) => {
  t.deepEqual(bad(await checkHost(host(), works)), []);
});

const lacking: [
  string,
  HostFacts,
  () => Promise<{ step: string; errno: number; detail: string } | null>,
  Finding["severity"],
  RegExp,
  RegExp,
][] = [
  [
    "no namespaces by sysctl",
    host({ "/proc/sys/user/max_user_namespaces": "0" }),
    refusedUnshare,
    "fatal",
    /switched off/,
    /sysctl -w user\.max_user_namespaces=\d+/,
  ],
  [
    "Debian's switch",
    host({ "/proc/sys/kernel/unprivileged_userns_clone": "0" }),
    refusedUnshare,
    "fatal",
    /unprivileged_userns_clone/,
    /sysctl -w kernel\.unprivileged_userns_clone=1/,
  ],
  [
    "AppArmor",
    host({ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1" }),
    refusedUnshare,
    "fatal",
    /AppArmor/,
    /sysctl -w kernel\.apparmor_restrict_unprivileged_userns=0/,
  ],
  ["a seccomp filter", host({ "/.dockerenv": "" }), refusedUnshare, "fatal", /container/, /--security-opt/],
  [
    "TUN missing",
    host({}, "ENOENT"),
    async () => ({ step: "tun-open", errno: 2, detail: "" }),
    "fatal",
    /missing/,
    /modprobe tun.*mknod/,
  ],
  [
    "TUN closed",
    host({}, "EACCES"),
    async () => ({ step: "tun-open", errno: 13, detail: "" }),
    "fatal",
    /closed/,
    /chmod 0666 \/dev\/net\/tun/,
  ],
  ["an old kernel", host({ "/proc/sys/kernel/osrelease": "4.15.0" }), works, "fatal", /too old/, /4\.18/],
  [
    "ping closed",
    host({ "/proc/sys/net/ipv4/ping_group_range": "1\t0" }),
    works,
    "degraded",
    /ping/,
    /ping_group_range="0 2147483647"/,
  ],
  ["no IPv6", host({ "/proc/net/if_inet6": `${LINK_LOCAL}\n${LOOPBACK}` }), works, "degraded", /IPv4 only/, /^$/],
  [
    "few files",
    host({ "/proc/self/limits": "Max open files            1024                 2048               files" }),
    works,
    "degraded",
    /2048 open files/,
    /limits\.conf/,
  ],
  [
    "only BBR",
    host({ "/proc/sys/net/ipv4/tcp_available_congestion_control": "bbr" }),
    works,
    "degraded",
    /congestion control/,
    /modprobe tcp_cubic/,
  ],
];
for (const [name, facts, attempt, severity, what, fix] of lacking) {
  test(`what is lacking is named with its fix: ${name}`, async (t) => {
    const found = bad(await checkHost(facts, attempt)).filter((finding) => what.test(finding.what));
    t.is(found.length, 1);
    t.is(found[0]?.severity, severity);
    t.regex(found[0]?.fix ?? "", fix);
  });
}

test("an older kernel lacks speed, not function", async (t) => {
  const findings = bad(await checkHost(host({ "/proc/sys/kernel/osrelease": "5.15.0-100-generic" }), works));
  t.is(findings.length, 2);
  t.true(findings.every((finding) => finding.severity === "degraded"));
});

test("a profile that lets us make namespaces counts more than the general rule", async (t) => {
  t.deepEqual(bad(await checkHost(host({ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1" }), works)), []);
});

test("a start that fails says the same as the checks", (t) => {
  const error = explainFailure(
    { step: "id-map", errno: 13, detail: "/proc/self/uid_map" },
    host({ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1" }),
  );
  t.is(error.code, "HOST_LACKS");
  t.regex(error.message, /AppArmor.*sysctl -w/);
  t.false(error.message.includes("\n"));
});

test("a user with too many processes hears so", (t) => {
  const error = explainFailure({ step: "fork", errno: 11, detail: "mount and PID namespace" }, host());
  t.is(error.code, "HOST_LACKS");
  t.regex(error.message, /no more processes.*ulimit -u/);
});

for (const [name, addresses, has] of [
  ["a global address", IF_INET6, true],
  ["a unique local one", "fd000000000000000000000000000002 04 40 00 82     eth0", true],
  ["a temporary, deprecated one", "20010db8000000000000000000000009 02 40 00 21     eth0", true],
  ["one that somebody else has too", "20010db8000000000000000000000009 02 40 00 48     eth0", false],
  ["loopback and link-local only", `${LINK_LOCAL}\n${LOOPBACK}`, false],
  ["site-local only", "fec00000000000000000000000000009 02 40 40 80     eth0", false],
  ["none", "", false],
  ["a kernel without IPv6", null, false],
] as const) {
  test(`whether the host has IPv6: ${name}`, (t) => {
    t.is(
      hostHasIPv6((path) => (path === "/proc/net/if_inet6" ? addresses : null)),
      has,
    );
  });
}
