// sim_link.h: the link between the halves, as bad as its weather: it cuts before or after a message, loses answers, and
// brings messages of an older session once a new one was opened.
//
// Each Open is a connection of its own to the engine. Calls count as the primary's until they cross the link, then as
// DR's (FaultySystem). One thread.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "agent-dr/commit/commit_engine.h"
#include "core/model/replica_sink.h"
#include "tests/sim/ledger.h"

namespace understudy::sim {

struct LinkWeather {
  uint32_t cut_percent = 0;      // of calls: the message doesn't arrive, or (half of them) its answer doesn't
  uint32_t late_percent = 0;     // of messages cut off: they arrive at the next opening
  uint32_t disturb_percent = 0;  // of calls during a capture: the volume changes meanwhile
};

class SimLink : public model::ReplicaSink {
 public:
  // `ledger` outlives it. `disturb` changes the volume.
  SimLink(uint64_t seed, std::string volume_path, Ledger& ledger, std::function<void()> disturb)
      : random_(seed), volume_path_(std::move(volume_path)), ledger_(ledger), disturb_(std::move(disturb)) {}

  // nullptr: DR is down. Whatever is under way is lost with the old engine.
  void Connect(dr::CommitEngine* engine);
  void SetWeather(const LinkWeather& weather) { weather_ = weather; }
  // A run of the replicator begins. `whole`: it captures everything that changed since the last one.
  void BeginRun(bool whole) { moment_counts_ = whole; }
  // The volume changes while the run looks at it.
  void Disturbed() { moment_counts_ = false; }
  // Whether the primary has a reason to ask DR what it holds.
  void ExpectInventory(bool expected) { inventory_expected_ = expected; }

  // What a half did that it never may; OK: nothing.
  [[nodiscard]] const absl::Status& Violation() const { return violation_; }
  [[nodiscard]] std::vector<std::string> TakeStory() { return std::exchange(story_, {}); }

  [[nodiscard]] absl::StatusOr<model::ReplicaState> Open(const model::VolumeSpec& spec) override;
  [[nodiscard]] absl::Status StageBegin(const model::VolumeName& volume, model::Slot slot, const std::string& path,
                                        uint64_t size, const std::string& base_path) override;
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> StageResume(const model::VolumeName& volume,
                                                                              model::Slot slot, const std::string& path,
                                                                              uint64_t size,
                                                                              const std::string& base_path) override;
  [[nodiscard]] absl::Status StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                       std::string_view data) override;
  [[nodiscard]] absl::Status StageHole(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                       uint64_t length) override;
  [[nodiscard]] absl::Status StageDelta(const model::VolumeName& volume, model::Slot slot,
                                        const model::SegmentDelta& delta) override;
  [[nodiscard]] absl::Status StageFiles(const model::VolumeName& volume, const model::StagedBatch& batch) override;
  [[nodiscard]] absl::Status StageEnd(const model::VolumeName& volume, model::Slot slot) override;
  [[nodiscard]] absl::Status Submit(const model::Commit& commit) override;
  [[nodiscard]] model::Sequence Published(const model::VolumeName& volume) override;
  [[nodiscard]] absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                                       const std::function<absl::Status(model::InventoryEntry)>& visit) override;
  [[nodiscard]] absl::StatusOr<std::string> SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                             uint64_t number) override;

 private:
  using Session = std::shared_ptr<dr::LocalSink>;
  // One that was cut off: delivers itself and says what became of it.
  using LateMessage = std::function<absl::Status()>;

  bool Happens(uint32_t percent) { return percent != 0 && random_() % 100 < percent; }
  void Violate(const std::string& what);
  // Carries one message over the link. `may_be_late`: it owns all that it needs to be delivered later.
  absl::Status Carry(std::string_view what, const std::function<absl::Status(dr::LocalSink&)>& message,
                     bool may_be_late = false);
  // As Carry, of a message that belongs to a capture and isn't its last.
  absl::Status CarryStaged(std::string_view what, const std::function<absl::Status(dr::LocalSink&)>& message);
  absl::Status Cut(std::string_view what);
  absl::Status DeliverCommit(dr::LocalSink& session, const model::Commit& commit, const Ledger::Moment& moment);
  void DeliverLate(bool must_be_refused);
  Ledger::Moment MomentOf(const model::Commit& commit) const;

  std::mt19937_64 random_;
  const std::string volume_path_;
  Ledger& ledger_;
  const std::function<void()> disturb_;

  dr::CommitEngine* engine_ = nullptr;
  Session session_;  // nullptr: the link is down until it is opened again
  LateMessage late_;
  LinkWeather weather_;
  bool moment_counts_ = false;
  bool inventory_expected_ = true;
  absl::Status violation_;
  std::vector<std::string> story_;
};

}  // namespace understudy::sim
