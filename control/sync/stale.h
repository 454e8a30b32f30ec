// stale.h: what exists only at DR, and whether it may be deleted there. Pure.
//
// A mistake or a failure at the primary must not empty DR. So deletions are held back, all of them, when a list was
// incomplete, when the cluster that was read isn't the one that DR's objects are from, when a list came back empty
// although DR has such objects, when it can't be told which volumes are promoted, or when too large a part of what
// Understudy made would go. What belongs to a promoted volume is the live site's, and never goes. What passes is looked
// for once more at the primary, one by one, before it goes (clean.h).
#pragma once

#include <string>
#include <vector>

#include "control/report/report.h"
#include "control/sync/listing.h"
#include "control/sync/live_volumes.h"
#include "core/model/object.h"

namespace understudy::control {

struct StaleOptions {
  bool enabled = true;
  double max_fraction = 0.25;
  size_t min_objects = 5;
  std::string known_cluster = {};  // uid of the primary cluster that the runs before read; empty: not known yet
  bool accept_cluster = false;     // whichever cluster is read is the primary from now on
};

struct StaleObject {
  model::ObjectKey key;
  std::string source_uid;  // of the primary's object that it was made from
};

// Only at DR, where its volume's live copy is.
struct LiveObject {
  model::ObjectKey key;
  std::string volume;
  std::string reason;
};

struct StalePlan {
  std::vector<StaleObject> objects;         // claims and snapshots first, then what they are bound to
  std::vector<LiveObject> left_alone = {};  // whatever `cleaning` says; not among `objects`
  Cleaning cleaning;                        // kHeld or kOff: `objects` is what would have gone; else kNothing or kDone
  // The uid of the primary cluster; empty: it isn't the one that DR's objects are from, as far as can be told.
  std::string primary_cluster = {};
  LiveVolumes live = {};  // what it was made with
};

// `primary` and `dr` are listings of the same namespaces.
[[nodiscard]] StalePlan PlanCleaning(const Listing& primary, const Listing& dr,
                                     const std::vector<std::string>& namespaces, const LiveVolumes& live,
                                     const StaleOptions& options);

}  // namespace understudy::control
