#include "agent-primary/capture/segment_deltas.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "agent-primary/capture/block_marks.h"
#include "core/delta/content_digest.h"
#include "core/delta/delta_commands.h"
#include "core/delta/rsync_segment.h"

namespace understudy::primary {
namespace {

using delta::kSegmentBytes;

// Where a delta of marks is longer, DR's signatures may make a shorter one.
constexpr size_t kShortDeltaBytes = 64 * 1024;

uint64_t SegmentCount(uint64_t size) {
  return (size + kSegmentBytes - 1) / kSegmentBytes;
}

model::SegmentDelta DeltaOf(const ReadSegment& segment, std::string delta) {
  return {.offset = segment.offset, .length = segment.length, .delta = std::move(delta), .digest = segment.digest};
}

}  // namespace

absl::StatusOr<std::optional<model::SegmentDelta>> SegmentDeltas::Find(const ReadSegment& segment, uint64_t beside) {
  ASSIGN_OR_RETURN(std::optional<model::SegmentDelta> of_marks, FromMarks(segment));
  if (of_marks.has_value() && of_marks->delta.size() <= kShortDeltaBytes) return of_marks;
  ASSIGN_OR_RETURN(std::optional<model::SegmentDelta> of_signatures, FromSignatures(segment, beside));
  if (!of_marks.has_value()) return of_signatures;
  const bool shorter = of_signatures.has_value() && of_signatures->delta.size() < of_marks->delta.size();
  return shorter ? of_signatures : of_marks;
}

absl::StatusOr<std::optional<model::SegmentDelta>> SegmentDeltas::FromMarks(const ReadSegment& segment) {
  if (!shift_.has_value()) return std::nullopt;
  const uint64_t end = segment.offset + segment.length;
  const int64_t old_begin = std::max<int64_t>(static_cast<int64_t>(segment.around_offset) - *shift_, 0);
  const int64_t old_end = std::min(static_cast<int64_t>(segment.around_offset + segment.around.size()) - *shift_,
                                   static_cast<int64_t>(request_.base->row.size));
  std::vector<delta::Copy> copies;
  uint64_t base_offset = 0;
  uint64_t base_end = 0;
  for (int64_t at = old_begin; at < old_end;) {
    const uint64_t number = static_cast<uint64_t>(at) / kSegmentBytes;
    at = static_cast<int64_t>((number + 1) * kSegmentBytes);
    ASSIGN_OR_RETURN(const std::string marks, FindMarks(number));
    if (marks.empty()) continue;
    for (const os::DataRange& run :
         ShiftedBlocks(number, marks, request_.base->row.size, *shift_, segment.around, segment.around_offset)) {
      const uint64_t to = std::max(run.begin, segment.offset);
      const uint64_t to_end = std::min(run.end, end);
      if (to >= to_end) continue;
      const auto from = static_cast<uint64_t>(static_cast<int64_t>(to) - *shift_);
      if (copies.empty()) base_offset = from;
      base_end = from + (to_end - to);
      const delta::Copy copy{.from = from - base_offset, .to = to - segment.offset, .length = to_end - to};
      if (!copies.empty() && copies.back().to + copies.back().length == copy.to) {
        copies.back().length += copy.length;
      } else {
        copies.push_back(copy);
      }
    }
  }
  if (copies.empty()) return std::nullopt;
  model::SegmentDelta found = DeltaOf(segment, delta::EncodeDelta(segment.bytes, copies));
  found.base_offset = base_offset;
  found.base_length = base_end - base_offset;
  return found;
}

absl::StatusOr<std::string> SegmentDeltas::FindMarks(uint64_t number) {
  ASSIGN_OR_RETURN(std::optional<SegmentRecord> record, request_.index.FindSegment(request_.base->row.inode, number));
  // Of a doubtful segment (VolumeIndex::Doubt: it has no digest) DR's isn't what its marks say.
  if (!record.has_value() || record->digest == model::Digest{}) return std::string();
  return std::move(record->blocks);
}

absl::StatusOr<std::optional<model::SegmentDelta>> SegmentDeltas::FromSignatures(const ReadSegment& segment,
                                                                                 uint64_t beside) {
  ASSIGN_OR_RETURN(const BaseWindow window, FindWindow(segment.number, beside));
  if (window.signature.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(std::string delta, delta::MakeDelta(window.signature, segment.bytes));
  model::SegmentDelta found = DeltaOf(segment, std::move(delta));
  found.base_offset = window.offset;
  found.base_length = window.length;
  ASSIGN_OR_RETURN(const std::vector<delta::Copy> copies, delta::CopiesOf(found.delta));
  const auto longest = std::ranges::max_element(copies, {}, &delta::Copy::length);
  if (longest != copies.end()) {
    shift_ = static_cast<int64_t>(segment.offset + longest->to) - static_cast<int64_t>(window.offset + longest->from);
  }
  return found;
}

absl::StatusOr<SegmentDeltas::BaseWindow> SegmentDeltas::FindWindow(uint64_t number, uint64_t beside) {
  const uint64_t first = number - std::min(number, beside);
  const uint64_t end = std::min(number + beside + 1, SegmentCount(request_.base->row.size));
  signatures_.erase(signatures_.begin(), signatures_.lower_bound(first));
  std::vector<std::string> signatures;
  BaseWindow window{.offset = first * kSegmentBytes};
  for (uint64_t of = first; of < end; ++of) {
    ASSIGN_OR_RETURN(std::string signature, FindSignature(of));
    if (signature.empty()) return BaseWindow{};
    signatures.push_back(std::move(signature));
    window.length += kSegmentBytes;
  }
  const absl::StatusOr<std::string> joined = delta::JoinSignatures(signatures);
  if (!joined.ok()) return BaseWindow{};  // what DR has is shorter than it was
  window.signature = *joined;
  return window;
}

absl::StatusOr<std::string> SegmentDeltas::FindSignature(uint64_t number) {
  const auto found = signatures_.find(number);
  if (found != signatures_.end()) return found->second;
  absl::StatusOr<std::string> signature = request_.sink.SegmentSignature(request_.volume, request_.base->path, number);
  // What DR can't read now, or not in time, is no reason to end the session.
  const absl::StatusCode why = signature.status().code();
  const bool none = why == absl::StatusCode::kNotFound || why == absl::StatusCode::kUnimplemented ||
                    why == absl::StatusCode::kDataLoss || why == absl::StatusCode::kDeadlineExceeded;
  if (none) signature = std::string();
  RETURN_IF_ERROR(signature.status());
  return signatures_.emplace(number, *std::move(signature)).first->second;
}

}  // namespace understudy::primary
