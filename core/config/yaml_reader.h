// yaml_reader.h: reads a settings struct from a YAML file, strictly.
//
// An unknown or doubled key, a value of the wrong type, a missing required key and a value that its check refuses are
// errors: INVALID_ARGUMENT "file:line: key: what is wrong and what to write". Blocking file I/O; thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/base/status.h"
#include "core/config/visitor.h"

namespace understudy::config {

inline constexpr size_t kMaxConfigBytes = 4 * 1024 * 1024;

// Reads `file` through `describe`, then asks `find_problem` about what was read. NOT_FOUND or PERMISSION_DENIED: the
// file can't be read.
[[nodiscard]] absl::Status ReadYamlFile(const std::string& file, const std::function<void(Visitor&)>& describe,
                                        const std::function<std::optional<Problem>()>& find_problem);

// The same for YAML at hand; `name` stands for the file in messages, and relative paths are taken from its folder.
[[nodiscard]] absl::Status ReadYamlText(const std::string& text, const std::string& name,
                                        const std::function<void(Visitor&)>& describe,
                                        const std::function<std::optional<Problem>()>& find_problem);

}  // namespace understudy::config
