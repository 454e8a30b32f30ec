// ports.h: what the steps of a failover need of the agents and of the clusters' objects, behind interfaces whose memory
// twins serve the tests. Virtual machines, backups and restores have theirs in control/vm and control/oadp.
#pragma once

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

// The agents of every pair; `pair` is one of Pairs(). Thread-safe. Errors are the agents'; UNAVAILABLE and
// DEADLINE_EXCEEDED say which agent, and what to check. NOT_FOUND: no such volume there.
class SiteAgents {
 public:
  virtual ~SiteAgents() = default;

  [[nodiscard]] virtual std::vector<std::string> Pairs() const = 0;

  // At the primary.
  [[nodiscard]] virtual absl::StatusOr<std::vector<SourceView>> Sources(const std::string& pair) = 0;
  [[nodiscard]] virtual absl::Status SetSourceExport(const std::string& pair, const std::string& volume,
                                                     model::ExportMode mode) = 0;
  // Returns when DR durably holds everything that was written before the call, with its sequence.
  [[nodiscard]] virtual absl::StatusOr<model::Sequence> Sync(
      const std::string& pair, const std::string& volume, absl::Duration timeout,
      const std::function<void(const std::string&)>& on_progress, std::stop_token stop) = 0;
  [[nodiscard]] virtual absl::Status Pause(const std::string& pair, const std::string& volume) = 0;
  [[nodiscard]] virtual absl::Status Resume(const std::string& pair, const std::string& volume) = 0;

  // At DR; a verification at a depth that compares goes by the primary.
  [[nodiscard]] virtual absl::StatusOr<std::vector<ReplicaView>> Replicas(const std::string& pair) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::vector<model::CatalogEntry>> Catalog(const std::string& pair,
                                                                                 model::ObjectKind kind) = 0;
  [[nodiscard]] virtual absl::StatusOr<Findings> Verify(
      const std::string& pair, const std::string& volume, model::VerifyDepth depth,
      const std::function<void(const model::VerifyCounts&)>& on_progress) = 0;
  [[nodiscard]] virtual absl::StatusOr<ReplicaView> Promote(const std::string& pair, const std::string& volume,
                                                            const std::string& run, bool allow_incomplete,
                                                            const PromotionWatch& watch) = 0;
  // All hooks of `phase` at the pair's DR host.
  [[nodiscard]] virtual absl::Status RunHooks(const std::string& pair, model::HookPhase phase,
                                              const std::string& volume, const std::string& run,
                                              const PromotionWatch& watch) = 0;

  // Recovery points at DR.
  [[nodiscard]] virtual absl::StatusOr<model::Sequence> LabelNewest(const std::string& pair, const std::string& volume,
                                                                    const std::string& label) = 0;
  [[nodiscard]] virtual absl::StatusOr<model::RecoveryPoints> Points(const std::string& pair,
                                                                     const std::string& volume) = 0;
  [[nodiscard]] virtual absl::Status Unlabel(const std::string& pair, const std::string& volume,
                                             model::Sequence sequence) = 0;
  [[nodiscard]] virtual absl::StatusOr<model::PointTree> Materialise(
      const std::string& pair, const std::string& volume, model::Sequence sequence,
      const std::function<void(const std::string&)>& on_progress) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::vector<model::PointTree>> Trees(const std::string& pair) = 0;
  [[nodiscard]] virtual absl::Status RemoveTree(const std::string& pair, const std::string& id) = 0;
};

}  // namespace understudy::control
