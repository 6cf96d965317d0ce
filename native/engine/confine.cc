// Theory of operation. Once a network is up, its process needs the kernel for little: to move bytes between descriptors that it
// has, to open sockets of the internet families, for memory, threads and time. confine() gives up the rest, for every thread that is
// there and every one that comes (SECCOMP_FILTER_FLAG_TSYNC), and for good. The filter is a list of what may be done:
//
//     moves bytes, memory, threads, time, own signals      allowed, a few by their arguments (ioctl, fcntl, socket options, clone)
//     takes a path (open, stat, unlink, ...)               EACCES, so that a library that looks for a file goes on without
//     socket() but for IPv4 and IPv6, signals to others    EACCES, EPERM
//     what no helper of a network ever does (execve, fork, ptrace, mount, namespaces, bpf, ...), or an ABI that is not ours
//                                                          ends the process (SIGSYS)
//     anything else, of kernels to come too                ENOSYS, so that libraries take an older way
//
// io_uring is among the last, since what a ring does is seen by no filter; so is clone3, whose flags a filter cannot see: C
// libraries use clone() then. fstat() is newfstatat() in some versions of glibc, with an empty path that a filter cannot see either:
// that one call traps, and the handler does what fstat() would. No path gets to the kernel that way.
//
// Socket options are chosen since this process's user owns the sandbox's network namespace: over sockets that were made inside it has
// every capability, and what that opens in the kernel (netfilter's tables, protocols on top of TCP, ...) is much.
//
// What it leaves: every descriptor that is open, and the network. docs/decisions/confinement.md has both, and why.
#include "confine.h"

#include <cerrno>

#if defined(__x86_64__) || defined(__aarch64__)

#include <dirent.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <type_traits>

namespace netns {
namespace {

constexpr uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr uint32_t kKill = SECCOMP_RET_KILL_PROCESS;
constexpr uint32_t refuse(int error) { return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error); }
constexpr uint32_t kUnknown = refuse(ENOSYS);

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#else
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

// Where the C library's headers are older than the kernels that we run on. These numbers are the same for every architecture.
enum NewCalls : uint32_t {
  kCloseRange = 436,
  kOpenat2 = 437,
  kPidfdGetfd = 438,
  kFaccessat2 = 439,
  kEpollPwait2 = 441,
  kFutexWaitv = 449,
  kFchmodat2 = 452,
  kFutexWake = 454,
  kFutexWait = 455,
  kFutexRequeue = 456,
};

constexpr uint32_t kAllowed[] = {
    // The loop
    SYS_read, SYS_write, SYS_recvmsg, SYS_sendmsg, SYS_recvfrom, SYS_sendto,
#if defined(__x86_64__)
    SYS_epoll_wait,
#endif
    SYS_epoll_pwait, SYS_sched_yield, SYS_futex, SYS_madvise, SYS_splice, SYS_epoll_ctl, SYS_close, SYS_connect, SYS_accept4,
    SYS_getsockname, SYS_getpeername, SYS_listen, SYS_shutdown, SYS_recvmmsg, SYS_sendmmsg,
    // Descriptors that are open
    SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_fstat,
    SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_dup, SYS_dup3, SYS_pipe2, SYS_eventfd2, SYS_epoll_create1, SYS_timerfd_create,
    SYS_timerfd_settime, SYS_timerfd_gettime, SYS_signalfd4, SYS_ppoll, SYS_pselect6, SYS_accept, kCloseRange, kEpollPwait2,
#if defined(__x86_64__)
    SYS_dup2, SYS_pipe, SYS_poll, SYS_select, SYS_eventfd, SYS_epoll_create,
#endif
    // Memory
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_mincore, SYS_msync, SYS_membarrier, SYS_pkey_alloc, SYS_pkey_free,
    SYS_pkey_mprotect,
    // Threads
    SYS_set_robust_list, SYS_rseq, SYS_set_tid_address, SYS_exit, SYS_exit_group, SYS_gettid, SYS_sched_getaffinity,
    SYS_sched_getparam, SYS_sched_getscheduler, SYS_getcpu, kFutexWaitv, kFutexWake, kFutexWait, kFutexRequeue,
    // Signals to ourselves, and children that were there before
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
    SYS_sigaltstack, SYS_restart_syscall, SYS_wait4, SYS_waitid,
    // Time, randomness, who and where we are
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_getrandom, SYS_getpid,
    SYS_getppid, SYS_getpgid, SYS_getsid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid,
    SYS_getgroups, SYS_capget, SYS_uname, SYS_sysinfo, SYS_times, SYS_getrusage, SYS_getpriority, SYS_getcwd,
#if defined(__x86_64__)
    SYS_time, SYS_getpgrp, SYS_getrlimit,
#endif
};

constexpr uint32_t kPaths[] = {
    SYS_openat, kOpenat2, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_mkdirat, SYS_linkat, SYS_symlinkat, SYS_mknodat, SYS_fchmodat, kFchmodat2,
    SYS_fchownat, SYS_truncate, SYS_utimensat, SYS_faccessat, kFaccessat2, SYS_readlinkat, SYS_statfs, SYS_chdir, SYS_fchdir,
    SYS_getdents64, SYS_setxattr, SYS_lsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_listxattr, SYS_llistxattr, SYS_removexattr,
    SYS_lremovexattr, SYS_inotify_add_watch, SYS_fanotify_mark, SYS_name_to_handle_at,
#if defined(__x86_64__)
    SYS_open, SYS_creat, SYS_unlink, SYS_rename, SYS_mkdir, SYS_rmdir, SYS_link, SYS_symlink, SYS_mknod, SYS_chmod,
    SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_getdents,
#endif
};

// Whether they would succeed or not: of somebody else, or of a descriptor's file.
constexpr uint32_t kRefused[] = {
    SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal, SYS_pidfd_open, kPidfdGetfd, SYS_fchmod, SYS_fchown,
    SYS_fsetxattr, SYS_fremovexattr, SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid,
    SYS_setgroups, SYS_setfsuid, SYS_setfsgid, SYS_setsid, SYS_setpgid, SYS_capset, SYS_sched_setscheduler, SYS_sched_setparam,
    SYS_sched_setattr, SYS_sched_setaffinity, SYS_setrlimit,
};

constexpr uint32_t kKilled[] = {
    SYS_execve, SYS_execveat,
#if defined(__x86_64__)
    SYS_fork, SYS_vfork, SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib,
#endif
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp,
    // Mounts and namespaces
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns, 428 /* open_tree */, 429 /* move_mount */,
    430 /* fsopen */, 431 /* fsconfig */, 432 /* fsmount */, 433 /* fspick */, 442 /* mount_setattr */, SYS_open_by_handle_at,
    // The kernel itself
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_kexec_load, SYS_kexec_file_load, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_personality, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl,
    SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_syslog,
    SYS_vhangup, SYS_nfsservctl,
};

// Netfilter's socket options: these and above, but that IPv6 has options of its own there, from 66 on.
constexpr uint32_t kNetfilter = 64;

class Program;
using Rule = void (*)(Program&);

// What becomes of one call. `rule`: what its arguments say decides.
struct Answer {
  uint32_t call;
  uint32_t action;
  Rule rule;
};

// The filter in the machine's own words. A binary search for the number of the call: what the kernel does with a filter when it gets
// it, and kernels before 5.11 at every call, takes as long as the way through it.
class Program {
 public:
  explicit Program(uint32_t own) : own(own) {}

  // `answers`: in the order of their numbers.
  void build(const Answer* answers, size_t count) {
    load(offsetof(seccomp_data, arch));
    jump(BPF_JEQ, kArchitecture, 1, 0);
    give(kKill);
    load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
    constexpr uint32_t kX32 = 0x40000000;
    jump(BPF_JGE, kX32, 0, 1);
    give(kKill);
#endif
    uint32_t next = 0;
    for (size_t i = 0; i < count; next = answers[i++].call + 1) {
      if (answers[i].call > next) span({next, kUnknown, nullptr});
      span(answers[i]);
    }
    span({next, kUnknown, nullptr});
    search(0, spans_);
  }

  // Null where it became too long.
  const sock_fprog* finished() {
    program_ = {static_cast<unsigned short>(length_), code_};
    return length_ < kMostCode && spans_ < kMostSpans ? &program_ : nullptr;
  }

  void give(uint32_t action) { emit(BPF_RET | BPF_K, action); }

  // Goes on if an argument, of which these bits count, is one of `values`, else `otherwise` is the answer. Of an argument that is an int.
  void need(int argument, std::initializer_list<uint32_t> values, uint32_t otherwise, uint32_t mask = ~0u) {
    loadArgument(argument, mask);
    auto left = static_cast<uint8_t>(values.size());
    for (const uint32_t value : values) jump(BPF_JEQ, value, left--, 0);
    give(otherwise);
  }

  // A socket option of this level is refused if its number is one of these, or `from` or more, else allowed. Goes on at other levels.
  void allowOptions(uint32_t level, std::initializer_list<uint32_t> refused, uint32_t from = ~0u) {
    loadArgument(1, ~0u);
    const size_t at = length_;
    jump(BPF_JEQ, level, 0, 0);
    loadArgument(2, ~0u);
    for (const uint32_t option : refused) {
      jump(BPF_JEQ, option, 0, 1);
      give(refuse(EPERM));
    }
    jump(BPF_JGE, from, 0, 1);
    give(refuse(EPERM));
    give(kAllow);
    code_[at].jf = static_cast<uint8_t>(length_ - at - 1);
  }

  // Our process.
  const uint32_t own;

 private:
  static constexpr size_t kMostCode = 2048;
  static constexpr size_t kMostSpans = 512;

  // From this call to the next span's the answer is the same.
  void span(const Answer& answer) {
    const Answer* last = spans_ > 0 ? &answers_[spans_ - 1] : nullptr;
    const bool same = last != nullptr && answer.rule == nullptr && last->rule == nullptr && last->action == answer.action;
    if (!same && spans_ < kMostSpans) answers_[spans_++] = answer;
  }

  void search(size_t first, size_t end) {
    if (end - first == 1) {
      if (answers_[first].rule != nullptr) answers_[first].rule(*this);
      else give(answers_[first].action);
      return;
    }
    const size_t middle = first + (end - first) / 2;
    jump(BPF_JGE, answers_[middle].call, 0, 1);
    const size_t far = length_;
    emit(BPF_JMP | BPF_JA, 0);
    search(first, middle);
    code_[far].k = static_cast<uint32_t>(length_ - far - 1);
    search(middle, end);
  }

  void emit(uint32_t code, uint32_t k, uint8_t jt = 0, uint8_t jf = 0) {
    code_[length_] = {static_cast<uint16_t>(code), jt, jf, k};
    if (length_ < kMostCode - 1) length_++;
  }
  void jump(uint32_t test, uint32_t k, uint8_t jt, uint8_t jf) { emit(BPF_JMP | test | BPF_K, k, jt, jf); }
  void load(size_t offset) { emit(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
  // The lower half, which is all that the kernel itself looks at.
  void loadArgument(int argument, uint32_t mask) {
    load(offsetof(seccomp_data, args) + sizeof(uint64_t) * static_cast<size_t>(argument));
    if (mask != ~0u) emit(BPF_ALU | BPF_AND | BPF_K, mask);
  }

  sock_filter code_[kMostCode];
  size_t length_ = 0;
  Answer answers_[kMostSpans];
  size_t spans_ = 0;
  sock_fprog program_{};
};

void onSetsockopt(Program& program) {
  program.allowOptions(SOL_SOCKET, {SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF});
  // IPsec's policies, and netfilter's.
  program.allowOptions(IPPROTO_IP, {16, 17}, kNetfilter);
  program.allowOptions(IPPROTO_IPV6, {34, 35, kNetfilter, kNetfilter + 1});
  // Signatures (MD5, AO), TCP_REPAIR and what belongs to it, TCP_ULP.
  program.allowOptions(IPPROTO_TCP, {14, 19, 20, 21, 22, 29, 31, 32, 38, 39, 40, 41, 42});
  program.allowOptions(IPPROTO_UDP, {100 /* UDP_ENCAP: IPsec */});
  program.give(refuse(EPERM));
}

void onGetsockopt(Program& program) {
  program.allowOptions(IPPROTO_IP, {}, kNetfilter);
  program.allowOptions(IPPROTO_IPV6, {kNetfilter, kNetfilter + 1, kNetfilter + 4, kNetfilter + 5});
  program.need(1, {SOL_SOCKET, IPPROTO_TCP, IPPROTO_UDP}, refuse(EPERM));
  program.give(kAllow);
}

constexpr uint32_t kSocketTypes = 0xf;

void onSocket(Program& program) {
  program.need(0, {AF_INET, AF_INET6}, refuse(EACCES));
  program.need(1, {SOCK_STREAM, SOCK_DGRAM}, refuse(EACCES), kSocketTypes);
  program.need(2, {0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6}, refuse(EACCES));
  program.give(kAllow);
}

// Datagram sockets of a pair could still be turned to a path.
void onSocketpair(Program& program) {
  program.need(0, {AF_UNIX}, refuse(EACCES));
  program.need(1, {SOCK_STREAM, SOCK_SEQPACKET}, refuse(EACCES), kSocketTypes);
  program.give(kAllow);
}

// Only what is as long as an Internet address: a filter does not see which family it is, and a socket of a pair that was bound to a path would
// leave a file there.
void onBind(Program& program) {
  program.need(2, {sizeof(sockaddr_in), sizeof(sockaddr_in6)}, refuse(EACCES));
  program.give(kAllow);
}

// How much there is to read or to send, whether it blocks, whether it is a terminal and of which size, what kind of TAP it is, and the
// number of an interface.
void onIoctl(Program& program) {
  constexpr uint32_t kTerminalSettings2 = 0x802c542a;  // TCGETS2
  constexpr uint32_t kTapFlags = 0x800454d2, kTapHeader = 0x800454d7;  // TUNGETIFF, TUNGETVNETHDRSZ
  constexpr uint32_t kInterfaceIndex = 0x8933;  // SIOCGIFINDEX
  program.need(1,
               {FIONREAD, TIOCOUTQ, FIONBIO, FIOCLEX, FIONCLEX, TCGETS, TCSETS, TCSETSW, TCSETSF, kTerminalSettings2, TIOCGWINSZ,
                TIOCGPGRP, TIOCGPTN, kTapFlags, kTapHeader, kInterfaceIndex},
               refuse(EPERM));
  program.give(kAllow);
}

// F_SETOWN with F_SETSIG would be a signal to anybody.
void onFcntl(Program& program) {
  program.need(1, {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ}, refuse(EPERM));
  program.give(kAllow);
}

// A thread, and no process.
void onClone(Program& program) {
  constexpr uint32_t kFresh = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  constexpr uint32_t kThread = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
  program.need(0, {kThread}, kKill, kThread | kFresh | CLONE_PTRACE);
  program.give(kAllow);
}

void onOwnProcess(Program& program) {
  program.need(0, {program.own}, refuse(EPERM));
  program.give(kAllow);
}

void onPrlimit(Program& program) {
  program.need(0, {0, program.own}, refuse(EPERM));
  program.give(kAllow);
}

void onSetpriority(Program& program) {
  program.need(0, {PRIO_PROCESS}, refuse(EPERM));
  program.need(1, {0}, refuse(EPERM));
  program.give(kAllow);
}

void onPrctl(Program& program) {
  constexpr uint32_t kSetName = 15, kGetName = 16, kNameOfMemory = 0x53564d41;  // PR_SET_VMA
  program.need(0, {kSetName, kGetName, kNameOfMemory}, refuse(EPERM));
  program.give(kAllow);
}

constexpr Answer kRules[] = {
    {SYS_setsockopt, 0, onSetsockopt}, {SYS_getsockopt, 0, onGetsockopt},   {SYS_socket, 0, onSocket},
    {SYS_socketpair, 0, onSocketpair}, {SYS_ioctl, 0, onIoctl},             {SYS_fcntl, 0, onFcntl},
    {SYS_bind, 0, onBind},
    {SYS_clone, 0, onClone},           {SYS_kill, 0, onOwnProcess},         {SYS_tgkill, 0, onOwnProcess},
    {SYS_tkill, 0, onOwnProcess},      {SYS_prlimit64, 0, onPrlimit},       {SYS_setpriority, 0, onSetpriority},
    {SYS_prctl, 0, onPrctl},           {SYS_newfstatat, SECCOMP_RET_TRAP, nullptr},
};

constexpr size_t kCalls =
    std::size(kAllowed) + std::size(kPaths) + std::size(kRefused) + std::size(kKilled) + std::size(kRules);

constexpr std::array<Answer, kCalls> allAnswers() {
  std::array<Answer, kCalls> all{};
  size_t count = 0;
  for (const uint32_t call : kAllowed) all[count++] = {call, kAllow, nullptr};
  for (const uint32_t call : kPaths) all[count++] = {call, refuse(EACCES), nullptr};
  for (const uint32_t call : kRefused) all[count++] = {call, refuse(EPERM), nullptr};
  for (const uint32_t call : kKilled) all[count++] = {call, kKill, nullptr};
  for (const Answer& rule : kRules) all[count++] = rule;
  std::sort(all.begin(), all.end(), [](const Answer& a, const Answer& b) { return a.call < b.call; });
  return all;
}

constexpr std::array<Answer, kCalls> kAnswers = allAnswers();

constexpr bool namesACallTwice() {
  for (size_t i = 1; i < kCalls; i++)
    if (kAnswers[i - 1].call == kAnswers[i].call) return true;
  return false;
}
static_assert(!namesACallTwice());

#if defined(__x86_64__)
struct Registers {
  explicit Registers(void* context) : at(static_cast<ucontext_t*>(context)->uc_mcontext.gregs) {}
  long argument(int i) const {
    constexpr int kArguments[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10};
    return at[kArguments[i]];
  }
  void answer(long value) { at[REG_RAX] = value; }
  greg_t* at;
};
#else
struct Registers {
  explicit Registers(void* context) : at(static_cast<ucontext_t*>(context)->uc_mcontext.regs) {}
  long argument(int i) const { return static_cast<long>(at[i]); }
  void answer(long value) { at[0] = static_cast<std::remove_pointer_t<decltype(at)>>(value); }
  std::decay_t<decltype(mcontext_t::regs)> at;
};
#endif

// newfstatat(), trapped: fstat(), where it was meant. Both give the same `struct stat`.
void onTrap(int number, siginfo_t* info, void* context) {
  constexpr int kSeccomp = 1;  // SYS_SECCOMP
  if (info->si_code != kSeccomp) {
    signal(number, SIG_DFL);  // somebody sent it
    raise(number);
    return;
  }
  const int before = errno;
  Registers registers(context);
  const auto* path = reinterpret_cast<const char*>(registers.argument(1));
  const bool own = (registers.argument(3) & AT_EMPTY_PATH) != 0 && (path == nullptr || *path == '\0');
  long result = -EACCES;
  if (own) {
    result = syscall(SYS_fstat, static_cast<int>(registers.argument(0)), registers.argument(2));
    if (result < 0) result = -errno;
  }
  registers.answer(result);
  errno = before;
}

// One that is open would go on doing what no filter sees.
bool hasRing() {
  DIR* descriptors = opendir("/proc/self/fd");
  if (descriptors == nullptr) return false;
  bool found = false;
  while (const dirent* entry = readdir(descriptors)) {
    constexpr char kRing[] = "anon_inode:[io_uring]";
    char target[sizeof kRing];
    const ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, target, sizeof target);
    found |= length == sizeof kRing - 1 && memcmp(target, kRing, sizeof kRing - 1) == 0;
  }
  closedir(descriptors);
  return found;
}

long seccomp(unsigned operation, unsigned flags, const void* arguments) {
  return syscall(SYS_seccomp, operation, flags, arguments);
}

// Of SPEC_ALLOW: what runs here is our own code, which has nothing to hide from itself, and without it kernels before 5.16 make
// every thread slower.
constexpr unsigned kFlags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;

int confine() {
  Program program(static_cast<uint32_t>(getpid()));
  program.build(kAnswers.data(), kAnswers.size());
  const sock_fprog* filter = program.finished();
  if (filter == nullptr) return -E2BIG;
  if (hasRing()) return -EBUSY;

  struct sigaction trap{}, before{};
  trap.sa_sigaction = onTrap;
  trap.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  if (sigaction(SIGSYS, &trap, &before) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
  const long result = seccomp(SECCOMP_SET_MODE_FILTER, kFlags, filter);
  if (result == 0) return 0;
  const int error = result < 0 ? errno : EBUSY;  // a thread that has another filter
  (void)sigaction(SIGSYS, &before, nullptr);
  return -error;
}

// The kernel looks at the flags first and then for the filter, which is not there.
int canConfine() {
  const long result = seccomp(SECCOMP_SET_MODE_FILTER, kFlags, nullptr);
  return result < 0 && errno != EFAULT ? -errno : 0;
}

}  // namespace
}  // namespace netns

#else

namespace netns {
namespace {

// The numbers of other machines' calls are not written down yet.
int confine() { return -ENOSYS; }
int canConfine() { return -ENOSYS; }

}  // namespace
}  // namespace netns

#endif

namespace netns {
namespace {

template <int (*call)()>
napi_value answerOf(napi_env env, napi_callback_info) {
  napi_value result;
  napi_create_int32(env, call(), &result);
  return result;
}

}  // namespace
}  // namespace netns

void confine_init(napi_env env, napi_value exports) {
  napi_value confine;
  napi_value can;
  napi_create_function(env, "confine", NAPI_AUTO_LENGTH, netns::answerOf<netns::confine>, nullptr, &confine);
  napi_create_function(env, "canConfine", NAPI_AUTO_LENGTH, netns::answerOf<netns::canConfine>, nullptr, &can);
  napi_set_named_property(env, exports, "confine", confine);
  napi_set_named_property(env, exports, "canConfine", can);
}
