/*
 * Theory of operation. Init is process 1 of the sandbox's PID namespace (when the host allows one). It mounts, says
 * LINK_PREPARED, waits for LINK_START, forks the command (if there is one) and reports how that ended. It lives on until the supervisor
 * kills it or the link closes, since what the command left running belongs to the sandbox until it is released; with it
 * ends all of the namespace.
 *
 * It shares the process group and the terminal with the command, so the terminal's signals reach the command without
 * help: init blocks every signal and passes on only what the supervisor asks for. Only init may signal the command: it
 * reaps it, so it alone knows that the number still belongs to it.
 *
 * Death of the supervisor: PR_SET_PDEATHSIG kills init, and so the namespace. Without a PID namespace there is nobody who
 * would kill the rest, so init then only watches the link, and ends its descendants itself (it is their subreaper).
 */
#include "init.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "memory.h"
#include "mounts.h"
#include "processes.h"

static void tell(int link, enum link_message kind, int a, int b) {
  control_send(link, (struct message){.kind = kind, .a = a, .b = b}, NULL, NULL, 0);
}

static _Noreturn void end(bool isolated) {
  if (!isolated) end_descendants();
  _exit(0);
}

static pid_t start_command(const struct options *options, int link, const sigset_t *mask) {
  pid_t command = fork();
  if (command == 0) {
    tell(link, LINK_STARTED, 0, 0);
    execute_command(options->command, mask);
  }
  if (command < 0) {
    dprintf(2, "netns-rootless: the command could not be started: %s\n", strerror(errno));
    tell(link, LINK_EXITED, 125, -1);
  }
  return command;
}

/* Returns whether the command was among those that ended. */
static bool reap(pid_t command, int link) {
  bool ended = false;
  int status;
  pid_t process;
  while ((process = waitpid(-1, &status, WNOHANG)) > 0) {
    if (process != command) continue;
    ended = true;
    tell(link, LINK_EXITED, WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : -1);
  }
  return ended;
}

static _Noreturn void run_init(const struct options *options, bool isolated, int link, const sigset_t *mask) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  if (isolated) prctl(PR_SET_PDEATHSIG, SIGKILL);
  else prctl(PR_SET_CHILD_SUBREAPER, 1);

  isolate_mounts();
  if (isolated && !mount_proc()) {
    tell(link, LINK_PROC_REFUSED, errno, 0);
    _exit(0);
  }
  bool closed = mount_files(options);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fail("fork", errno, "signalfd");
  close(CONTROL_FD);

  tell(link, LINK_PREPARED, closed, 0);
  forget_code();

  pid_t command = -1;
  bool started = false; /* once, whoever asks */
  struct pollfd ready[] = {{.fd = link, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
  for (;;) {
    if (poll(ready, 2, -1) < 0 && errno != EINTR) end(isolated);
    if (ready[1].revents) {
      struct signalfd_siginfo drained;
      while (read(signals, &drained, sizeof drained) > 0) continue;
      if (reap(command, link)) command = -1;
    }
    if (ready[0].revents) {
      struct message message;
      if (control_receive(link, &message, NULL) <= 0) end(isolated);
      if (message.kind == LINK_START && !started && options->command) {
        started = true;
        command = start_command(options, link, mask);
      }
      if (message.kind == LINK_SIGNAL && command > 0) kill(command, message.a);
    }
  }
}

struct init start_init(const struct options *options, bool isolated, const sigset_t *mask) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) fail("fork", errno, "socketpair");
  int on = 1;
  setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  /* The system call itself: no library function gives a fork into new namespaces. */
  long pid = syscall(SYS_clone, CLONE_NEWNS | (isolated ? CLONE_NEWPID : 0) | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) fail("fork", errno, isolated ? "mount and PID namespace" : "mount namespace");
  if (pid == 0) {
    close_descriptors(CONTROL_FD + 1, pair[1] - 1); /* the supervisor's */
    close_descriptors(pair[1] + 1, ~0u);
    run_init(options, isolated, pair[1], mask);
  }
  close(pair[1]);
  return (struct init){.pid = (pid_t)pid, .link = pair[0]};
}
