// agents_client.h: what drctl asks the agents, as values.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/sync/direction.h"
#include "core/base/status.h"
#include "core/kube/nfs_source.h"
#include "core/model/sync_demand.h"
#include "core/model/trash.h"
#include "core/model/volume.h"
#include "core/net/tls_files.h"
#include "core/wire/handover_codec.h"

namespace understudy::v1 {
class VolumeStatus;
}  // namespace understudy::v1

namespace understudy::control {

inline constexpr absl::Duration kQueryTimeout = absl::Seconds(10);

// Why a volume is held back, or deletions of storage objects are.
struct GuardView {
  std::string kind;    // deletion or root; of storage objects: "objects:" and their kind, or cluster
  std::string reason;  // with what to do
  uint64_t entries_gone = 0;
  uint64_t entries_before = 0;
  absl::Time since;
};

inline constexpr char kHandedOver[] = "handed-over";

// A volume as understudy-primary sees it. Paths are bytes.
struct PrimaryVolume {
  std::string name;
  std::string path;
  std::string replica_path;
  std::string state;  // connecting, scanning, replicating, idle, guarded, paused, promoted, handed-over or error
  std::string error;
  double lag_seconds = 0;
  uint64_t sequence = 0;
  uint64_t published_sequence = 0;
  uint64_t epoch = 0;
  std::string strategy;
  std::string strategy_reason;  // why changes of large files aren't told by their extents
  std::string consistency;      // of the state that DR has; empty: not told
  uint64_t dirty_paths = 0;
  uint64_t files = 0;
  uint64_t content_bytes_sent = 0;
  uint64_t commits = 0;
  std::optional<absl::Time> last_acknowledged;
  std::string origin;
  bool complete = false;
  std::optional<GuardView> guard;
  std::string paused_reason;  // while it is paused
  std::optional<absl::Time> paused_since;
  std::string handed_over_reason;  // while it is handed over
};

// A storage object that isn't yet as it should be.
struct ObjectProblemView {
  std::string kind;
  std::string namespace_name;
  std::string name;
  std::string message;
  bool held = false;  // no failure: DR keeps the object as it is while its volume is promoted
};

// How the primary cluster's storage objects come to DR's catalog.
struct ObjectsView {
  uint64_t pending = 0;  // objects with something left to do
  uint64_t waiting = 0;  // of them, claims and snapshots whose data isn't across
  bool reconciled = false;
  std::vector<ObjectProblemView> problems;
  std::vector<std::string> following_errors;
};

struct PrimaryVolumes {
  std::vector<PrimaryVolume> volumes;
  bool peer_connected = false;
  std::string peer_error;
  std::string peer_address;
  std::vector<GuardView> object_guards;  // that hold something back
  std::optional<ObjectsView> objects;    // nullopt: no cluster's objects are taken in
};

// An object event as understudy-primary logged it. Texts come from whoever posted the event.
struct EventView {
  std::string event_id;
  std::string type;  // ADDED, MODIFIED or DELETED
  std::string kind;
  std::string namespace_name;  // empty for kinds that have none
  std::string name;
  absl::Time observed_at;
  std::string source;  // watch or webhook
  std::string rule;
  std::string outcome;  // pending, done, ignored, held or failed
  std::string detail;
  std::string forwarding;  // empty: isn't forwarded; queued, delivered or failed
  std::string forwarding_detail;
};

// A volume as understudy-dr sees it.
struct DrReplica {
  std::string name;
  std::string state;  // standby, promoting, active or demoting
  std::string root;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  uint64_t published_sequence = 0;
  bool complete = false;
  bool demoted_whole = false;             // not complete for its primary, but whole as the live copy that it was
  std::optional<absl::Time> captured_at;  // of the newest commit, by the primary's clock
  bool midst_of_capture = false;          // the newest commit is a state that the primary never had
  uint64_t whole_sequence = 0;            // then: the newest kept state that it had; 0: none
  std::optional<absl::Time> whole_captured_at;
  model::Consistency consistency = model::Consistency::kUnknown;  // of the state that the newest commit leads to
  model::Consistency whole_consistency = model::Consistency::kUnknown;
  std::optional<absl::Time> state_since;
  bool held = false;           // taken back to an earlier state, and refused to its primary
  bool hooks_due = false;      // those after the newest promotion or demotion haven't all run
  bool reprotected = false;    // active, and replicated to the other side from there
  uint64_t adopted_epoch = 0;  // for which its folder last became a replica; 0: never
};
[[nodiscard]] CopyState CopyOf(const DrReplica& replica);
// Whether DR's replica has the live copy, and is replicated from there.
[[nodiscard]] bool IsTurned(const DrReplica& replica);
[[nodiscard]] DrReplica ToDrReplica(const model::ReplicaState& state);
[[nodiscard]] PrimaryVolume ToPrimaryVolume(const v1::VolumeStatus& status);

// One agent each; thread-safe. Errors are the agent's; UNAVAILABLE and DEADLINE_EXCEEDED say which agent, and what to
// check.
class PrimaryClient {
 public:
  // INVALID_ARGUMENT: `tls` is unfit.
  [[nodiscard]] static absl::StatusOr<PrimaryClient> Create(const std::string& address, const net::TlsFiles& tls,
                                                            std::stop_token stop = {});
  PrimaryClient(PrimaryClient&&) noexcept;
  ~PrimaryClient();

  [[nodiscard]] absl::StatusOr<PrimaryVolumes> ListVolumes() const;
  // Lets what `guard` holds back happen, and no more. FAILED_PRECONDITION: by now it is more, or nothing.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> ApproveGuard(const std::string& volume, const GuardView& guard) const;
  // The same for one of object_guards.
  [[nodiscard]] absl::Status ApproveObjectGuard(const GuardView& guard) const;
  // Returns when everything written before the call is durable at DR, with what `demand` asks for; DEADLINE_EXCEEDED
  // after `timeout`, CANCELLED by `stop`. `on_progress` is called about once a second.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Sync(const std::string& volume, model::SyncDemand demand,
                                                   absl::Duration timeout,
                                                   const std::function<void(const PrimaryVolume&)>& on_progress,
                                                   std::stop_token stop = {}) const;
  // Has the directory replicated as `volume`, if it isn't already. NOT_FOUND: it isn't on that host.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Protect(const std::string& volume, const kube::NfsSource& source) const;
  // Where it is and goes to; nothing is replicated. NOT_FOUND: it isn't on that host.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Locate(const std::string& volume, const kube::NfsSource& source) const;
  // The volume was deleted for good: its data goes to DR's trash. NOT_FOUND: it isn't on that host.
  // FAILED_PRECONDITION: DR keeps the data in place.
  [[nodiscard]] absl::Status Release(const std::string& volume, const kube::NfsSource& source) const;
  // The volume's live copy is at the other side, at `epoch`: nothing of it is captured or sent by this agent, whatever
  // says so, until it takes the volume up. May be made again. FAILED_PRECONDITION: it has that epoch already.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> HandOver(const wire::HandOverRequest& request) const;
  // The volume was made at the other side, and deleted there. One that was handed over for a promotion stays so.
  // UNAVAILABLE: its PersistentVolume is still there. FAILED_PRECONDITION: the agent's configuration lists it.
  [[nodiscard]] absl::Status ForgetHandOver(const std::string& volume) const;
  // Nothing of the volume is replicated between the two.
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Pause(const std::string& volume) const;
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Resume(const std::string& volume) const;
  // The newest `limit` events, oldest first; with `follow`, then each that comes or changes, until the agent ends.
  // FAILED_PRECONDITION: it takes in none.
  [[nodiscard]] absl::Status ListEvents(uint32_t limit, bool follow,
                                        const std::function<void(const EventView&)>& on_event) const;

 private:
  struct Stub;
  [[nodiscard]] absl::StatusOr<PrimaryVolume> Register(const std::string& volume, const kube::NfsSource& source,
                                                       bool only_locate) const;
  explicit PrimaryClient(std::unique_ptr<Stub> stub);
  std::unique_ptr<Stub> stub_;
};

class ReplicaClient {
 public:
  [[nodiscard]] static absl::StatusOr<ReplicaClient> Create(const std::string& address, const net::TlsFiles& tls,
                                                            std::stop_token stop = {});
  ReplicaClient(ReplicaClient&&) noexcept;
  ~ReplicaClient();

  [[nodiscard]] absl::StatusOr<std::vector<DrReplica>> ListReplicas() const;
  // Of the regular file at `path` of the replica, with all acknowledged commits in it; nullopt: there is none.
  // FAILED_PRECONDITION: there is no such replica.
  [[nodiscard]] absl::StatusOr<std::optional<uint64_t>> FileSize(const std::string& volume,
                                                                 const std::string& path) const;

  // Ascending by id.
  [[nodiscard]] absl::StatusOr<std::vector<model::TrashEntry>> ListTrash() const;
  [[nodiscard]] absl::StatusOr<DrReplica> RestoreTrash(const std::string& id) const;
  // OK: it is certain that the entry will be deleted.
  [[nodiscard]] absl::Status PurgeTrash(const std::string& id) const;
  // The volume was made at that host, and deleted: its folder stays as it is. One that was promoted there stays known.
  [[nodiscard]] absl::Status ForgetMadeHere(const std::string& volume) const;

 private:
  struct Stub;
  explicit ReplicaClient(std::unique_ptr<Stub> stub);
  std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::control
