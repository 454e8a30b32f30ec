// ports.h: what a run of the scheduled sync needs of the two clusters and of the agents, behind interfaces whose memory
// twins serve the tests. All are thread-safe.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/apply/snapshot_check.h"
#include "control/sync/direction.h"
#include "core/base/status.h"
#include "core/kube/nfs_source.h"
#include "core/model/catalog_port.h"
#include "core/model/object.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

// The storage objects of one cluster, only to be read.
class ClusterReader {
 public:
  virtual ~ClusterReader() = default;
  // All of them, or an error: never a part. NOT_FOUND: the cluster doesn't serve the kind. `namespace_name` empty: of
  // the whole cluster.
  [[nodiscard]] virtual absl::StatusOr<std::vector<nlohmann::json>> List(model::ObjectKind kind,
                                                                         const std::string& namespace_name,
                                                                         std::stop_token stop) const = 0;
  // NOT_FOUND: it isn't there.
  [[nodiscard]] virtual absl::StatusOr<nlohmann::json> Get(const model::ObjectKey& key) const = 0;
  // What the cluster is recognised by, whatever leads to it: kube::ClusterUid.
  [[nodiscard]] virtual absl::StatusOr<std::string> Uid() const = 0;
};

// A volume as its primary agent has it.
struct ProtectedVolume {
  std::string replica_path;  // absolute, at DR, bytes
  uint64_t sequence = 0;     // of the newest commit that DR acknowledged
};

// Where the live copies of a pair's volumes are.
struct LiveCopies {
  // The volumes over whose objects the cluster that is read has no say, for their live copy is at the other site; with
  // the state of that: promoting, active or demoting, or a word for what never was promoted.
  std::map<std::string, std::string> states;
  // Of agents that carry to DR: the volumes of which DR has a standby. Their live copy isn't DR's, whatever is at the
  // other site (WayOf).
  std::set<std::string> standby;
  absl::Status others;  // else why it isn't known of volumes that are in neither
};

// The agents of one pair, that carry its volumes one way: in a run from DR to the primary they are the pair's `reverse`
// agents, and what is said of the primary here is true of DR.
class PairAgents {
 public:
  virtual ~PairAgents() = default;
  [[nodiscard]] virtual const std::string& name() const = 0;
  // NFS servers, as the primary cluster names them, whose volumes the pair holds; empty: any, the agent knows.
  [[nodiscard]] virtual const std::vector<std::string>& server_names() const = 0;
  // As the DR cluster names it.
  [[nodiscard]] virtual const std::string& dr_server() const = 0;

  // What the primary agent knows of the volume; nullopt: it doesn't replicate it.
  [[nodiscard]] virtual absl::StatusOr<std::optional<ProtectedVolume>> Find(const std::string& volume) = 0;
  // Has `source` replicated as `volume`, if it isn't already. NOT_FOUND: it isn't on this pair.
  [[nodiscard]] virtual absl::StatusOr<ProtectedVolume> Protect(const std::string& volume,
                                                                const kube::NfsSource& source) = 0;
  // Returns when DR durably holds everything that was written before the call. FAILED_PRECONDITION: a guard holds the
  // volume back. DEADLINE_EXCEEDED, ABORTED: not within `timeout`, for the reason in the message.
  [[nodiscard]] virtual absl::StatusOr<ProtectedVolume> Sync(const std::string& volume, absl::Duration timeout,
                                                             std::stop_token stop) = 0;
  // The volume was deleted at the primary for good: its data goes to DR's trash.
  [[nodiscard]] virtual absl::Status Release(const std::string& volume, const kube::NfsSource& source) = 0;

  // An error: the agent of the site that is brought to can't be asked. That the pair's other direction can't is one of
  // `others` for agents that carry to DR; those that carry to the primary know nothing without it.
  [[nodiscard]] virtual absl::StatusOr<LiveCopies> LiveAtDr() = 0;
  // The volumes that these agents replicate. Asked for only of agents that carry them from DR to the primary. None,
  // too, while not everybody can be asked and DR's host says that nothing was turned round.
  [[nodiscard]] virtual absl::StatusOr<std::set<std::string>> Carried() { return std::set<std::string>(); }

  [[nodiscard]] virtual model::CatalogWriter& catalog() = 0;
  // Of the replicas at DR.
  [[nodiscard]] virtual SnapshotCheck& snapshots() = 0;
};

// A volume that was deleted at the primary for good, and whose data is still to go to DR's trash.
struct OwedRelease {
  model::ObjectKey key;    // of the object whose data it is
  std::string source_uid;  // of that object at the primary
  std::string pair;
  std::string volume;
  kube::NfsSource source;
};

// What is to be given up, kept over the end of the process: once the object is gone at DR nothing else leads there.
// One row for each pair's volume.
class OwedReleases {
 public:
  virtual ~OwedReleases() = default;
  [[nodiscard]] virtual absl::StatusOr<std::vector<OwedRelease>> Owed() = 0;
  [[nodiscard]] virtual absl::Status Owe(const OwedRelease& release) = 0;
  // It is done, or there is no need for it any more.
  [[nodiscard]] virtual absl::Status Settle(const OwedRelease& release) = 0;
};

// Those of one direction, of all that are kept: a volume that is given up at the primary isn't one that is at DR.
class OwedOneWay : public OwedReleases {
 public:
  // `all` outlives it.
  OwedOneWay(OwedReleases& all, Direction direction) : all_(all), direction_(direction) {}
  [[nodiscard]] absl::StatusOr<std::vector<OwedRelease>> Owed() override;
  [[nodiscard]] absl::Status Owe(const OwedRelease& release) override;
  [[nodiscard]] absl::Status Settle(const OwedRelease& release) override;

 private:
  OwedReleases& all_;
  const Direction direction_;
};

}  // namespace understudy::control
