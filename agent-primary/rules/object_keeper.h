// object_keeper.h: holds deletions of storage objects back from DR as the guard says (object_guard.h), and remembers
// that durably: an agent that starts again holds the same back.
//
// Whoever deletes asks first: for a deletion that was seen (Admit), or for all that a complete list shows to be gone
// (AdmitMissing). What is admitted is out of the account from then on. What is held stays so until the object is back
// (NoteLive), a later list shows a loss that may happen, or somebody approves.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/rules/object_guard.h"
#include "agent-primary/rules/object_keeper_store.h"
#include "core/base/clock.h"

namespace understudy::primary {

// As VolumeReport's guard, of the metadata plane.
struct ObjectGuardReport {
  std::string kind;    // GuardKindOf, or kClusterGuard
  std::string reason;  // with what to do
  uint64_t gone = 0;   // objects whose deletion is held back; 0 for kClusterGuard
  uint64_t before = 0;
  int64_t since_nanoseconds = 0;  // Unix time
};

// Thread-safe.
class ObjectKeeper {
 public:
  // The uid of the cluster that is connected. Called on the caller's thread; bounded in time.
  using Identify = std::function<absl::StatusOr<std::string>()>;

  // `path` is a file in the agent's state folder. `identify` may be empty: no cluster is connected, events are posted.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ObjectKeeper>> Open(const std::string& path,
                                                                          const ObjectGuardLimits& limits,
                                                                          Identify identify,
                                                                          Clock& clock = Clock::System());

  // Whether this is the cluster of the first sight, which is remembered. Errors as of JudgeCluster; asked anew when the
  // answer is a few seconds old.
  [[nodiscard]] absl::Status CheckCluster();

  // What DR's catalog holds of `kind`, of this pair.
  void SetAtDr(model::ObjectKind kind, std::set<model::ObjectKey> keys);
  // Whether what SetAtDr told says if the object is at DR: others put objects there, too, so that it isn't among those
  // is believed for a while only.
  [[nodiscard]] bool KnowsWhetherAtDr(const model::ObjectKey& key) const;
  // DR has it, and what is there of the name is its own: the deletion of an earlier one isn't under way any more.
  void NotePut(const model::ObjectKey& key, const std::string& uid);
  // The object is in the cluster: if its deletion is held back or approved, that ends. That of an earlier object of the
  // name stays approved: data that it left elsewhere is still to go.
  void NoteLive(const model::ObjectKey& key, const std::string& uid);
  // What was admitted isn't deleted after all.
  void NoteKept(const model::ObjectKey& key);
  // What was admitted is about to leave DR's catalog: remembered among what is approved until NoteRemoved, because the
  // catalog won't tell of its data then.
  [[nodiscard]] absl::Status NoteRemoving(const ObjectDeletion& deletion);
  // DR holds neither the object nor its data any more.
  void NoteRemoved(const model::ObjectKey& key);
  // What may be deleted and hasn't been.
  [[nodiscard]] std::vector<ObjectDeletion> Approved(model::ObjectKind kind) const;

  // A deletion that was seen; when it is known whether the object is at DR. False: it is held back, and remembered.
  [[nodiscard]] absl::StatusOr<bool> Admit(const ObjectDeletion& deletion);
  // `missing` is everything of the kind that is at DR, isn't in the newest list of the cluster, and wasn't admitted
  // yet. Returns what may be deleted: all of it, or only what was approved before.
  [[nodiscard]] absl::StatusOr<std::vector<ObjectDeletion>> AdmitMissing(model::ObjectKind kind,
                                                                         std::vector<ObjectDeletion> missing,
                                                                         bool list_is_empty);

  // Lets what the guard holds back happen, if that is no more than `gone` objects; returns it. For kClusterGuard: the
  // cluster that is connected now is the right one; returns nothing. FAILED_PRECONDITION: nothing is held back, or
  // more, or the cluster isn't recognised.
  [[nodiscard]] absl::StatusOr<std::vector<ObjectDeletion>> Approve(const std::string& guard_kind, uint64_t gone);

  [[nodiscard]] std::vector<ObjectGuardReport> Reports() const;
  // Whether a new list of `kind` is wanted soon, because the newest is doubted.
  [[nodiscard]] bool Doubts(model::ObjectKind kind) const;

 private:
  // Of one kind.
  struct Account {
    GuardRecord counts;
    std::set<model::ObjectKey> at_dr;           // without what was admitted
    std::optional<absl::Duration> at_dr_since;  // Clock::Monotonic of the newest SetAtDr
    std::map<model::ObjectKey, ObjectDeletion> held;
    std::map<model::ObjectKey, ObjectDeletion> approved;
    std::optional<KindHold> hold;  // while `held` isn't empty
  };

  ObjectKeeper(ObjectKeeperStore store, const ObjectGuardLimits& limits, Identify identify, Clock& clock)
      : limits_(limits), identify_(std::move(identify)), clock_(clock), store_(std::move(store)) {}

  [[nodiscard]] absl::Status Load();
  [[nodiscard]] absl::Status ApproveCluster();
  [[nodiscard]] absl::StatusOr<std::optional<KindHold>> Judge(model::ObjectKind kind, Account& account,
                                                              const ObjectLoss& loss)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] static uint64_t HeldBefore(const Account& account) {
    return account.hold ? account.hold->hold.before : 0;
  }
  void NoteCluster(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool IsApprovedOfEarlier(const model::ObjectKey& key, const std::string& uid) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const model::ObjectKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ObjectGuardLimits limits_;
  const Identify identify_;
  Clock& clock_;

  mutable absl::Mutex mutex_;
  ObjectKeeperStore store_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKind, Account> accounts_ ABSL_GUARDED_BY(mutex_);
  std::string expected_cluster_ ABSL_GUARDED_BY(mutex_);  // empty: none yet
  std::optional<absl::Duration> checked_at_ ABSL_GUARDED_BY(mutex_);
  absl::Status cluster_ ABSL_GUARDED_BY(mutex_);  // as CheckCluster found it
  int64_t cluster_since_nanoseconds_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace understudy::primary
