#include "tests/sim/faulty_system.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <span>
#include <utility>

namespace understudy::sim {
namespace {

// What a call does, and so how it may fail.
enum class Call { kOpen, kCreate, kRead, kWrite, kName, kUnname, kSync, kMetadata };

struct State {
  FaultPlan plan;
  std::mt19937_64 random;
  uint64_t effects = 0;
  bool crashed = false;
};

thread_local Half current_half = Half::kNone;
thread_local std::array<State, 3> states;
thread_local std::vector<std::string> story;
thread_local std::function<void()> before_looks;

State& StateOf(Half half) {
  return states[static_cast<size_t>(half)];
}

constexpr bool IsEffect(Call call) {
  return call != Call::kOpen && call != Call::kRead;
}

std::span<const int> ErrorsOf(Call call) {
  static constexpr int kOpenErrors[] = {EMFILE, EIO};
  static constexpr int kCreateErrors[] = {EMFILE, EIO, ENOSPC};
  static constexpr int kSpaceErrors[] = {EIO, ENOSPC};
  static constexpr int kErrors[] = {EIO};
  switch (call) {
    case Call::kOpen:
      return kOpenErrors;
    case Call::kCreate:
      return kCreateErrors;
    case Call::kWrite:
    case Call::kName:
      return kSpaceErrors;
    default:
      return kErrors;
  }
}

// 0: the call may go on; otherwise the error that it fails with.
int Decide(const char* name, Call call) {
  if (current_half == Half::kNone) return 0;
  State& state = StateOf(current_half);
  const char* who = current_half == Half::kDr ? "DR" : "primary";
  if (state.crashed) return IsEffect(call) ? EIO : 0;
  if (IsEffect(call) && state.plan.crash_at_effect != 0 && ++state.effects >= state.plan.crash_at_effect) {
    state.crashed = true;
    story.push_back(fmt::format("{} crashes at effect {}, {}", who, state.effects, name));
    return EIO;
  }
  if (state.plan.failures_per_10000 == 0 || state.random() % 10000 >= state.plan.failures_per_10000) return 0;
  const std::span<const int> errors = ErrorsOf(call);
  const int error = errors[state.random() % errors.size()];
  story.push_back(fmt::format("{}'s {} fails: {}", who, name, strerrorname_np(error)));
  return error;
}

// How much of a write that fails is written all the same: a process ends in the middle of it, a disk fills up.
size_t PartOf(size_t length) {
  State& state = StateOf(current_half);
  return state.random() % 2 == 0 ? 0 : static_cast<size_t>(state.random() % (length + 1));
}

bool ShortWrite(size_t length) {
  if (current_half == Half::kNone || length < 2) return false;
  State& state = StateOf(current_half);
  return state.plan.failures_per_10000 != 0 && !state.crashed && state.random() % 100 == 0;
}

constexpr Call CallOfOpen(uint64_t flags) {
  return (flags & (O_CREAT | O_TRUNC)) != 0 ? Call::kCreate : Call::kOpen;
}

void Look() {
  if (current_half != Half::kPrimary || before_looks == nullptr) return;
  const FaultySystem::In in(Half::kNone);
  before_looks();
}

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

void FaultySystem::Arm(Half half, const FaultPlan& plan) {
  StateOf(half) = {plan, std::mt19937_64(plan.seed), 0, false};
}

void FaultySystem::Disarm(Half half) {
  StateOf(half) = {};
}

bool FaultySystem::Crashed(Half half) {
  return StateOf(half).crashed;
}

void FaultySystem::BeforeLooks(std::function<void()> meanwhile) {
  before_looks = std::move(meanwhile);
}

std::vector<std::string> FaultySystem::TakeStory() {
  return std::exchange(story, {});
}

FaultySystem::In::In(Half half) : before_(std::exchange(current_half, half)) {}
FaultySystem::In::~In() {
  current_half = before_;
}

}  // namespace understudy::sim

// The seam itself. The functions carry other names in C++, so that the C library's declarations don't matter. A
// variadic argument is taken as if it were there always: where it isn't, the call doesn't look at it.
using understudy::sim::Call;
using understudy::sim::Decide;
using understudy::sim::Real;

#define UNDERSTUDY_SEAM(result, name, call, parameters, arguments) \
  extern "C" result Faulty_##name parameters asm(#name);           \
  extern "C" result Faulty_##name parameters {                     \
    static auto* const real = Real<result parameters>(#name);      \
    if (const int error = Decide(#name, call); error != 0) {       \
      errno = error;                                               \
      return -1;                                                   \
    }                                                              \
    return real arguments;                                         \
  }

using Path = const char*;
using Times = const struct timespec*;

UNDERSTUDY_SEAM(int, open, understudy::sim::CallOfOpen(flags), (Path path, uint32_t flags, mode_t mode),
                (path, flags, mode))
UNDERSTUDY_SEAM(int, open64, understudy::sim::CallOfOpen(flags), (Path path, uint32_t flags, mode_t mode),
                (path, flags, mode))
UNDERSTUDY_SEAM(int, openat, understudy::sim::CallOfOpen(flags), (int at, Path path, uint32_t flags, mode_t mode),
                (at, path, flags, mode))
UNDERSTUDY_SEAM(int, openat64, understudy::sim::CallOfOpen(flags), (int at, Path path, uint32_t flags, mode_t mode),
                (at, path, flags, mode))
UNDERSTUDY_SEAM(ssize_t, pread, Call::kRead, (int fd, void* data, size_t length, off_t offset),
                (fd, data, length, offset))
UNDERSTUDY_SEAM(ssize_t, pread64, Call::kRead, (int fd, void* data, size_t length, off_t offset),
                (fd, data, length, offset))
UNDERSTUDY_SEAM(int, ftruncate, Call::kWrite, (int fd, off_t length), (fd, length))
UNDERSTUDY_SEAM(int, ftruncate64, Call::kWrite, (int fd, off_t length), (fd, length))
UNDERSTUDY_SEAM(int, fallocate, Call::kWrite, (int fd, int mode, off_t offset, off_t length),
                (fd, mode, offset, length))
UNDERSTUDY_SEAM(int, fallocate64, Call::kWrite, (int fd, int mode, off_t offset, off_t length),
                (fd, mode, offset, length))
UNDERSTUDY_SEAM(ssize_t, copy_file_range, Call::kWrite,
                (int from, off_t* from_offset, int to, off_t* to_offset, size_t length, unsigned flags),
                (from, from_offset, to, to_offset, length, flags))
UNDERSTUDY_SEAM(int, ioctl, Call::kWrite, (int fd, unsigned long request, void* argument), (fd, request, argument))
UNDERSTUDY_SEAM(int, mkdir, Call::kName, (Path path, mode_t mode), (path, mode))
UNDERSTUDY_SEAM(int, mkdirat, Call::kName, (int at, Path path, mode_t mode), (at, path, mode))
UNDERSTUDY_SEAM(int, mknodat, Call::kName, (int at, Path path, mode_t mode, dev_t device), (at, path, mode, device))
UNDERSTUDY_SEAM(int, symlinkat, Call::kName, (Path target, int at, Path path), (target, at, path))
UNDERSTUDY_SEAM(int, linkat, Call::kName, (int from_at, Path from, int to_at, Path to, int flags),
                (from_at, from, to_at, to, flags))
UNDERSTUDY_SEAM(int, renameat, Call::kName, (int from_at, Path from, int to_at, Path to), (from_at, from, to_at, to))
UNDERSTUDY_SEAM(int, renameat2, Call::kName, (int from_at, Path from, int to_at, Path to, unsigned flags),
                (from_at, from, to_at, to, flags))
UNDERSTUDY_SEAM(int, unlink, Call::kUnname, (Path path), (path))
UNDERSTUDY_SEAM(int, unlinkat, Call::kUnname, (int at, Path path, int flags), (at, path, flags))
UNDERSTUDY_SEAM(int, rmdir, Call::kUnname, (Path path), (path))
UNDERSTUDY_SEAM(int, fsync, Call::kSync, (int fd), (fd))
UNDERSTUDY_SEAM(int, fdatasync, Call::kSync, (int fd), (fd))
UNDERSTUDY_SEAM(int, syncfs, Call::kSync, (int fd), (fd))
UNDERSTUDY_SEAM(int, chmod, Call::kMetadata, (Path path, mode_t mode), (path, mode))
UNDERSTUDY_SEAM(int, fchmod, Call::kMetadata, (int fd, mode_t mode), (fd, mode))
UNDERSTUDY_SEAM(int, fchown, Call::kMetadata, (int fd, uid_t owner, gid_t group), (fd, owner, group))
UNDERSTUDY_SEAM(int, fchownat, Call::kMetadata, (int at, Path path, uid_t owner, gid_t group, int flags),
                (at, path, owner, group, flags))
UNDERSTUDY_SEAM(int, setxattr, Call::kMetadata, (Path path, Path name, const void* value, size_t size, int flags),
                (path, name, value, size, flags))
UNDERSTUDY_SEAM(int, fsetxattr, Call::kMetadata, (int fd, Path name, const void* value, size_t size, int flags),
                (fd, name, value, size, flags))
UNDERSTUDY_SEAM(int, removexattr, Call::kMetadata, (Path path, Path name), (path, name))
UNDERSTUDY_SEAM(int, fremovexattr, Call::kMetadata, (int fd, Path name), (fd, name))
UNDERSTUDY_SEAM(int, utimensat, Call::kMetadata, (int at, Path path, Times times, int flags), (at, path, times, flags))
UNDERSTUDY_SEAM(int, futimens, Call::kMetadata, (int fd, Times times), (fd, times))

extern "C" int Faulty_statx(int at, Path path, int flags, unsigned mask, void* found) asm("statx");
extern "C" int Faulty_statx(int at, Path path, int flags, unsigned mask, void* found) {
  static auto* const real = Real<int(int, Path, int, unsigned, void*)>("statx");
  understudy::sim::Look();
  return real(at, path, flags, mask, found);
}

// What fails may be written in part; what succeeds, too.
#define UNDERSTUDY_WRITE_SEAM(name, parameters, all, part)                                          \
  extern "C" ssize_t Faulty_##name parameters asm(#name);                                           \
  extern "C" ssize_t Faulty_##name parameters {                                                     \
    static auto* const real = Real<ssize_t parameters>(#name);                                      \
    const bool was_crashed = understudy::sim::FaultySystem::Crashed(understudy::sim::current_half); \
    if (const int error = Decide(#name, Call::kWrite); error != 0) {                                \
      const size_t length_part = was_crashed ? 0 : understudy::sim::PartOf(length);                 \
      if (length_part > 0) (void)real part;                                                         \
      errno = error;                                                                                \
      return -1;                                                                                    \
    }                                                                                               \
    const size_t length_part = length / 2;                                                          \
    return understudy::sim::ShortWrite(length) ? real part : real all;                              \
  }

UNDERSTUDY_WRITE_SEAM(write, (int fd, const void* data, size_t length), (fd, data, length), (fd, data, length_part))
UNDERSTUDY_WRITE_SEAM(pwrite, (int fd, const void* data, size_t length, off_t offset), (fd, data, length, offset),
                      (fd, data, length_part, offset))
UNDERSTUDY_WRITE_SEAM(pwrite64, (int fd, const void* data, size_t length, off_t offset), (fd, data, length, offset),
                      (fd, data, length_part, offset))

// core/os calls openat2 by number.
extern "C" long Faulty_syscall(long number, long a, long b, long c, long d, long e, long f) asm("syscall");
extern "C" long Faulty_syscall(long number, long a, long b, long c, long d, long e, long f) {
  static auto* const real = Real<long(long, long, long, long, long, long, long)>("syscall");
  if (number == SYS_openat2) {
    uint64_t flags = 0;                                                    // the first member of open_how
    std::memcpy(&flags, reinterpret_cast<const void*>(c), sizeof(flags));  // NOLINT(performance-no-int-to-ptr)
    if (const int error = Decide("openat2", understudy::sim::CallOfOpen(flags)); error != 0) {
      errno = error;
      return -1;
    }
  }
  return real(number, a, b, c, d, e, f);
}
