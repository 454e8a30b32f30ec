// runner.h: one recorded run: made under the lease, kept in the state, its report queued for its receivers.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/sync/run.h"
#include "control/sync/state.h"
#include "core/config/sync_settings.h"

namespace understudy::control {

// "20260102T030405Z-1f2e": sorts by time.
[[nodiscard]] std::string NewRunId(absl::Time now);

// Makes the run of each of `legs`, one after the other, and records both as one. Of the legs at most the first is to
// DR. `options.id` names it. A dry run is recorded, but reported to nobody. An error: the state couldn't be written;
// nothing was run then, or the report is lost.
[[nodiscard]] absl::StatusOr<Report> RunAndRecord(const RunLease& lease, const RunOptions& options,
                                                  const std::vector<RunParts>& legs, SyncState& state,
                                                  const config::NotifyConfig& notify, std::stop_token stop,
                                                  const std::function<void(const RunProgress&)>& on_progress);

}  // namespace understudy::control
