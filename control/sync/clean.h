// clean.h: deletes at DR what a plan says is stale (stale.h).
#pragma once

#include <functional>
#include <stop_token>
#include <vector>

#include "control/report/report.h"
#include "control/sync/bring.h"
#include "control/sync/stale.h"

namespace understudy::control {

struct CleaningResult {
  Cleaning cleaning;
  std::vector<ObjectResult> objects;
};

// Looks for each stale object at the primary once more before anything is deleted: one that is there after all shows
// that the lists can't be trusted, and everything is held back. Then, one by one, claims and snapshots first: that the
// volume is to be given up is noted, the catalog's entry is marked deleted, the object is deleted, the volume's data
// goes to DR's trash. What an earlier run noted and didn't come to is done, too. What belongs to a volume that is
// promoted at DR is left alone, and told as skipped. In a dry run only looks.
[[nodiscard]] CleaningResult Clean(StalePlan plan, const BringOptions& options, const RunParts& parts,
                                   std::stop_token stop, const std::function<void(size_t done)>& on_done);

}  // namespace understudy::control
