#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <ostream>

#include "control/commands/commands.h"
#include "control/commands/sync_service.h"
#include "core/base/log.h"
#include "core/config/dr_config.h"
#include "core/config/primary_config.h"
#include "core/config/reference.h"
#include "core/config/rules_file.h"

namespace understudy::control {
namespace {

// "primary" of "primary.yaml" and of "primary-nfs1.yaml"; empty when the name doesn't say.
std::string KindOfFile(const std::string& file) {
  const std::string name = std::filesystem::path(file).filename().string();
  for (const char* const kind : {"primary", "dr", "control"}) {
    if (!name.starts_with(kind)) continue;
    const size_t length = std::string_view(kind).size();
    if (name.size() == length || name[length] == '.' || name[length] == '-') return kind;
  }
  return "";
}

absl::Status Check(const std::string& file, const std::string& kind) {
  if (kind == "primary") return config::LoadPrimaryConfig(file).status();
  if (kind == "dr") return config::LoadDrConfig(file).status();
  if (kind == "control") {
    ASSIGN_OR_RETURN(const config::ControlConfig config, config::LoadControlConfig(file));
    return Annotate(CheckSchedule(config), file);
  }
  return absl::InvalidArgumentError(fmt::format(
      "{}: can't tell from the name which program's file it is: add --kind primary, dr or control", Printable(file)));
}

}  // namespace

ExitCode RunConfigCheck(const Console& console, const std::string& file, const std::string& kind) {
  const absl::Status status = Check(file, kind.empty() ? KindOfFile(file) : kind);
  if (!status.ok()) {
    PrintError(console, status);
    return ExitCode::kUsage;
  }
  console.out << Printable(file) << ": good\n";
  return ExitCode::kDone;
}

ExitCode RunRulesCheck(const Console& console, const std::string& file) {
  const absl::StatusOr<std::vector<config::Rule>> rules = config::LoadRulesFile(file);
  if (!rules.ok()) {
    PrintError(console, rules.status());
    return ExitCode::kUsage;
  }
  console.out << fmt::format("{}: good ({} rules)\n", Printable(file), rules->size());
  return ExitCode::kDone;
}

ExitCode RunConfigReference(const Console& console, const std::filesystem::path& folder) {
  for (const config::ReferencePage& page : config::ReferencePages()) {
    const std::filesystem::path file = folder / page.file_name;
    std::ofstream stream(file, std::ios::binary | std::ios::trunc);
    stream << page.markdown;
    stream.close();
    if (!stream) {
      PrintError(console, ErrnoStatus(errno, fmt::format("can't write {}", Printable(file.native()))));
      return ExitCode::kFailed;
    }
    console.out << Printable(file.native()) << "\n";
  }
  return ExitCode::kDone;
}

}  // namespace understudy::control
