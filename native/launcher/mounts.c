/*
 * The files are replaced without one on the host: all of /etc is covered by a tmpfs that shows the old entries (directories
 * bound, links copied, files as links to the old /etc, which is bound at /etc/.host-etc) and our files among them. The tmpfs
 * is built over another directory, for a moment and in our own mount namespace only; a working directory below that
 * directory stays what it is.
 *
 * Not the files alone: a mount on a file goes in every namespace when the host renames another file over it, as
 * systemd-resolved, NetworkManager and many an editor do, and then the command would see the host's. It also makes no
 * difference whether the host's file is a symbolic link, or missing.
 *
 * The host's name service daemons (systemd-resolved, nscd) could still be asked through their sockets in the file system,
 * and would answer with the host's view of the network. /dev/null is bound over these.
 */
#include "mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"

struct replacement {
  const char *name; /* in /etc */
  const char *text; /* NULL: keep the host's */
};

void isolate_mounts(void) {
  if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) fail("mount", errno, "making / private");
}

bool mount_proc(void) { return mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0; }

/* Returns the directory that the tmpfs was put over. */
static const char *mount_staging(void) {
  static const char *const places[] = {"/tmp", "/run", "/mnt", "/var/tmp", "/media", "/srv", "/home"};
  int error = ENOENT;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    if (mount("tmpfs", places[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=4m") == 0) return places[i];
    error = errno;
  }
  fail("mount", error, "a tmpfs for /etc/resolv.conf and /etc/hosts");
}

static void write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || fchmod(fd, 0644) < 0) fail("mount", errno, "%s", path);
  for (size_t left = strlen(text); left > 0;) {
    ssize_t written = write(fd, text, left);
    if (written < 0) fail("mount", errno, "%s", path);
    text += written;
    left -= (size_t)written;
  }
  close(fd);
}

static void bind_over(const char *source, const char *target, unsigned long recursive) {
  if (mount(source, target, NULL, MS_BIND | recursive, NULL) < 0) fail("mount", errno, "%s over %s", source, target);
}

/* Shows one entry of the old /etc at `copy`. What cannot be shown is left out: it could not be read either. */
static void show_entry(const char *name, const char *old, const char *copy) {
  struct stat entry;
  char link[PATH_MAX];
  if (lstat(old, &entry) < 0) return;
  if (S_ISDIR(entry.st_mode)) {
    if (mkdir(copy, 0755) == 0 && mount(old, copy, NULL, MS_BIND | MS_REC, NULL) < 0) rmdir(copy);
  } else if (S_ISLNK(entry.st_mode)) {
    ssize_t length = readlink(old, link, sizeof link - 1);
    if (length < 0) return;
    link[length] = 0;
    if (symlink(link, copy) < 0) return;
  } else {
    if (snprintf(link, sizeof link, ".host-etc/%s", name) < (int)sizeof link && symlink(link, copy) < 0) return;
  }
}

static void cover_etc(const char *staging, const struct replacement *files, int count) {
  char etc[64], old[128], copy[PATH_MAX], source[PATH_MAX];
  snprintf(etc, sizeof etc, "%s/etc", staging);
  snprintf(old, sizeof old, "%s/.host-etc", etc);
  if (mkdir(etc, 0755) < 0 || mkdir(old, 0755) < 0) fail("mount", errno, "%s", old);
  bind_over("/etc", old, MS_REC);
  DIR *entries = opendir(old);
  if (!entries) fail("mount", errno, "%s", old);
  for (struct dirent *entry; (entry = readdir(entries));) {
    bool replaced = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !strcmp(entry->d_name, ".host-etc");
    for (int i = 0; i < count; i++) replaced |= files[i].text && !strcmp(entry->d_name, files[i].name);
    if (replaced) continue;
    snprintf(copy, sizeof copy, "%s/%s", etc, entry->d_name);
    snprintf(source, sizeof source, "%s/%s", old, entry->d_name);
    show_entry(entry->d_name, source, copy);
  }
  closedir(entries);
  for (int i = 0; i < count; i++) {
    if (!files[i].text) continue;
    snprintf(copy, sizeof copy, "%s/%s", etc, files[i].name);
    write_text(copy, files[i].text);
  }
  bind_over(etc, "/etc", MS_REC);
}

static bool close_name_services(void) {
  static const char *const sockets[] = {"/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket", "/var/run/nscd/socket"};
  bool closed = true;
  for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++)
    if (access(sockets[i], F_OK) == 0) closed &= mount("/dev/null", sockets[i], NULL, MS_BIND, NULL) == 0;
  return closed;
}

bool mount_files(const struct options *options) {
  const struct replacement files[] = {
      {.name = "resolv.conf", .text = options->resolv_conf},
      {.name = "hosts", .text = options->hosts},
  };
  bool closed = !options->resolv_conf || close_name_services();
  if (!options->resolv_conf && !options->hosts) return closed;
  const char *staging = mount_staging();
  cover_etc(staging, files, sizeof files / sizeof *files);
  if (umount2(staging, MNT_DETACH) < 0) fail("mount", errno, "detaching %s", staging);
  return closed;
}
