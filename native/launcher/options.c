#include "options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"

static unsigned long parse_number(const char *name, const char *text, unsigned long least, unsigned long most) {
  char *end;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  if (!isdigit((unsigned char)*text) || *end || errno || value < least || value > most)
    fail("options", EINVAL, "--%s wants a number from %lu to %lu, not %s", name, least, most, text);
  return value;
}

static struct address parse_address(const char *name, const char *text, int family) {
  struct address address = {.family = family};
  if (inet_pton(family, text, address.bytes) != 1)
    fail("options", EINVAL, "--%s wants an IPv%d address, not %s", name, family == AF_INET ? 4 : 6, text);
  return address;
}

static void parse_subnet(const char *name, const char *text, int family, struct subnet *subnet) {
  char address[INET6_ADDRSTRLEN];
  const char *slash = strchr(text, '/');
  if (!slash || (size_t)(slash - text) >= sizeof address) fail("options", EINVAL, "--%s wants ADDRESS/BITS, not %s", name, text);
  memcpy(address, text, (size_t)(slash - text));
  address[slash - text] = 0;
  subnet->address = parse_address(name, address, family);
  subnet->prefix = (unsigned)parse_number(name, slash + 1, 1, family == AF_INET ? 31 : 127);
}

static void parse_mac(const char *text, unsigned char mac[6]) {
  for (int i = 0; i < 6; i++) {
    const char *at = text + 3 * i; /* never beyond the end: each round has seen its two digits and what is behind them */
    char end = i == 5 ? 0 : ':';
    if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]) || at[2] != end)
      fail("options", EINVAL, "--mac wants six bytes such as 52:55:0a:00:02:64, not %s", text);
    char digits[3] = {at[0], at[1], 0};
    mac[i] = (unsigned char)strtoul(digits, NULL, 16);
  }
  if (mac[0] & 1) fail("options", EINVAL, "--mac wants a unicast address, not %s", text);
}

/* The kernel's own rule (dev_valid_name), and no '%', which it would take for a pattern. */
static const char *parse_ifname(const char *text) {
  size_t length = strlen(text);
  bool good = length > 0 && length < IFNAMSIZ && strcmp(text, ".") && strcmp(text, "..");
  for (size_t i = 0; good && i < length; i++)
    good = text[i] != '/' && text[i] != ':' && text[i] != '%' && !isspace((unsigned char)text[i]);
  if (!good) fail("options", EINVAL, "--ifname wants 1 to 15 bytes without space, slash, colon or percent, not %s", text);
  return text;
}

struct options parse_options(int count, char **arguments) {
  enum {
    IFNAME = 1, MAC, MTU, ADDRESS, GATEWAY, ADDRESS6, GATEWAY6, CONGESTION, QUEUES, ROOT, HOSTNAME, RESOLV_CONF, HOSTS, HOLD, DETACH, PID, PATH,
    USERNS, AS_FOUND, UNCONFIGURED
  };
  static const struct option known[] = {
      {"ifname", required_argument, NULL, IFNAME},
      {"mac", required_argument, NULL, MAC},
      {"mtu", required_argument, NULL, MTU},
      {"address", required_argument, NULL, ADDRESS},
      {"gateway", required_argument, NULL, GATEWAY},
      {"address6", required_argument, NULL, ADDRESS6},
      {"gateway6", required_argument, NULL, GATEWAY6},
      {"congestion", required_argument, NULL, CONGESTION},
      {"queues", required_argument, NULL, QUEUES},
      {"root", no_argument, NULL, ROOT},
      {"hostname", required_argument, NULL, HOSTNAME},
      {"resolv-conf", required_argument, NULL, RESOLV_CONF},
      {"hosts", required_argument, NULL, HOSTS},
      {"hold", no_argument, NULL, HOLD},
      {"detach", no_argument, NULL, DETACH},
      {"pid", required_argument, NULL, PID},
      {"path", required_argument, NULL, PATH},
      {"userns", required_argument, NULL, USERNS},
      {"as-found", no_argument, NULL, AS_FOUND},
      {"unconfigured", no_argument, NULL, UNCONFIGURED},
      {0},
  };
  struct options options = {.congestion = "", .queues = 1};
  if (count < 2) fail("options", EINVAL, "run or attach expected");
  if (!strcmp(arguments[1], "attach")) options.attach = true;
  else if (strcmp(arguments[1], "run")) fail("options", EINVAL, "run or attach expected, not %s", arguments[1]);

  unsigned seen = 0;
  opterr = 0;
  optind = 2;
  int option;
  while ((option = getopt_long(count, arguments, "+", known, NULL)) != -1) {
    if (option < IFNAME || option > UNCONFIGURED) fail("options", EINVAL, "unknown or incomplete option: %s", arguments[optind - 1]);
    seen |= 1u << option;
    switch (option) {
      case IFNAME: options.ifname = parse_ifname(optarg); break;
      case MAC: parse_mac(optarg, options.mac); break;
      case MTU: options.mtu = (unsigned)parse_number("mtu", optarg, 68, 65521); break;
      case ADDRESS: parse_subnet("address", optarg, AF_INET, &options.v4); break;
      case GATEWAY: options.v4.gateway = parse_address("gateway", optarg, AF_INET); break;
      case ADDRESS6: parse_subnet("address6", optarg, AF_INET6, &options.v6); break;
      case GATEWAY6: options.v6.gateway = parse_address("gateway6", optarg, AF_INET6); break;
      case CONGESTION: options.congestion = optarg; break;
      case QUEUES: options.queues = (unsigned)parse_number("queues", optarg, 1, MAX_QUEUES); break;
      case ROOT: options.root = true; break;
      case HOSTNAME: options.hostname = optarg; break;
      case RESOLV_CONF: options.resolv_conf = optarg; break;
      case HOSTS: options.hosts = optarg; break;
      case HOLD: options.hold = true; break;
      case DETACH: options.detach = true; break;
      case PID: options.pid = (pid_t)parse_number("pid", optarg, 1, 1 << 30); break;
      case PATH: options.path = optarg; break;
      case USERNS: options.userns = optarg; break;
      case AS_FOUND: options.as_found = true; break;
      case UNCONFIGURED: options.unconfigured = true; break;
    }
  }
  for (int needed = IFNAME; needed <= MTU; needed++)
    if (!(seen & 1u << needed)) fail("options", EINVAL, "--%s is missing", known[needed - IFNAME].name);
  if (options.v4.address.family != options.v4.gateway.family) fail("options", EINVAL, "--address and --gateway belong together");
  if (options.v6.address.family != options.v6.gateway.family) fail("options", EINVAL, "--address6 and --gateway6 belong together");
  bool addresses = options.v4.address.family || options.v6.address.family;
  if (addresses == options.unconfigured) fail("options", EINVAL, "one of --address, --address6 and --unconfigured is wanted");
  if (options.attach && !options.pid == !options.path) fail("options", EINVAL, "attach wants one of --pid and --path");
  if (options.attach && (options.hold || options.detach)) fail("options", EINVAL, "attach starts no program");
  if (!options.attach && (options.userns || options.as_found || options.unconfigured)) fail("options", EINVAL, "an option of attach's");
  bool none = options.attach || options.hold;
  if (none == (optind < count)) fail("options", EINVAL, none ? "%s starts no program" : "no program given", arguments[1]);
  options.command = none ? NULL : arguments + optind;
  return options;
}

struct options receive_options(int count, char **arguments) {
  enum { MAX_WORDS = 64 };
  static char text[MAX_CONFIGURATION]; /* the options point into it */
  struct message request;
  size_t length = 0;
  int received = control_receive_text(CONTROL_FD, &request, text, sizeof text, &length);
  if (received == 0) _exit(0);
  bool good = received > 0 && request.kind == REQUEST_CONFIGURE && length > 0 && text[length - 1] == 0 && request.a >= 0 &&
              request.a < count;
  if (!good) fail("protocol", EPROTO, "a malformed configuration");

  char *words[MAX_WORDS + 3];
  int used = 0;
  words[used++] = arguments[0];
  for (char *at = text; at < text + length; at += strlen(at) + 1) {
    if (used > MAX_WORDS) fail("protocol", EPROTO, "a configuration of more than %d words", MAX_WORDS);
    words[used++] = at;
  }
  char **command = request.a > 0 ? arguments + count - request.a : NULL;
  words[used++] = (char *)"--";
  if (command) words[used++] = command[0];
  struct options options = parse_options(used, words);
  if (options.attach) fail("protocol", EPROTO, "only run can be prepared"); /* we have left our namespaces already */
  options.command = command;
  return options;
}
