/* For confine.test.ts: any system call, by its name, out of Node. call(NAME, ARGUMENT...): the result or -errno; a string is a pointer. */
#include <errno.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name) {#name, SYS_##name}
static const struct {
  const char *name;
  long number;
} calls[] = {
    CALL(openat), CALL(unlinkat), CALL(renameat2), CALL(mkdirat), CALL(linkat), CALL(symlinkat), CALL(mknodat), CALL(fchmodat),
    CALL(fchownat), CALL(truncate), CALL(utimensat), CALL(faccessat), CALL(readlinkat), CALL(statfs), CALL(chdir), CALL(fchdir),
    CALL(getdents64), CALL(setxattr), CALL(getxattr), CALL(listxattr), CALL(inotify_add_watch), CALL(name_to_handle_at),
    CALL(newfstatat), CALL(execve), CALL(execveat), CALL(ptrace), CALL(process_vm_readv), CALL(process_vm_writev), CALL(kcmp),
    CALL(mount), CALL(umount2), CALL(pivot_root), CALL(chroot), CALL(unshare), CALL(setns), CALL(open_by_handle_at), CALL(bpf),
    CALL(perf_event_open), CALL(userfaultfd), CALL(keyctl), CALL(add_key), CALL(request_key), CALL(kexec_load), CALL(init_module),
    CALL(finit_module), CALL(delete_module), CALL(personality), CALL(reboot), CALL(swapon), CALL(swapoff), CALL(acct), CALL(quotactl),
    CALL(sethostname), CALL(setdomainname), CALL(settimeofday), CALL(clock_settime), CALL(adjtimex), CALL(syslog), CALL(vhangup),
    CALL(clone), CALL(kill), CALL(tgkill), CALL(tkill), CALL(rt_sigqueueinfo), CALL(rt_tgsigqueueinfo), CALL(fchmod), CALL(fchown),
    CALL(setuid), CALL(setresuid), CALL(setgid), CALL(setgroups), CALL(setsid), CALL(setpgid), CALL(capset), CALL(prlimit64),
    CALL(setpriority), CALL(sched_setaffinity), CALL(prctl), CALL(ioctl), CALL(fcntl), CALL(socket), CALL(socketpair),
    CALL(setsockopt), CALL(getsockopt), CALL(bind), CALL(close), CALL(dup), CALL(getpid), CALL(gettid), CALL(seccomp), CALL(memfd_create), CALL(mq_open),
    CALL(shmget), CALL(timer_create), CALL(sendfile), CALL(vmsplice),
#ifdef SYS_open
    CALL(open), CALL(creat), CALL(unlink), CALL(rename), CALL(mkdir), CALL(rmdir), CALL(link), CALL(symlink), CALL(chmod), CALL(chown),
    CALL(stat), CALL(lstat), CALL(access), CALL(readlink), CALL(fork), CALL(vfork), CALL(iopl), CALL(ioperm), CALL(modify_ldt),
#endif
    /* What the headers of an older C library lack; the same for every architecture. */
    {"pidfd_send_signal", 424}, {"io_uring_setup", 425}, {"io_uring_enter", 426}, {"io_uring_register", 427}, {"open_tree", 428},
    {"move_mount", 429}, {"fsopen", 430}, {"fsconfig", 431}, {"fsmount", 432}, {"fspick", 433}, {"pidfd_open", 434}, {"clone3", 435},
    {"openat2", 437}, {"pidfd_getfd", 438}, {"faccessat2", 439}, {"mount_setattr", 442}, {"landlock_create_ruleset", 444},
    {"fchmodat2", 452}, {"of_the_future", 1000}, {"x32_read", 0x40000000},
};

static napi_value call(napi_env env, napi_callback_info info) {
  size_t count = 7;
  napi_value given[7], result;
  char name[64] = "";
  static char texts[7][4096]; /* the kernel may write there, too */
  long arguments[6] = {0};
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_string_utf8(env, given[0], name, sizeof name, NULL);
  for (size_t i = 1; i < count && i < 7; i++) {
    napi_valuetype type;
    int64_t number = 0;
    napi_typeof(env, given[i], &type);
    if (type == napi_string) {
      napi_get_value_string_utf8(env, given[i], texts[i], sizeof texts[i], NULL);
      arguments[i - 1] = (long)texts[i];
    } else {
      napi_get_value_int64(env, given[i], &number);
      arguments[i - 1] = (long)number;
    }
  }
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    if (strcmp(calls[i].name, name)) continue;
    long value = syscall(calls[i].number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    napi_create_int64(env, value < 0 ? -errno : value, &result);
    return result;
  }
  napi_throw_error(env, NULL, name);
  return NULL;
}

#ifdef __x86_64__
/* getpid() as a program of 32 bits asks for it. */
static napi_value call32(napi_env env, napi_callback_info info) {
  (void)info;
  long value = 20;
  napi_value result;
  __asm__ volatile("int $0x80" : "+a"(value)::"memory", "r8", "r9", "r10", "r11");
  napi_create_int64(env, value, &result);
  return result;
}
#endif

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, call, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
#ifdef __x86_64__
  napi_create_function(env, "call32", NAPI_AUTO_LENGTH, call32, NULL, &function);
  napi_set_named_property(env, exports, "call32", function);
#endif
  return exports;
}
