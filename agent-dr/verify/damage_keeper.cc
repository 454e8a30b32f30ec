#include "agent-dr/verify/damage_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent-dr/verify/replica_tree.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

constexpr absl::Duration kTendInterval = absl::Seconds(1);
// What is damaged still is told again after so long: the message may have been lost.
constexpr absl::Duration kTellAgain = absl::Minutes(10);

}  // namespace

void DamageKeeper::Load() {
  for (const model::ReplicaState& state : engine_.List()) {
    const auto replica = engine_.FindReplica(state.volume);
    if (!replica.ok()) continue;
    std::vector<Damage> damages;
    const absl::Status listed = (*replica)->WithPublished([&](const Replica::Published& published) -> absl::Status {
      ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(damages, contents.ListDamage());
      return absl::OkStatus();
    });
    if (!listed.ok()) spdlog::warn("volume={} what is damaged isn't known: {}", state.volume, MessageOf(listed));
    absl::MutexLock lock(&mutex_);
    for (Damage& damage : damages) volumes_[state.volume].files[damage.file.path] = std::move(damage);
  }
}

void DamageKeeper::Note(const model::VolumeName& volume, Replica& replica, const std::string& path,
                        const ContentCheck& check) {
  if (replica.State().state != model::VolumeState::kStandby) return;
  Damage damage;
  damage.file = {path, check.stat.size, std::nullopt};
  if (check.verdict == Verdict::kDamaged) damage.file.segments = check.found.segments;
  damage.identity = IdentityOf(check.stat);
  damage.sequence = check.kept.has_value() ? check.kept->sequence : 0;
  damage.found_nanoseconds = absl::ToUnixNanos(clock_.Now());
  damage.why = check.why;
  {
    absl::MutexLock lock(&mutex_);
    const auto& files = volumes_[volume].files;
    const auto known = files.find(path);
    if (known == files.end()) {
      ++probe_.damaged;
      spdlog::error("volume={} file '{}' of the replica is damaged: {}", volume, Printable(path), damage.why);
    } else {
      damage.found_nanoseconds = known->second.found_nanoseconds;
    }
  }
  Put(volume, replica, damage);
}

void DamageKeeper::Put(const model::VolumeName& volume, Replica& replica, const Damage& damage) {
  bool taken = true;
  const absl::Status put = replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ContentTable contents = published.contents;
    ASSIGN_OR_RETURN(taken, contents.PutDamage(damage));
    return absl::OkStatus();
  });
  if (!put.ok()) spdlog::warn("volume={} remember what is damaged: {}", volume, MessageOf(put));
  if (!taken) {
    spdlog::error("volume={} more than {} files of the replica are damaged: check its disks", volume, kMaxDamage);
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    OfVolume& of_volume = volumes_[volume];
    of_volume.files[damage.file.path] = damage;
    of_volume.told_at = clock_.Monotonic();
  }
  if (!replica.TellDamage(damage.file)) {
    spdlog::info("volume={} no primary is there to send '{}' again", volume, Printable(damage.file.path));
  }
}

void DamageKeeper::Passed(const model::VolumeName& volume, Replica& replica, const std::string& path) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = volumes_.find(volume);
    if (found == volumes_.end() || !found->second.files.contains(path)) return;
  }
  ++probe_.healed;
  Remove(volume, replica, path, "is right again");
}

void DamageKeeper::Remove(const model::VolumeName& volume, Replica& replica, const std::string& path,
                          std::string_view why) {
  const absl::Status removed = replica.WithPublished([&](const Replica::Published& published) {
    ContentTable contents = published.contents;
    return contents.RemoveDamage(path);
  });
  if (!removed.ok()) {
    spdlog::warn("volume={} forget damage: {}", volume, MessageOf(removed));
    return;
  }
  spdlog::info("volume={} damaged file '{}' {}", volume, Printable(path), why);
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  found->second.files.erase(path);
  if (found->second.files.empty()) volumes_.erase(found);
}

std::vector<VolumeDamage> DamageKeeper::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<VolumeDamage> list;
  for (const auto& [name, of_volume] : volumes_) {
    if (of_volume.files.empty()) continue;
    VolumeDamage& added = list.emplace_back();
    added.volume = name;
    for (const auto& [path, damage] : of_volume.files) added.files.push_back(damage);
  }
  return list;
}

absl::Status DamageKeeper::Alert() const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, of_volume] : volumes_) {
    if (of_volume.files.empty()) continue;
    const auto& [path, damage] = *of_volume.files.begin();
    return absl::DataLossError(
        fmt::format("volume '{}': {} files of the replica are damaged; the first is '{}': {}. The primary sends them "
                    "again when it is there",
                    name, of_volume.files.size(), Printable(path), damage.why));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Damage>> DamageKeeper::FindTouched(Replica& replica, const std::vector<Damage>& damages) {
  std::vector<Damage> touched;
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ContentTable contents = published.contents;
    for (const Damage& damage : damages) {
      const absl::StatusOr<os::EntryStat> stat = published.root.Stat(damage.file.path);
      const bool there = stat.ok() && IdentityOf(*stat) == damage.identity;
      ASSIGN_OR_RETURN(const std::optional<KeptContent> kept, contents.Find(damage.identity));
      const model::Sequence sequence = kept.has_value() ? kept->sequence : 0;
      if (!there || sequence != damage.sequence) touched.push_back(damage);
    }
    return absl::OkStatus();
  }));
  return touched;
}

absl::StatusOr<std::map<std::string, std::string>> DamageKeeper::FindMoved(Replica& replica,
                                                                           const std::vector<Damage>& strays,
                                                                           std::stop_token stop) {
  std::map<std::string, std::string> moved;
  ASSIGN_OR_RETURN(const ReplicaTree tree, OpenTree(replica));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(tree.root, "", tree.excluded_name));
  while (!stop.stop_requested()) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return moved;
    for (const Damage& stray : strays) {
      if (IdentityOf(entry->stat) == stray.identity) moved.emplace(stray.file.path, entry->path);
    }
  }
  return absl::CancelledError("the agent stops");
}

absl::Status DamageKeeper::TendVolume(const model::VolumeName& volume, Replica& replica, std::stop_token stop) {
  std::vector<Damage> damages;
  const model::Sequence published = replica.State().published_sequence;
  const absl::Duration now = clock_.Monotonic();
  bool tell = false;
  {
    absl::MutexLock lock(&mutex_);
    OfVolume& of_volume = volumes_[volume];
    tell = now >= of_volume.told_at + kTellAgain;
    if (of_volume.looked_at == published && !tell) return absl::OkStatus();
    of_volume.looked_at = published;
    if (tell) of_volume.told_at = now;
    for (const auto& [path, damage] : of_volume.files) damages.push_back(damage);
  }
  ASSIGN_OR_RETURN(const std::vector<Damage> touched, FindTouched(replica, damages));
  if (!touched.empty()) {
    ASSIGN_OR_RETURN(const auto moved, FindMoved(replica, touched, stop));
    for (const Damage& damage : touched) {
      const std::string& path = damage.file.path;
      ASSIGN_OR_RETURN(const ContentCheck check, CheckContent(replica, path, [&](uint64_t) -> absl::Status {
                         return stop.stop_requested() ? absl::CancelledError("the agent stops") : absl::OkStatus();
                       }));
      const auto elsewhere = moved.find(path);
      const bool gone_elsewhere = elsewhere != moved.end() && elsewhere->second != path;
      if (check.verdict == Verdict::kDamaged || check.verdict == Verdict::kUnreadable) {
        Note(volume, replica, path, check);
      } else if (check.verdict == Verdict::kChanging) {
        absl::MutexLock lock(&mutex_);
        volumes_[volume].looked_at = 0;  // once more
      } else if (gone_elsewhere) {
        Remove(volume, replica, path, "has another name now");
      } else if (check.verdict == Verdict::kGone) {
        Remove(volume, replica, path, "isn't there any more");
      } else {
        Passed(volume, replica, path);
      }
      if (!gone_elsewhere) continue;
      Damage at_new_path = damage;
      at_new_path.file.path = elsewhere->second;
      Put(volume, replica, at_new_path);
    }
  }
  if (!tell) return absl::OkStatus();
  for (const Damage& damage : damages) {
    const bool known = std::any_of(touched.begin(), touched.end(),
                                   [&](const Damage& other) { return other.file.path == damage.file.path; });
    if (!known) replica.TellDamage(damage.file);
  }
  return absl::OkStatus();
}

absl::Status DamageKeeper::Tend(std::stop_token stop) {
  std::vector<model::VolumeName> names;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, of_volume] : volumes_) names.push_back(name);
  }
  for (const model::VolumeName& name : names) {
    if (stop.stop_requested()) return absl::CancelledError("the agent stops");
    const auto replica = engine_.FindReplica(name);
    // In the trash: a restored one is scrubbed anew. Promoted: its files are its clients' from here on.
    if (!replica.ok() || (*replica)->State().state != model::VolumeState::kStandby) {
      absl::MutexLock lock(&mutex_);
      volumes_.erase(name);
      continue;
    }
    const absl::Status tended = TendVolume(name, **replica, stop);
    if (!tended.ok() && !absl::IsCancelled(tended)) {
      spdlog::info("volume={} look at what is damaged: {}", name, MessageOf(tended));
    }
  }
  return absl::OkStatus();
}

void DamageKeeper::Run(std::stop_token stop) {
  while (WaitUnlessStopped(stop, kTendInterval)) {
    if (!Tend(stop).ok()) return;
  }
}

}  // namespace understudy::dr
