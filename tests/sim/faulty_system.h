// faulty_system.h: faults at the system-call seam: this program's own open, pwrite, renameat, fsync, … stand in front
// of the C library's, for our code and for SQLite's alike.
//
// Nothing fails unless the calling thread works for a half of the data plane (In) whose faults are armed. What it
// models: calls that fail (EIO, ENOSPC, EMFILE), writes that write less than asked, syncs that fail, and the end of a
// process: from one effect on, nothing more reaches the disk, until the half is destroyed and started anew. What it
// doesn't model: data that wasn't synced is kept (a power cut is for tests/fault), stores through mmap (only SQLite's
// shared-memory index, which is made anew by whoever opens it first) happen even after the crash.
//
// All state belongs to the thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace understudy::sim {

enum class Half { kNone, kPrimary, kDr };

struct FaultPlan {
  uint64_t seed = 0;
  uint32_t failures_per_10000 = 0;  // of calls, reads among them
  uint64_t crash_at_effect = 0;     // the first effect is 1; 0: no crash
};

class FaultySystem {
 public:
  static void Arm(Half half, const FaultPlan& plan);
  // Also ends a crash: the half starts anew.
  static void Disarm(Half half);
  [[nodiscard]] static bool Crashed(Half half);
  // Before each look of the primary at an entry, `meanwhile` is called, for no half; nullptr: no more.
  static void BeforeLooks(std::function<void()> meanwhile);
  // What failed since the last call, for messages.
  [[nodiscard]] static std::vector<std::string> TakeStory();

  // While it lives, the calling thread works for `half`.
  class In {
   public:
    explicit In(Half half);
    ~In();
    In(const In&) = delete;
    In& operator=(const In&) = delete;

   private:
    const Half before_;
  };
};

}  // namespace understudy::sim
