#include "agent-primary/capture/reading_capture.h"

#include <algorithm>
#include <utility>

#include "agent-primary/capture/block_marks.h"
#include "agent-primary/capture/segment_deltas.h"
#include "agent-primary/capture/segment_reader.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"

namespace understudy::primary {
namespace {

// A delta that saves less than a quarter isn't worth patching.
constexpr double kWorthwhileDeltaShare = 0.75;
// After a delta that wasn't, so many segments at most are sent without one.
constexpr int kMostSkippedDeltas = 63;
// Where each other block changed.
constexpr uint64_t kMostRunsOfSegment = delta::kSegmentBytes / delta::kBlockBytes / 2;
// Marks of 32 GiB of content.
constexpr size_t kMostMarksBytes = size_t{64} * 1024 * 1024;

uint64_t SegmentCount(uint64_t size) {
  return (size + delta::kSegmentBytes - 1) / delta::kSegmentBytes;
}

// Whether the index has segment records of what this row describes. They are kept by inode: names of one file that were
// captured while it changed have different content at DR, and the records are of one of them.
absl::StatusOr<bool> HasSegments(VolumeIndex& index, const std::optional<IndexEntry>& base) {
  if (!base.has_value() || base->row.kind != model::FileKind::kRegular || base->row.inode == 0) return false;
  if (base->row.size <= kMaxInlineContentBytes) return false;
  ASSIGN_OR_RETURN(const std::vector<model::SegmentDigest> segments, index.ListSegmentDigests(base->row.inode));
  delta::ContentDigest digest;
  for (const model::SegmentDigest& segment : segments) digest.Add(segment.digest);
  return digest.Finish(base->row.size) == base->row.content;
}

class ReadingCapture {
 public:
  // `frozen`: whose `fd` is; nullptr: the file's itself.
  ReadingCapture(const CaptureRequest& request, int fd, const FrozenFile* frozen, CapturedFile& file)
      : request_(request), fd_(fd), frozen_(frozen), file_(file), deltas_(request) {}

  absl::Status Run() {
    if (request_.strategy != Strategy::kWhole) {
      ASSIGN_OR_RETURN(incremental_, HasSegments(request_.index, request_.base));
    }
    if (incremental_ && request_.base->row.inode != inode()) {
      file_.segment_changes.push_back(CopySegments{request_.base->row.inode, inode()});
    }
    if (!incremental_) {
      file_.segment_changes.push_back(TruncateSegments{inode(), 0});
      ASSIGN_OR_RETURN(const bool same, IsWhatDrHas());
      if (same) return absl::OkStatus();
    }
    RETURN_IF_ERROR(GoOnWithLeftover());
    if (!incremental_) RETURN_IF_ERROR(Begin());
    file_.extends_base = incremental_;
    RETURN_IF_ERROR(CaptureSegments());
    file_.rung = !incremental_ ? "whole" : any_delta_ ? "rsync" : "blocks";
    return Finish();
  }

 private:
  uint64_t inode() const { return file_.stat.inode; }

  absl::Status CaptureSegments() {
    SegmentReader reader(fd_, file_.stat.size);
    for (uint64_t number = 0; number < SegmentCount(file_.stat.size); ++number) {
      if (request_.stop.stop_requested()) return absl::CancelledError("the agent stops");
      ASSIGN_OR_RETURN(const ReadSegment segment, OfSource(reader.Next()));
      if (frozen_ != nullptr) RETURN_IF_ERROR(frozen_->CheckHolds());
      if (segment.cut && frozen_ != nullptr) return OfSource(absl::DataLossError("a clone is shorter than it was"));
      file_.unsettled |= segment.cut;  // zeros stand for what is gone until the next look
      RETURN_IF_ERROR(CaptureSegment(segment));
    }
    return absl::OkStatus();
  }

  // Without segment records (a new index on a replica that is already there), the digest of the whole tells whether
  // anything has to travel. What is learnt of the segments meanwhile is of what was compared, whatever is written
  // since.
  absl::StatusOr<bool> IsWhatDrHas() {
    if (!request_.base.has_value() || request_.base->row.size != file_.stat.size) return false;
    send_ = false;
    RETURN_IF_ERROR(CaptureSegments());
    send_ = true;
    file_.digest = std::exchange(digest_, {}).Finish(file_.stat.size);
    if (file_.digest == request_.base->row.content) return true;
    file_.segment_changes = {TruncateSegments{inode(), 0}};
    marks_bytes_ = 0;
    return false;
  }

  std::string BasePath() const { return incremental_ ? request_.base->path : std::string(); }

  // Before the first segment is looked at: each that is held and isn't wanted has to be staged once more.
  absl::Status GoOnWithLeftover() {
    if (request_.leftovers == nullptr || request_.leftovers->erase(request_.path) == 0) return absl::OkStatus();
    absl::StatusOr<std::vector<model::SegmentDigest>> held =
        request_.sink.StageResume(request_.volume, request_.slot, request_.path, file_.stat.size, BasePath());
    if (absl::IsNotFound(held.status())) return absl::OkStatus();
    RETURN_IF_ERROR(held.status());
    held_ = *std::move(held);
    begun_ = true;
    file_.slot_taken = true;
    return absl::OkStatus();
  }

  absl::Status Begin() {
    file_.content_changed = true;
    file_.content = request_.slot;
    if (std::exchange(begun_, true)) return absl::OkStatus();
    return request_.sink.StageBegin(request_.volume, request_.slot, request_.path, file_.stat.size, BasePath());
  }

  // What is staged of the segment `number` already. Asked in ascending order.
  std::optional<model::Digest> Held(uint64_t number) {
    while (next_held_ < held_.size() && held_[next_held_].number < number) ++next_held_;
    if (next_held_ == held_.size() || held_[next_held_].number != number) return std::nullopt;
    return held_[next_held_].digest;
  }

  absl::Status CaptureSegment(const ReadSegment& segment) {
    const uint64_t number = segment.number;
    const uint64_t offset = segment.offset;
    const std::string_view bytes = segment.bytes;
    std::optional<SegmentRecord> known;
    if (incremental_ && offset < request_.base->row.size) {
      ASSIGN_OR_RETURN(known, request_.index.FindSegment(request_.base->row.inode, number));
    }
    if (bytes.empty()) return AddZeros(segment, known);
    SegmentRecord now{.number = number, .digest = segment.digest, .blocks = segment.marks};
    digest_.Add(now.digest);
    const std::optional<model::Digest> held = Held(number);
    if (known.has_value() && known->digest == now.digest) {
      if (known->blocks.empty()) Learn(std::move(now));
      if (!held.has_value() || held == known->digest) return absl::OkStatus();
      // What is staged isn't wanted: a block takes its place, and the rest is the base's again.
      return Send(offset, bytes.substr(0, delta::kBlockBytes), /*onto_zeros=*/false);
    }
    if (!send_) {
      Learn(std::move(now));
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Begin());
    const bool comparable = known.has_value() && known->digest != model::Digest{};
    if (held == now.digest) {
      file_.bytes_resumed += segment.length;
      ranges_ += comparable && !known->blocks.empty() ? ChangedBlocks(known->blocks, now.blocks, segment.length).size()
                                                      : kMostRunsOfSegment;
    } else if (comparable) {
      RETURN_IF_ERROR(SendChanges(segment, *known, held.has_value()));
    } else {
      // Of a doubtful segment (VolumeIndex::Doubt: it has no digest) DR's is no base for anything.
      bool sent = false;
      if (moving_ && !known.has_value()) {
        ASSIGN_OR_RETURN(sent, SendDelta(segment, /*beside=*/1, segment.length, kMostRunsOfSegment));
      }
      if (!sent) RETURN_IF_ERROR(Send(offset, bytes, /*onto_zeros=*/!held.has_value() && !known.has_value()));
      moving_ = sent;
    }
    Learn(std::move(now));
    return absl::OkStatus();
  }

  // What a base tells needs no marks. All of them are in memory until the commit is acknowledged: what is past the
  // bound is learnt when it is looked at again, or asked of DR.
  void Learn(SegmentRecord now) {
    if (frozen_ != nullptr || marks_bytes_ + now.blocks.size() > kMostMarksBytes) now.blocks.clear();
    marks_bytes_ += now.blocks.size();
    file_.segment_changes.push_back(PutSegment{inode(), std::move(now)});
  }

  absl::Status SendChanges(const ReadSegment& segment, const SegmentRecord& known, bool is_held) {
    const uint64_t offset = segment.offset;
    const std::string_view bytes = segment.bytes;
    // Where no marks are kept, it isn't known here where it changed.
    if (known.blocks.empty() || request_.strategy == Strategy::kRsync) {
      const uint64_t beside = known.blocks.empty() ? 0 : 1;
      ASSIGN_OR_RETURN(const bool sent, SendDelta(segment, beside, bytes.size(), kMostRunsOfSegment));
      return sent ? absl::OkStatus() : Send(offset, bytes, /*onto_zeros=*/false);
    }
    const std::vector<os::DataRange> changed = ChangedBlocks(known.blocks, segment.marks, bytes.size());
    if (changed.empty()) {
      const bool cut = segment.marks.size() < known.blocks.size();  // between two blocks; else two blocks have one mark
      if (cut && !is_held) return absl::OkStatus();
      return Send(offset, cut ? bytes.substr(0, delta::kBlockBytes) : bytes, /*onto_zeros=*/false);
    }
    if (LooksMoved(changed, bytes.size())) {
      ASSIGN_OR_RETURN(const bool sent, SendMoved(segment, changed));
      if (sent) return absl::OkStatus();
    }
    return SendRuns(changed, offset, bytes);
  }

  // Where content has moved a little, it is in the segments beside. False: nothing was sent.
  absl::StatusOr<bool> SendMoved(const ReadSegment& segment, const std::vector<os::DataRange>& changed) {
    if (deltas_to_skip_ > 0) {
      --deltas_to_skip_;
      return false;
    }
    uint64_t changed_bytes = 0;
    for (const os::DataRange& run : changed) changed_bytes += run.end - run.begin;
    ASSIGN_OR_RETURN(const bool sent, SendDelta(segment, /*beside=*/1, changed_bytes, changed.size()));
    moving_ = sent;
    if (!sent) deltas_to_skip_ = next_skip_;
    next_skip_ = sent ? 0 : std::min(2 * next_skip_ + 1, kMostSkippedDeltas);
    return sent;
  }

  // A delta against what DR has there and in so many segments `beside`. False: it doesn't save enough of `otherwise`
  // bytes, and nothing was sent.
  absl::StatusOr<bool> SendDelta(const ReadSegment& segment, uint64_t beside, uint64_t otherwise,
                                 uint64_t most_ranges) {
    ASSIGN_OR_RETURN(const std::optional<model::SegmentDelta> found, deltas_.Find(segment, beside));
    if (!found.has_value()) return false;
    const size_t bytes = found->delta.size();
    if (static_cast<double>(bytes) >= kWorthwhileDeltaShare * static_cast<double>(otherwise)) return false;
    ranges_ += most_ranges;
    any_delta_ = true;
    file_.bytes_sent += bytes;
    RETURN_IF_ERROR(request_.sink.StageDelta(request_.volume, request_.slot, *found));
    return true;
  }

  // DR takes so many ranges of one file and no more: when half of them are used, a segment goes as a whole.
  bool IsCoarse() const { return ranges_ >= request_.most_ranges / 2; }

  absl::Status SendRuns(const std::vector<os::DataRange>& runs, uint64_t offset, std::string_view bytes) {
    if (IsCoarse()) return Send(offset, bytes, /*onto_zeros=*/false);
    for (const os::DataRange& run : runs) {
      RETURN_IF_ERROR(Send(offset + run.begin, bytes.substr(run.begin, run.end - run.begin), /*onto_zeros=*/false));
    }
    return absl::OkStatus();
  }

  absl::Status AddZeros(const ReadSegment& segment, const std::optional<SegmentRecord>& known) {
    if (known.has_value()) {
      file_.segment_changes.push_back(RemoveSegment{inode(), segment.number});
      RETURN_IF_ERROR(Begin());
    } else if (!Held(segment.number).has_value()) {
      return absl::OkStatus();  // was zeros, or is beyond the base: a hole already
    }
    CountRange(segment.offset, segment.length, /*hole=*/true);
    return request_.sink.StageHole(request_.volume, request_.slot, segment.offset, segment.length);
  }

  // Neighbours of one kind are one.
  void CountRange(uint64_t offset, uint64_t length, bool hole) {
    if (offset != sent_to_ || hole != sent_hole_) ++ranges_;
    sent_to_ = offset + length;
    sent_hole_ = hole;
  }

  // `onto_zeros`: what is staged has a hole there, so zeros need no word.
  absl::Status Send(uint64_t offset, std::string_view bytes, bool onto_zeros) {
    for (size_t at = 0; at < bytes.size(); at += kStagePieceBytes) {
      const std::string_view piece = bytes.substr(at, kStagePieceBytes);
      const bool hole = (!incremental_ || !IsCoarse()) && delta::IsAllZeros(piece);
      if (hole && onto_zeros) continue;
      CountRange(offset + at, piece.size(), hole);
      if (hole) {
        RETURN_IF_ERROR(request_.sink.StageHole(request_.volume, request_.slot, offset + at, piece.size()));
        continue;
      }
      RETURN_IF_ERROR(request_.sink.StageData(request_.volume, request_.slot, offset + at, piece));
      file_.bytes_sent += piece.size();
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    file_.digest = digest_.Finish(file_.stat.size);
    if (incremental_) {
      file_.segment_changes.push_back(TruncateSegments{inode(), SegmentCount(file_.stat.size)});
      if (file_.digest != request_.base->row.content) RETURN_IF_ERROR(Begin());  // only its size differs
    }
    if (!begun_) return absl::OkStatus();
    return request_.sink.StageEnd(request_.volume, request_.slot);
  }

  const CaptureRequest& request_;
  const int fd_;
  const FrozenFile* const frozen_;
  CapturedFile& file_;
  SegmentDeltas deltas_;
  delta::ContentDigest digest_;
  std::vector<model::SegmentDigest> held_;  // of an earlier session's staging
  size_t next_held_ = 0;
  uint64_t ranges_ = 0;     // that DR has of it, at most
  size_t marks_bytes_ = 0;  // in segment_changes
  uint64_t sent_to_ = UINT64_MAX;
  bool sent_hole_ = false;
  int deltas_to_skip_ = 0;  // as the one before saved nothing
  int next_skip_ = 0;
  bool moving_ = false;  // content had moved in the segment before
  bool any_delta_ = false;
  bool incremental_ = false;
  bool send_ = true;
  bool begun_ = false;  // the slot is in use at DR, by this file
};

}  // namespace

absl::Status CaptureByReading(const CaptureRequest& request, int fd, const FrozenFile* frozen, CapturedFile& file) {
  return ReadingCapture(request, fd, frozen, file).Run();
}

}  // namespace understudy::primary
