// failover_drive.h: what all commands that make or end runs have in common.
#pragma once

#include <stop_token>
#include <string>

#include "control/commands/failover_site.h"
#include "control/commands/output.h"
#include "control/runs/engine.h"
#include "control/runs/run.h"
#include "control/runs/store.h"
#include "core/base/status.h"
#include "core/config/control_config.h"

namespace understudy::control {

// user@host, for the report: the person behind sudo, if there is one.
[[nodiscard]] std::string WhoAmI();

// The lease of a run. A rehearsal and a real run of the same plan don't wait for each other.
[[nodiscard]] std::string LeaseNameOf(const RunSpec& spec);

// `site` and `store` outlive the steps.
[[nodiscard]] Engine::Steps StepsFor(FailoverSite& site, RunStore& store, const std::string& run,
                                     const std::filesystem::path& folder);

// Goes on with the run, which this process has the lease of, says on stderr how far it is, prints its report, and sends
// it to who is to hear of it. With `only_removal` it is done when the run is over, however the run had gone.
[[nodiscard]] ExitCode Drive(const Console& console, OutputFormat format, const config::ControlConfig& config,
                             RunStore& store, const std::string& run, const Engine::Steps& steps, bool only_removal,
                             std::stop_token stop);

// Prints the report of a run that has ended just now, and sends it.
void Conclude(const Console& console, OutputFormat format, const config::ControlConfig& config, const RunRecord& run,
              std::stop_token stop);

}  // namespace understudy::control
