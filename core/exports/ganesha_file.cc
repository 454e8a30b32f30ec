#include "core/exports/ganesha_file.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "core/config/export_settings.h"

namespace understudy::exports {
namespace {

bool IsUtf8(std::string_view bytes) {
  // Printable leaves exactly UTF-8 and printable characters as they are; the backslash is looked at before.
  return Printable(bytes) == bytes;
}

std::string_view AccessOf(model::ExportMode mode) {
  return mode == model::ExportMode::kReadWrite ? "RW" : "RO";
}

}  // namespace

absl::Status CheckGaneshaPath(const std::string& path) {
  if (path.size() > kMaxGaneshaPathBytes) {
    return absl::InvalidArgumentError(fmt::format("NFS-Ganesha exports paths of at most {} bytes; this one has {}",
                                                  kMaxGaneshaPathBytes, path.size()));
  }
  if (path.find_first_of("\"\\") != std::string::npos || !IsUtf8(path)) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' holds a double quote, a backslash, a control character or bytes that aren't UTF-8, and can't be exported "
        "with NFS-Ganesha: rename the folder",
        Printable(path)));
  }
  return absl::OkStatus();
}

std::string RenderGaneshaFile(std::string_view program, std::span<const WantedExport> wanted) {
  std::string text = fmt::format(
      "# Written by {}, and written anew at every change: see drctl exports list. Don't edit.\n"
      "# Ganesha's main file needs a line %include \"THIS FILE\".\n",
      program);
  for (const WantedExport& one : wanted) {
    if (one.mode == model::ExportMode::kNone) continue;
    std::string settings;
    for (const std::string& option : one.terms.options) {
      const absl::StatusOr<std::string> setting = config::GaneshaSettingFor(option);
      if (setting.ok() && !setting->empty()) settings += fmt::format("  {};\n", *setting);
    }
    text +=
        fmt::format("EXPORT {{\n  Export_Id = {0};\n  Path = \"{1}\";\n  Pseudo = \"{1}\";\n  Access_Type = None;\n",
                    one.export_id, one.path);
    text += settings;
    for (const std::string& client : one.terms.clients) {
      text += fmt::format("  CLIENT {{\n    Clients = {};\n    Access_Type = {};\n  }}\n", client, AccessOf(one.mode));
    }
    text += "  FSAL {\n    Name = VFS;\n  }\n}\n";
  }
  return text;
}

}  // namespace understudy::exports
