#include "control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char note_text[MAX_TEXT];

bool control_send(int channel, struct message header, const char *text, const int *fds, int count) {
  struct iovec parts[2] = {
      {.iov_base = &header, .iov_len = sizeof header},
      {.iov_base = (void *)text, .iov_len = text ? strlen(text) : 0},
  };
  union {
    char bytes[CMSG_SPACE(sizeof(int) * MAX_SOCKETS)];
    struct cmsghdr align;
  } ancillary;
  struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 2};
  if (count > 0) {
    memset(&ancillary, 0, sizeof ancillary);
    packet.msg_control = ancillary.bytes;
    packet.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(rights), fds, sizeof(int) * (size_t)count);
  }
  ssize_t sent;
  do sent = sendmsg(channel, &packet, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

/*
 * Who has ended and left something of ours unread is told of first, before what it said (unix(7)); that is asked for again.
 */
static bool is_passing(int error) { return error == EINTR || error == ECONNRESET; }

int control_receive(int channel, struct message *header, pid_t *sender) {
  union {
    char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * 4)];
    struct cmsghdr align;
  } ancillary;
  struct iovec part = {.iov_base = header, .iov_len = sizeof *header};
  struct msghdr packet = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
  ssize_t length;
  do length = recvmsg(channel, &packet, MSG_CMSG_CLOEXEC);
  while (length < 0 && is_passing(errno));
  if (length <= 0) return (int)length;
  if (sender) *sender = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&packet); c; c = CMSG_NXTHDR(&packet, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_CREDENTIALS && sender) {
      struct ucred credentials;
      memcpy(&credentials, CMSG_DATA(c), sizeof credentials);
      *sender = credentials.pid;
    }
    if (c->cmsg_type == SCM_RIGHTS) { /* nobody has anything to give us */
      for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int unwanted;
        memcpy(&unwanted, CMSG_DATA(c) + at, sizeof unwanted);
        close(unwanted);
      }
    }
  }
  if (length != (ssize_t)sizeof *header || (packet.msg_flags & MSG_TRUNC)) {
    errno = EPROTO;
    return -1;
  }
  return 1;
}

int control_receive_text(int channel, struct message *header, char *text, size_t size, size_t *length) {
  struct iovec parts[2] = {{.iov_base = header, .iov_len = sizeof *header}, {.iov_base = text, .iov_len = size}};
  struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 2};
  ssize_t received;
  do received = recvmsg(channel, &packet, MSG_CMSG_CLOEXEC); /* without room for descriptors the kernel gives none */
  while (received < 0 && is_passing(errno));
  if (received <= 0) return (int)received;
  if (received < (ssize_t)sizeof *header || (packet.msg_flags & MSG_TRUNC)) {
    errno = EPROTO;
    return -1;
  }
  *length = (size_t)received - sizeof *header;
  return 1;
}

_Noreturn void fail(const char *step, int error, const char *detail, ...) {
  char text[1024];
  int used = snprintf(text, sizeof text, "%s\n", step);
  va_list arguments;
  va_start(arguments, detail);
  vsnprintf(text + used, sizeof text - (size_t)used, detail, arguments);
  va_end(arguments);
  struct message report = {.kind = REPLY_FAILED, .a = error};
  control_send(CONTROL_FD, report, text, NULL, 0);
  _exit(125);
}

void close_descriptors(unsigned first, unsigned last) {
  if (first > last || syscall(SYS_close_range, first, last, 0) == 0) return;
  for (unsigned fd = first; fd <= last && fd < (unsigned)sysconf(_SC_OPEN_MAX); fd++) close((int)fd); /* before Linux 5.9 */
}

void note(const char *format, ...) {
  size_t used = strlen(note_text);
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(note_text + used, sizeof note_text - used, format, arguments);
  va_end(arguments);
  if (length < 0 || used + (size_t)length + 2 > sizeof note_text) {
    note_text[used] = 0; /* does not fit: better none than half of one */
    return;
  }
  if (strstr(note_text, note_text + used) < note_text + used) {
    note_text[used] = 0; /* said already */
    return;
  }
  strcat(note_text, "\n");
}

const char *notes(void) { return note_text; }
