// history.h: one seeded life of a volume and its replica: changes, faults of both filesystems and of the link, crashes
// of either half; and what must hold whatever happens:
//
//   1. once the faults end and a barrier passes, both trees are equal;
//   2. whenever DR has started anew, the replica is what the volume was at the capture of the replica's sequence;
//   3. nothing acknowledged is lost, neither by a crash nor for the next session;
//   4. a message of an older session is refused;
//   5. the primary asks for an inventory only when it can't know what DR holds;
//   6. once the faults end and nothing changes, no commit is refused, whatever the looks before saw;
//   7. every kept undo record leads back to the state that it names, and the primary makes the sides equal again;
//   8. no undo record is given up for want of space while there is space, whatever calls fail with.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "agent-dr/commit/commit_engine.h"
#include "agent-primary/ship/volume_replicator.h"
#include "tests/sim/fake_clock.h"
#include "tests/sim/faulty_system.h"
#include "tests/sim/ledger.h"
#include "tests/sim/sim_link.h"
#include "tests/support/churn.h"

namespace understudy::sim {

// One thread; the same again for the same seed, but for what depends on the kernel's time stamps (racily clean files).
class History {
 public:
  // Lives in `folder`, which is there and empty.
  History(uint64_t seed, std::string folder);
  ~History();

  // OK: all of the above held.
  [[nodiscard]] absl::Status Run();
  // What happened, a line for each step.
  [[nodiscard]] std::string Story();

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool OneIn(uint64_t bound) { return Below(bound) == 0; }
  std::string Volume() const { return folder_ + "/primary/web"; }
  std::string Replica() const { return folder_ + "/dr/web"; }
  void Tell(std::string line) { story_.push_back(std::move(line)); }
  // Takes in what the link and the filesystem have to tell.
  void Listen();

  absl::Status Round();
  void ChangeVolume(uint64_t most);
  void Brew();
  FaultPlan BrewFaults();
  // One run of the replicator; crashed halves are started anew. `calm`: no commit may be refused, whatever was before.
  absl::Status Step(bool calm);
  // Ends all faults and replicates until a barrier passes.
  absl::Status Calm();

  absl::Status StartDr();
  absl::Status CheckReplica();
  absl::Status CheckKept() const;
  absl::Status StartPrimary();
  absl::Status LoseIndex();
  // Takes DR back to one of the states that it keeps, in whatever weather there is.
  absl::Status Rewind();
  // States between others are left out.
  absl::Status Thin();

  const std::string folder_;
  std::mt19937_64 random_;
  std::vector<std::string> story_;
  tests::Churn churn_;
  FakeClock clock_;
  Ledger ledger_;
  std::unique_ptr<dr::CommitEngine> engine_;
  std::unique_ptr<primary::VolumeReplicator> replicator_;
  SimLink link_;
  std::optional<uint64_t> barrier_;
  uint64_t restless_ = 0;  // how often the volume still changes while it is looked at
  bool changed_ = true;    // since the replicator was told last
};

}  // namespace understudy::sim
