#include "control/commands/source_agents.h"

#include <map>
#include <utility>

#include "control/commands/sync_watch.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

SourceView ViewOf(const PrimaryVolume& volume) {
  return {.volume = volume.name,
          .state = volume.state,
          .problem = volume.guard ? Printable(volume.guard->reason) : Printable(volume.error),
          .lag_seconds = volume.lag_seconds,
          .sequence = volume.sequence,
          .paused = volume.paused_since.has_value()};
}

}  // namespace

absl::StatusOr<SourceAgents> SourceAgents::Create(const std::string& primary,
                                                  const std::optional<std::string>& other_dr, const net::TlsFiles& tls,
                                                  const std::stop_token& stop) {
  ASSIGN_OR_RETURN(PrimaryClient client, PrimaryClient::Create(primary, tls, stop));
  ASSIGN_OR_RETURN(ExportsClient exports, ExportsClient::Create(primary, tls, net::Role::kPrimary, stop));
  std::optional<OtherSide> other_side;
  if (other_dr) {
    ASSIGN_OR_RETURN(ReplicaClient replicas, ReplicaClient::Create(*other_dr, tls, stop));
    ASSIGN_OR_RETURN(ExportsClient other_exports, ExportsClient::Create(*other_dr, tls, net::Role::kDr, stop));
    other_side.emplace(OtherSide{std::move(replicas), std::move(other_exports)});
  }
  return SourceAgents(std::move(client), std::move(exports), std::move(other_side));
}

absl::StatusOr<std::vector<SourceView>> SourceAgents::List() const {
  ASSIGN_OR_RETURN(const PrimaryVolumes volumes, primary_.ListVolumes());
  std::map<std::string, model::ExportState> exports;
  ASSIGN_OR_RETURN(const std::vector<model::ExportState> by_primary, exports_.List());
  for (const model::ExportState& state : by_primary) exports[state.name] = state;
  ASSIGN_OR_RETURN(const std::set<std::string> promoted, PromotedThere());
  if (!promoted.empty()) {
    ASSIGN_OR_RETURN(const std::vector<model::ExportState> by_dr, other_side_->exports.List());
    for (const model::ExportState& state : by_dr) {
      if (promoted.contains(state.name)) exports[state.name] = state;
    }
  }
  std::vector<SourceView> sources;
  for (const PrimaryVolume& volume : volumes.volumes) {
    SourceView source = ViewOf(volume);
    if (const auto found = exports.find(volume.name); found != exports.end()) {
      const model::ExportState& state = found->second;
      source.exported = state.desired;
      source.fenced = state.actual.has_value() && *state.actual != model::ExportMode::kReadWrite;
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

absl::Status SourceAgents::SetExport(const std::string& volume, model::ExportMode mode) const {
  ASSIGN_OR_RETURN(const std::set<std::string> promoted, PromotedThere());
  if (promoted.contains(volume)) return other_side_->exports.Set(volume, mode).status();
  return exports_.Set(volume, mode).status();
}

absl::StatusOr<std::vector<DrReplica>> SourceAgents::OtherReplicas() const {
  if (!other_side_) return std::vector<DrReplica>();
  return other_side_->replicas.ListReplicas();
}

absl::StatusOr<std::set<std::string>> SourceAgents::PromotedThere() const {
  if (!other_side_) return std::set<std::string>();
  return PromotedAt(other_side_->replicas);
}

absl::StatusOr<std::set<std::string>> PromotedAt(const ReplicaClient& replicas) {
  const absl::StatusOr<std::vector<DrReplica>> listed = replicas.ListReplicas();
  if (!listed.ok()) return Annotate(listed.status(), "who exports the volumes can't be told");
  std::set<std::string> promoted;
  for (const DrReplica& replica : *listed) {
    if (replica.state == model::ToString(model::VolumeState::kActive)) promoted.insert(replica.name);
  }
  return promoted;
}

absl::StatusOr<model::Sequence> SyncAt(const PrimaryClient& primary, const std::string& volume, absl::Duration timeout,
                                       const std::function<void(const std::string&)>& on_progress,
                                       std::stop_token stop) {
  const Clock& clock = Clock::System();
  SyncWatch watch;
  const absl::StatusOr<PrimaryVolume> synced = primary.Sync(
      volume, {}, timeout,
      [&](const PrimaryVolume& report) {
        if (const auto trouble = watch.OnReport(report, clock.Monotonic())) on_progress(*trouble);
      },
      std::move(stop));
  if (!synced.ok()) return watch.Explain(synced.status(), timeout, clock.Monotonic());
  return synced->sequence;
}

}  // namespace understudy::control
