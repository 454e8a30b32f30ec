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

absl::Status DamageKeeper::LoadVolume(const model::VolumeName& volume, Replica& replica) {
  std::vector<Damage> damages;
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ContentTable contents = published.contents;
    ASSIGN_OR_RETURN(damages, contents.ListDamage());
    return absl::OkStatus();
  }));
  absl::MutexLock lock(&mutex_);
  loaded_.insert(volume);
  // What was found meanwhile is newer.
  for (Damage& damage : damages) volumes_[volume].files.try_emplace(damage.file.path, std::move(damage));
  return absl::OkStatus();
}

void DamageKeeper::Load() {
  for (const model::ReplicaState& state : engine_.List()) {
    const auto replica = engine_.FindReplica(state.volume);
    if (!replica.ok()) continue;
    const absl::Status loaded = LoadVolume(state.volume, **replica);
    if (!loaded.ok()) spdlog::warn("volume={} what is damaged isn't known: {}", state.volume, MessageOf(loaded));
  }
}

void DamageKeeper::LoadLate() {
  std::set<model::VolumeName> there;
  std::vector<model::VolumeName> late;
  const std::vector<model::ReplicaState> states = engine_.List();
  {
    absl::MutexLock lock(&mutex_);
    for (const model::ReplicaState& state : states) {
      there.insert(state.volume);
      if (!loaded_.contains(state.volume)) late.push_back(state.volume);
    }
    std::erase_if(loaded_, [&](const model::VolumeName& name) { return !there.contains(name); });
  }
  for (const model::VolumeName& name : late) {
    const auto replica = engine_.FindReplica(name);
    // Whether it can be reached again is found out by whoever opens it.
    if (!replica.ok() || !(*replica)->Usable().ok()) continue;
    const absl::Status loaded = LoadVolume(name, **replica);
    if (!loaded.ok()) spdlog::info("volume={} what is damaged isn't known: {}", name, MessageOf(loaded));
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

void DamageKeeper::NoteUnreadable(const model::VolumeName& volume, const std::string& path, std::string_view why) {
  absl::MutexLock lock(&mutex_);
  std::map<std::string, Damage>& paths = unreadable_[volume];
  if (paths.size() >= kMaxDamage || paths.contains(path)) return;
  spdlog::error("volume={} '{}' of the replica can't be read: {}", volume, Printable(path), why);
  Damage& damage = paths[path];
  damage.file.path = path;
  damage.found_nanoseconds = absl::ToUnixNanos(clock_.Now());
  damage.why = fmt::format("neither it nor what is in it can be read: {}. Check the disk and its filesystem", why);
}

void DamageKeeper::EndPass(const model::VolumeName& volume, const std::set<std::string>& paths) {
  absl::MutexLock lock(&mutex_);
  const auto found = unreadable_.find(volume);
  if (found == unreadable_.end()) return;
  std::erase_if(found->second, [&](const auto& one) { return !paths.contains(one.first); });
  if (found->second.empty()) unreadable_.erase(found);
}

std::vector<VolumeDamage> DamageKeeper::List() const {
  absl::MutexLock lock(&mutex_);
  std::map<model::VolumeName, std::map<std::string, Damage>> all = unreadable_;
  for (const auto& [name, of_volume] : volumes_) {
    for (const auto& [path, damage] : of_volume.files) all[name][path] = damage;
  }
  std::vector<VolumeDamage> list;
  for (auto& [name, files] : all) {
    VolumeDamage& added = list.emplace_back();
    added.volume = name;
    for (auto& [path, damage] : files) added.files.push_back(std::move(damage));
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
  if (unreadable_.empty()) return absl::OkStatus();
  const auto& [name, paths] = *unreadable_.begin();
  return absl::DataLossError(
      fmt::format("volume '{}': '{}': {}", name, Printable(paths.begin()->first), paths.begin()->second.why));
}

absl::StatusOr<std::vector<DamageKeeper::Touched>> DamageKeeper::FindTouched(Replica& replica,
                                                                             const std::vector<Damage>& damages) {
  std::vector<Touched> touched;
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ContentTable contents = published.contents;
    for (const Damage& damage : damages) {
      const absl::StatusOr<os::EntryStat> stat = published.root.Stat(damage.file.path);
      const bool in_place = stat.ok() && IdentityOf(*stat) == damage.identity;
      ASSIGN_OR_RETURN(const std::optional<KeptContent> kept, contents.Find(damage.identity));
      const model::Sequence sequence = kept.has_value() ? kept->sequence : 0;
      if (!in_place || sequence != damage.sequence) touched.push_back({damage, in_place});
    }
    return absl::OkStatus();
  }));
  return touched;
}

absl::StatusOr<std::map<std::string, std::string>> DamageKeeper::FindMoved(Replica& replica,
                                                                           const std::vector<Touched>& touched,
                                                                           std::stop_token stop) {
  std::map<std::string, std::string> moved;
  std::map<std::pair<uint64_t, int64_t>, std::vector<std::string>> strays;  // paths, by inode and birth time
  for (const auto& [damage, in_place] : touched) {
    if (in_place) continue;
    strays[{damage.identity.inode, damage.identity.btime_nanoseconds}].push_back(damage.file.path);
  }
  if (strays.empty()) return moved;
  ASSIGN_OR_RETURN(const ReplicaTree tree, OpenTree(replica));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(tree.root, "", tree.excluded_name));
  while (!stop.stop_requested()) {
    const absl::StatusOr<std::optional<os::WalkEntry>> next = walk.Next();
    if (absl::IsDataLoss(next.status())) continue;  // it may be there; the next pass finds it
    RETURN_IF_ERROR(next.status());
    const std::optional<os::WalkEntry>& entry = *next;
    if (!entry.has_value()) return moved;
    const auto found = strays.find({entry->stat.inode, entry->stat.btime_nanoseconds});
    if (found == strays.end()) continue;
    for (const std::string& path : found->second) moved.emplace(path, entry->path);
  }
  return absl::CancelledError("the agent stops");
}

absl::Status DamageKeeper::TendFile(const model::VolumeName& volume, Replica& replica, const Touched& touched,
                                    const std::string& moved_to, std::stop_token stop) {
  const OnBytes on_bytes = [&](uint64_t) {
    return stop.stop_requested() ? absl::CancelledError("the agent stops") : absl::OkStatus();
  };
  const auto is_bad = [](Verdict verdict) { return verdict == Verdict::kDamaged || verdict == Verdict::kUnreadable; };
  const std::string& path = touched.damage.file.path;
  ASSIGN_OR_RETURN(const ContentCheck check, CheckContent(replica, path, on_bytes));
  if (is_bad(check.verdict)) {
    Note(volume, replica, path, check);
  } else if (check.verdict == Verdict::kChanging) {
    absl::MutexLock lock(&mutex_);
    volumes_[volume].looked_at = 0;  // once more
  } else if (!moved_to.empty()) {
    Remove(volume, replica, path, "has another name now");
  } else if (check.verdict == Verdict::kGone) {
    Remove(volume, replica, path, "isn't there any more");
  } else {
    Passed(volume, replica, path);
  }
  if (moved_to.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ContentCheck there, CheckContent(replica, moved_to, on_bytes));
  if (!is_bad(there.verdict) && there.verdict != Verdict::kChanging) return absl::OkStatus();
  Damage at_new_path = touched.damage;
  at_new_path.file.path = moved_to;
  Put(volume, replica, at_new_path);
  return absl::OkStatus();
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
  ASSIGN_OR_RETURN(const std::vector<Touched> touched, FindTouched(replica, damages));
  ASSIGN_OR_RETURN(const auto moved, FindMoved(replica, touched, stop));
  std::set<std::string> looked_at;
  for (const Touched& one : touched) {
    const auto elsewhere = moved.find(one.damage.file.path);
    RETURN_IF_ERROR(TendFile(volume, replica, one, elsewhere == moved.end() ? "" : elsewhere->second, stop));
    looked_at.insert(one.damage.file.path);
  }
  if (!tell) return absl::OkStatus();
  for (const Damage& damage : damages) {
    if (!looked_at.contains(damage.file.path)) replica.TellDamage(damage.file);
  }
  return absl::OkStatus();
}

absl::Status DamageKeeper::Tend(std::stop_token stop) {
  LoadLate();
  std::vector<model::VolumeName> names;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, of_volume] : volumes_) names.push_back(name);
    for (const auto& [name, paths] : unreadable_) {
      if (!volumes_.contains(name)) names.push_back(name);
    }
  }
  for (const model::VolumeName& name : names) {
    if (stop.stop_requested()) return absl::CancelledError("the agent stops");
    const auto replica = engine_.FindReplica(name);
    // In the trash: a restored one is scrubbed anew. Promoted: its files are its clients' from here on.
    if (!replica.ok() || (*replica)->State().state != model::VolumeState::kStandby) {
      absl::MutexLock lock(&mutex_);
      volumes_.erase(name);
      unreadable_.erase(name);
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
