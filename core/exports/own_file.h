// own_file.h: a server's configuration file that is this agent's alone: read, and replaced as a whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy::exports {

// Of a file that this agent, or an NFS server, wrote.
inline constexpr size_t kMaxServerFileBytes = size_t{64} << 20;

// nullopt: there is none. FAILED_PRECONDITION: larger than kMaxServerFileBytes, or no regular file.
[[nodiscard]] absl::StatusOr<std::optional<std::string>> ReadServerFile(const std::string& path);

// Makes the folder that such files lie in (not its parent) when it is missing.
[[nodiscard]] absl::Status MakeServerFolder(const std::string& folder);

// The file is `content` or what it was before, whatever happens, and durable when it returns OK. Mode 0644.
[[nodiscard]] absl::Status ReplaceOwnFile(const std::string& path, std::string_view content);

}  // namespace understudy::exports
