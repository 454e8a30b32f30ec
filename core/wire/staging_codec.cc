// The part of replication_codec.h that carries content ahead of its commit.
#include <fmt/format.h>

#include <span>

#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/replication_codec.h"
#include "core/wire/validate.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::wire {
namespace {

// Of a StageData's first range, which stands in it, or of a StageRange.
template <typename Message>
absl::StatusOr<StageRange> RangeFrom(model::Slot slot, const Message& message) {
  if (message.data().empty()) {
    RETURN_IF_ERROR(ValidateStageHole(slot, message.offset(), message.length()));
  } else {
    if (message.length() != message.data().size()) {
      return absl::InvalidArgumentError(
          fmt::format("{} bytes of staged data where {} are announced", message.data().size(), message.length()));
    }
    RETURN_IF_ERROR(ValidateStageData(slot, message.offset(), message.data()));
  }
  return StageRange{message.offset(), message.length(), message.data()};
}

template <typename Message>
void SetRange(const StageRange& range, Message& message) {
  message.set_offset(range.offset);
  message.set_length(range.length);
  message.set_data(range.data.data(), range.data.size());
}

template <typename Message>
absl::StatusOr<StageBegin> StageBeginFrom(const Message& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateStageBegin(message.slot(), message.path(), message.size(), message.base_path()));
  return StageBegin{message.volume(), message.slot(), message.path(), message.size(), message.base_path()};
}

template <typename Message>
Message StageBeginTo(const StageBegin& begin) {
  Message message;
  message.set_volume(begin.volume);
  message.set_slot(begin.slot);
  message.set_path(begin.path);
  message.set_size(begin.size);
  message.set_base_path(begin.base_path);
  return message;
}

}  // namespace

absl::StatusOr<StageBegin> Parse(const v1::StageBegin& message) {
  return StageBeginFrom(message);
}
absl::StatusOr<StageBegin> Parse(const v1::StageResume& message) {
  return StageBeginFrom(message);
}

absl::StatusOr<StageResumed> Parse(const v1::StageResumed& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateSlot(message.slot()));
  if (static_cast<size_t>(message.segments_size()) > kMaxResumedSegments) {
    return absl::InvalidArgumentError(fmt::format("{} segments of resumed content", message.segments_size()));
  }
  StageResumed resumed{message.volume(), message.slot(), message.found(), {}};
  resumed.segments.reserve(static_cast<size_t>(message.segments_size()));
  for (const v1::SegmentDigest& segment : message.segments()) {
    ASSIGN_OR_RETURN(const model::Digest digest, DigestFrom(segment.digest()));
    if (!resumed.segments.empty() && segment.number() <= resumed.segments.back().number) {
      return absl::InvalidArgumentError("segments of resumed content stand in the wrong order");
    }
    resumed.segments.push_back({segment.number(), digest});
  }
  return resumed;
}

absl::StatusOr<StageData> Parse(const v1::StageData& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  const auto ranges = static_cast<size_t>(message.more_size()) + 1;
  if (ranges > kMaxStageRanges) {
    return absl::InvalidArgumentError(fmt::format("{} ranges of staged data at a time", ranges));
  }
  StageData parsed{message.volume(), message.slot(), {}};
  parsed.ranges.reserve(ranges);
  ASSIGN_OR_RETURN(parsed.ranges.emplace_back(), RangeFrom(message.slot(), message));
  size_t bytes = message.data().size();
  for (const v1::StageRange& range : message.more()) {
    ASSIGN_OR_RETURN(parsed.ranges.emplace_back(), RangeFrom(message.slot(), range));
    bytes += range.data().size();
  }
  if (bytes > kMaxStageBytes)
    return absl::InvalidArgumentError(fmt::format("{} bytes of staged data at a time", bytes));
  return parsed;
}

absl::StatusOr<StageFiles> Parse(const v1::StageFiles& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  StageFiles parsed{message.volume(), {}};
  parsed.batch.folders.assign(message.folders().begin(), message.folders().end());
  parsed.batch.files.reserve(static_cast<size_t>(message.files_size()));
  for (const v1::StagedFile& file : message.files()) {
    ASSIGN_OR_RETURN(const model::Digest digest, DigestFrom(file.digest()));
    parsed.batch.files.push_back({file.slot(), file.path(), MetadataFrom(file.metadata()), digest, file.content()});
  }
  RETURN_IF_ERROR(ValidateStagedBatch(parsed.batch));
  return parsed;
}

absl::StatusOr<StageDelta> Parse(const v1::StageDelta& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  StageDelta parsed{message.volume(),
                    message.slot(),
                    {.offset = message.offset(),
                     .length = message.length(),
                     .delta = message.delta(),
                     .base_offset = message.base_offset(),
                     .base_length = message.base_length()}};
  ASSIGN_OR_RETURN(parsed.delta.digest, DigestFrom(message.digest()));
  RETURN_IF_ERROR(ValidateStageDelta(parsed.slot, parsed.delta));
  return parsed;
}

absl::StatusOr<StageEnd> Parse(const v1::StageEnd& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateSlot(message.slot()));
  return StageEnd{message.volume(), message.slot()};
}

v1::StageBegin ToProto(const StageBegin& begin) {
  return StageBeginTo<v1::StageBegin>(begin);
}
v1::StageResume ToResume(const StageBegin& begin) {
  return StageBeginTo<v1::StageResume>(begin);
}

v1::StageResumed ToProto(const StageResumed& resumed) {
  v1::StageResumed message;
  message.set_volume(resumed.volume);
  message.set_slot(resumed.slot);
  message.set_found(resumed.found);
  for (const model::SegmentDigest& segment : resumed.segments) {
    v1::SegmentDigest& added = *message.add_segments();
    added.set_number(segment.number);
    added.set_digest(segment.digest.data(), segment.digest.size());
  }
  return message;
}

v1::StageData ToProto(const StageData& data) {
  v1::StageData message;
  message.set_volume(data.volume);
  message.set_slot(data.slot);
  SetRange(data.ranges.front(), message);
  for (const StageRange& range : std::span(data.ranges).subspan(1)) SetRange(range, *message.add_more());
  return message;
}

v1::StageFiles ToProto(const model::VolumeName& volume, const model::StagedBatch& batch) {
  v1::StageFiles message;
  message.set_volume(volume);
  for (const std::string& folder : batch.folders) message.add_folders(folder);
  for (const model::StagedFile& file : batch.files) {
    v1::StagedFile& added = *message.add_files();
    added.set_slot(file.slot);
    added.set_path(file.path);
    *added.mutable_metadata() = ToProto(file.metadata);
    added.set_digest(file.digest.data(), file.digest.size());
    added.set_content(file.content);
  }
  return message;
}

v1::StageDelta ToProto(const StageDelta& delta) {
  v1::StageDelta message;
  message.set_volume(delta.volume);
  message.set_slot(delta.slot);
  message.set_offset(delta.delta.offset);
  message.set_length(delta.delta.length);
  message.set_delta(delta.delta.delta);
  message.set_digest(delta.delta.digest.data(), delta.delta.digest.size());
  message.set_base_offset(delta.delta.base_offset);
  message.set_base_length(delta.delta.base_length);
  return message;
}

v1::StageEnd ToProto(const StageEnd& end) {
  v1::StageEnd message;
  message.set_volume(end.volume);
  message.set_slot(end.slot);
  return message;
}

}  // namespace understudy::wire
