// scrubber.h: reads all replicas through from time to time, slowly, and compares each file with the digest that is kept
// of it.
//
// Only standbys that hold a whole capture. Where it is in a replica is remembered over a restart. Run has a thread of
// its own, with idle I/O priority.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/verify/damage_keeper.h"
#include "agent-dr/verify/probe.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {

struct ScrubSettings {
  // Between the end of a pass and the next one's begin. 0: contents aren't read; but all files are met once in a while,
  // so that what is known of those that went can be forgotten.
  absl::Duration interval = absl::Hours(7 * 24);
  uint64_t bytes_per_second = 32 * 1024 * 1024;
};

// One thread at a time.
class Scrubber {
 public:
  // All outlive it.
  Scrubber(CommitEngine& engine, DamageKeeper& damage, const ScrubSettings& settings, const Clock& clock,
           ScrubProbe& probe)
      : engine_(engine), damage_(damage), settings_(settings), clock_(clock), probe_(probe) {}

  // Until `stop`.
  void Run(std::stop_token stop);

  // A pass through the replica for which one is due the longest; false: none is. An error is that replica's, which
  // isn't due for a while then. CANCELLED: `stop`.
  [[nodiscard]] absl::StatusOr<bool> ScrubNext(std::stop_token stop);

 private:
  // What a pass has found; the first two are written from time to time.
  struct Batch {
    std::set<std::string> unreadable;  // paths of folders and inodes
    std::vector<Identity> met;
    std::vector<KeptContent> learned;
    // Files with several names that were right under one of them: they aren't read again in this pass.
    absl::flat_hash_set<std::pair<uint64_t, int64_t>> linked;
    bool several_names = false;  // of the file that is looked at
  };

  [[nodiscard]] bool Reads() const { return settings_.interval > absl::ZeroDuration(); }
  [[nodiscard]] absl::Duration Interval() const;
  std::optional<model::VolumeName> NextDue();
  absl::Status Pass(const model::VolumeName& volume, Replica& replica, std::stop_token stop);
  // Paths of what can't be looked at.
  absl::StatusOr<std::set<std::string>> ScrubTree(const model::VolumeName& volume, Replica& replica, ScrubPlace& place,
                                                  std::stop_token stop);
  // One entry that was met.
  absl::Status ScrubEntry(const model::VolumeName& volume, Replica& replica, const os::WalkEntry& entry, Batch& batch,
                          std::stop_token stop);
  // Forgets what wasn't met any more, a bounded number of rows at once.
  absl::Status Collect(Replica& replica, uint64_t pass, std::stop_token stop);
  absl::Status ScrubFile(const model::VolumeName& volume, Replica& replica, const std::string& path, Batch& batch,
                         std::stop_token stop);
  // Files that only undo records keep aren't read, but known. Whether all of them could be met.
  absl::StatusOr<bool> MeetKept(const model::VolumeName& volume, Replica& replica, const ScrubPlace& place,
                                std::stop_token stop);
  absl::Status Write(Replica& replica, const ScrubPlace& place, Batch& batch);
  // Waits until so many more bytes are within the pace.
  absl::Status KeepPace(uint64_t bytes, std::stop_token stop);

  CommitEngine& engine_;
  DamageKeeper& damage_;
  const ScrubSettings settings_;
  const Clock& clock_;
  ScrubProbe& probe_;
  std::map<model::VolumeName, absl::Time> due_;  // of volumes that were looked at
  absl::Duration paid_until_ = -absl::InfiniteDuration();
};

}  // namespace understudy::dr
