// bring.h: brings one claim or one snapshot, with what it is bound to, from the primary across to DR: data first, then
// the catalog, then the DR cluster.
#pragma once

#include <atomic>
#include <stop_token>
#include <string>
#include <vector>

#include "control/apply/applier.h"
#include "control/apply/transform.h"
#include "control/report/report.h"
#include "control/sync/listing.h"
#include "control/sync/live_volumes.h"
#include "control/sync/ports.h"
#include "control/sync/site_names.h"
#include "core/base/clock.h"

namespace understudy::control {

// What a run works with; all of it outlives the run. In a run to the primary, `primary` is the DR cluster and `dr` the
// primary one: the former is what is read, the latter what is brought to.
struct RunParts {
  const ClusterReader& primary;
  const ClusterReader& dr;
  ObjectApplier& applier;
  OwedReleases& owed;
  std::vector<PairAgents*> pairs;
  Clock& clock = Clock::System();
  Direction direction = Direction::kToDr;
  TransformOptions transform = {};  // its pair and dr_server are each pair's own
};

struct BringOptions {
  bool dry_run = false;
  absl::Duration volume_timeout = absl::Hours(1);
  // What the API server says to try again later is tried so often, with growing pauses.
  int attempts = 6;
  absl::Duration retry_first = absl::Milliseconds(250);
  absl::Duration retry_longest = absl::Seconds(4);
};

// Thread-safe.
class Bringer {
 public:
  // All arguments outlive it.
  Bringer(const BringOptions& options, const RunParts& parts, const Listing& primary, const Listing& dr,
          const LiveVolumes& live)
      : options_(options), parts_(parts), names_(NamesOf(parts.direction)), primary_(primary), dr_(dr), live_(live) {}

  // `key` is a claim or a snapshot of the primary's listing. Results of it and of the object that it is bound to.
  [[nodiscard]] std::vector<ObjectResult> Bring(const model::ObjectKey& key, std::stop_token stop);

  // Whether something failed since a cluster or an agent couldn't be reached.
  [[nodiscard]] bool MetUnreachable() const { return unreachable_; }

 private:
  // Where an object's data is.
  struct Place {
    PairAgents* pair = nullptr;
    std::string volume;
    kube::NfsSource source;
    std::string replica_path = {};  // empty: isn't replicated yet (only in a dry run)
    uint64_t sequence = 0;          // of the volume before it was synced
  };

  [[nodiscard]] std::vector<ObjectResult> BringClaim(const model::ObjectKey& key, std::stop_token stop);
  [[nodiscard]] std::vector<ObjectResult> BringSnapshot(const model::ObjectKey& key, std::stop_token stop);
  // OK: none of the pairs that may hold the data has promoted the volume.
  [[nodiscard]] absl::Status CheckNotLive(ObjectResult& bound, const kube::NfsSource& source) const;
  // Of a volume whose data isn't there: whether its claim may be what is left of one that came home from DR, and was
  // deleted there since.
  [[nodiscard]] bool IsLeftOver(const PairAgents& pair, const std::string& volume) const;
  // Of the object `key`, whose data is in `source`.
  [[nodiscard]] absl::StatusOr<Place> PlaceOf(const model::ObjectKey& key, const kube::NfsSource& source) const;
  // As PairAgents::Protect; when the name stands for another place because the object was made anew elsewhere, the
  // earlier data is given up first.
  [[nodiscard]] absl::StatusOr<ProtectedVolume> Protect(PairAgents& pair, const model::ObjectKey& key,
                                                        const kube::NfsSource& source) const;
  // UNAVAILABLE: that is for the next run.
  [[nodiscard]] absl::Status GiveUpEarlier(PairAgents& pair, const OwedRelease& release) const;
  // The data of `bound` is brought across, then both objects; what is known of the place is noted in both results.
  void BringWithData(const kube::NfsSource& source, ObjectResult& bound, ObjectResult& owner, std::stop_token stop);
  // The two objects after their data is across: the bound one first.
  void BringObjects(const Place& place, bool data_is_new, ObjectResult& bound, ObjectResult& owner,
                    std::stop_token stop);
  [[nodiscard]] absl::StatusOr<Outcome> BringObject(const model::ObjectKey& key, const Place& place,
                                                    std::stop_token stop) const;
  [[nodiscard]] absl::Status Refresh(const model::ObjectKey& key, nlohmann::json& object) const;
  [[nodiscard]] absl::Status Apply(const nlohmann::json& manifest, std::stop_token stop) const;
  // What was deleted while it was brought across and never came to be at DR: nothing else would ever give it up.
  void GiveUpData(const Place& place, ObjectResult& bound) const;
  void Fail(ObjectResult& result, const absl::Status& status);

  const BringOptions& options_;
  const RunParts& parts_;
  const SiteNames names_;
  const Listing& primary_;
  const Listing& dr_;
  const LiveVolumes& live_;
  std::atomic<bool> unreachable_ = false;
};

}  // namespace understudy::control
