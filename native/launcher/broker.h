/* Does for a confined process what it may not do itself any more; the messages are in protocol.h. */
#ifndef LAUNCHER_BROKER_H
#define LAUNCHER_BROKER_H

#include <stdbool.h>

/* Answers one request, which has come. False when the channel has ended, or sent what is no request. */
bool answer_broker_request(int channel);

/* `launcher broker`: for a process that has no launcher of its own. Returns the exit code when CONTROL_FD has ended. */
int serve_broker(int count, char **arguments);

#endif
