/*
 * An interactive shell inside sees process group 0 for the group outside that it was started in, makes a group of its own
 * the foreground one, and at its end cannot name the old one. So the launcher gives the terminal back - but takes it from
 * nobody who lives: when the user put us into the background, the foreground group is another one, and rightly so.
 */
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

struct terminal open_terminal(void) {
  struct terminal terminal = {.fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  if (terminal.fd >= 0) terminal.foreground = tcgetpgrp(terminal.fd);
  return terminal;
}

void restore_terminal(struct terminal terminal) {
  if (terminal.fd < 0 || terminal.foreground != getpgrp()) return; /* it was not ours to begin with */
  pid_t now = tcgetpgrp(terminal.fd);
  if (now == terminal.foreground || (now > 0 && (kill(-now, 0) == 0 || errno != ESRCH))) return;
  tcsetpgrp(terminal.fd, terminal.foreground);
}
