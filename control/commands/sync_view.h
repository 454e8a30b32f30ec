// sync_view.h: runs of the scheduled sync as commands show them.
#pragma once

#include "control/commands/output.h"
#include "control/sync/state.h"
#include "core/config/control_config.h"

namespace understudy::control {

// The stable shape of one run; what isn't known is null.
[[nodiscard]] Document ToDocument(const RunSummary& run);
[[nodiscard]] std::string RunsTable(const std::vector<RunSummary>& runs);

// `sync` of `drctl status`: the last run, and when the next one is due. null: no scheduled sync is configured. What the
// state can't tell (nobody ran anything yet, or it can't be read) is null in it; makes no file.
[[nodiscard]] Document SyncDocument(const config::ControlConfig& config);
// The same for people: one line; empty when no scheduled sync is configured.
[[nodiscard]] std::string SyncLine(const Document& sync);

}  // namespace understudy::control
