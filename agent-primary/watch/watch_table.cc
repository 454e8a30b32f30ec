#include "agent-primary/watch/watch_table.h"

#include <utility>

#include "core/model/path.h"

namespace understudy::primary {

WatchTable::Watch& WatchTable::PlaceAnywhere(int watch, const model::VolumeName& volume) {
  if (watches_.contains(watch)) Detach(watch);  // a folder that we know, at another place now
  Watch& entry = watches_[watch];
  entry.volume = volume;
  entry.seen = walks_;
  return entry;
}

void WatchTable::PlaceRoot(int watch, const model::VolumeName& volume) {
  PlaceAnywhere(watch, volume).name.clear();
  roots_[volume] = watch;
}

void WatchTable::PlaceBelow(int parent, const std::string& name, int watch) {
  Watch& entry = PlaceAnywhere(watch, watches_.at(parent).volume);
  entry.parent = parent;
  entry.name = name;
  int& place = watches_.at(parent).children.try_emplace(name, watch).first->second;
  if (place == watch) return;
  // Its own event will tell where it went, if it is still in the volume.
  if (const auto displaced = watches_.find(place); displaced != watches_.end()) displaced->second.parent = -1;
  orphans_.push_back(std::exchange(place, watch));
}

void WatchTable::MovedAway(int parent, std::string_view name) {
  const auto folder = watches_.find(parent);
  if (folder == watches_.end()) return;
  const auto child = folder->second.children.find(name);
  if (child == folder->second.children.end()) return;
  orphans_.push_back(child->second);
  Detach(child->second);
}

bool WatchTable::IsRoot(int watch, const model::VolumeName& volume) const {
  const auto root = roots_.find(volume);
  return root != roots_.end() && root->second == watch;
}

std::optional<WatchTable::Place> WatchTable::Find(int watch) const {
  Place place;
  for (int at = watch;;) {
    const auto found = watches_.find(at);
    if (found == watches_.end()) return std::nullopt;
    const Watch& entry = found->second;
    if (entry.parent < 0) {
      if (!IsRoot(at, entry.volume)) return std::nullopt;
      place.volume = entry.volume;
      return place;
    }
    place.path = place.path.empty() ? entry.name : model::Join(entry.name, place.path);
    at = entry.parent;
  }
}

std::optional<int> WatchTable::WatchOf(const model::VolumeName& volume, std::string_view path) const {
  const auto root = roots_.find(volume);
  if (root == roots_.end()) return std::nullopt;
  int watch = root->second;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const auto at = watches_.find(watch);
    if (at == watches_.end()) return std::nullopt;
    const auto child = at->second.children.find(path.substr(0, slash));
    if (child == at->second.children.end()) return std::nullopt;
    watch = child->second;
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return watch;
}

void WatchTable::Detach(int watch) {
  Watch& entry = watches_.at(watch);
  if (entry.parent >= 0) {
    const auto parent = watches_.find(entry.parent);
    if (parent != watches_.end()) {
      const auto child = parent->second.children.find(entry.name);
      if (child != parent->second.children.end() && child->second == watch) parent->second.children.erase(child);
    }
  }
  entry.parent = -1;
}

std::vector<int> WatchTable::Forget(int watch) {
  std::vector<int> forgotten;
  std::vector<int> pending = {watch};
  if (watches_.contains(watch)) Detach(watch);
  while (!pending.empty()) {
    const int at = pending.back();
    pending.pop_back();
    const auto found = watches_.find(at);
    if (found == watches_.end()) continue;
    for (const auto& [name, child] : found->second.children) pending.push_back(child);
    watches_.erase(found);
    forgotten.push_back(at);
  }
  return forgotten;
}

std::vector<int> WatchTable::ForgetVolume(const model::VolumeName& volume) {
  const auto root = roots_.find(volume);
  if (root == roots_.end()) return {};
  const int watch = root->second;
  roots_.erase(root);
  return Forget(watch);
}

std::vector<int> WatchTable::ForgetOrphans() {
  std::vector<int> forgotten;
  for (const int watch : old_orphans_) {
    const auto found = watches_.find(watch);
    if (found == watches_.end() || found->second.parent >= 0 || IsRoot(watch, found->second.volume)) continue;
    const std::vector<int> gone = Forget(watch);
    forgotten.insert(forgotten.end(), gone.begin(), gone.end());
  }
  old_orphans_ = std::exchange(orphans_, {});
  return forgotten;
}

std::vector<int> WatchTable::ForgetUnseen(const model::VolumeName& volume) {
  std::vector<int> unseen;
  for (const auto& [watch, entry] : watches_) {
    if (entry.volume == volume && entry.seen < walks_) unseen.push_back(watch);
  }
  std::vector<int> forgotten;
  for (const int watch : unseen) {
    const std::vector<int> gone = Forget(watch);
    forgotten.insert(forgotten.end(), gone.begin(), gone.end());
  }
  return forgotten;
}

}  // namespace understudy::primary
