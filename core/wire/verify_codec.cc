#include "core/wire/verify_codec.h"

#include <fmt/format.h>

#include <utility>

#include "core/model/path.h"
#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/replication_codec.h"
#include "core/wire/validate.h"
#include "understudy/v1/replication.pb.h"
#include "understudy/v1/verify.pb.h"

namespace understudy::wire {
namespace {

template <typename Message>
absl::StatusOr<VerifyRequest> VerifyRequestFrom(const Message& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  ASSIGN_OR_RETURN(const model::VerifyDepth depth, model::ParseVerifyDepth(message.depth()));
  return VerifyRequest{message.volume(), depth};
}

absl::StatusOr<model::ListedEntry> ListedEntryFrom(const v1::ListedEntry& message) {
  model::ListedEntry listed;
  // The root has no name that Parse would take; all else of it is an entry's.
  const bool root = message.entry().path().empty();
  if (root) {
    v1::InventoryEntry named = message.entry();
    named.set_path("root");
    ASSIGN_OR_RETURN(listed.entry, Parse(named));
    listed.entry.path.clear();
  } else {
    ASSIGN_OR_RETURN(listed.entry, Parse(message.entry()));
  }
  if (root && listed.entry.kind != model::FileKind::kDirectory) {
    return absl::InvalidArgumentError("a replica's root that is no folder");
  }
  listed.changing = message.changing();
  listed.damaged = message.damaged();
  listed.unreadable = message.unreadable();
  return listed;
}

}  // namespace

absl::StatusOr<VerifyRequest> Parse(const v1::VerifyReplicaRequest& message) {
  ASSIGN_OR_RETURN(VerifyRequest request, VerifyRequestFrom(message));
  if (request.depth == model::VerifyDepth::kExists || request.depth == model::VerifyDepth::kKept) return request;
  return absl::InvalidArgumentError("DR alone verifies at depth exists or kept");
}

absl::StatusOr<VerifyRequest> Parse(const v1::VerifyVolumeRequest& message) {
  ASSIGN_OR_RETURN(VerifyRequest request, VerifyRequestFrom(message));
  if (request.depth == model::VerifyDepth::kMetadata || request.depth == model::VerifyDepth::kDigests) return request;
  return absl::InvalidArgumentError("the primary verifies at depth metadata or digests");
}

absl::StatusOr<VerifyUpdate> Parse(const v1::VerifyUpdate& message) {
  if (static_cast<size_t>(message.differences_size()) > model::kMaxListedDifferences) {
    return absl::InvalidArgumentError(fmt::format("{} differences in one message", message.differences_size()));
  }
  const v1::VerifyCounts& counts = message.counts();
  VerifyUpdate update;
  update.counts = {counts.entries(), counts.files_read(), counts.bytes_read(),
                   counts.learned(), counts.unchecked(),  counts.differences()};
  update.done = message.done();
  for (const v1::Difference& difference : message.differences()) {
    RETURN_IF_ERROR(model::ValidatePath(difference.path()));
    ASSIGN_OR_RETURN(const model::DifferenceKind kind, model::ParseDifferenceKind(difference.kind()));
    update.differences.push_back({difference.path(), kind, ToText(difference.detail(), kMaxDifferenceDetailBytes)});
  }
  return update;
}

absl::StatusOr<ListEntriesRequest> Parse(const v1::ListEntriesRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  if (static_cast<size_t>(message.paths_size()) > kMaxListedPaths) {
    return absl::InvalidArgumentError(
        fmt::format("{} paths to list: at most {} are allowed", message.paths_size(), kMaxListedPaths));
  }
  ListEntriesRequest request{message.volume(), message.with_digests(), {}};
  for (const std::string& path : message.paths()) {
    RETURN_IF_ERROR(model::ValidatePath(path));
    request.paths.push_back(path);
  }
  return request;
}

absl::StatusOr<std::vector<model::ListedEntry>> Parse(const v1::ListEntriesResponse& message) {
  if (static_cast<size_t>(message.entries_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError(fmt::format("a page of {} entries", message.entries_size()));
  }
  std::vector<model::ListedEntry> entries;
  entries.reserve(static_cast<size_t>(message.entries_size()));
  for (const v1::ListedEntry& entry : message.entries()) {
    ASSIGN_OR_RETURN(model::ListedEntry parsed, ListedEntryFrom(entry));
    entries.push_back(std::move(parsed));
  }
  return entries;
}

absl::StatusOr<std::string> Parse(const v1::ListDamageRequest& message) {
  if (!message.volume().empty()) RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  return message.volume();
}

absl::StatusOr<Damaged> Parse(const v1::Damaged& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(model::ValidatePath(message.path()));
  if (message.path().empty()) return absl::InvalidArgumentError("the volume's root isn't a file that can be damaged");
  if (message.size() > kMaxFileBytes) return absl::InvalidArgumentError("a damaged file that is too large");
  if (static_cast<size_t>(message.segments_size()) > kMaxResumedSegments) {
    return absl::InvalidArgumentError(fmt::format("{} segments of a damaged file", message.segments_size()));
  }
  Damaged damaged{message.volume(), {message.path(), message.size(), std::nullopt}};
  if (!message.has_segments()) return damaged;
  std::vector<model::SegmentDigest>& segments = damaged.file.segments.emplace();
  segments.reserve(static_cast<size_t>(message.segments_size()));
  for (const v1::SegmentDigest& segment : message.segments()) {
    ASSIGN_OR_RETURN(const model::Digest digest, DigestFrom(segment.digest()));
    if (!segments.empty() && segment.number() <= segments.back().number) {
      return absl::InvalidArgumentError("segments of a damaged file stand in the wrong order");
    }
    segments.push_back({segment.number(), digest});
  }
  return damaged;
}

v1::VerifyUpdate ToProto(const VerifyUpdate& update) {
  v1::VerifyUpdate message;
  v1::VerifyCounts& counts = *message.mutable_counts();
  counts.set_entries(update.counts.entries);
  counts.set_files_read(update.counts.files_read);
  counts.set_bytes_read(update.counts.bytes_read);
  counts.set_learned(update.counts.learned);
  counts.set_unchecked(update.counts.unchecked);
  counts.set_differences(update.counts.differences);
  for (const model::Difference& difference : update.differences) {
    v1::Difference& added = *message.add_differences();
    added.set_path(difference.path);
    added.set_kind(std::string(model::ToString(difference.kind)));
    added.set_detail(ToText(difference.detail, kMaxDifferenceDetailBytes));
  }
  message.set_done(update.done);
  return message;
}

v1::ListEntriesRequest ToProto(const ListEntriesRequest& request) {
  v1::ListEntriesRequest message;
  message.set_volume(request.volume);
  message.set_with_digests(request.with_digests);
  for (const std::string& path : request.paths) message.add_paths(path);
  return message;
}

v1::ListedEntry ToProto(const model::ListedEntry& entry) {
  v1::ListedEntry message;
  *message.mutable_entry() = ToProto(entry.entry);
  message.set_changing(entry.changing);
  message.set_damaged(entry.damaged);
  message.set_unreadable(entry.unreadable);
  return message;
}

v1::Damaged ToProto(const Damaged& damaged) {
  v1::Damaged message;
  message.set_volume(damaged.volume);
  message.set_path(damaged.file.path);
  message.set_size(damaged.file.size);
  const bool fits = damaged.file.segments.has_value() && damaged.file.segments->size() <= kMaxResumedSegments;
  message.set_has_segments(fits);
  if (!fits) return message;
  for (const model::SegmentDigest& segment : *damaged.file.segments) {
    v1::SegmentDigest& added = *message.add_segments();
    added.set_number(segment.number);
    added.set_digest(segment.digest.data(), segment.digest.size());
  }
  return message;
}

}  // namespace understudy::wire
