/* Messages with descriptors over a SOCK_SEQPACKET socket, and the report of what went wrong. */
#ifndef LAUNCHER_CONTROL_H
#define LAUNCHER_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "protocol.h"

/* Sends one message; `fds` may be NULL. Returns false with errno. */
bool control_send(int channel, struct message header, const char *text, const int *fds, int count);

/*
 * Receives one message without text. Returns 1, 0 at the end of the channel, -1 with errno (EPROTO: malformed). `sender`
 * may be NULL; else it gets the sender's process id in our own PID namespace (the channel needs SO_PASSCRED), or 0.
 */
int control_receive(int channel, struct message *header, pid_t *sender);

/* The same with a text of up to `size` bytes, of which `length` came. */
int control_receive_text(int channel, struct message *header, char *text, size_t size, size_t *length);

/* Reports a failed step with its errno over CONTROL_FD and ends this process with 125. */
_Noreturn void fail(const char *step, int error, const char *detail, ...) __attribute__((format(printf, 3, 4)));

/* Closes the descriptors from `first` to `last`, both included; most of them do not exist. */
void close_descriptors(unsigned first, unsigned last);

/* Remembers a line for the user, which goes out with REPLY_READY. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *notes(void);

#endif
