// handover.h: what the parts of the data plane share about volumes whose live copy changes sides.
#pragma once

#include <string>

#include "agent-primary/ship/volume_roles.h"
#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::primary {

// Since when a handed-over volume isn't replicated from here, and what to do. Pure.
[[nodiscard]] std::string HandedOverText(const model::VolumeName& volume, const VolumeRole& role);

// NOT_FOUND: there is no folder `path`. INVALID_ARGUMENT: it is none.
[[nodiscard]] absl::Status CheckVolumeFolder(const model::VolumeName& name, const std::string& path);

}  // namespace understudy::primary
