// new_places.h: where in the staging folder what a commit places is made, before it is published.
//
// An entry of a folder that is new in the same commit is made in that, as it will be, and comes into the replica with
// it; anything else is made under the name of its operation. So a new tree is published by one rename.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/fd.h"

namespace understudy::dr {

// Of one commit; operations come in its order. One thread at a time; `work` outlives it.
class NewPlaces {
 public:
  struct Place {
    int folder_fd = -1;  // valid until the next call
    std::string name;
    std::string path;  // the same below the staging folder
  };

  NewPlaces(const WorkArea& work, model::Sequence sequence) : work_(work), sequence_(sequence) {}

  // For what operation `index` places at `path` in the replica.
  [[nodiscard]] absl::StatusOr<Place> PlaceFor(const std::string& path, size_t index);
  // A new folder stands there now: what follows in it is made in it.
  void AddFolder(const std::string& path, const Place& place) { folders_[path] = place.path; }

 private:
  const WorkArea& work_;
  const model::Sequence sequence_;
  std::map<std::string, std::string, std::less<>> folders_;  // their paths below the staging folder, by path
  std::string open_path_;                                    // of `open_`
  os::Fd open_;                                              // the folder that was asked for last; invalid: none
};

}  // namespace understudy::dr
