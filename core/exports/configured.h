// configured.h: the export switch that an agent's configuration asks for.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/config/export_settings.h"
#include "core/exports/export_switch.h"

namespace understudy::exports {

struct ConfiguredPlace {
  std::filesystem::path path;
  config::ExportSwitching switching;
};

// `program` names the agent's files ("understudy-dr"); the state is kept in `state_dir`. Errors as of
// ExportSwitch::Start.
[[nodiscard]] absl::StatusOr<std::unique_ptr<ExportSwitch>> StartConfigured(const std::string& program,
                                                                            const std::filesystem::path& state_dir,
                                                                            const std::vector<ConfiguredPlace>& places,
                                                                            const config::KnfsdConfig& knfsd,
                                                                            const config::GaneshaConfig& ganesha);

}  // namespace understudy::exports
