/*
 * Theory of operation. Three processes, all in the caller's process group and with its terminal:
 *
 *     caller (the program that the user started; waits, passes signals on)
 *       └── keeper (in the sandbox's namespaces, but for its own process id; waits for the command)
 *             └── the command (in the sandbox's PID namespace)
 *
 * The caller is a job of the user's shell and stops with Ctrl-Z like any other. The keeper never stops, since the kernel ends a PID
 * namespace only when every process in it has been waited for: a stopped parent would hold up the end of the whole sandbox. It is
 * also the one that knows whether a signal that came to the caller came to all of the group (signals.c).
 *
 * Ends. The command's: the keeper tells the caller how, and both end. The sandbox's: the kernel kills the command with its PID
 * namespace; where that could not be made the keeper watches init, and kills the command and all that it left. The caller's or the
 * keeper's, by SIGKILL: the parent-death signal ends those below, and the PID namespace ends what the command left when it ends itself;
 * where there is none, the keeper outlives the caller for long enough to end all of it.
 *
 * Entering. /proc/PID is opened first, and all else is opened relative to it: that never leads to another process, even if the
 * number is given away again. Only namespaces that differ from our own are entered, the user namespace first, since it gives the
 * right to enter those that it owns. The identities are those of the sandbox: its user namespace says what our user is called inside.
 */
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "processes.h"
#include "signals.h"
#include "terminal.h"

enum { REFUSED = 125, CHECK_MS = 500 };

/* Between caller and keeper, with the messages of protocol.h. */
enum exec_message {
  EXEC_SIGNAL = 1, /* caller; a: number */
  EXEC_EXITED = 2, /* keeper; a: exit code or -1; b: signal or -1 */
};

struct wish {
  pid_t pid;
  uint64_t start;
  const char *directory; /* NULL: where we are */
  rlim_t descriptors;    /* 0: as they are */
  char **command;
};

/* Of a sandbox's init. */
struct sandbox {
  int directory; /* /proc/PID */
  int pidfd;     /* readable when it has ended; -1: the kernel has none */
  uint64_t start;
};

static _Noreturn void refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void refuse(const char *format, ...) {
  char text[PATH_MAX + 256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  dprintf(2, "netns-rootless: %s\n", text);
  _exit(REFUSED);
}

static uint64_t parse_number(const char *name, const char *text, uint64_t most) {
  char *end;
  errno = 0;
  uint64_t value = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || errno || value < 1 || value > most)
    refuse("exec: --%s wants a number from 1, not %s", name, text);
  return value;
}

static struct wish parse_wish(int count, char **arguments) {
  enum { PID = 1, START, CWD, NOFILE };
  static const struct option known[] = {
      {"pid", required_argument, NULL, PID},
      {"start", required_argument, NULL, START},
      {"cwd", required_argument, NULL, CWD},
      {"nofile", required_argument, NULL, NOFILE},
      {0},
  };
  struct wish wish = {0};
  opterr = 0;
  optind = 2;
  int option;
  while ((option = getopt_long(count, arguments, "+", known, NULL)) != -1) {
    switch (option) {
      case PID: wish.pid = (pid_t)parse_number("pid", optarg, 1 << 30); break;
      case START: wish.start = parse_number("start", optarg, UINT64_MAX); break;
      case CWD: wish.directory = optarg; break;
      case NOFILE: wish.descriptors = parse_number("nofile", optarg, 1 << 30); break;
      default: refuse("exec: unknown or incomplete option: %s", arguments[optind - 1]);
    }
  }
  if (!wish.pid || !wish.start || optind >= count) refuse("exec: --pid, --start and a command are wanted");
  wish.command = arguments + optind;
  return wish;
}

static bool target_lives(const struct sandbox *target) { return start_time(target->directory) == target->start; }

static struct sandbox open_target(const struct wish *wish) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d", wish->pid);
  struct sandbox target = {.directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), .start = wish->start};
  if (target.directory < 0 && errno != ENOENT) refuse("%s: %s", path, strerror(errno));
  target.pidfd = (int)syscall(SYS_pidfd_open, wish->pid, 0);
  if (target.directory < 0 || !target_lives(&target)) refuse("the sandbox has ended");
  return target;
}

/* Returns -1 where there is none, or it is our own. */
static int open_namespace(const struct sandbox *target, const char *name) {
  char path[32], own[32];
  snprintf(path, sizeof path, "ns/%s", name);
  snprintf(own, sizeof own, "/proc/self/ns/%s", name);
  int fd = openat(target->directory, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (!target_lives(target)) refuse("the sandbox has ended");
    if (errno == ENOENT) return -1;
    refuse("the sandbox cannot be entered: /proc/PID/%s: %s", path, strerror(errno));
  }
  struct stat there, here;
  if (fstat(fd, &there) == 0 && stat(own, &here) == 0 && there.st_dev == here.st_dev && there.st_ino == here.st_ino) {
    close(fd);
    return -1;
  }
  return fd;
}

/* Returns whether the sandbox has a PID namespace of its own; the next child will be in it. */
static bool enter(const struct sandbox *target) {
  static const char *const names[] = {"user", "net", "uts", "ipc", "cgroup", "mnt", "pid"};
  enum { COUNT = sizeof names / sizeof *names, PID_NAMESPACE = COUNT - 1 };
  int fds[COUNT];
  for (int i = 0; i < COUNT; i++) fds[i] = open_namespace(target, names[i]);
  for (int i = 0; i < COUNT; i++)
    if (fds[i] >= 0 && setns(fds[i], 0) < 0)
      refuse("the sandbox cannot be entered: %s namespace: %s", names[i], strerror(errno));
  bool isolated = fds[PID_NAMESPACE] >= 0;
  for (int i = 0; i < COUNT; i++)
    if (fds[i] >= 0) close(fds[i]);
  return isolated;
}

static void limit_descriptors(rlim_t most) {
  struct rlimit limit;
  if (!most || getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static pid_t start_command(const struct wish *wish, const char *directory, const sigset_t *mask) {
  if (chdir(directory) < 0)
    refuse("the working directory %s cannot be entered inside: %s", directory, strerror(errno));
  pid_t keeper = getpid(), command = fork();
  if (command < 0 && errno == ENOMEM) refuse("the sandbox has ended"); /* its PID namespace takes nobody any more */
  if (command < 0) refuse("the command could not be started: %s", strerror(errno));
  if (command > 0) return command;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pid_t parent = getppid(); /* 0: it is in no namespace of ours */
  if (parent != 0 && parent != keeper) _exit(REFUSED);
  limit_descriptors(wish->descriptors);
  execute_command(wish->command, mask);
}

static void tell_end(int link, int status) {
  struct message end = {
      .kind = EXEC_EXITED,
      .a = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
      .b = WIFSIGNALED(status) ? WTERMSIG(status) : -1,
  };
  control_send(link, end, NULL, NULL, 0);
}

/* Reaps what has ended. Returns whether the command is among that. */
static bool reap(int signals, pid_t command, int *status) {
  struct signalfd_siginfo drained;
  while (read(signals, &drained, sizeof drained) > 0) continue;
  bool ended = false;
  int other;
  pid_t process;
  while ((process = waitpid(-1, &other, WNOHANG)) > 0) {
    if (process != command) continue;
    ended = true;
    *status = other;
  }
  return ended;
}

static _Noreturn void keep(const struct wish *wish, const struct sandbox *target, const char *directory, int link,
                           const sigset_t *mask) {
  struct witness witness;
  sigset_t unused, child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  if (!watch_signals(&witness, &unused)) refuse("signalfd: %s", strerror(errno));
  int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (children < 0) refuse("signalfd: %s", strerror(errno));
  bool isolated = enter(target);
  if (!isolated) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGCONT); /* no longer SIGKILL; and it may be stopped */
  }
  pid_t command = start_command(wish, directory, mask);

  enum { LINK, CHILDREN, SIGNALS, INIT, COUNT };
  struct pollfd ready[COUNT] = {
      [LINK] = {.fd = link, .events = POLLIN},
      [CHILDREN] = {.fd = children, .events = POLLIN},
      [SIGNALS] = {.fd = witness.signals, .events = POLLIN},
      [INIT] = {.fd = isolated ? -1 : target->pidfd, .events = POLLIN},
  };
  int status = 0;
  for (;;) {
    if (poll(ready, COUNT, isolated || target->pidfd >= 0 ? -1 : CHECK_MS) < 0) continue;
    if (ready[SIGNALS].revents) note_signals(&witness);
    if (ready[CHILDREN].revents && reap(children, command, &status)) break;
    if (!isolated && !target_lives(target)) {
      kill(command, SIGKILL);
      ready[INIT].fd = -1;
    }
    if (ready[LINK].revents) {
      struct message message;
      if (control_receive(link, &message, NULL) <= 0) { /* the caller was killed */
        if (!isolated) end_descendants();
        _exit(0);
      }
      if (!command_has(&witness, message.a, command)) kill(command, message.a);
    }
  }
  if (!isolated) end_descendants();
  tell_end(link, status);
  _exit(0);
}

/* The signals that are meant for the command. */
static int take_caller_signals(sigset_t *before) {
  static const int passed[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
  sigset_t taken;
  sigemptyset(&taken);
  for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) sigaddset(&taken, passed[i]);
  sigprocmask(SIG_BLOCK, &taken, before);
  return signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Passes signals on until the keeper tells the command's end. Returns false where it ended without a word. */
static bool relay(int link, int signals, struct message *end) {
  struct pollfd ready[] = {{.fd = link, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
  for (;;) {
    if (poll(ready, 2, -1) < 0) continue;
    struct signalfd_siginfo info;
    while (ready[1].revents && read(signals, &info, sizeof info) == sizeof info)
      control_send(link, (struct message){.kind = EXEC_SIGNAL, .a = (int)info.ssi_signo}, NULL, NULL, 0);
    if (ready[0].revents) return control_receive(link, end, NULL) > 0 && end->kind == EXEC_EXITED;
  }
}

static void give_terminal_back(struct terminal terminal) {
  sigset_t output;
  sigemptyset(&output);
  sigaddset(&output, SIGTTOU);
  sigprocmask(SIG_BLOCK, &output, NULL);
  restore_terminal(terminal);
}

int execute_inside(int count, char **arguments) {
  struct wish wish = parse_wish(count, arguments);
  close_descriptors(3, ~0u);
  struct sandbox target = open_target(&wish);
  static char here[PATH_MAX];
  const char *directory = wish.directory;
  if (!directory && !(directory = getcwd(here, sizeof here)))
    refuse("the working directory is not known: %s", strerror(errno));

  int link[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) < 0) refuse("socketpair: %s", strerror(errno));
  struct terminal terminal = open_terminal();
  sigset_t mask;
  int signals = take_caller_signals(&mask);
  if (signals < 0) refuse("signalfd: %s", strerror(errno));
  pid_t caller = getpid(), keeper = fork();
  if (keeper < 0) refuse("the command could not be started: %s", strerror(errno));
  if (keeper == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != caller) _exit(REFUSED);
    close(link[0]);
    keep(&wish, &target, directory, link[1], &mask);
  }
  close(link[1]);

  struct message end;
  bool told = relay(link[0], signals, &end);
  int status = 0;
  while (waitpid(keeper, &status, 0) < 0 && errno == EINTR) continue;
  give_terminal_back(terminal);
  if (told) return end.a >= 0 ? end.a : 128 + end.b;
  if (WIFEXITED(status)) return WEXITSTATUS(status); /* it has said why */
  refuse("exec was ended by signal %d", WTERMSIG(status));
}
