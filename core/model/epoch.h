// epoch.h: the epoch that every volume begins with.
#pragma once

#include "core/model/volume.h"

namespace understudy::model {

// Of what was never promoted; each promotion makes a later one.
inline constexpr Epoch kFirstEpoch = 1;

}  // namespace understudy::model
