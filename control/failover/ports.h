// ports.h: what the steps of a failover need of the agents and of the clusters' objects, behind interfaces whose memory
// twins serve the tests. Virtual machines, backups and restores have theirs in control/vm and control/oadp.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/exports.h"
#include "core/model/hook.h"
#include "core/model/object.h"
#include "core/model/recovery_point.h"
#include "core/model/verify.h"
#include "core/model/volume.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

// A replica as its DR agent has it.
struct ReplicaView {
  std::string volume{};
  std::string root{};  // absolute, at DR, bytes
  model::VolumeState state = model::VolumeState::kStandby;
  model::Epoch epoch = 0;
  model::Sequence sequence = 0;
  bool complete = false;
  bool held = false;
  bool hooks_due = false;
  std::optional<absl::Time> captured_at{};  // of the newest commit, by the primary's clock
  bool midst_of_capture = false;            // the newest commit is a state that the primary never had
  model::Sequence whole_sequence = 0;       // then: the newest kept state that it had; 0: none
  model::Consistency consistency = model::Consistency::kUnknown;  // of the state that the newest commit leads to
};

// A volume as its primary agent has it.
struct SourceView {
  std::string volume{};
  std::string state{};  // connecting, scanning, replicating, idle, guarded, paused, promoted or error
  std::string problem{};
  double lag_seconds = 0;
  model::Sequence sequence = 0;
  bool paused = false;
  model::ExportMode exported = model::ExportMode::kNone;  // as it is desired
  bool fenced = false;                                    // the server was read back to be read-only, or not exported
};

struct Findings {
  model::VerifyCounts counts;
  std::vector<model::Difference> differences{};  // at most model::kMaxListedDifferences
};

struct PromotionWatch {
  std::function<void(const std::string& step)> on_step;
  std::function<void(const model::HookResult&)> on_hook;
};

// A volume whose live copy is where it was promoted.
struct LiveView {
  std::string volume{};
  bool at_primary = false;  // of the pair; else at its DR
  model::Epoch epoch = 0;
  std::string root{};   // of the live copy; bytes
  bool turned = false;  // it is replicated to the other host
};

// A kept state that is to be a folder of its own.
struct TreeWish {
  std::string volume{};
  model::Sequence sequence = 0;
  std::string path{};  // absolute, at DR
};

// The agents of every pair; `pair` is one of Pairs(). Thread-safe. Errors are the agents'; UNAVAILABLE and
// DEADLINE_EXCEEDED say which agent, and what to check. NOT_FOUND: no such volume there.
class SiteAgents {
 public:
  virtual ~SiteAgents() = default;

  [[nodiscard]] virtual std::vector<std::string> Pairs() const = 0;
  // How PersistentVolumes name the NFS servers whose volumes the pair holds; empty: any.
  [[nodiscard]] virtual std::vector<std::string> ServerNames(const std::string& /*pair*/) const { return {}; }

  // At the primary.
  [[nodiscard]] virtual absl::StatusOr<std::vector<SourceView>> Sources(const std::string& pair) = 0;
  [[nodiscard]] virtual absl::Status SetSourceExport(const std::string& pair, const std::string& volume,
                                                     model::ExportMode mode) = 0;
  // Returns when DR durably holds everything that was written before the call, with its sequence.
  [[nodiscard]] virtual absl::StatusOr<model::Sequence> Sync(const std::string& pair, const std::string& volume,
                                                             absl::Duration timeout,
                                                             const std::function<void(const std::string&)>& on_progress,
                                                             std::stop_token stop) = 0;
  [[nodiscard]] virtual absl::Status Pause(const std::string& pair, const std::string& volume) = 0;
  [[nodiscard]] virtual absl::Status Resume(const std::string& pair, const std::string& volume) = 0;

  // At DR; a verification at a depth that compares goes by the primary.
  [[nodiscard]] virtual absl::StatusOr<std::vector<ReplicaView>> Replicas(const std::string& pair) = 0;
  // When the primary last said that DR has everything that was written before, as of the state that `replica` has.
  // nullopt: it never did. By the primary's clock.
  [[nodiscard]] virtual absl::StatusOr<std::optional<absl::Time>> ConfirmedAt(const std::string& pair,
                                                                              const ReplicaView& replica) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::vector<model::CatalogEntry>> Catalog(const std::string& pair,
                                                                                 model::ObjectKind kind) = 0;
  [[nodiscard]] virtual absl::StatusOr<Findings> Verify(
      const std::string& pair, const std::string& volume, model::VerifyDepth depth,
      const std::function<void(const model::VerifyCounts&)>& on_progress) = 0;
  // Back to a kept state, where it is held until it is promoted or released; what was left stays a recovery point.
  [[nodiscard]] virtual absl::Status Rewind(const std::string& pair, const std::string& volume,
                                            model::Sequence sequence,
                                            const std::function<void(const std::string&)>& on_progress) = 0;
  [[nodiscard]] virtual absl::StatusOr<ReplicaView> Promote(const std::string& pair, const std::string& volume,
                                                            const std::string& run, bool allow_incomplete,
                                                            const PromotionWatch& watch) = 0;
  // All hooks of `phase` at the pair's DR host.
  [[nodiscard]] virtual absl::Status RunHooks(const std::string& pair, model::HookPhase phase,
                                              const std::string& volume, const std::string& run,
                                              const PromotionWatch& watch) = 0;

  // All four agents of the pair are asked. FAILED_PRECONDITION: the configuration names only two.
  [[nodiscard]] virtual absl::StatusOr<std::vector<LiveView>> LiveVolumes(const std::string& pair) = 0;
  // From the live copy to the other host; begun before, it goes on. What differs is still to travel.
  [[nodiscard]] virtual absl::Status Turn(const std::string& pair, const std::string& volume, const std::string& run,
                                          const PromotionWatch& watch) = 0;
  // As Sync, of a volume that was turned round: at the host of the live copy.
  [[nodiscard]] virtual absl::StatusOr<model::Sequence> SyncTurned(
      const std::string& pair, const std::string& volume, absl::Duration timeout,
      const std::function<void(const std::string&)>& on_progress, std::stop_token stop) = 0;

  // Recovery points at DR. Of the newest whole state, which is pinned by it. ALREADY_EXISTS: it has another label.
  [[nodiscard]] virtual absl::StatusOr<model::Sequence> LabelNewest(const std::string& pair, const std::string& volume,
                                                                    const std::string& label) = 0;
  [[nodiscard]] virtual absl::StatusOr<model::RecoveryPoints> Points(const std::string& pair,
                                                                     const std::string& volume) = 0;
  // Of a state that has the label, which stays.
  [[nodiscard]] virtual absl::Status SetPinned(const std::string& pair, const std::string& volume,
                                               model::Sequence sequence, const std::string& label, bool pinned) = 0;
  [[nodiscard]] virtual absl::Status Unlabel(const std::string& pair, const std::string& volume,
                                             model::Sequence sequence) = 0;
  // Writable, and exported. One that is there already at that path, of that state, is fine.
  [[nodiscard]] virtual absl::StatusOr<model::PointTree> Materialise(
      const std::string& pair, const TreeWish& wish, const std::function<void(const std::string&)>& on_progress) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::vector<model::PointTree>> Trees(const std::string& pair) = 0;
  [[nodiscard]] virtual absl::Status RemoveTree(const std::string& pair, const std::string& id) = 0;
};

// What a backup says of the namespaces that go over.
struct BackupObjects {
  std::vector<nlohmann::json> volumes{};   // PersistentVolumes
  std::vector<nlohmann::json> claims{};    // PersistentVolumeClaims
  std::vector<nlohmann::json> machines{};  // VirtualMachines
  std::vector<std::string> warnings{};
};

struct BackupView {
  std::string name{};
  std::string phase{};
  absl::Time started_at;
  uint64_t archive_bytes = 0;
  std::vector<std::string> warnings{};
};

// The backups of the site that goes down, in S3. Thread-safe.
class Backups {
 public:
  virtual ~Backups() = default;
  // The backup of that name, or the latest that may be used, brought into `folder`, where it is found again. Errors say
  // what to do: NOT_FOUND: there is none; FAILED_PRECONDITION: it can't be used for these namespaces; DATA_LOSS: what
  // was fetched isn't whole; UNAVAILABLE: the storage can't be reached.
  [[nodiscard]] virtual absl::StatusOr<BackupView> Fetch(const std::string& name,
                                                         const std::vector<std::string>& namespaces,
                                                         const std::filesystem::path& folder, std::stop_token stop) = 0;
  // Of what Fetch brought. NOT_FOUND: nothing is in the folder. DATA_LOSS, INVALID_ARGUMENT: it isn't as it should be.
  [[nodiscard]] virtual absl::StatusOr<BackupObjects> Read(const std::string& name,
                                                           const std::vector<std::string>& namespaces,
                                                           const std::filesystem::path& folder,
                                                           std::stop_token stop) = 0;
};

// Objects of the cluster that takes over, as a rehearsal makes them beside the real ones: only what carries the run's
// label is ever changed or deleted. Thread-safe.
class ScratchObjects {
 public:
  virtual ~ScratchObjects() = default;
  // The namespace is there and is the run's. FAILED_PRECONDITION: one of that name is there that isn't the run's, or is
  // being deleted; nothing was changed.
  [[nodiscard]] virtual absl::Status EnsureNamespace(const std::string& run, const std::string& name) = 0;
  // Whosever it is.
  [[nodiscard]] virtual absl::StatusOr<bool> HasNamespace(const std::string& name) = 0;
  // The namespace and the object are made, or brought to `manifest`. FAILED_PRECONDITION: one of that name is there
  // that isn't the run's.
  [[nodiscard]] virtual absl::Status Put(const std::string& run, const nlohmann::json& manifest) = 0;
  // Every namespace of the run with all that is in it, then its PersistentVolumes: asked to go. Returns how many things
  // are still there, which is 0 in the end.
  [[nodiscard]] virtual absl::StatusOr<size_t> Remove(const std::string& run, std::stop_token stop) = 0;
};

}  // namespace understudy::control
