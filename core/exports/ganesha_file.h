// ganesha_file.h: NFS-Ganesha's configuration, as this agent writes it (docs/formats/exports.md). Pure; thread-safe.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/exports/export_backend.h"

namespace understudy::exports {

inline constexpr size_t kMaxGaneshaPathBytes = 1024;

// INVALID_ARGUMENT: longer than kMaxGaneshaPathBytes, or with what its file or D-Bus can't carry: a control character,
// a double quote, a backslash, or bytes that aren't UTF-8 (Ganesha 4.3 aborts when it lists such an export).
[[nodiscard]] absl::Status CheckGaneshaPath(const std::string& path);

// One EXPORT block for each export whose mode isn't kNone. Nobody may do anything but the clients, each in a CLIENT
// block, so that Ganesha says over D-Bus what they may. Paths pass CheckGaneshaPath, options
// config::GaneshaSettingFor.
[[nodiscard]] std::string RenderGaneshaFile(std::string_view program, std::span<const WantedExport> wanted);

}  // namespace understudy::exports
