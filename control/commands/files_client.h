// files_client.h: asks a primary for what it knows of single files of a volume.
#pragma once

#include <string>
#include <vector>

#include "control/commands/file_view.h"
#include "core/base/status.h"
#include "core/net/tls_files.h"

namespace understudy::control {

// What stands at `file`, in the volume or absolute; "": the volume's largest files, as far as they were captured since
// the agent started. NOT_FOUND: nothing does.
[[nodiscard]] absl::StatusOr<std::vector<FileView>> AskForFiles(const std::string& address, const net::TlsFiles& tls,
                                                                const std::string& volume, const std::string& file);

}  // namespace understudy::control
