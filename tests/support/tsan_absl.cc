// What ThreadSanitizer has to know of Debian's absl, which isn't compiled for it: that a Mutex is a mutex, and that a
// Notification hands over what was written before it. Without this every access under an absl::Mutex would look like a
// race.
//
// Linked into every program of the tsan preset, and only there. The members defined here take the place of the shared
// library's, for calls from gRPC, too: each tells the sanitizer, and calls the library's own, found with dlsym.
// Between pre and post the sanitizer looks at nothing, so what the library does inside needs no suppression.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
// The sanitizer's runtime has these; no header declares them.
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace {

// The library's function behind one of the members below: `symbol` is its mangled name. On x86-64 and aarch64 `this` is
// passed as a first argument.
template <typename Function>
Function* Next(const char* symbol) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

#define UNDERSTUDY_STRING(text) #text
#define UNDERSTUDY_STRING_OF(macro) UNDERSTUDY_STRING(macro)
// absl's inline namespace, as it is mangled: the length and the name.
#define UNDERSTUDY_ABSL "_ZN4absl7" UNDERSTUDY_STRING_OF(ABSL_OPTION_INLINE_NAMESPACE_NAME)
#define UNDERSTUDY_ABSL_CONST "_ZNK4absl7" UNDERSTUDY_STRING_OF(ABSL_OPTION_INLINE_NAMESPACE_NAME)

// Another thread may evaluate a condition of ours for us, with the mutex held by right but not by this file's account.
class IgnoreAccesses {
 public:
  IgnoreAccesses() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~IgnoreAccesses() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  IgnoreAccesses(const IgnoreAccesses&) = delete;
  IgnoreAccesses& operator=(const IgnoreAccesses&) = delete;
};

constexpr unsigned kShared = __tsan_mutex_read_lock;

// Gives the mutex up and takes it again around a wait.
class Released {
 public:
  explicit Released(absl::Mutex* mutex) : mutex_(mutex) {
    __tsan_mutex_pre_unlock(mutex_, 0);
    __tsan_mutex_post_unlock(mutex_, 0);
    __tsan_mutex_pre_lock(mutex_, 0);
  }
  ~Released() { __tsan_mutex_post_lock(mutex_, 0, 0); }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  absl::Mutex* mutex_;
};

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  static auto* const next = Next<void(Mutex*)>(UNDERSTUDY_ABSL "5MutexD1Ev");
  __tsan_mutex_destroy(this, __tsan_mutex_not_static);
  next(this);
}

void Mutex::Lock() {
  static auto* const next = Next<void(Mutex*)>(UNDERSTUDY_ABSL "5Mutex4LockEv");
  __tsan_mutex_pre_lock(this, 0);
  next(this);
  __tsan_mutex_post_lock(this, 0, 0);
}

void Mutex::Unlock() {
  static auto* const next = Next<void(Mutex*)>(UNDERSTUDY_ABSL "5Mutex6UnlockEv");
  __tsan_mutex_pre_unlock(this, 0);
  next(this);
  __tsan_mutex_post_unlock(this, 0);
}

bool Mutex::TryLock() {
  static auto* const next = Next<bool(Mutex*)>(UNDERSTUDY_ABSL "5Mutex7TryLockEv");
  __tsan_mutex_pre_lock(this, __tsan_mutex_try_lock);
  const bool locked = next(this);
  __tsan_mutex_post_lock(this, __tsan_mutex_try_lock | (locked ? 0 : __tsan_mutex_try_lock_failed), 0);
  return locked;
}

void Mutex::ReaderLock() {
  static auto* const next = Next<void(Mutex*)>(UNDERSTUDY_ABSL "5Mutex10ReaderLockEv");
  __tsan_mutex_pre_lock(this, kShared);
  next(this);
  __tsan_mutex_post_lock(this, kShared, 0);
}

void Mutex::ReaderUnlock() {
  static auto* const next = Next<void(Mutex*)>(UNDERSTUDY_ABSL "5Mutex12ReaderUnlockEv");
  __tsan_mutex_pre_unlock(this, kShared);
  next(this);
  __tsan_mutex_post_unlock(this, kShared);
}

void Mutex::LockWhen(const Condition& condition) {
  static auto* const next = Next<void(Mutex*, const Condition&)>(UNDERSTUDY_ABSL "5Mutex8LockWhenERKNS0_9ConditionE");
  __tsan_mutex_pre_lock(this, 0);
  next(this, condition);
  __tsan_mutex_post_lock(this, 0, 0);
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  static auto* const next = Next<bool(Mutex*, const Condition&, Time)>(
      UNDERSTUDY_ABSL "5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  __tsan_mutex_pre_lock(this, 0);
  const bool met = next(this, condition, deadline);
  __tsan_mutex_post_lock(this, 0, 0);
  return met;
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, Now() + timeout);
}

void Mutex::Await(const Condition& condition) {
  static auto* const next = Next<void(Mutex*, const Condition&)>(UNDERSTUDY_ABSL "5Mutex5AwaitERKNS0_9ConditionE");
  const Released released(this);
  next(this, condition);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const next = Next<bool(Mutex*, const Condition&, Duration)>(
      UNDERSTUDY_ABSL "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  const Released released(this);
  return next(this, condition, timeout);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static auto* const next = Next<bool(Mutex*, const Condition&, Time)>(
      UNDERSTUDY_ABSL "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  const Released released(this);
  return next(this, condition, deadline);
}

bool Condition::Eval() const {
  static auto* const next = Next<bool(const Condition*)>(UNDERSTUDY_ABSL_CONST "9Condition4EvalEv");
  const IgnoreAccesses ignored;
  return next(this);
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const next = Next<void(CondVar*, Mutex*)>(UNDERSTUDY_ABSL "7CondVar4WaitEPNS0_5MutexE");
  const Released released(mutex);
  next(this, mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const next =
      Next<bool(CondVar*, Mutex*, Duration)>(UNDERSTUDY_ABSL "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  const Released released(mutex);
  return next(this, mutex, timeout);
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const next =
      Next<bool(CondVar*, Mutex*, Time)>(UNDERSTUDY_ABSL "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  const Released released(mutex);
  return next(this, mutex, deadline);
}

// HasBeenNotified is inline and so known to the sanitizer, as an acquiring load of this byte; the rest takes the mutex.
void Notification::Notify() {
  static auto* const next = Next<void(Notification*)>(UNDERSTUDY_ABSL "12Notification6NotifyEv");
  __tsan_release(&notified_yet_);
  next(this);
}

void Notification::WaitForNotification() const {
  static auto* const next =
      Next<void(const Notification*)>(UNDERSTUDY_ABSL_CONST "12Notification19WaitForNotificationEv");
  next(this);
  __tsan_acquire(const_cast<std::atomic<bool>*>(&notified_yet_));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const next = Next<bool(const Notification*, Duration)>(
      UNDERSTUDY_ABSL_CONST "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = next(this, timeout);
  if (notified) __tsan_acquire(const_cast<std::atomic<bool>*>(&notified_yet_));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
