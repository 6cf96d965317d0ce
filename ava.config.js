/** The files that take longest begin first, so that none of them runs alone at the end. */
const LONGEST = [
  "integration/outbound",
  "integration/many",
  "integration/path",
  "integration/servers",
  "integration/start",
  "integration/tcp",
  "integration/slirp4netns/podman",
  "integration/slirp4netns/rootlesskit",
  "integration/slirp4netns/options",
  "stack/fuzz-v6",
  "stack/fuzz",
  "tcp/matrix",
  "integration/isolation",
  "integration/publish",
  "integration/resolvers",
  "integration/vxlan",
  "integration/members",
  "native/channel",
];

function place(file) {
  const at = LONGEST.findIndex((name) => file.endsWith(`/dist/test/${name}.test.js`));
  return at < 0 ? LONGEST.length : at;
}

export default {
  files: ["dist/test/**/*.test.js"],
  workerThreads: false,
  timeout: "3m",
  concurrency: 2,
  sortTestFiles: (a, b) => place(a) - place(b) || a.localeCompare(b, "en"),
};
