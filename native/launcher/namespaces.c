/*
 * setgroups is denied before the group map is written: without privileges the kernel wants it so (user_namespaces(7)). The
 * supplementary groups stay as they are; those that are not mapped show as nogroup and still count towards files.
 */
#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control.h"

static void write_file(const char *step, const char *path, const char *text, bool required) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 && !required && errno == ENOENT) return;
  if (fd < 0 || write(fd, text, strlen(text)) < 0) fail(step, errno, "%s", path);
  close(fd);
}

static uid_t user;
static gid_t group;

void create_namespaces(void) {
  user = geteuid(); /* inside there is no such number until it is mapped */
  group = getegid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) fail("unshare", errno, "user and network namespace");
}

void configure_namespaces(const struct options *options) {
  char map[64];
  snprintf(map, sizeof map, "%u %u 1\n", options->root ? 0 : user, user);
  write_file("id-map", "/proc/self/uid_map", map, true);
  write_file("id-map", "/proc/self/setgroups", "deny", false); /* missing before Linux 3.19 */
  snprintf(map, sizeof map, "%u %u 1\n", options->root ? 0 : group, group);
  write_file("id-map", "/proc/self/gid_map", map, true);

  if (!options->hostname) return;
  if (unshare(CLONE_NEWUTS) < 0) fail("unshare", errno, "UTS namespace");
  if (sethostname(options->hostname, strlen(options->hostname)) < 0) fail("hostname", errno, "%s", options->hostname);
}

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

struct target enter_namespaces(const struct options *options) {
  struct target target = {.pidfd = -1};
  if (options->pid) {
    target.pidfd = (int)syscall(SYS_pidfd_open, options->pid, 0);
    if (target.pidfd < 0 && errno != ENOSYS) fail("target", errno, "process %d", options->pid);
    snprintf(target.path, sizeof target.path, "/proc/%d/ns/net", options->pid);
  }
  const char *path = options->pid ? target.path : options->path;
  /* A pipe or a device may sit at that path: do not wait for it. */
  int network = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (network < 0) fail("target", errno, "%s", path);
  if (ioctl(network, NS_GET_NSTYPE) != CLONE_NEWNET) fail("target-type", EINVAL, "%s", path);

  struct stat entry, own;
  if (fstat(network, &entry) < 0) fail("target", errno, "%s", path);
  target.device = entry.st_dev;
  target.inode = entry.st_ino;
  if (stat("/proc/self/ns/net", &own) == 0 && same_file(&entry, &own)) fail("target-own", EEXIST, "%s", path);

  int owner = options->userns ? open(options->userns, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : ioctl(network, NS_GET_USERNS);
  const char *owner_path = options->userns ? options->userns : path;
  if (owner < 0) fail("target-owner", errno, "%s", owner_path);
  if (ioctl(owner, NS_GET_NSTYPE) != CLONE_NEWUSER) fail("target-userns", EINVAL, "%s", owner_path);
  if (fstat(owner, &entry) < 0 || stat("/proc/self/ns/user", &own) < 0) fail("target-owner", errno, "%s", owner_path);
  if (!same_file(&entry, &own) && setns(owner, CLONE_NEWUSER) < 0) fail("target-owner", errno, "%s", owner_path);
  if (setns(network, CLONE_NEWNET) < 0) fail("target-enter", errno, "%s", path);
  close(owner);
  close(network);
  if (options->pid && !target_exists(&target, options)) fail("target", ESRCH, "process %d", options->pid);
  return target;
}

bool target_exists(const struct target *target, const struct options *options) {
  if (target->pidfd >= 0) {
    struct pollfd ended = {.fd = target->pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) == 0;
  }
  if (options->pid) return kill(options->pid, 0) == 0 || errno == EPERM;
  struct stat entry;
  return stat(options->path, &entry) == 0 && entry.st_dev == target->device && entry.st_ino == target->inode;
}
