// source_agents.h: the host that a failover of one pair goes from, over gRPC: understudy-primary there, and
// understudy-dr beside it, which exports what was promoted there in an earlier one.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "control/commands/exports_client.h"
#include "control/failover/ports.h"
#include "core/net/tls_files.h"

namespace understudy::control {

// Thread-safe. Errors are the agents'.
class SourceAgents {
 public:
  // `other_dr` is nullopt where nothing can have been promoted there. INVALID_ARGUMENT: `tls` is unfit. Calls end with
  // CANCELLED once `stop` is requested.
  [[nodiscard]] static absl::StatusOr<SourceAgents> Create(const std::string& primary,
                                                           const std::optional<std::string>& other_dr,
                                                           const net::TlsFiles& tls, const std::stop_token& stop);

  [[nodiscard]] absl::StatusOr<std::vector<SourceView>> List() const;
  // At the agent that exports the volume.
  [[nodiscard]] absl::Status SetExport(const std::string& volume, model::ExportMode mode) const;
  // Of understudy-dr there; none where it is not known.
  [[nodiscard]] absl::StatusOr<std::vector<DrReplica>> OtherReplicas() const;
  [[nodiscard]] const PrimaryClient& primary() const { return primary_; }

 private:
  struct OtherSide {
    ReplicaClient replicas;
    ExportsClient exports;
  };
  SourceAgents(PrimaryClient primary, ExportsClient exports, std::optional<OtherSide> other_side)
      : primary_(std::move(primary)), exports_(std::move(exports)), other_side_(std::move(other_side)) {}
  [[nodiscard]] absl::StatusOr<std::set<std::string>> PromotedThere() const;

  PrimaryClient primary_;
  ExportsClient exports_;
  std::optional<OtherSide> other_side_;
};

// The volumes that are live at this understudy-dr. Who exports a volume mustn't be guessed, for a fence at the wrong
// agent is none: an error says that it can't be told.
[[nodiscard]] absl::StatusOr<std::set<std::string>> PromotedAt(const ReplicaClient& replicas);

// A barrier at this understudy-primary, with what holds it up as progress and in the error. CANCELLED: `stop`.
[[nodiscard]] absl::StatusOr<model::Sequence> SyncAt(const PrimaryClient& primary, const std::string& volume,
                                                     absl::Duration timeout,
                                                     const std::function<void(const std::string&)>& on_progress,
                                                     std::stop_token stop);

}  // namespace understudy::control
