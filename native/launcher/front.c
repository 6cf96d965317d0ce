/*
 * Theory of operation. Node needs some 20 ms until our code runs, and starting a process out of Node another 5. So the program
 * begins here: this forks a launcher, which goes as far as it can without knowing the options, and becomes Node. Node finds the
 * channel to that launcher by a variable of its environment and sends what is to be done (REQUEST_CONFIGURE).
 *
 *     front ──fork──> launcher: user and network namespace, then waits for its configuration
 *       └──exec─────> node: checks the options, sends them
 *
 * Only Node decides. Where the options are wrong, or it needs no launcher, it ends; the channel ends with it, and that ends the
 * launcher. Where no launcher could be forked there is no variable, and Node starts one itself, with the errors that belong to it.
 * The process that the caller knows is the one that becomes Node.
 *
 * The environment. Node loads the certificates of NODE_EXTRA_CA_CERTS before anything else, for some 30 ms, and we use no TLS:
 * Node gets the variable under another name. The launcher was forked before, so the command has all as the caller gave it.
 *
 * Node raises its limit of descriptors. What it becomes later (`exec`) gets the caller's again, so Node is told.
 *
 * libuv opens no io_uring of its own, even if the caller wishes so: what goes through one is seen by no filter (engine/confine.cc).
 *
 * glibc gives each thread of V8's compiler a heap of its own, of which some MB are never given back: Node gets one for all.
 */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"

/* src/cli/environment.ts has the same names. */
#define CHANNEL_VARIABLE "NETNS_ROOTLESS_LAUNCHER"
#define CERTIFICATES "NODE_EXTRA_CA_CERTS"
#define KEPT_CERTIFICATES "NETNS_ROOTLESS_EXTRA_CA_CERTS"
#define DESCRIPTORS "NETNS_ROOTLESS_NOFILE"
#define RINGS "UV_USE_IO_URING"
#define KEPT_RINGS "NETNS_ROOTLESS_IO_URING"
#define HEAPS "MALLOC_ARENA_MAX"
#define HEAPS_ARE_OURS "NETNS_ROOTLESS_ARENA_MAX"

enum { NODE = 2, SCRIPT = 3, ARGUMENTS = 4 };

/* With one of them closed, its number would go to a descriptor of ours. Node opens /dev/null in its place. */
static bool standard_descriptors_open(void) {
  return fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0;
}

/* Returns true in the launcher that it forks; to the other one it says where that is, or nothing where it could not. */
static bool fork_launcher(char place[32]) {
  int pair[2];
  if (!standard_descriptors_open() || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return false;
  pid_t launcher = fork();
  if (launcher == 0) {
    if (pair[1] != CONTROL_FD && dup2(pair[1], CONTROL_FD) < 0) _exit(125);
    return true;
  }
  close(pair[1]);
  if (launcher < 0) {
    close(pair[0]);
    return false;
  }
  snprintf(place, 32, "%d %d", pair[0], launcher);
  fcntl(pair[0], F_SETFD, 0);
  return false;
}

static bool makes_sandbox(const char *command) { return !strcmp(command, "run") || !strcmp(command, "create"); }

static void keep_certificates(void) {
  const char *file = getenv(CERTIFICATES);
  if (!file || !*file) return;
  setenv(KEPT_CERTIFICATES, file, 1);
  unsetenv(CERTIFICATES);
}

static void tell_limit(void) {
  struct rlimit limit;
  char text[32];
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) return;
  snprintf(text, sizeof text, "%llu", (unsigned long long)limit.rlim_cur);
  setenv(DESCRIPTORS, text, 1);
}

static void use_one_heap(void) {
  unsetenv(HEAPS_ARE_OURS);
  if (getenv(HEAPS)) return;
  setenv(HEAPS, "1", 1);
  setenv(HEAPS_ARE_OURS, "1", 1);
}

static void use_no_rings(void) {
  const char *wish = getenv(RINGS);
  setenv(KEPT_RINGS, wish ? wish : "", 1);
  setenv(RINGS, "0", 1);
}

void begin_front(int count, char **arguments) {
  if (count < ARGUMENTS) {
    fputs("this is a part of netns-rootless: run netns-rootless instead\n", stderr);
    _exit(125);
  }
  char place[32] = "";
  if (count > ARGUMENTS && makes_sandbox(arguments[ARGUMENTS]) && fork_launcher(place)) return;
  if (*place) setenv(CHANNEL_VARIABLE, place, 1);
  else unsetenv(CHANNEL_VARIABLE);
  keep_certificates();
  tell_limit();
  use_one_heap();
  use_no_rings();
  execvp(arguments[NODE], arguments + NODE);
  bool by_path = !strchr(arguments[NODE], '/');
  const char *reason = by_path ? "not on your PATH" : strerror(errno);
  fprintf(stderr, "netns-rootless: %s cannot be executed (%s): install Node.js 20.19 or newer\n", arguments[NODE], reason);
  _exit(125);
}
