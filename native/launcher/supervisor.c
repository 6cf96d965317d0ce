/*
 * Theory of operation. The supervisor is the parent of init and the other end of CONTROL_FD. It holds the network
 * namespace, since it lives in it, makes the sockets that are asked for there, passes signals on, and reports the end of
 * the command. It ends on REQUEST_RELEASE and at the end of the channel, which comes also when the program outside was
 * killed: then it kills init, and with init goes the PID namespace. Nothing can hold it up for long, since it never waits
 * for anybody but a killed init.
 *
 *     preparing --LINK_PREPARED--> ready --START--> running --LINK_EXITED--> ended --RELEASE, end of channel--> gone
 *                                                                            (the latter two from every state)
 *
 * Signals: see signals.c. The program outside asks us to pass them on.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "control.h"
#include "init.h"
#include "memory.h"
#include "processes.h"
#include "signals.h"
#include "terminal.h"

enum { TARGET_CHECK_MS = 500, END_TRIES = 20 /* of 100 ms */ };

struct supervisor {
  struct init init; /* link -1: it has ended, or there is none (attach) */
  bool isolated;
  pid_t command; /* in our own PID namespace; 0: not started, or ended */
  bool reported; /* REPLY_EXITED is out */
  struct witness witness;
  int broker; /* the channel of those who ask for files; -1: it has ended */
  struct terminal terminal;
};

static sigset_t take_signals(struct supervisor *supervisor) {
  sigset_t before;
  if (!watch_signals(&supervisor->witness, &before)) fail("supervise", errno, "signalfd");
  return before;
}

static void forward_signal(struct supervisor *supervisor, int number) {
  if (number <= 0 || number >= NSIG || supervisor->init.link < 0) return;
  if (command_has(&supervisor->witness, number, supervisor->command)) return;
  control_send(supervisor->init.link, (struct message){.kind = LINK_SIGNAL, .a = number}, NULL, NULL, 0);
}

/* Connected to the kernel: nobody else can send to it then, with whatever capabilities in here. */
static int diagnostic_socket(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (fd < 0 || !connect(fd, (struct sockaddr *)&kernel, sizeof kernel)) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static int inside_socket(int family, int type) {
  if (type == SOCKET_DIAGNOSTIC) return diagnostic_socket();
  return socket(family == 4 ? AF_INET : AF_INET6,
                (type == SOCKET_STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void make_sockets(int family, int type, int count) {
  bool internet = (family == 4 || family == 6) && (type == SOCKET_STREAM || type == SOCKET_DATAGRAM);
  bool diagnostic = family == 0 && type == SOCKET_DIAGNOSTIC;
  if ((!internet && !diagnostic) || count < 1 || count > MAX_SOCKETS)
    fail("protocol", EPROTO, "sockets %d %d %d", family, type, count);
  int fds[MAX_SOCKETS], made = 0, error = 0;
  for (; made < count; made++) {
    fds[made] = inside_socket(family, type);
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

/*
 * A killed init ends when all inside has ended, and been waited for. Whoever came in from elsewhere (launcher exec, nsenter) has a
 * parent out there, which may be stopped: then we leave, and the kernel does the rest when it goes on.
 */
static void end_init(struct supervisor *supervisor) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD); /* blocked since the start */
  kill(supervisor->init.pid, SIGKILL);
  for (int i = 0; i < END_TRIES && waitpid(supervisor->init.pid, NULL, WNOHANG) == 0; i++)
    sigtimedwait(&child, NULL, &(struct timespec){.tv_nsec = 100 * 1000 * 1000});
  if (!supervisor->isolated) end_descendants();
  restore_terminal(supervisor->terminal);
}

/* True when init has said something; false when whoever is at the other end of our channel is gone before. */
static bool await_init(int link) {
  struct pollfd ready[] = {{.fd = link, .events = POLLIN}, {.fd = CONTROL_FD}};
  while (poll(ready, 2, -1) < 0 || !(ready[0].revents | ready[1].revents)) continue;
  return ready[0].revents != 0;
}

/* Waits until init has prepared what the command sees. A failure in there was reported from there. */
static bool await_prepared(struct supervisor *supervisor, const struct options *options, const sigset_t *mask) {
  for (;;) {
    struct message message;
    if (!await_init(supervisor->init.link) || control_receive(supervisor->init.link, &message, NULL) <= 0) return false;
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

static void handle_broker(struct supervisor *supervisor) {
  if (answer_broker_request(supervisor->broker)) return;
  close(supervisor->broker);
  supervisor->broker = -1;
}

static uint64_t started_at(pid_t process) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d", process);
  int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return 0;
  uint64_t time = start_time(directory);
  close(directory);
  return time;
}

/* `output`: -1 where there is none. The receiver has all descriptors then, and for attach the device lives as long as that. */
static void report_ready(struct supervisor *supervisor, struct tap tap, int output) {
  pid_t init = supervisor->init.pid; /* 0 where there is none */
  struct message ready = {.kind = REPLY_READY, .a = tap.offloads | (output < 0 ? 0 : READY_OUTPUT), .b = init};
  char text[MAX_TEXT + 32];
  snprintf(text, sizeof text, "%" PRIu64 "\n%s", init ? started_at(init) : 0, notes());
  int fds[MAX_QUEUES + 2], pair[2], count = 0;
  for (unsigned i = 0; i < tap.count; i++) fds[count++] = tap.queues[i];
  if (output >= 0) fds[count++] = output;
  supervisor->broker = -1;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
    supervisor->broker = pair[0];
    fds[count++] = pair[1];
  }
  if (!control_send(CONTROL_FD, ready, text, fds, count)) fail("hand-over", errno, "descriptors of the network");
  for (int i = 0; i < count; i++) close(fds[i]);
}

int supervise_command(const struct options *options, int output) {
  struct supervisor supervisor = {.isolated = true};
  sigset_t mask = take_signals(&supervisor);
  supervisor.terminal = open_terminal();
  supervisor.init = start_init(options, true, &mask); /* it mounts while we make the network */
  struct tap tap = create_network(options);
  if (!await_prepared(&supervisor, options, &mask)) {
    end_init(&supervisor);
    return 125;
  }
  report_ready(&supervisor, tap, output);
  forget_code();
  for (bool running = true; running;) {
    struct pollfd ready[] = {
        {.fd = CONTROL_FD, .events = POLLIN},
        {.fd = supervisor.init.link, .events = POLLIN}, /* ignored when -1 */
        {.fd = supervisor.witness.signals, .events = POLLIN},
        {.fd = supervisor.broker, .events = POLLIN},
    };
    if (poll(ready, 4, -1) < 0) continue;
    if (ready[3].revents) handle_broker(&supervisor);
    if (ready[2].revents) note_signals(&supervisor.witness);
    if (ready[1].revents) handle_link(&supervisor);
    if (ready[0].revents) running = handle_request(&supervisor);
  }
  end_init(&supervisor);
  return 0;
}

int supervise_target(const struct options *options, const struct target *target, struct tap tap) {
  struct supervisor supervisor = {.init = {.link = -1}, .terminal = {.fd = -1}};
  take_signals(&supervisor);
  report_ready(&supervisor, tap, -1);
  for (bool running = true; running;) {
    bool watching = !supervisor.reported;
    struct pollfd ready[] = {
        {.fd = CONTROL_FD, .events = POLLIN},
        {.fd = watching ? target->pidfd : -1, .events = POLLIN},
        {.fd = supervisor.witness.signals, .events = POLLIN},
        {.fd = supervisor.broker, .events = POLLIN},
    };
    if (poll(ready, 4, watching && target->pidfd < 0 ? TARGET_CHECK_MS : -1) < 0) continue;
    if (ready[3].revents) handle_broker(&supervisor);
    if (ready[2].revents) note_signals(&supervisor.witness);
    if (watching && !target_exists(target, options)) report_exit(&supervisor, 0, -1);
    if (ready[0].revents) running = handle_request(&supervisor);
  }
  return 0;
}
