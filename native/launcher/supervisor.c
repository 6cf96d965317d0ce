/*
 * Theory of operation. The supervisor is the parent of init and the other end of CONTROL_FD. It holds the network
 * namespace, since it lives in it, makes the sockets that are asked for there, passes signals on, and reports the end of
 * the command. It ends on REQUEST_RELEASE and at the end of the channel, which comes also when the program outside was
 * killed: then it kills init, and with init goes the PID namespace. Nothing can hold it up, since it never waits for
 * anybody but a killed init.
 *
 *     preparing --LINK_PREPARED--> ready --START--> running --LINK_EXITED--> ended --RELEASE, end of channel--> gone
 *                                                                            (the latter two from every state)
 *
 * Signals. All of us are in one process group, so a terminal's Ctrl-C reaches the command directly, and also the program
 * outside, which asks us to pass it on. A signal that came to this process too went to the whole group, so the command
 * has it already if it is still in that group (an interactive shell is not). `seen` remembers when that was; it counts
 * once, and not for long. SIGTSTP and SIGTTIN are left alone: the whole group stops and continues as one job.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "init.h"
#include "processes.h"
#include "terminal.h"

enum { SEEN_FOR_MS = 1000, TARGET_CHECK_MS = 500 };

struct supervisor {
  struct init init; /* link -1: it has ended, or there is none (attach) */
  bool isolated;
  pid_t command; /* in our own PID namespace; 0: not started, or ended */
  bool reported; /* REPLY_EXITED is out */
  int signals;
  int64_t seen[NSIG]; /* when each signal came to us, 0: not, or told already */
  struct terminal terminal;
};

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Blocks all that may stay blocked, and returns the mask that was in force before. */
static sigset_t take_signals(int *signals) {
  sigset_t taken, before;
  sigfillset(&taken);
  static const int left[] = {SIGTSTP, SIGTTIN, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) sigdelset(&taken, left[i]);
  sigprocmask(SIG_BLOCK, &taken, &before);
  sigdelset(&taken, SIGCHLD);
  *signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  if (*signals < 0) fail("supervise", errno, "signalfd");
  return before;
}

static void note_signals(struct supervisor *supervisor) {
  struct signalfd_siginfo info;
  while (read(supervisor->signals, &info, sizeof info) == sizeof info)
    if (info.ssi_signo < NSIG) supervisor->seen[info.ssi_signo] = now_ms();
}

static void forward_signal(struct supervisor *supervisor, int number) {
  if (number <= 0 || number >= NSIG || supervisor->init.link < 0) return;
  note_signals(supervisor); /* one that came to the group came to us before the request to pass it on */
  int64_t seen = supervisor->seen[number];
  supervisor->seen[number] = 0;
  bool whole_group = seen && now_ms() - seen < SEEN_FOR_MS;
  if (whole_group && supervisor->command && getpgid(supervisor->command) == getpgrp()) return;
  control_send(supervisor->init.link, (struct message){.kind = LINK_SIGNAL, .a = number}, NULL, NULL, 0);
}

static void make_sockets(int family, int type, int count) {
  if ((family != 4 && family != 6) || (type != 1 && type != 2) || count < 1 || count > MAX_SOCKETS)
    fail("protocol", EPROTO, "sockets %d %d %d", family, type, count);
  int fds[MAX_SOCKETS], made = 0, error = 0;
  for (; made < count; made++) {
    fds[made] = socket(family == 4 ? AF_INET : AF_INET6,
                       (type == 1 ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[made] < 0) {
      error = errno;
      break;
    }
  }
  struct message reply = {.kind = REPLY_SOCKETS, .a = family, .b = type, .c = error};
  if (!control_send(CONTROL_FD, reply, NULL, fds, made) && errno == ETOOMANYREFS) {
    reply.c = errno; /* too many descriptors of this user are under way */
    control_send(CONTROL_FD, reply, NULL, NULL, 0);
  }
  for (int i = 0; i < made; i++) close(fds[i]);
}

static void report_exit(struct supervisor *supervisor, int code, int signal_number) {
  if (supervisor->reported) return;
  supervisor->reported = true;
  supervisor->command = 0;
  restore_terminal(supervisor->terminal);
  control_send(CONTROL_FD, (struct message){.kind = REPLY_EXITED, .a = code, .b = signal_number}, NULL, NULL, 0);
}

/* False when it is time to end. */
static bool handle_request(struct supervisor *supervisor) {
  struct message request;
  int received = control_receive(CONTROL_FD, &request, NULL);
  if (received < 0 && errno == EPROTO) fail("protocol", EPROTO, "a malformed request");
  if (received <= 0) return false;
  switch (request.kind) {
    case REQUEST_START:
      if (supervisor->init.link >= 0)
        control_send(supervisor->init.link, (struct message){.kind = LINK_START}, NULL, NULL, 0);
      return true;
    case REQUEST_SOCKETS: make_sockets(request.a, request.b, request.c); return true;
    case REQUEST_SIGNAL: forward_signal(supervisor, request.a); return true;
    case REQUEST_RELEASE: return false;
    default: fail("protocol", EPROTO, "a request of kind %u", request.kind);
  }
}

static void handle_link(struct supervisor *supervisor) {
  struct message message;
  pid_t sender;
  if (control_receive(supervisor->init.link, &message, &sender) <= 0) { /* init was killed, and all inside with it */
    close(supervisor->init.link);
    supervisor->init.link = -1;
    if (!supervisor->isolated) end_descendants();
    report_exit(supervisor, -1, SIGKILL);
  } else if (message.kind == LINK_STARTED) {
    supervisor->command = sender;
  } else if (message.kind == LINK_EXITED) {
    report_exit(supervisor, message.a, message.b);
  }
}

static void end_init(struct supervisor *supervisor) {
  kill(supervisor->init.pid, SIGKILL);
  while (waitpid(supervisor->init.pid, NULL, 0) < 0 && errno == EINTR) continue;
  if (!supervisor->isolated) end_descendants();
  restore_terminal(supervisor->terminal);
}

/* Waits until init has prepared what the command sees. A failure in there was reported from there. */
static bool await_prepared(struct supervisor *supervisor, const struct options *options, const sigset_t *mask) {
  for (;;) {
    struct message message;
    if (control_receive(supervisor->init.link, &message, NULL) <= 0) return false;
    if (message.kind == LINK_PREPARED) {
      if (!message.a) note("the host's name service sockets could not be closed inside: the host may answer names there");
      return true;
    }
    if (message.kind != LINK_PROC_REFUSED || !supervisor->isolated) return false;
    while (waitpid(supervisor->init.pid, NULL, 0) < 0 && errno == EINTR) continue;
    close(supervisor->init.link);
    note("this host does not let us mount /proc (%s): the command sees the processes of the host", strerror(message.a));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    supervisor->isolated = false;
    supervisor->init = start_init(options, false, mask);
  }
}

static void report_ready(struct tap tap) {
  struct message ready = {.kind = REPLY_READY, .a = tap.offloads};
  control_send(CONTROL_FD, ready, notes(), tap.queues, (int)tap.count);
  for (unsigned i = 0; i < tap.count; i++) close(tap.queues[i]); /* the receiver has them, and for attach the device lives as long as that */
}

int supervise_command(const struct options *options) {
  struct supervisor supervisor = {.isolated = true};
  sigset_t mask = take_signals(&supervisor.signals);
  supervisor.terminal = open_terminal();
  supervisor.init = start_init(options, true, &mask); /* it mounts while we make the network */
  struct tap tap = create_network(options);
  if (!await_prepared(&supervisor, options, &mask)) {
    end_init(&supervisor);
    return 125;
  }
  report_ready(tap);
  for (bool running = true; running;) {
    struct pollfd ready[] = {
        {.fd = CONTROL_FD, .events = POLLIN},
        {.fd = supervisor.init.link, .events = POLLIN}, /* ignored when -1 */
        {.fd = supervisor.signals, .events = POLLIN},
    };
    if (poll(ready, 3, -1) < 0) continue;
    if (ready[2].revents) note_signals(&supervisor);
    if (ready[1].revents) handle_link(&supervisor);
    if (ready[0].revents) running = handle_request(&supervisor);
  }
  end_init(&supervisor);
  return 0;
}

int supervise_target(const struct options *options, const struct target *target, struct tap tap) {
  struct supervisor supervisor = {.init = {.link = -1}, .terminal = {.fd = -1}};
  take_signals(&supervisor.signals);
  report_ready(tap);
  for (bool running = true; running;) {
    bool watching = !supervisor.reported;
    struct pollfd ready[] = {
        {.fd = CONTROL_FD, .events = POLLIN},
        {.fd = watching ? target->pidfd : -1, .events = POLLIN},
        {.fd = supervisor.signals, .events = POLLIN},
    };
    if (poll(ready, 3, watching && target->pidfd < 0 ? TARGET_CHECK_MS : -1) < 0) continue;
    if (ready[2].revents) note_signals(&supervisor);
    if (watching && !target_exists(target, options)) report_exit(&supervisor, 0, -1);
    if (ready[0].revents) running = handle_request(&supervisor);
  }
  return 0;
}
