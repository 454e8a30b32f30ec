// forget.h: takes out of the target's catalogs what was deleted at the source and isn't Understudy's at the target.
//
// Cleaning (clean.h) goes by what Understudy made in the target's cluster. An object that came back to where it was
// made first, or that was deleted at the target as well, leaves an entry behind that no object stands for; a failback
// would go by it.
#pragma once

#include <string>
#include <vector>

#include "control/sync/bring.h"
#include "control/sync/listing.h"
#include "control/sync/stale.h"

namespace understudy::control {

// Marks such entries deleted, each after one more look at the source; those of volumes that `live` is about stay. Only
// after complete lists of a cluster that was recognised, and never more than cleaning might delete. Returns what
// somebody should look at, empty: nothing.
[[nodiscard]] std::string ForgetGone(const Listing& source, const Listing& target,
                                     const std::vector<std::string>& namespaces, const LiveVolumes& live,
                                     const StaleOptions& options, const RunParts& parts);

}  // namespace understudy::control
