// confirmation.h: the word of a primary that nothing of a volume was outstanding. A value.
#pragma once

#include "absl/time/time.h"
#include "core/model/volume.h"

namespace understudy::model {

// Everything that was written at the primary before `as_of`, by its clock, is in the commits up to `sequence`.
struct Confirmation {
  VolumeName volume{};
  Epoch epoch = 0;
  Sequence sequence = 0;  // the newest durable commit
  absl::Time as_of{};
  friend bool operator==(const Confirmation&, const Confirmation&) = default;
};

}  // namespace understudy::model
