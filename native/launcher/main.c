/*
 * The launcher: a process of one thread, which may therefore enter namespaces, between the program outside and the command.
 * It is started by front.c, before Node, or by src/sandbox, with a SOCK_SEQPACKET pair as descriptor 3, and stays as the
 * supervisor. options.h has its command line, protocol.h what is said on descriptor 3, supervisor.c and init.c how the
 * processes belong together:
 *
 *     node ── launcher (supervisor: user and network namespace)
 *                └── init (PID and mount namespace, process 1)
 *                      └── the command
 *
 * `launcher exec` is another program beside that, which the user's own one becomes: see exec.h.
 * As `broker` it is another thing, see broker.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "control.h"
#include "detach.h"
#include "exec.h"
#include "front.h"
#include "options.h"
#include "supervisor.h"

static void take_channel(void) {
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET) {
    fputs("this is a part of netns-rootless, which starts it: run netns-rootless instead\n", stderr);
    _exit(125);
  }
  fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
  /* What comes in continues us if somebody stopped us, and so does the end of the other side. */
  fcntl(CONTROL_FD, F_SETOWN, getpid());
  fcntl(CONTROL_FD, F_SETSIG, SIGCONT);
  fcntl(CONTROL_FD, F_SETFL, (fcntl(CONTROL_FD, F_GETFL) & ~O_NONBLOCK) | O_ASYNC);
  close_descriptors(CONTROL_FD + 1, ~0u);
}

int main(int count, char **arguments) {
  /* A caller that ignores it would have the kernel take our children away, and tell nobody (waitpid(2)). */
  signal(SIGCHLD, SIG_DFL);
  if (count > 1 && !strcmp(arguments[1], "exec")) return execute_inside(count, arguments);
  bool front = count > 1 && !strcmp(arguments[1], "front");
  if (front) begin_front(count, arguments); /* returns in the launcher */
  take_channel();
  if (count > 1 && !strcmp(arguments[1], "broker")) return serve_broker(count, arguments);
  if (front) create_namespaces();
  struct options options = front ? receive_options(count, arguments) : parse_options(count, arguments);
  if (options.attach) {
    struct target target = enter_namespaces(&options);
    return supervise_target(&options, &target, create_network(&options));
  }
  int output = options.detach ? detach() : -1;
  if (!front) create_namespaces();
  configure_namespaces(&options);
  return supervise_command(&options, output);
}
