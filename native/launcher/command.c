#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* Tries each directory of PATH. Returns the errno that tells most: EACCES of a file that is there beats ENOENT. */
static int execute_by_path(char **command) {
  const char *name = command[0];
  if (strchr(name, '/')) {
    execve(name, command, environ);
    return errno;
  }
  const char *path = NULL;
  for (char **variable = environ; *variable; variable++)
    if (!strncmp(*variable, "PATH=", 5)) path = *variable + 5;
  if (!path) path = "/usr/local/bin:/usr/bin:/bin"; /* no PATH at all: where an ordinary program is */
  int error = ENOENT;
  if (!*name) return error;
  while (path) {
    const char *end = strchrnul(path, ':');
    char file[PATH_MAX];
    int length = snprintf(file, sizeof file, "%.*s%s%s", (int)(end - path), path, end > path ? "/" : "./", name);
    path = *end ? end + 1 : NULL;
    if (length < 0 || length >= (int)sizeof file) continue;
    execve(file, command, environ);
    struct stat entry;
    if (errno == EACCES && (stat(file, &entry) < 0 || S_ISDIR(entry.st_mode))) continue;
    if (errno == EACCES) error = EACCES;
    else if (errno != ENOENT && errno != ENOTDIR) return errno;
  }
  return error;
}

/* A name as one line: what would move the cursor is shown as '?', and the end of a very long one is left out. */
static const char *shown(const char *name) {
  static char text[256];
  size_t length = strlen(name), end = sizeof text - 1;
  memcpy(text, name, length < end ? length : end);
  text[length < end ? length : end] = 0;
  for (char *at = text; *at; at++)
    if ((unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
  if (length > end) memcpy(text + end - 3, "...", 3);
  return *text ? text : "''";
}

_Noreturn void execute_command(char **command, const sigset_t *mask) {
  for (int signal_number = 1; signal_number < NSIG; signal_number++) signal(signal_number, SIG_DFL);
  sigprocmask(SIG_SETMASK, mask, NULL);
  for (int fd = 0; fd < 3; fd++) { /* Node may have made the shared description non-blocking */
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
  int error = execute_by_path(command);
  const char *name = command[0];
  struct stat entry;
  if ((error == ENOENT || error == ENOTDIR) && !strchr(name, '/')) {
    dprintf(2, "netns-rootless: %s: command not found\n", shown(name));
  } else if (error == ENOENT && stat(name, &entry) == 0) {
    dprintf(2, "netns-rootless: %s: cannot execute: its interpreter does not exist\n", shown(name));
  } else if (error == EACCES && stat(name, &entry) == 0 && S_ISDIR(entry.st_mode)) {
    dprintf(2, "netns-rootless: %s: is a directory\n", shown(name));
  } else {
    dprintf(2, "netns-rootless: %s: %s\n", shown(name), strerror(error));
  }
  _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}
