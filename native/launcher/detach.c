/*
 * What was started from a terminal and is to outlive it has to leave its session: else the terminal's end sends it SIGHUP, and
 * Ctrl-C reaches it. The standard descriptors would keep the terminal, or the pipe of a caller who waits for its end. What the
 * command says goes into a pipe instead, and who has the other end keeps it; nothing else of ours says anything there.
 *
 * No more is to be done: the process that started us is not waited for, and has no hold on us. We live as long as the channel.
 */
#include "detach.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "control.h"

int detach(void) {
  if (setsid() < 0 && getsid(0) != getpid()) fail("detach", errno, "a session of its own");
  int output[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) fail("detach", errno, "/dev/null");
  if (pipe2(output, O_CLOEXEC) < 0) fail("detach", errno, "a pipe for its output");
  if (dup2(null, 0) < 0 || dup2(output[1], 1) < 0 || dup2(output[1], 2) < 0) fail("detach", errno, "its descriptors");
  close(null);
  close(output[1]);
  fcntl(output[0], F_SETFL, O_NONBLOCK);
  return output[0];
}
