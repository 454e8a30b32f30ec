// damage_keeper.h: the files that are known to be damaged: raises the alert, has the primary send them again, and ends
// the alert when a later check of the file passes.
//
// Only of standbys: what clients write to isn't compared. Thread-safe; no call waits for a commit but Note, Passed,
// Load and Tend.
#pragma once

#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/verify/content_check.h"
#include "agent-dr/verify/probe.h"

namespace understudy::dr {

struct VolumeDamage {
  model::VolumeName volume;
  std::vector<Damage> files;  // ascending by path
};

class DamageKeeper {
 public:
  // All outlive it.
  DamageKeeper(CommitEngine& engine, const Clock& clock, ScrubProbe& probe)
      : engine_(engine), clock_(clock), probe_(probe) {}

  // What earlier runs found. A replica that can't be reached now is asked when Tend finds that it can.
  void Load();

  // `check` says kDamaged or kUnreadable of the file at `path`.
  void Note(const model::VolumeName& volume, Replica& replica, const std::string& path, const ContentCheck& check);
  // The file at `path` is as it should be.
  void Passed(const model::VolumeName& volume, Replica& replica, const std::string& path);

  // Nobody can look at the folder, or the inode, at `path`. The primary isn't told: what it sent again would have to
  // take the place of just that. Known until EndPass, or the agent's end.
  void NoteUnreadable(const model::VolumeName& volume, const std::string& path, std::string_view why);
  // A pass through the replica is over, and found nothing unreadable but `paths`.
  void EndPass(const model::VolumeName& volume, const std::set<std::string>& paths);

  // Of volumes that have some, ascending by name; with what is unreadable.
  [[nodiscard]] std::vector<VolumeDamage> List() const;
  // DATA_LOSS while a file is damaged; names the first.
  [[nodiscard]] absl::Status Alert() const;

  // Looks whether commits healed what is damaged, and tells the primary again of what isn't after a while. CANCELLED:
  // `stop`.
  [[nodiscard]] absl::Status Tend(std::stop_token stop);
  // Tends about once a second until `stop`.
  void Run(std::stop_token stop);

 private:
  struct OfVolume {
    std::map<std::string, Damage> files;  // by path
    model::Sequence looked_at = 0;        // ReplicaState::published_sequence of the newest look
    absl::Duration told_at = -absl::InfiniteDuration();
  };

  absl::Status LoadVolume(const model::VolumeName& volume, Replica& replica);
  // Loads what couldn't be before, and forgets volumes that aren't here any more.
  void LoadLate();
  absl::Status TendVolume(const model::VolumeName& volume, Replica& replica, std::stop_token stop);
  struct Touched {
    Damage damage;
    bool in_place = false;  // the very file still has that name
  };
  // Those that aren't any more what they were when they were found.
  absl::StatusOr<std::vector<Touched>> FindTouched(Replica& replica, const std::vector<Damage>& damages);
  // Where the damaged files stand now that aren't where they were found; those that stand nowhere aren't in it.
  absl::StatusOr<std::map<std::string, std::string>> FindMoved(Replica& replica, const std::vector<Touched>& touched,
                                                               std::stop_token stop);
  absl::Status TendFile(const model::VolumeName& volume, Replica& replica, const Touched& touched,
                        const std::string& moved_to, std::stop_token stop);
  void Put(const model::VolumeName& volume, Replica& replica, const Damage& damage);
  void Remove(const model::VolumeName& volume, Replica& replica, const std::string& path, std::string_view why);

  CommitEngine& engine_;
  const Clock& clock_;
  ScrubProbe& probe_;
  mutable absl::Mutex mutex_;
  std::set<model::VolumeName> loaded_ ABSL_GUARDED_BY(mutex_);
  std::map<model::VolumeName, OfVolume> volumes_ ABSL_GUARDED_BY(mutex_);
  std::map<model::VolumeName, std::map<std::string, Damage>> unreadable_ ABSL_GUARDED_BY(mutex_);  // by path
};

}  // namespace understudy::dr
