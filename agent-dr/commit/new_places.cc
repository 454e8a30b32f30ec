#include "agent-dr/commit/new_places.h"

#include <fcntl.h>

#include "core/model/path.h"

namespace understudy::dr {

absl::StatusOr<NewPlaces::Place> NewPlaces::PlaceFor(const std::string& path, size_t index) {
  const std::string_view leaf = model::LeafName(path);
  const auto folder = folders_.find(model::Parent(path));
  // Below another name than the replica's the path can be longer than one may be.
  if (folder == folders_.end() || folder->second.size() + 1 + leaf.size() > model::kMaxPathBytes) {
    std::string name = WorkArea::StagedEntry(sequence_, index);
    return Place{work_.staging().fd(), name, name};
  }
  if (!open_.valid() || open_path_ != folder->second) {
    ASSIGN_OR_RETURN(open_, work_.staging().OpenPath(folder->second, O_RDONLY | O_DIRECTORY));
    open_path_ = folder->second;
  }
  return Place{open_.get(), std::string(leaf), model::Join(folder->second, leaf)};
}

}  // namespace understudy::dr
