#include "agent-dr/commit/staging.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <span>
#include <utility>

#include "agent-dr/commit/file_clone.h"
#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/held_content.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/delta/delta_commands.h"
#include "core/delta/rsync_segment.h"
#include "core/os/file_io.h"
#include "core/os/stat.h"
#include "core/os/write_behind.h"
#include "core/wire/limits.h"
#include "core/wire/status_path.h"
#include "core/wire/validate.h"

namespace understudy::dr {
namespace {

absl::Status BaseMismatch(const std::string& path, std::string_view why) {
  return wire::WithPath(absl::DataLossError(fmt::format("the replica's '{}' isn't what the primary takes it for: {}",
                                                        Printable(path), why)),
                        path);
}

// Whether some of the range is to stay as it is. A delta that can't be told apart is looked at more closely.
bool LeavesInPlace(const model::SegmentDelta& delta) {
  const absl::StatusOr<std::vector<delta::Copy>> copies = delta::CopiesOf(delta.delta);
  return !copies.ok() || std::ranges::any_of(*copies, [&](const delta::Copy& copy) {
    return delta.base_offset + copy.from == delta.offset + copy.to;
  });
}

}  // namespace

absl::Status Staging::OpenBase(const std::string& path, Unfinished& slot) const {
  const absl::StatusOr<os::EntryStat> stat = replica_.Stat(path);
  if (absl::IsNotFound(stat.status())) return BaseMismatch(path, "it isn't there");
  RETURN_IF_ERROR(stat.status());
  if (stat->kind != model::FileKind::kRegular) return BaseMismatch(path, "it is no regular file");
  ASSIGN_OR_RETURN(slot.base, replica_.OpenPath(path, O_RDONLY | O_NONBLOCK));
  slot.base_size = stat->size;
  slot.content.base = IdentityOf(*stat);
  return absl::OkStatus();
}

absl::Status Staging::CheckUnused(model::Slot slot) const {
  const bool used = unfinished_.contains(slot) || finished_.contains(slot) || small_.Find(slot) != nullptr;
  return used ? absl::InvalidArgumentError(fmt::format("slot {} is in use", slot)) : absl::OkStatus();
}

absl::Status Staging::CheckFree(model::Slot slot) const {
  RETURN_IF_ERROR(CheckUnused(slot));
  if (unfinished_.size() >= kMaxUnfinishedSlots) {
    return absl::ResourceExhaustedError(fmt::format("more than {} unfinished slots", kMaxUnfinishedSlots));
  }
  return CheckFreeSpace(work_.staging().fd(), 0, 1);
}

absl::Status Staging::Begin(model::Slot slot, const std::string& path, uint64_t size, const std::string& base_path) {
  RETURN_IF_ERROR(wire::ValidateStageBegin(slot, path, size, base_path));
  RETURN_IF_ERROR(CheckFree(slot));
  Unfinished begun;
  begun.path = path;
  begun.content.size = size;
  begun.content.has_base = !base_path.empty();
  begun.content.base_path = base_path;
  if (begun.content.has_base) RETURN_IF_ERROR(OpenBase(base_path, begun));
  ASSIGN_OR_RETURN(begun.file,
                   work_.staging().OpenPath(WorkArea::StagedContent(slot), O_RDWR | O_CREAT | O_TRUNC, 0600));
  if (ftruncate(begun.file.get(), static_cast<off_t>(size)) != 0) {
    return ErrnoStatus(errno, "set the size of staged content");
  }
  if (!begun.content.has_base) RETURN_IF_ERROR(leftovers_.Describe(slot, {path, size}));
  unfinished_.emplace(slot, std::move(begun));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<model::SegmentDigest>> Staging::Resume(model::Slot slot, const std::string& path,
                                                                  uint64_t size, const std::string& base_path) {
  RETURN_IF_ERROR(wire::ValidateStageBegin(slot, path, size, base_path));
  RETURN_IF_ERROR(CheckFree(slot));
  Unfinished begun;
  begun.path = path;
  begun.content.size = size;
  begun.content.has_base = !base_path.empty();
  begun.content.base_path = base_path;
  begun.resumed = true;
  if (begun.content.has_base) RETURN_IF_ERROR(OpenBase(base_path, begun));
  ASSIGN_OR_RETURN(begun.file, leftovers_.TakeBack(slot, {path, size, begun.content.has_base}));
  absl::StatusOr<std::vector<model::SegmentDigest>> segments = FindHeld(begun);
  if (!segments.ok()) {
    // Kept, it would fail each session that goes on with it.
    leftovers_.Undescribe(slot);
    return absl::NotFoundError(
        fmt::format("what was staged for '{}' can't be used: {}", Printable(path), MessageOf(segments.status())));
  }
  unfinished_.emplace(slot, std::move(begun));
  return segments;
}

absl::StatusOr<std::vector<model::SegmentDigest>> Staging::FindHeld(Unfinished& slot) const {
  const uint64_t size = slot.content.size;
  if (!slot.content.has_base) return CutToHeldSegments(slot.file.get(), size, wire::kMaxResumedSegments);
  ASSIGN_OR_RETURN(HeldOverBase held, CutToHeldOverBase(slot.file.get(), slot.base.get(), slot.base_size, size,
                                                        wire::kMaxResumedSegments));
  slot.held = std::move(held.ranges);
  return std::move(held.segments);
}

absl::Status Staging::TakeHeldBefore(Unfinished& slot, uint64_t offset) {
  for (; slot.next_held < slot.held.size() && slot.held[slot.next_held].offset < offset; ++slot.next_held) {
    RETURN_IF_ERROR(Note(slot, slot.held[slot.next_held]));
  }
  return absl::OkStatus();
}

absl::Status Staging::ReplaceHeld(Unfinished& slot, uint64_t offset, uint64_t length) {
  constexpr uint64_t kSegment = delta::kSegmentBytes;
  RETURN_IF_ERROR(TakeHeldBefore(slot, offset / kSegment * kSegment));
  const uint64_t end = (offset + length + kSegment - 1) / kSegment * kSegment;
  for (; slot.next_held < slot.held.size() && slot.held[slot.next_held].offset < end; ++slot.next_held) {
    const ContentRange& range = slot.held[slot.next_held];
    RETURN_IF_ERROR(ZeroRange(slot.file.get(), range.offset, range.length));
  }
  return absl::OkStatus();
}

absl::StatusOr<Staging::Unfinished*> Staging::Range(model::Slot slot, uint64_t offset, uint64_t length) {
  const auto found = unfinished_.find(slot);
  if (found == unfinished_.end()) return absl::InvalidArgumentError(fmt::format("slot {} wasn't begun", slot));
  Unfinished& begun = found->second;
  if (offset < begun.filled_to) {
    return absl::InvalidArgumentError(
        fmt::format("slot {}: the range at {} comes after one that ends at {}", slot, offset, begun.filled_to));
  }
  if (length > begun.content.size || offset > begun.content.size - length) {
    return absl::InvalidArgumentError(fmt::format("slot {}: {} bytes at {} end past the content's {} bytes", slot,
                                                  length, offset, begun.content.size));
  }
  begun.filled_to = offset + length;
  RETURN_IF_ERROR(ReplaceHeld(begun, offset, length));
  return &begun;
}

absl::Status Staging::Data(model::Slot slot, uint64_t offset, std::string_view data) {
  RETURN_IF_ERROR(wire::ValidateStageData(slot, offset, data));
  ASSIGN_OR_RETURN(Unfinished* const begun, Range(slot, offset, data.size()));
  return Annotate(Write(slot, *begun, offset, data), fmt::format("stage slot {}", slot));
}

absl::Status Staging::Write(model::Slot number, Unfinished& slot, uint64_t offset, std::string_view data) {
  RETURN_IF_ERROR(CheckFreeSpace(work_.staging().fd(), data.size(), 0));
  RETURN_IF_ERROR(os::WriteAt(slot.file.get(), offset, data));
  const bool was_worth_keeping = slot.bytes_staged >= kMinLeftoverBytes;
  slot.bytes_staged += data.size();
  if (slot.bytes_staged / os::kWriteBehindBytes != (slot.bytes_staged - data.size()) / os::kWriteBehindBytes) {
    os::BeginWriting(slot.file.get());
  }
  if (slot.content.has_base && !slot.resumed && !was_worth_keeping && slot.bytes_staged >= kMinLeftoverBytes) {
    RETURN_IF_ERROR(leftovers_.Describe(number, {slot.path, slot.content.size, /*over_base=*/true}));
  }
  return Note(slot, {.offset = offset, .length = data.size()});
}

absl::Status Staging::Note(Unfinished& slot, ContentRange range) {
  if (!slot.content.has_base) return absl::OkStatus();
  AppendRange(slot.content.ranges, range);
  if (slot.content.ranges.size() <= kMaxContentRanges) return absl::OkStatus();
  return absl::ResourceExhaustedError(fmt::format("'{}' changes in more than {} places in one commit",
                                                  Printable(slot.content.base_path), kMaxContentRanges));
}

absl::Status Staging::Hole(model::Slot slot, uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(wire::ValidateStageHole(slot, offset, length));
  ASSIGN_OR_RETURN(Unfinished* const begun, Range(slot, offset, length));
  // Nothing was written there yet, but to what an earlier session left.
  if (begun->resumed) RETURN_IF_ERROR(ZeroRange(begun->file.get(), offset, length));
  return Note(*begun, {.offset = offset, .length = length, .hole = true});
}

absl::Status Staging::Delta(model::Slot slot, const model::SegmentDelta& delta) {
  RETURN_IF_ERROR(wire::ValidateStageDelta(slot, delta));
  ASSIGN_OR_RETURN(Unfinished* const begun, Range(slot, delta.offset, delta.length));
  const std::string& base_path = begun->content.base_path;
  if (!begun->content.has_base) return absl::InvalidArgumentError(fmt::format("slot {} has no base", slot));
  const auto read_base = [&](uint64_t offset, uint64_t length, std::string& bytes) -> absl::Status {
    bytes.resize(static_cast<size_t>(length));
    ASSIGN_OR_RETURN(const size_t got, os::ReadInto(begun->base.get(), offset, bytes));
    bytes.resize(got);
    return absl::OkStatus();
  };
  auto& [base, patched] = buffers_;
  RETURN_IF_ERROR(read_base(delta.base_offset, delta.base_length, base));
  patched.resize(static_cast<size_t>(delta.length));
  const absl::Status applied = delta::ApplyDelta(base, delta.delta, std::span<char>(patched));
  if (absl::IsDataLoss(applied)) return BaseMismatch(base_path, MessageOf(applied));
  RETURN_IF_ERROR(applied);
  if (delta::DigestOfBlocks(delta.offset, patched) != delta.digest) {
    return BaseMismatch(base_path, fmt::format("the delta at {} gives other bytes there", delta.offset));
  }
  const bool fine = begun->content.ranges.size() <= kFineContentRanges && LeavesInPlace(delta);
  if (!fine) return Write(slot, *begun, delta.offset, patched);
  RETURN_IF_ERROR(read_base(delta.offset, delta.length, base));
  for (const ContentRange& range : ChangedBlocks(base, patched, delta.offset)) {
    const std::string_view data = std::string_view(patched).substr(range.offset - delta.offset, range.length);
    RETURN_IF_ERROR(Annotate(Write(slot, *begun, range.offset, data), fmt::format("stage slot {}", slot)));
  }
  return absl::OkStatus();
}

absl::Status Staging::End(model::Slot slot) {
  const auto found = unfinished_.find(slot);
  if (found == unfinished_.end()) return absl::InvalidArgumentError(fmt::format("slot {} wasn't begun", slot));
  RETURN_IF_ERROR(TakeHeldBefore(found->second, found->second.content.size));
  finished_.emplace(slot, std::move(found->second.content));
  unfinished_.erase(found);
  buffers_ = {};
  return absl::OkStatus();
}

absl::Status Staging::Files(const model::StagedBatch& batch) {
  RETURN_IF_ERROR(wire::ValidateStagedBatch(batch));
  std::set<model::Slot> slots;
  for (const model::StagedFile& file : batch.files) {
    RETURN_IF_ERROR(CheckUnused(file.slot));
    if (!slots.insert(file.slot).second) {
      return absl::InvalidArgumentError(fmt::format("slot {} is used twice", file.slot));
    }
  }
  return small_.Add(batch);
}

const StagedContent* Staging::Find(model::Slot slot) const {
  const auto found = finished_.find(slot);
  return found == finished_.end() ? nullptr : &found->second;
}

void Staging::Clear() {
  unfinished_.clear();
  finished_.clear();
  buffers_ = {};
  small_.Clear();
}

}  // namespace understudy::dr
