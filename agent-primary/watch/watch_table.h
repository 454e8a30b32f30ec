// watch_table.h: which inotify watch stands for which folder of which volume. A value; it asks the kernel nothing.
//
// A folder's path is its chain of parents, so that renaming a folder costs one entry. Watches are the kernel's
// descriptors, never negative. Functions that forget watches give back which; whether the kernel is told is the
// caller's to know. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/model/volume.h"

namespace understudy::primary {

class WatchTable {
 public:
  struct Place {
    model::VolumeName volume;
    std::string path;  // in the volume; "" for its root
  };

  // The volume's root is the folder of this watch now.
  void PlaceRoot(int watch, const model::VolumeName& volume);
  // The folder `name` of the folder of watch `parent`, which is in the table, is the one of this watch now. What the
  // table has below it comes along; another folder that stood there is an orphan until it is placed again.
  void PlaceBelow(int parent, const std::string& name, int watch);
  // The folder isn't where it was: it is an orphan until it is placed again. None of that name is fine.
  void MovedAway(int parent, std::string_view name);

  [[nodiscard]] bool Contains(int watch) const { return watches_.contains(watch); }
  // nullopt: unknown, or below an orphan.
  [[nodiscard]] std::optional<Place> Find(int watch) const;
  [[nodiscard]] std::optional<int> WatchOf(const model::VolumeName& volume, std::string_view path) const;
  [[nodiscard]] size_t size() const { return watches_.size(); }

  // It and all below it.
  std::vector<int> Forget(int watch);
  // The volume has no root any more; its watches are forgotten with it.
  std::vector<int> ForgetVolume(const model::VolumeName& volume);

  // Folders that were orphans at the call before already, and still are.
  std::vector<int> ForgetOrphans();

  // A walk over every folder places each that it meets; those of the volume that it didn't place are forgotten.
  void BeginWalk() { ++walks_; }
  std::vector<int> ForgetUnseen(const model::VolumeName& volume);

 private:
  struct Watch {
    model::VolumeName volume;
    int parent = -1;  // -1 for a volume's root, and for an orphan
    std::string name;
    std::map<std::string, int, std::less<>> children;
    uint64_t seen = 0;  // the newest walk that met it
  };

  Watch& PlaceAnywhere(int watch, const model::VolumeName& volume);
  // Takes the folder out of its parent, with everything below it.
  void Detach(int watch);
  [[nodiscard]] bool IsRoot(int watch, const model::VolumeName& volume) const;

  std::unordered_map<int, Watch> watches_;
  std::map<model::VolumeName, int> roots_;
  std::vector<int> orphans_;
  std::vector<int> old_orphans_;  // since before the newest ForgetOrphans
  uint64_t walks_ = 0;
};

}  // namespace understudy::primary
