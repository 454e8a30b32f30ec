// fault_pair.h: a pair of agents whose disks are loop mounts, and the oracle of the tests that break it.
//
// What the oracle proves, and what not. A *round* changes the volume while the primary agent is down, so that a single
// commit carries all of it (the scan at its start is one capture, and the changes are few). Whenever DR is stopped
// during such a round and started again alone, its replica has to be exactly the tree before the round (a copy taken at
// the barrier) or the tree after it (the volume, which rests), and its sequence says which: anything else is a half
// state. This is an exact comparison of content, metadata and names. It says nothing of the states in between when
// clients write while commits are made: of these, only that everything is equal after the next barrier.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "tests/fault/workload.h"
#include "tests/support/loop_mount.h"
#include "tests/support/site.h"

namespace understudy::tests {

// UNDERSTUDY_SEED, else one of the clock's in the long form and always the same in the short one (the moments of the
// faults vary in any case). Prints it, so that a failure can be run again.
[[nodiscard]] uint64_t SeedOfRun();
// UNDERSTUDY_FAULT_CYCLES (how many of all `kinds` together), or `otherwise`: the cycles of one kind of filesystem.
[[nodiscard]] int CyclesOfRun(int kinds, int otherwise);

struct DrState {
  uint64_t sequence = 0;
  uint64_t published_sequence = 0;
};

// How far a round got before DR was stopped.
struct RoundEnd {
  bool content_was_staged = false;  // the work folder held something
  bool was_committed = false;       // the replica shows the state after
};

// Not thread-safe. The volume is "web".
class FaultPair {
 public:
  // Both disks are of kind `type`, both agents run, and their trees are equal. UNIMPLEMENTED: not on this machine.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FaultPair>> Start(std::string_view type, uint64_t seed);

  // Ends when the trees are equal after a barrier; INTERNAL names the differences, and what the agents said.
  [[nodiscard]] absl::Status ExpectEqual();
  // As DR answers.
  [[nodiscard]] absl::StatusOr<DrState> StateOfDr();
  // The newest sequence whose acknowledgement the primary has.
  [[nodiscard]] absl::StatusOr<uint64_t> AcknowledgedAtPrimary();

  // One round (see above): changes the volume, starts the primary and, at a moment of the seed's, calls `stop_dr`,
  // which leaves DR dead; then stops the primary, starts DR alone and looks at it. Both agents run and are equal before
  // and after. INTERNAL says what is wrong.
  [[nodiscard]] absl::StatusOr<RoundEnd> Round(const std::function<absl::Status()>& stop_dr);

  // The same seed's next number below `bound`.
  [[nodiscard]] uint64_t Below(uint64_t bound) { return random_() % bound; }
  [[nodiscard]] Site& site() { return *site_; }
  [[nodiscard]] LoopMount& dr_disk() { return *dr_disk_; }
  [[nodiscard]] Workload& workload() { return *workload_; }

 private:
  explicit FaultPair(uint64_t seed) : random_(seed) {}
  absl::Status CopyVolume();
  absl::Status Explain(const absl::Status& status);
  absl::Status CompareWith(const std::string& tree, std::string_view what);
  // Whether DR's work folder holds an entry in one of the folders of this name.
  [[nodiscard]] bool WorkHolds(const std::vector<std::string>& folders) const;
  void WaitForTheMoment();
  absl::StatusOr<RoundEnd> LookAtDr(uint64_t base_sequence, uint64_t acknowledged);

  std::mt19937_64 random_;
  std::unique_ptr<LoopMount> primary_disk_;
  std::unique_ptr<LoopMount> dr_disk_;
  std::unique_ptr<Site> site_;
  std::unique_ptr<Workload> workload_;
};

}  // namespace understudy::tests
