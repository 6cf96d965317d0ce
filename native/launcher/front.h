/* The program's own beginning: what starts Node, and a launcher for it that has nothing to wait for. */
#ifndef LAUNCHER_FRONT_H
#define LAUNCHER_FRONT_H

/*
 * `launcher front NODE SCRIPT [ARGUMENT...]`: this process becomes NODE, which runs the script. Where the first argument is
 * `run` or `create`, a launcher is forked before, with its channel as CONTROL_FD, and this returns in that one only.
 */
void begin_front(int count, char **arguments);

#endif
