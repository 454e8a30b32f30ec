#include "core/wire/trash_codec.h"

#include <utility>

#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/validate.h"
#include "understudy/v1/replica.pb.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::wire {

absl::StatusOr<model::DiscardedVolume> Parse(const v1::DiscardVolumeRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateReplicaRoot(message.replica_root()));
  RETURN_IF_ERROR(model::ValidateTrashId(message.replica_id()));
  return model::DiscardedVolume{message.volume(), message.replica_root(), message.replica_id(), message.epoch()};
}

absl::StatusOr<std::string> Parse(const v1::ListTrashRequest& message) {
  if (!message.after_id().empty()) RETURN_IF_ERROR(model::ValidateTrashId(message.after_id()));
  return message.after_id();
}

absl::StatusOr<model::TrashEntry> Parse(const v1::TrashEntry& message) {
  RETURN_IF_ERROR(model::ValidateTrashId(message.id()));
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateReplicaRoot(message.root()));
  RETURN_IF_ERROR(ValidateText("reason", message.reason(), kMaxErrorMessageBytes));
  model::TrashEntry entry;
  entry.id = message.id();
  entry.volume = message.volume();
  entry.root = message.root();
  ASSIGN_OR_RETURN(entry.state, model::ParseTrashState(message.state()));
  entry.reason = message.reason();
  entry.deleted_at = absl::FromUnixNanos(message.deleted_at_nanoseconds());
  entry.expires_at = absl::FromUnixNanos(message.expires_at_nanoseconds());
  entry.measured = message.measured();
  entry.size_bytes = message.size_bytes();
  entry.entry_count = message.entry_count();
  return entry;
}

absl::StatusOr<TrashPage> Parse(const v1::ListTrashResponse& message) {
  if (static_cast<size_t>(message.entries_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError("a page of the trash with too many entries");
  }
  TrashPage page;
  page.more = message.more();
  for (const v1::TrashEntry& entry : message.entries()) {
    ASSIGN_OR_RETURN(model::TrashEntry parsed, Parse(entry));
    // Else the caller would ask for the same page for ever.
    if (!page.entries.empty() && parsed.id <= page.entries.back().id) {
      return absl::InvalidArgumentError("a page of the trash whose ids don't ascend");
    }
    page.entries.push_back(std::move(parsed));
  }
  if (page.more && page.entries.empty()) return absl::InvalidArgumentError("an empty page of the trash with more");
  return page;
}

absl::StatusOr<std::string> Parse(const v1::RestoreTrashRequest& message) {
  RETURN_IF_ERROR(model::ValidateTrashId(message.id()));
  return message.id();
}

absl::StatusOr<std::string> Parse(const v1::PurgeTrashRequest& message) {
  RETURN_IF_ERROR(model::ValidateTrashId(message.id()));
  return message.id();
}

v1::DiscardVolumeRequest ToProto(const model::DiscardedVolume& discarded) {
  v1::DiscardVolumeRequest message;
  message.set_volume(discarded.volume);
  message.set_replica_root(discarded.replica_root);
  message.set_replica_id(discarded.replica_id);
  message.set_epoch(discarded.epoch);
  return message;
}

v1::TrashEntry ToProto(const model::TrashEntry& entry) {
  v1::TrashEntry message;
  message.set_id(entry.id);
  message.set_volume(entry.volume);
  message.set_root(entry.root);
  message.set_state(std::string(model::ToString(entry.state)));
  message.set_reason(ToText(entry.reason, kMaxErrorMessageBytes));
  message.set_deleted_at_nanoseconds(absl::ToUnixNanos(entry.deleted_at));
  message.set_expires_at_nanoseconds(absl::ToUnixNanos(entry.expires_at));
  message.set_measured(entry.measured);
  message.set_size_bytes(entry.size_bytes);
  message.set_entry_count(entry.entry_count);
  return message;
}

}  // namespace understudy::wire
