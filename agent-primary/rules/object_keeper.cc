#include "agent-primary/rules/object_keeper.h"

#include <fmt/format.h>

#include <utility>

#include "agent-primary/capture/deletion_guard.h"
#include "core/base/log.h"

namespace understudy::primary {
namespace {

constexpr absl::Duration kIdentityAge = absl::Seconds(5);
constexpr absl::Duration kAtDrAge = absl::Minutes(1);

std::vector<ObjectDeletion> ValuesOf(const std::map<model::ObjectKey, ObjectDeletion>& deletions) {
  std::vector<ObjectDeletion> values;
  for (const auto& [key, deletion] : deletions) values.push_back(deletion);
  return values;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ObjectKeeper>> ObjectKeeper::Open(const std::string& path,
                                                                 const ObjectGuardLimits& limits, Identify identify,
                                                                 Clock& clock) {
  ASSIGN_OR_RETURN(ObjectKeeperStore store, ObjectKeeperStore::Open(path));
  std::unique_ptr<ObjectKeeper> keeper(new ObjectKeeper(std::move(store), limits, std::move(identify), clock));
  RETURN_IF_ERROR(keeper->Load());
  return keeper;
}

absl::Status ObjectKeeper::Load() {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(ObjectKeeperStore::Contents contents, store_.Read());
  expected_cluster_ = std::move(contents.cluster_uid);
  for (auto& [kind, counts] : contents.counts) accounts_[kind].counts = std::move(counts);
  for (auto& [kind, hold] : contents.holds) accounts_[kind].hold = hold;
  for (ObjectDeletion& deletion : contents.held) {
    accounts_[deletion.key.kind].held.emplace(deletion.key, std::move(deletion));
  }
  for (auto& [kind, account] : accounts_) {
    if (account.held.empty()) account.hold.reset();
    if (account.hold) account.hold->hold.gone = account.held.size();
  }
  for (ObjectDeletion& deletion : contents.approved) {
    accounts_[deletion.key.kind].approved.emplace(deletion.key, std::move(deletion));
  }
  return absl::OkStatus();
}

absl::Status ObjectKeeper::CheckCluster() {
  if (!identify_) return absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    if (checked_at_ && clock_.Monotonic() - *checked_at_ < kIdentityAge) return cluster_;
  }
  const absl::StatusOr<std::string> found = identify_();
  absl::MutexLock lock(&mutex_);
  if (found.ok() && expected_cluster_.empty()) {
    RETURN_IF_ERROR(store_.SetCluster(*found));
    expected_cluster_ = *found;
    spdlog::info("the cluster to follow is {}, by the uid of its namespace kube-system", Printable(*found));
  }
  NoteCluster(JudgeCluster(expected_cluster_, found));
  return cluster_;
}

void ObjectKeeper::NoteCluster(const absl::Status& status) {
  checked_at_ = clock_.Monotonic();
  if (cluster_.ok() && !status.ok()) {
    cluster_since_nanoseconds_ = absl::ToUnixNanos(clock_.Now());
    spdlog::warn("{}", MessageOf(status));
  }
  if (!cluster_.ok() && status.ok()) spdlog::info("the cluster is recognised again");
  cluster_ = status;
}

void ObjectKeeper::SetAtDr(model::ObjectKind kind, std::set<model::ObjectKey> keys) {
  absl::MutexLock lock(&mutex_);
  Account& account = accounts_[kind];
  for (const auto& [key, deletion] : account.approved) keys.erase(key);
  account.at_dr = std::move(keys);
  account.at_dr_since = clock_.Monotonic();
}

bool ObjectKeeper::KnowsWhetherAtDr(const model::ObjectKey& key) const {
  absl::MutexLock lock(&mutex_);
  const auto account = accounts_.find(key.kind);
  if (account == accounts_.end() || !account->second.at_dr_since) return false;
  return account->second.at_dr.contains(key) || clock_.Monotonic() - *account->second.at_dr_since < kAtDrAge;
}

void ObjectKeeper::NotePut(const model::ObjectKey& key, const std::string& uid) {
  absl::MutexLock lock(&mutex_);
  accounts_[key.kind].at_dr.insert(key);
  if (IsApprovedOfEarlier(key, uid)) Forget(key);
}

void ObjectKeeper::NoteLive(const model::ObjectKey& key, const std::string& uid) {
  absl::MutexLock lock(&mutex_);
  if (!IsApprovedOfEarlier(key, uid)) Forget(key);
}

// Whether the approved deletion of that key is one of another object than `uid`.
bool ObjectKeeper::IsApprovedOfEarlier(const model::ObjectKey& key, const std::string& uid) const {
  const auto account = accounts_.find(key.kind);
  if (account == accounts_.end()) return false;
  const auto approved = account->second.approved.find(key);
  return approved != account->second.approved.end() && !approved->second.uid.empty() && approved->second.uid != uid;
}

void ObjectKeeper::NoteKept(const model::ObjectKey& key) {
  absl::MutexLock lock(&mutex_);
  Account& account = accounts_[key.kind];
  if (!account.approved.contains(key)) account.at_dr.insert(key);
}

absl::Status ObjectKeeper::NoteRemoving(const ObjectDeletion& deletion) {
  absl::MutexLock lock(&mutex_);
  Account& account = accounts_[deletion.key.kind];
  const auto known = account.approved.find(deletion.key);
  if (known != account.approved.end() && known->second == deletion) return absl::OkStatus();
  RETURN_IF_ERROR(store_.AddApproved(deletion));
  account.held.erase(deletion.key);
  if (account.held.empty()) account.hold.reset();
  account.approved.insert_or_assign(deletion.key, deletion);
  return absl::OkStatus();
}

std::vector<ObjectDeletion> ObjectKeeper::Approved(model::ObjectKind kind) const {
  absl::MutexLock lock(&mutex_);
  const auto account = accounts_.find(kind);
  return account == accounts_.end() ? std::vector<ObjectDeletion>() : ValuesOf(account->second.approved);
}

void ObjectKeeper::NoteRemoved(const model::ObjectKey& key) {
  absl::MutexLock lock(&mutex_);
  accounts_[key.kind].at_dr.erase(key);
  Forget(key);
}

void ObjectKeeper::Forget(const model::ObjectKey& key) {
  Account& account = accounts_[key.kind];
  if (account.held.erase(key) + account.approved.erase(key) == 0) return;
  const bool last = account.held.empty();
  if (last && account.hold) {
    spdlog::info("nothing of kind {} is held back any more", model::ToString(key.kind));
    account.hold.reset();
  }
  // If this isn't written, the next complete list says the same again.
  if (const absl::Status written = store_.Forget(key, last); !written.ok()) spdlog::error("{}", MessageOf(written));
}

absl::StatusOr<std::optional<KindHold>> ObjectKeeper::Judge(model::ObjectKind kind, Account& account,
                                                            const ObjectLoss& loss) {
  const int64_t now = absl::ToUnixNanos(clock_.Now());
  const GuardRecord before = account.counts;
  const std::optional<ObjectHold> hold = JudgeLoss(limits_, account.counts, loss, now);
  if (account.counts != before) RETURN_IF_ERROR(store_.SetCounts(kind, account.counts));
  if (!hold) return std::optional<KindHold>();
  if (!account.hold) spdlog::warn("{}", ReasonOf(kind, *hold, limits_));
  return std::optional(KindHold{*hold, account.hold ? account.hold->since_nanoseconds : now});
}

absl::StatusOr<bool> ObjectKeeper::Admit(const ObjectDeletion& deletion) {
  const model::ObjectKind kind = deletion.key.kind;
  absl::MutexLock lock(&mutex_);
  Account& account = accounts_[kind];
  // What isn't at DR, or isn't this pair's, can't be lost there.
  if (!account.at_dr.contains(deletion.key)) return true;
  const uint64_t others_held = account.held.size() - account.held.count(deletion.key);
  const ObjectLoss loss{.at_dr = account.at_dr.size(), .gone = others_held + 1, .held_before = HeldBefore(account)};
  ASSIGN_OR_RETURN(const std::optional<KindHold> hold, Judge(kind, account, loss));
  if (!hold) {
    account.at_dr.erase(deletion.key);
    return true;
  }
  RETURN_IF_ERROR(store_.AddHeld(kind, *hold, deletion));
  account.hold = hold;
  account.held.insert_or_assign(deletion.key, deletion);
  return false;
}

absl::StatusOr<std::vector<ObjectDeletion>> ObjectKeeper::AdmitMissing(model::ObjectKind kind,
                                                                       std::vector<ObjectDeletion> missing,
                                                                       bool list_is_empty) {
  absl::MutexLock lock(&mutex_);
  Account& account = accounts_[kind];
  std::vector<ObjectDeletion> admitted;
  std::map<model::ObjectKey, ObjectDeletion> asked;
  for (ObjectDeletion& deletion : missing) {
    const bool approved = account.approved.contains(deletion.key);
    if (!approved) account.at_dr.insert(deletion.key);
    // A later list tells of no event.
    const auto held = account.held.find(deletion.key);
    if (deletion.event_id.empty() && held != account.held.end()) deletion.event_id = held->second.event_id;
    if (approved) {
      admitted.push_back(std::move(deletion));
    } else {
      asked.emplace(deletion.key, std::move(deletion));
    }
  }
  const ObjectLoss loss{.at_dr = account.at_dr.size(),
                        .gone = asked.size(),
                        .list_is_empty = list_is_empty,
                        .held_before = HeldBefore(account)};
  ASSIGN_OR_RETURN(const std::optional<KindHold> hold, Judge(kind, account, loss));
  const std::vector<ObjectDeletion> held = hold ? ValuesOf(asked) : std::vector<ObjectDeletion>();
  if (!account.held.empty() || !held.empty()) RETURN_IF_ERROR(store_.SetHeld(kind, hold, held));
  account.hold = hold;
  if (hold) {
    account.held = std::move(asked);
    return admitted;
  }
  account.held.clear();
  for (auto& [key, deletion] : asked) {
    account.at_dr.erase(key);
    admitted.push_back(std::move(deletion));
  }
  return admitted;
}

absl::StatusOr<std::vector<ObjectDeletion>> ObjectKeeper::Approve(const std::string& guard_kind, uint64_t gone) {
  if (guard_kind == kClusterGuard) {
    RETURN_IF_ERROR(ApproveCluster());
    return std::vector<ObjectDeletion>();
  }
  const std::optional<model::ObjectKind> kind = ParseGuardKind(guard_kind);
  if (!kind) return absl::InvalidArgumentError(fmt::format("there is no guard '{}'", Printable(guard_kind)));
  RETURN_IF_ERROR(CheckCluster());
  absl::MutexLock lock(&mutex_);
  Account& account = accounts_[*kind];
  if (account.held.empty()) {
    return absl::FailedPreconditionError(fmt::format("no deletion of a {} is held back", model::ToString(*kind)));
  }
  if (account.held.size() > gone) {
    return absl::FailedPreconditionError(
        fmt::format("{} objects would go meanwhile, more than the {} that were to be approved: look at `drctl guard "
                    "list` again",
                    account.held.size(), gone));
  }
  std::set<model::ObjectKey> left = account.at_dr;
  for (const auto& [key, deletion] : account.held) left.erase(key);
  GuardRecord counts;
  RecordEntries(counts, left.size(), absl::ToUnixNanos(clock_.Now()));
  RETURN_IF_ERROR(store_.ApproveHeld(*kind, counts));
  account.at_dr = std::move(left);
  account.counts = std::move(counts);
  std::vector<ObjectDeletion> approved = ValuesOf(account.held);
  account.approved.merge(account.held);
  account.held.clear();
  account.hold.reset();
  return approved;
}

absl::Status ObjectKeeper::ApproveCluster() {
  if (!identify_) return absl::FailedPreconditionError("no cluster is connected");
  ASSIGN_OR_RETURN(const std::string found, identify_());
  absl::MutexLock lock(&mutex_);
  if (found == expected_cluster_) {
    NoteCluster(absl::OkStatus());
    return absl::FailedPreconditionError("the cluster is the one that is expected: there is nothing to approve");
  }
  RETURN_IF_ERROR(store_.SetCluster(found));
  spdlog::warn("the cluster to follow is {} from now on, no longer {}", Printable(found), Printable(expected_cluster_));
  expected_cluster_ = found;
  NoteCluster(absl::OkStatus());
  return absl::OkStatus();
}

std::vector<ObjectGuardReport> ObjectKeeper::Reports() const {
  absl::MutexLock lock(&mutex_);
  std::vector<ObjectGuardReport> reports;
  if (!cluster_.ok()) {
    reports.push_back({.kind = kClusterGuard,
                       .reason = std::string(MessageOf(cluster_)),
                       .since_nanoseconds = cluster_since_nanoseconds_});
  }
  for (const auto& [kind, account] : accounts_) {
    if (!account.hold || account.held.empty()) continue;
    reports.push_back({.kind = GuardKindOf(kind),
                       .reason = ReasonOf(kind, account.hold->hold, limits_),
                       .gone = account.held.size(),
                       .before = account.hold->hold.before,
                       .since_nanoseconds = account.hold->since_nanoseconds});
  }
  return reports;
}

bool ObjectKeeper::Doubts(model::ObjectKind kind) const {
  absl::MutexLock lock(&mutex_);
  const auto account = accounts_.find(kind);
  return !cluster_.ok() || (account != accounts_.end() && !account->second.held.empty());
}

}  // namespace understudy::primary
