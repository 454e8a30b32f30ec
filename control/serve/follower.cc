#include "control/serve/follower.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "control/apply/ownership.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::TextAt;
using model::CatalogEntry;
using model::ObjectKey;
using model::ObjectKind;

constexpr int kLastRank = 5;
// In the place of a manifest's fingerprint: of what was neither applied nor deleted.
constexpr size_t kLeftAlone = 1;
constexpr absl::Duration kReconnectFirst = absl::Milliseconds(250);
constexpr absl::Duration kReconnectLongest = absl::Seconds(15);
// As in core/kube/list_watch.cc: what a server in trouble asks for mustn't put an object off for a day.
constexpr absl::Duration kLongestRetryAfter = absl::Minutes(5);

// Deletions from the claim to the volume, then what is made from the volume to the claim.
int RankOf(const CatalogEntry& entry) {
  const bool first_to_go =
      entry.key.kind == ObjectKind::kPersistentVolumeClaim || entry.key.kind == ObjectKind::kVolumeSnapshot;
  if (entry.deleted) return first_to_go ? 0 : 1;
  switch (entry.key.kind) {
    case ObjectKind::kPersistentVolume:
      return 2;
    case ObjectKind::kPersistentVolumeClaim:
      return 3;
    case ObjectKind::kVolumeSnapshotContent:
      return 4;
    case ObjectKind::kVolumeSnapshot:
      return kLastRank;
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

// The revision alone wouldn't do: a catalog that was made anew counts from the start again.
size_t FingerprintOf(const CatalogEntry& entry) {
  return std::hash<std::string>()(fmt::format("{}/{}/{}/{}/{}/{}", entry.revision, entry.deleted, entry.uid,
                                              entry.server, entry.replica_path, entry.resource));
}

}  // namespace

Follower::Follower(FollowerOptions options, model::CatalogReader& catalog, ObjectApplier& applier,
                   SnapshotCheck& snapshots, Clock& clock)
    : options_(std::move(options)),
      catalog_(catalog),
      applier_(applier),
      snapshots_(snapshots),
      queue_(options_.retry_first, options_.retry_longest, clock) {}

void Follower::Run(std::stop_token stop) {
  std::vector<std::jthread> workers;
  for (int i = 0; i < options_.workers; ++i) {
    workers.emplace_back([this, stop] { Work(stop); });
  }
  FollowCatalog(stop);
}

FollowerStatus Follower::Status() const {
  absl::MutexLock lock(&mutex_);
  FollowerStatus status = status_;
  status.pending = wanted_.size();
  for (const auto& [key, wanted] : wanted_) {
    if (status.problems.size() >= kMaxProblems) break;
    if (!wanted.problem.empty()) status.problems.push_back({.key = key, .message = wanted.problem});
  }
  return status;
}

void Follower::FollowCatalog(std::stop_token stop) {
  Backoff backoff(kReconnectFirst, kReconnectLongest);
  while (!stop.stop_requested()) {
    const absl::Status status = WatchOnce(stop);
    if (stop.stop_requested()) return;
    bool was_listed = false;
    {
      absl::MutexLock lock(&mutex_);
      was_listed = std::exchange(listed_, false);
      if (status.ok()) {
        // What was deleted is gone: looking for it again, with every deletion there ever was, would show nothing new.
        for (auto& [key, brought] : brought_) brought.stale = brought.manifest != 0;
        continue;
      }
      const std::string error(MessageOf(status));
      if (error != status_.connection_error) {
        spdlog::warn("pair {}: DR's catalog can't be followed, will be tried again: {}", options_.pair, error);
      }
      status_.connected = false;
      status_.caught_up = false;
      status_.connection_error = error;
    }
    if (was_listed) backoff.Reset();
    WaitUnlessStopped(stop, backoff.Next());
  }
}

// OK: the resync interval is over, or `stop`.
absl::Status Follower::WatchOnce(std::stop_token stop) {
  std::stop_source ending;
  const std::stop_callback pass_on(stop, [&ending] { ending.request_stop(); });
  const std::jthread timer([this, &ending](std::stop_token watch_ended) {
    if (WaitUnlessStopped(watch_ended, options_.resync_interval)) ending.request_stop();
  });
  const absl::Status status =
      catalog_.Watch(0, ending.get_token(), [this](std::optional<CatalogEntry> entry) { OnEntry(std::move(entry)); });
  return ending.stop_requested() ? absl::OkStatus()
         : status.ok()           ? absl::UnavailableError("the catalog hung up")
                                 : status;
}

void Follower::OnEntry(std::optional<CatalogEntry> entry) {
  absl::MutexLock lock(&mutex_);
  if (!entry) {
    if (!status_.connected) spdlog::info("pair {}: following DR's catalog", options_.pair);
    listed_ = true;
    ForgetPurged();
    ++listing_;
    status_.connected = true;
    status_.connection_error.clear();
    NoteUntried();
    return;
  }
  const auto brought = brought_.find(entry->key);
  if (brought != brought_.end()) brought->second.listing = listing_;
  if (brought != brought_.end() && !brought->second.stale && brought->second.fingerprint == FingerprintOf(*entry))
    return;
  const ObjectKey key = entry->key;
  const int rank = RankOf(*entry);
  const auto wanted = wanted_.find(key);
  if (wanted != wanted_.end() && FingerprintOf(wanted->second.entry) == FingerprintOf(*entry)) return;
  wanted_.insert_or_assign(key, Wanted{.entry = *std::move(entry)});
  queue_.Add(key, rank);
}

void Follower::Work(std::stop_token stop) {
  while (const std::optional<ObjectKey> key = queue_.Take(stop, kLastRank)) {
    std::optional<CatalogEntry> entry;
    {
      absl::MutexLock lock(&mutex_);
      if (const auto wanted = wanted_.find(*key); wanted != wanted_.end()) {
        wanted->second.running = true;
        entry = wanted->second.entry;
      }
    }
    if (!entry) {
      queue_.Done(*key);
      continue;
    }
    const absl::StatusOr<bool> left_alone = IsLeftAlone(*entry);
    if (!left_alone.ok()) {
      Postpone(*entry, left_alone.status());
    } else {
      Finish(*entry, *left_alone ? absl::StatusOr<size_t>(kLeftAlone) : Bring(*entry));
    }
  }
}

absl::StatusOr<bool> Follower::IsLeftAlone(const CatalogEntry& entry) {
  if (!options_.left_alone) return false;
  const absl::StatusOr<bool> left_alone = options_.left_alone(entry.volume);
  if (left_alone.ok() && *left_alone) {
    spdlog::debug("{} is left alone: DR has the live copy of its volume pair={}", ToString(entry.key), options_.pair);
  }
  const std::string error(MessageOf(left_alone.status()));
  absl::MutexLock lock(&mutex_);
  if (error == status_.direction_error) return left_alone;
  if (left_alone.ok()) spdlog::info("pair {}: it is known again which volumes were turned round", options_.pair);
  if (!left_alone.ok()) {
    spdlog::warn("pair {}: it isn't known which volumes were turned round, nothing is applied before it is: {}",
                 options_.pair, error);
  }
  status_.direction_error = error;
  return left_alone;
}

absl::StatusOr<size_t> Follower::Bring(const CatalogEntry& entry) {
  if (entry.deleted) {
    RETURN_IF_ERROR(BringDeletion(entry));
    return 0;
  }
  ASSIGN_OR_RETURN(const nlohmann::json manifest, Transform(entry, options_.transform));
  RETURN_IF_ERROR(CheckSnapshot(entry));
  RETURN_IF_ERROR(applier_.Apply(manifest));
  const size_t fingerprint = std::hash<std::string>()(manifest.dump());
  // What changes at the primary is mostly status, which doesn't go to DR: that is no news.
  spdlog::log(WasBrought(entry.key, fingerprint) ? spdlog::level::debug : spdlog::level::info,
              "{} applied at DR pair={}", ToString(entry.key), options_.pair);
  absl::MutexLock lock(&mutex_);
  ++status_.applied;
  return fingerprint;
}

absl::Status Follower::CheckSnapshot(const CatalogEntry& entry) {
  if (entry.key.kind == ObjectKind::kVolumeSnapshotContent) return snapshots_.Check(entry);
  if (entry.key.kind != ObjectKind::kVolumeSnapshot) return absl::OkStatus();
  // Its data is its content's, whose name stands in the entry.
  const ObjectKey content{ObjectKind::kVolumeSnapshotContent, "", entry.volume};
  absl::MutexLock lock(&mutex_);
  const auto brought = brought_.find(content);
  const size_t manifest = brought != brought_.end() ? brought->second.manifest : 0;
  if (manifest != 0 && manifest != kLeftAlone) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("{} waits for {}", ToString(entry.key), ToString(content)));
}

absl::Status Follower::BringDeletion(const CatalogEntry& entry) {
  ASSIGN_OR_RETURN(const DeleteOutcome outcome, applier_.Delete(entry.key, entry.uid));
  if (outcome == DeleteOutcome::kDeleted) spdlog::info("{} deleted at DR pair={}", ToString(entry.key), options_.pair);
  if (outcome == DeleteOutcome::kLeftAlone && !WasBrought(entry.key, 0)) {
    spdlog::info("{} is left alone at DR: Understudy didn't make it from the object that was deleted pair={}",
                 ToString(entry.key), options_.pair);
  }
  absl::MutexLock lock(&mutex_);
  if (outcome == DeleteOutcome::kDeleted) ++status_.deleted;
  if (outcome == DeleteOutcome::kLeftAlone) ++status_.left_alone;
  return absl::OkStatus();
}

bool Follower::WasBrought(const ObjectKey& key, size_t manifest) const {
  absl::MutexLock lock(&mutex_);
  const auto brought = brought_.find(key);
  return brought != brought_.end() && brought->second.manifest == manifest;
}

void Follower::Finish(const CatalogEntry& entry, const absl::StatusOr<size_t>& outcome) {
  const absl::Status& status = outcome.status();
  absl::MutexLock lock(&mutex_);
  // One line for a cluster that can't be reached, not one for each object.
  const bool reachable = !IsUnreachable(status);
  if (reachable != cluster_reachable_) {
    cluster_reachable_ = reachable;
    if (reachable) spdlog::info("pair {}: the DR cluster answers again", options_.pair);
    if (!reachable) spdlog::warn("pair {}: the DR cluster doesn't answer: {}", options_.pair, MessageOf(status));
  }
  Wanted& wanted = wanted_.at(entry.key);
  wanted.tried = true;
  wanted.running = false;
  const bool newest = FingerprintOf(wanted.entry) == FingerprintOf(entry);
  if (status.ok() && newest) {
    Brought& brought = brought_[entry.key];
    const bool changed = brought.manifest != *outcome;
    brought = {.fingerprint = FingerprintOf(entry), .manifest = *outcome, .listing = listing_};
    if (entry.key.kind == ObjectKind::kPersistentVolumeClaim && !entry.deleted) brought.claim = entry;
    if (entry.key.kind == ObjectKind::kPersistentVolume && !entry.deleted && changed) BringClaimAgain(entry);
    if (std::exchange(wanted.again, false)) {
      queue_.Add(entry.key, RankOf(entry));
    } else {
      wanted_.erase(entry.key);
    }
    queue_.Done(entry.key);
  } else if (status.ok() || !newest) {
    queue_.Done(entry.key);  // it was queued again when the newer entry came
  } else {
    ++status_.failures;
    std::string message(MessageOf(status));
    if (reachable && message != wanted.problem) {
      // ABORTED mostly passes by itself: something has to be gone first.
      spdlog::log(absl::IsAborted(status) ? spdlog::level::info : spdlog::level::warn,
                  "{} can't be brought to DR, will be tried again: {} pair={}", ToString(entry.key), message,
                  options_.pair);
    }
    wanted.problem = std::move(message);
    queue_.Failed(entry.key, RankOf(entry),
                  std::min(kube::RetryAfter(status).value_or(absl::ZeroDuration()), kLongestRetryAfter));
  }
  NoteUntried();
}

void Follower::Postpone(const CatalogEntry& entry, const absl::Status& unknown) {
  absl::MutexLock lock(&mutex_);
  Wanted& wanted = wanted_.at(entry.key);
  wanted.running = false;
  wanted.problem = fmt::format("waits until it is known whether its volume was turned round: {}", MessageOf(unknown));
  queue_.Failed(entry.key, RankOf(wanted.entry));
}

void Follower::BringClaimAgain(const CatalogEntry& entry) {
  const nlohmann::json volume = nlohmann::json::parse(entry.resource, nullptr, /*allow_exceptions=*/false);
  const nlohmann::json& reference = FieldAt(volume, {"spec", "claimRef"});
  const ObjectKey key{ObjectKind::kPersistentVolumeClaim, TextAt(reference, {"namespace"}),
                      TextAt(reference, {"name"})};
  if (const auto wanted = wanted_.find(key); wanted != wanted_.end()) {
    wanted->second.again = wanted->second.running && !wanted->second.entry.deleted;
    return;
  }
  const auto brought = brought_.find(key);
  if (brought == brought_.end() || !brought->second.claim) return;
  wanted_.emplace(key, Wanted{.entry = *brought->second.claim, .tried = true});
  queue_.Add(key, RankOf(*brought->second.claim));
}

// Deletions that the catalog doesn't tell any more are old: nothing is to be remembered of them.
void Follower::ForgetPurged() {
  const auto listing = listing_;
  std::erase_if(brought_, [listing](const auto& item) {
    const Brought& brought = item.second;
    return (brought.manifest == 0 || brought.manifest == kLeftAlone) && brought.listing != listing;
  });
}

void Follower::NoteUntried() {
  if (status_.caught_up || !listed_) return;
  for (const auto& [key, wanted] : wanted_) {
    if (!wanted.tried) return;
  }
  status_.caught_up = true;
}

}  // namespace understudy::control
