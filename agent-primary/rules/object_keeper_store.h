// object_keeper_store.h: what the guard on object deletions has to remember over a restart: one SQLite file.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent-primary/index/guard_record.h"
#include "agent-primary/rules/object_guard.h"
#include "core/base/status.h"
#include "core/model/object.h"
#include "core/store/database.h"

namespace understudy::primary {

// An object that is gone from the cluster.
struct ObjectDeletion {
  model::ObjectKey key;
  std::string uid;            // at the primary; empty: whatever DR holds
  std::string resource;       // the last state that is known, JSON
  std::string event_id = {};  // of the event that told of it; empty when none did
  friend bool operator==(const ObjectDeletion&, const ObjectDeletion&) = default;
};

// Why deletions of one kind are held back.
struct KindHold {
  ObjectHold hold;
  int64_t since_nanoseconds = 0;  // Unix time
};

// Everything is durable when a call returns OK. Not thread-safe.
class ObjectKeeperStore {
 public:
  // The file is made anew when there is none; its folder exists.
  [[nodiscard]] static absl::StatusOr<ObjectKeeperStore> Open(const std::string& path);

  struct Contents {
    std::string cluster_uid;  // empty: none yet
    std::map<model::ObjectKind, GuardRecord> counts;
    std::map<model::ObjectKind, KindHold> holds;
    std::vector<ObjectDeletion> held;
    std::vector<ObjectDeletion> approved;
  };
  [[nodiscard]] absl::StatusOr<Contents> Read();

  [[nodiscard]] absl::Status SetCluster(const std::string& uid);
  [[nodiscard]] absl::Status SetCounts(model::ObjectKind kind, const GuardRecord& counts);
  // What is held of `kind`, in place of what was; nullopt with an empty list: nothing.
  [[nodiscard]] absl::Status SetHeld(model::ObjectKind kind, const std::optional<KindHold>& hold,
                                     const std::vector<ObjectDeletion>& held);
  [[nodiscard]] absl::Status AddHeld(model::ObjectKind kind, const KindHold& hold, const ObjectDeletion& deletion);
  // Everything that is held of `kind` becomes approved, and the counts begin anew.
  [[nodiscard]] absl::Status ApproveHeld(model::ObjectKind kind, const GuardRecord& counts);
  [[nodiscard]] absl::Status AddApproved(const ObjectDeletion& deletion);
  // Of what is held and what is approved.
  [[nodiscard]] absl::Status Forget(const model::ObjectKey& key, bool last_of_hold);

 private:
  explicit ObjectKeeperStore(store::Database database) : database_(std::move(database)) {}

  [[nodiscard]] absl::Status WriteCounts(model::ObjectKind kind, const GuardRecord& counts);
  [[nodiscard]] absl::Status WriteHold(model::ObjectKind kind, const std::optional<KindHold>& hold);
  [[nodiscard]] absl::Status WriteHeld(const ObjectDeletion& deletion, bool approved);
  [[nodiscard]] absl::Status ReadRows(Contents& contents);

  store::Database database_;
};

}  // namespace understudy::primary
