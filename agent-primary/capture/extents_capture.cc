#include "agent-primary/capture/extents_capture.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "agent-primary/capture/changed_ranges.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"

namespace understudy::primary {
namespace {

using delta::kBlockBytes;
using delta::kSegmentBytes;

// So much of both files is in memory; a segment is a whole number of windows.
constexpr uint64_t kWindowBytes = 1024 * 1024;
static_assert(kSegmentBytes % kWindowBytes == 0 && kWindowBytes % kBlockBytes == 0);

uint64_t Down(uint64_t offset, uint64_t unit) {
  return offset / unit * unit;
}
uint64_t Up(uint64_t offset, uint64_t unit) {
  return Down(offset + unit - 1, unit);
}

class ExtentsCapture {
 public:
  ExtentsCapture(const CaptureRequest& request, const FrozenPair& files, CapturedFile& file)
      : request_(request),
        files_(files),
        file_(file),
        base_size_(request.base->row.size),
        digest_(request.base->row.content, base_size_) {}

  absl::StatusOr<ExtentsOutcome> Run() {
    // What lies beyond where one of them ends is compared by content: there the same place needn't be the same bytes.
    const uint64_t common = Down(std::min(base_size_, files_.size), kBlockBytes);
    ChangedRanges ranges(files_.base, files_.now, common);
    absl::StatusOr<std::optional<os::DataRange>> range = ranges.Next();
    if (absl::IsUnimplemented(range.status())) return ExtentsOutcome::kNotTold;
    file_.extends_base = true;
    file_.rung = "extents";
    base_bytes_.resize(kWindowBytes);
    now_bytes_.resize(kWindowBytes);
    for (;; range = ranges.Next()) {
      RETURN_IF_ERROR(OfSource(range.status()));
      if (!range->has_value()) break;
      RETURN_IF_ERROR(Compare(std::max(Down((*range)->begin, kBlockBytes), compared_to_),
                              std::min(Up((*range)->end, kBlockBytes), common)));
    }
    RETURN_IF_ERROR(CompareTail(common));
    RETURN_IF_ERROR(Finish());
    return compared_to_ > 0 || files_.size != base_size_ ? ExtentsOutcome::kDiffers : ExtentsOutcome::kSame;
  }

 private:
  absl::Status Compare(uint64_t begin, uint64_t end) {
    while (begin < end) {
      if (request_.stop.stop_requested()) return absl::CancelledError("the agent stops");
      const uint64_t window_end = std::min(end, Down(begin, kWindowBytes) + kWindowBytes);
      RETURN_IF_ERROR(CompareWindow(begin, window_end));
      begin = compared_to_ = window_end;
    }
    return absl::OkStatus();
  }

  absl::Status CompareTail(uint64_t begin) {
    for (uint64_t at = begin; at < std::max(base_size_, files_.size);) {
      ASSIGN_OR_RETURN(const std::optional<os::DataRange> of_base, OfSource(os::NextData(files_.base, at)));
      ASSIGN_OR_RETURN(const std::optional<os::DataRange> of_now, OfSource(os::NextData(files_.now, at)));
      if (!of_base.has_value() && !of_now.has_value()) break;
      const uint64_t next =
          std::min(of_base.has_value() ? of_base->begin : UINT64_MAX, of_now.has_value() ? of_now->begin : UINT64_MAX);
      at = std::max(at, Down(next, kBlockBytes));
      const uint64_t window_end = Down(at, kWindowBytes) + kWindowBytes;
      RETURN_IF_ERROR(Compare(at, window_end));
      at = window_end;
    }
    return absl::OkStatus();
  }

  // The bytes of [begin, end) that the file has.
  static absl::StatusOr<std::string_view> Read(int fd, uint64_t size, uint64_t begin, uint64_t end,
                                               std::string& buffer) {
    const auto length = static_cast<size_t>(std::clamp(size, begin, end) - begin);
    ASSIGN_OR_RETURN(const size_t got, os::ReadInto(fd, begin, std::span(buffer).first(length)));
    if (got < length) return absl::DataLossError("a clone is shorter than it was");
    return std::string_view(buffer).substr(0, length);
  }

  absl::Status CompareWindow(uint64_t begin, uint64_t end) {
    ASSIGN_OR_RETURN(const std::string_view base, OfSource(Read(files_.base, base_size_, begin, end, base_bytes_)));
    ASSIGN_OR_RETURN(const std::string_view now, OfSource(Read(files_.now, files_.size, begin, end, now_bytes_)));
    const auto block = [&](std::string_view bytes, uint64_t at) {
      return bytes.substr(std::min<size_t>(bytes.size(), at - begin), kBlockBytes);
    };
    const auto same = [&](uint64_t at) { return block(base, at) == block(now, at); };
    for (uint64_t at = begin; at < end;) {
      if (same(at)) {
        at += kBlockBytes;
        continue;
      }
      uint64_t run_end = at + kBlockBytes;
      while (run_end < end && !same(run_end)) run_end += kBlockBytes;
      const auto run = [&](std::string_view bytes) {
        return bytes.substr(std::min<size_t>(bytes.size(), at - begin), run_end - at);
      };
      RETURN_IF_ERROR(Replace(at, run(base), run(now)));
      at = run_end;
    }
    return absl::OkStatus();
  }

  // `before` and `now` are within one segment.
  absl::Status Replace(uint64_t offset, std::string_view before, std::string_view now) {
    RETURN_IF_ERROR(GoToSegment(offset / kSegmentBytes));
    const model::Digest gone = delta::DigestOfBlocks(offset, before);
    const model::Digest come = delta::DigestOfBlocks(offset, now);
    segment_->digest = delta::Plus(delta::Minus(segment_->digest, gone), come);
    digest_.Remove(gone);
    digest_.Add(come);
    RETURN_IF_ERROR(Begin());
    for (size_t at = 0; at < now.size(); at += kStagePieceBytes) {
      const std::string_view piece = now.substr(at, kStagePieceBytes);
      if (delta::IsAllZeros(piece)) {
        RETURN_IF_ERROR(request_.sink.StageHole(request_.volume, request_.slot, offset + at, piece.size()));
        continue;
      }
      RETURN_IF_ERROR(request_.sink.StageData(request_.volume, request_.slot, offset + at, piece));
      file_.bytes_sent += piece.size();
    }
    return absl::OkStatus();
  }

  absl::Status Begin() {
    if (std::exchange(file_.content_changed, true)) return absl::OkStatus();
    file_.content = request_.slot;
    return request_.sink.StageBegin(request_.volume, request_.slot, request_.path, files_.size, request_.base->path);
  }

  // Its signature, if there is one, is of other bytes from now on.
  absl::Status GoToSegment(uint64_t number) {
    if (segment_.has_value() && segment_->number == number) return absl::OkStatus();
    EndSegment();
    ASSIGN_OR_RETURN(const std::optional<SegmentRecord> known, request_.index.FindSegment(file_.stat.inode, number));
    segment_ = SegmentRecord{number, known.has_value() ? known->digest : model::Digest{}, {}};
    return absl::OkStatus();
  }

  void EndSegment() {
    if (!segment_.has_value()) return;
    if (segment_->digest == model::Digest{}) {
      file_.segment_changes.push_back(RemoveSegment{file_.stat.inode, segment_->number});
    } else {
      file_.segment_changes.push_back(PutSegment{file_.stat.inode, *segment_});
    }
    segment_.reset();
  }

  absl::Status Finish() {
    EndSegment();
    file_.digest = digest_.Finish(files_.size);
    if (files_.size < base_size_) {
      const uint64_t segments = Up(files_.size, kSegmentBytes) / kSegmentBytes;
      file_.segment_changes.push_back(TruncateSegments{file_.stat.inode, segments});
    }
    if (files_.size != base_size_) RETURN_IF_ERROR(Begin());
    if (!file_.content_changed) return absl::OkStatus();
    return request_.sink.StageEnd(request_.volume, request_.slot);
  }

  const CaptureRequest& request_;
  const FrozenPair& files_;
  CapturedFile& file_;
  const uint64_t base_size_;
  delta::ContentDigest digest_;
  std::optional<SegmentRecord> segment_;  // that is being changed
  std::string base_bytes_;
  std::string now_bytes_;
  uint64_t compared_to_ = 0;
};

}  // namespace

absl::StatusOr<ExtentsOutcome> CaptureByExtents(const CaptureRequest& request, const FrozenPair& files,
                                                CapturedFile& file) {
  return ExtentsCapture(request, files, file).Run();
}

}  // namespace understudy::primary
