// trash_codec.h: the messages about deleted volumes (replication.proto, replica.proto) to values and back, as in
// replication_codec.h. Pure; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/trash.h"

namespace understudy::v1 {
class DiscardVolumeRequest;
class ListTrashRequest;
class ListTrashResponse;
class PurgeTrashRequest;
class RestoreTrashRequest;
class TrashEntry;
}  // namespace understudy::v1

namespace understudy::wire {

struct TrashPage {
  std::vector<model::TrashEntry> entries;
  bool more = false;
};

[[nodiscard]] absl::StatusOr<model::DiscardedVolume> Parse(const v1::DiscardVolumeRequest& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::ListTrashRequest& message);  // after this id; empty: all
[[nodiscard]] absl::StatusOr<model::TrashEntry> Parse(const v1::TrashEntry& message);
[[nodiscard]] absl::StatusOr<TrashPage> Parse(const v1::ListTrashResponse& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::RestoreTrashRequest& message);  // the id
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::PurgeTrashRequest& message);    // the id

[[nodiscard]] v1::DiscardVolumeRequest ToProto(const model::DiscardedVolume& discarded);
[[nodiscard]] v1::TrashEntry ToProto(const model::TrashEntry& entry);

}  // namespace understudy::wire
