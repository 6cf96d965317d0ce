/*
 * Theory of operation. A process that confined itself (engine/confine.cc) opens no file any more, and must not be able to have
 * others opened: so it asks for what it needs by a number out of a short list, and never by a path. Who answers is the supervisor
 * of its sandbox, or this program by itself, of which `launcher broker` makes a process:
 *
 *   launcher broker [--socket FILE]... [--lock FILE]
 *
 * That one outlives the process it serves, however that ended, and removes the sockets that it had in the file system, earlier if it
 * is asked to; one that is another file meanwhile (another process took the name) stays. `--lock` is held while it looks, but not while the other one lives: its sockets answer then.
 *
 * Who asks is not trusted. An answer that finds no room in the socket is dropped, so that nobody who does not read holds us up.
 *
 * The files are looked for where this process lives: in the host's mount namespace.
 */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"

enum { MAX_SOCKET_FILES = 4 };

struct socket_file {
  const char *path;
  dev_t device;
  ino_t inode;
  struct timespec made; /* the number of one that was removed may be the next one's */
};

struct guarded {
  struct socket_file files[MAX_SOCKET_FILES];
  int count;
  const char *lock; /* NULL: none */
};

static const char *path_of(int file) {
  switch (file) {
    case BROKER_RESOLV_CONF: return "/etc/resolv.conf";
    default: return NULL;
  }
}

/* Returns how much it read, or -errno. What is no ordinary file could make us wait. */
static ssize_t read_file(const char *path, char *text, size_t size) {
  if (!path) return -ENOENT;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return -errno;
  struct stat entry;
  ssize_t used = 0, got = 1;
  if (fstat(fd, &entry) < 0) used = -errno;
  else if (!S_ISREG(entry.st_mode)) used = -EINVAL;
  while (used >= 0 && got > 0 && (size_t)used < size) {
    got = read(fd, text + used, size - (size_t)used);
    used = got < 0 ? -errno : used + got;
  }
  close(fd);
  return used;
}

static void reply(int channel, struct message header, const char *text, size_t length) {
  struct iovec parts[2] = {{.iov_base = &header, .iov_len = sizeof header}, {.iov_base = (void *)text, .iov_len = length}};
  struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 2};
  while (sendmsg(channel, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) continue;
}

static void remove_sockets(const struct guarded *guarded) {
  for (int i = 0; i < guarded->count; i++) {
    const struct socket_file *file = &guarded->files[i];
    struct stat entry;
    if (lstat(file->path, &entry) < 0 || entry.st_dev != file->device || entry.st_ino != file->inode) continue;
    if (entry.st_mtim.tv_sec != file->made.tv_sec || entry.st_mtim.tv_nsec != file->made.tv_nsec) continue;
    unlink(file->path);
  }
}

static void lock(const char *path) {
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd >= 0)
    while (flock(fd, LOCK_EX) < 0 && errno == EINTR) continue;
}

/* `guarded`: NULL where there are no sockets to remove. */
static bool answer(int channel, const struct guarded *guarded) {
  static char text[MAX_BROKER_TEXT];
  struct message request;
  if (control_receive(channel, &request, NULL) <= 0) return false;
  struct message header = {.kind = request.kind, .a = request.a, .c = request.c};
  ssize_t length = 0;
  if (request.kind == BROKER_FILE) length = read_file(path_of(request.a), text, sizeof text);
  else if (request.kind == BROKER_REMOVE && guarded) remove_sockets(guarded);
  else return false;
  if (length < 0) header.b = (int)-length;
  reply(channel, header, text, length < 0 ? 0 : (size_t)length);
  return true;
}

bool answer_broker_request(int channel) { return answer(channel, NULL); }

static struct socket_file look_at(const char *path) {
  struct stat entry;
  if (lstat(path, &entry) < 0) fail("broker", errno, "%s", path);
  return (struct socket_file){.path = path, .device = entry.st_dev, .inode = entry.st_ino, .made = entry.st_mtim};
}

/* Nobody waits for the end of a pipe or a terminal because of us. */
static void leave_standard_descriptors(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; null >= 0 && fd < 3; fd++) dup2(null, fd);
  if (null > CONTROL_FD) close(null);
}

int serve_broker(int count, char **arguments) {
  enum { SOCKET = 1, LOCK };
  static const struct option known[] = {
      {"socket", required_argument, NULL, SOCKET},
      {"lock", required_argument, NULL, LOCK},
      {0},
  };
  struct guarded guarded = {0};
  int option;
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL); /* what ends the process that we serve is not meant for us */
  opterr = 0;
  optind = 2;
  while ((option = getopt_long(count, arguments, "+", known, NULL)) != -1) {
    if (option < SOCKET || option > LOCK || (option == SOCKET && guarded.count == MAX_SOCKET_FILES))
      fail("options", EINVAL, "unknown or incomplete option, or too many: %s", arguments[optind - 1]);
    if (option == SOCKET) guarded.files[guarded.count++] = look_at(optarg);
    if (option == LOCK) guarded.lock = optarg;
  }
  if (optind < count) fail("options", EINVAL, "the broker takes options only");
  leave_standard_descriptors();
  while (answer(CONTROL_FD, &guarded)) continue;
  lock(guarded.lock); /* till our end */
  remove_sockets(&guarded);
  return 0;
}
