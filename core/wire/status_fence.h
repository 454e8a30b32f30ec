// status_fence.h: that a primary is refused because DR was promoted travels with the error, so that the primary says so
// and stops trying hard. Pure.
#pragma once

#include <optional>

#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::wire {

// The same error, of a replica that has the epoch `epoch`, not 0.
[[nodiscard]] absl::Status WithFence(absl::Status status, model::Epoch epoch);
// nullopt: the error is another one. Annotate() drops it.
[[nodiscard]] std::optional<model::Epoch> FenceOf(const absl::Status& status);

}  // namespace understudy::wire
