/*
 * All of us are in one process group, so a terminal's Ctrl-C, or a signal that somebody sends to the group, reaches the command
 * directly, and also the program that the user started, which asks us to pass it on. A signal that came to this process too went
 * to the whole group, so the command has it already if it is still in that group (an interactive shell is not). `seen` remembers
 * when that was; it counts once, and not for long.
 *
 * Nothing that is done at a terminal stops this process, SIGTSTP and SIGTTIN included: it is no job of its shell's, and others
 * wait for it.
 */
#include "signals.h"

#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { SEEN_FOR_MS = 1000 };

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool watch_signals(struct witness *witness, sigset_t *before) {
  sigset_t taken;
  sigfillset(&taken);
  static const int left[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) sigdelset(&taken, left[i]);
  sigprocmask(SIG_BLOCK, &taken, before);
  sigdelset(&taken, SIGCHLD);
  *witness = (struct witness){.signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK)};
  return witness->signals >= 0;
}

void note_signals(struct witness *witness) {
  struct signalfd_siginfo info;
  while (read(witness->signals, &info, sizeof info) == sizeof info) {
    bool of_channel = info.ssi_signo == SIGCONT && info.ssi_code != SI_USER && info.ssi_code != SI_QUEUE; /* main.c asked for it */
    if (info.ssi_signo < NSIG && !of_channel) witness->seen[info.ssi_signo] = now_ms();
  }
}

bool command_has(struct witness *witness, int number, pid_t command) {
  if (number <= 0 || number >= NSIG) return false;
  note_signals(witness); /* one that came to the group came to us before the request to pass it on */
  int64_t seen = witness->seen[number];
  witness->seen[number] = 0;
  return seen && now_ms() - seen < SEEN_FOR_MS && command && getpgid(command) == getpgrp();
}
