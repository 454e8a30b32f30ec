// hook_files.h: which hooks a phase has, and whether they may be run: nobody but root and this agent's user may be able
// to put anything there.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/hook.h"

namespace understudy::dr {

inline constexpr size_t kMaxHooksOfPhase = 64;

struct HookFile {
  std::string name;
  std::string path;       // absolute
  bool optional = false;  // its failure stops nothing
  absl::Status usable;    // why it mustn't be run
};

// The executable files of `<dir>/<phase>`, ascending by name (bytes). A missing folder has none. Not taken for hooks:
// files that nobody may execute, names that begin with a dot or end as an editor's or a package manager's spare copy
// does. PERMISSION_DENIED: one of the two folders, or a folder above them, could have been changed by somebody else,
// or is a symbolic link.
// RESOURCE_EXHAUSTED: too many.
[[nodiscard]] absl::StatusOr<std::vector<HookFile>> ListHooks(const std::string& dir, model::HookPhase phase);

// A hook is optional when its name ends in ".optional", or has ".optional." in it ("20-notify.optional.sh").
[[nodiscard]] bool IsOptionalHook(std::string_view name);

}  // namespace understudy::dr
