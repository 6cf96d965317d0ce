#include "processes.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The parent of a process, 0 if it is gone. */
static pid_t parent_of(pid_t process) {
  char path[32], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", process);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = 0;
  const char *name_end = strrchr(text, ')'); /* the name may hold anything, blanks and parentheses too */
  int parent;
  return name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

uint64_t start_time(int directory) {
  char text[1024];
  int fd = openat(directory, "stat", O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (length <= 0) return 0;
  text[length] = 0;
  const char *at = strrchr(text, ')');
  if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') return 0;
  for (int field = 2; field < 22; field++) /* the name, in parentheses, is the second, and the start time the 22nd */
    if (!(at = strchr(at + 1, ' '))) return 0;
  return strtoull(at + 1, NULL, 10);
}

static bool descends(pid_t process, pid_t ancestor) {
  for (int depth = 0; process > 1 && depth < 1024; depth++) {
    process = parent_of(process);
    if (process == ancestor) return true;
  }
  return false;
}

void end_descendants(void) {
  pid_t self = getpid();
  for (int round = 0; round < 1000; round++) { /* a bound for processes that cannot be killed (state D) */
    DIR *processes = opendir("/proc");
    if (!processes) return;
    for (struct dirent *entry; (entry = readdir(processes));) {
      if (!isdigit((unsigned char)entry->d_name[0])) continue;
      pid_t process = (pid_t)strtol(entry->d_name, NULL, 10);
      if (descends(process, self)) kill(process, SIGKILL);
    }
    closedir(processes);
    pid_t reaped;
    while ((reaped = waitpid(-1, NULL, WNOHANG)) > 0) continue;
    if (reaped < 0 && errno == ECHILD) return;
    nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
  }
}
