#include "agent-primary/capture/extents_capture.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent-primary/capture/changed_ranges.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"

namespace understudy::primary {
namespace {

using delta::kBlockBytes;
using delta::kSegmentBytes;

// So much of both files is in memory; a segment is a whole number of windows.
constexpr uint64_t kWindowBytes = 1024 * 1024;
// Of changed ranges so many are read ahead.
constexpr size_t kRangesAhead = 1024;
constexpr uint64_t kBytesAhead = 16 * kWindowBytes;
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
    absl::StatusOr<std::vector<os::DataRange>> batch = NextRanges(ranges);
    if (absl::IsUnimplemented(batch.status())) return ExtentsOutcome::kNotTold;
    file_.extends_base = true;
    file_.rung = "extents";
    base_bytes_.resize(kWindowBytes);
    now_bytes_.resize(kWindowBytes);
    for (;; batch = NextRanges(ranges)) {
      RETURN_IF_ERROR(OfSource(batch.status()));
      if (batch->empty()) break;
      for (const os::DataRange& range : *batch) {
        const uint64_t unit = Unit();
        RETURN_IF_ERROR(
            Compare(std::max(Down(range.begin, unit), compared_to_), std::min(Up(range.end, unit), common)));
      }
    }
    file_.extents = ranges.extents();
    RETURN_IF_ERROR(CompareTail(common));
    RETURN_IF_ERROR(Finish());
    return compared_to_ > 0 || files_.size != base_size_ ? ExtentsOutcome::kDiffers : ExtentsOutcome::kSame;
  }

 private:
  struct Segment {
    SegmentRecord record;
    std::optional<model::Digest> held;    // what an earlier session staged of it
    std::vector<os::DataRange> unsent{};  // of a held one: what differs from the base
  };

  // As many as are read ahead; none: there are no more. Neither file's blocks are in memory, as nobody has read these
  // very files, and one by one their reads would take as long as all the rest.
  absl::StatusOr<std::vector<os::DataRange>> NextRanges(ChangedRanges& ranges) const {
    std::vector<os::DataRange> batch;
    uint64_t ahead = 0;
    while (batch.size() < kRangesAhead && ahead < kBytesAhead) {
      ASSIGN_OR_RETURN(const std::optional<os::DataRange> range, ranges.Next());
      if (!range.has_value()) break;
      const uint64_t length = std::min(range->end - range->begin, kWindowBytes);
      for (const int fd : {files_.base, files_.now}) {
        // Advice: what isn't taken is read later.
        (void)posix_fadvise(fd, static_cast<off_t>(range->begin), static_cast<off_t>(length), POSIX_FADV_WILLNEED);
      }
      ahead += length;
      batch.push_back(*range);
    }
    return batch;
  }

  // What is looked at and sent together. DR takes so many ranges of one file and no more; when half of them are used,
  // it is so much that the other half suffices wherever else the file changed.
  uint64_t Unit() const {
    const uint64_t half = request_.most_ranges / 2;
    if (ranges_ < half) return kBlockBytes;
    uint64_t unit = kWindowBytes;
    while (std::max(base_size_, files_.size) / unit >= half) unit *= 2;
    return unit;
  }

  absl::Status Compare(uint64_t begin, uint64_t end) {
    while (begin < end) {
      if (request_.stop.stop_requested()) return absl::CancelledError("the agent stops");
      if (files_.frozen != nullptr) RETURN_IF_ERROR(files_.frozen->CheckHolds());
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
      const uint64_t unit = Unit();
      at = std::max(at, Down(next, unit));
      const uint64_t end = Up(at + 1, std::max(unit, kWindowBytes));
      RETURN_IF_ERROR(Compare(at, end));
      at = end;
    }
    return absl::OkStatus();
  }

  // The bytes of [begin, end) that the file has.
  static absl::StatusOr<std::string_view> Read(int fd, uint64_t size, uint64_t begin, uint64_t end,
                                               std::string& buffer) {
    const auto length = static_cast<size_t>(std::clamp(size, begin, end) - begin);
    ASSIGN_OR_RETURN(const size_t got, OfSource(os::ReadInto(fd, begin, std::span(buffer).first(length))));
    if (got < length) return OfSource(absl::DataLossError("a clone is shorter than it was"));
    return std::string_view(buffer).substr(0, length);
  }
  // While a window is compared, what comes before it may have to be sent.
  absl::StatusOr<std::string_view> ReadAgain(uint64_t begin, uint64_t end) {
    again_bytes_.resize(kWindowBytes);
    return Read(files_.now, files_.size, begin, end, again_bytes_);
  }

  absl::Status CompareWindow(uint64_t begin, uint64_t end) {
    ASSIGN_OR_RETURN(const std::string_view base, Read(files_.base, base_size_, begin, end, base_bytes_));
    ASSIGN_OR_RETURN(const std::string_view now, Read(files_.now, files_.size, begin, end, now_bytes_));
    if (Unit() > kBlockBytes) return Replace(begin, base, now);
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
    const uint64_t number = offset / kSegmentBytes;
    if (!segment_.has_value() || segment_->record.number != number) {
      RETURN_IF_ERROR(EndSegment());
      RETURN_IF_ERROR(Begin());
      RETURN_IF_ERROR(BeginSegment(number));
    }
    const model::Digest gone = delta::DigestOfBlocks(offset, before);
    const model::Digest come = delta::DigestOfBlocks(offset, now);
    segment_->record.digest = delta::Plus(delta::Minus(segment_->record.digest, gone), come);
    digest_.Remove(gone);
    digest_.Add(come);
    if (!segment_->held.has_value()) return Send(offset, now);
    if (!now.empty()) segment_->unsent.push_back({offset, offset + now.size()});
    return absl::OkStatus();
  }

  absl::Status Send(uint64_t offset, std::string_view bytes) {
    const uint64_t unit = Unit();
    const size_t most = unit == kBlockBytes ? kStagePieceBytes : kWindowBytes;
    for (size_t at = 0; at < bytes.size(); at += most) {
      const std::string_view piece = bytes.substr(at, most);
      // Holes among the data of a unit would be ranges of their own.
      const bool hole = unit <= kWindowBytes && delta::IsAllZeros(piece);
      if (offset + at != sent_to_ || hole != sent_hole_) ++ranges_;
      sent_to_ = offset + at + piece.size();
      sent_hole_ = hole;
      if (hole) {
        RETURN_IF_ERROR(request_.sink.StageHole(request_.volume, request_.slot, offset + at, piece.size()));
      } else {
        RETURN_IF_ERROR(SendData(offset + at, piece));
      }
    }
    return absl::OkStatus();
  }

  absl::Status SendData(uint64_t offset, std::string_view bytes) {
    for (size_t at = 0; at < bytes.size(); at += kStagePieceBytes) {
      const std::string_view piece = bytes.substr(at, kStagePieceBytes);
      RETURN_IF_ERROR(request_.sink.StageData(request_.volume, request_.slot, offset + at, piece));
    }
    file_.bytes_sent += bytes.size();
    return absl::OkStatus();
  }

  absl::Status Begin() {
    if (std::exchange(file_.content_changed, true)) return absl::OkStatus();
    file_.content = request_.slot;
    const std::string& base_path = request_.base->path;
    if (request_.leftovers != nullptr && request_.leftovers->erase(request_.path) != 0) {
      absl::StatusOr<std::vector<model::SegmentDigest>> held =
          request_.sink.StageResume(request_.volume, request_.slot, request_.path, files_.size, base_path);
      if (held.ok()) {
        held_ = *std::move(held);
        return absl::OkStatus();
      }
      if (!absl::IsNotFound(held.status())) return held.status();
    }
    return request_.sink.StageBegin(request_.volume, request_.slot, request_.path, files_.size, base_path);
  }

  absl::StatusOr<model::Digest> KnownDigest(uint64_t number) {
    ASSIGN_OR_RETURN(const std::optional<SegmentRecord> known, request_.index.FindSegment(file_.stat.inode, number));
    return known.has_value() ? known->digest : model::Digest{};
  }

  // The marks of its blocks, if there are any, are of other bytes from now on.
  absl::Status BeginSegment(uint64_t number) {
    RETURN_IF_ERROR(GiveUpHeldBefore(number));
    ASSIGN_OR_RETURN(const model::Digest known, KnownDigest(number));
    segment_ = Segment{.record = {number, known, {}}, .held = std::nullopt};
    if (next_held_ == held_.size() || held_[next_held_].number != number) return absl::OkStatus();
    segment_->held = held_[next_held_++].digest;
    return absl::OkStatus();
  }

  // What is held of segments that are what they are in the base: one block of it that is staged takes its place.
  absl::Status GiveUpHeldBefore(uint64_t number) {
    for (; next_held_ < held_.size() && held_[next_held_].number < number; ++next_held_) {
      const model::SegmentDigest& held = held_[next_held_];
      ASSIGN_OR_RETURN(const model::Digest known, KnownDigest(held.number));
      if (held.digest == known) continue;
      const uint64_t offset = held.number * kSegmentBytes;
      ASSIGN_OR_RETURN(const std::string_view block, ReadAgain(offset, offset + kBlockBytes));
      RETURN_IF_ERROR(Send(offset, block));
    }
    return absl::OkStatus();
  }

  absl::Status EndSegment() {
    if (!segment_.has_value()) return absl::OkStatus();
    const Segment segment = *std::exchange(segment_, std::nullopt);
    for (const os::DataRange& range : segment.unsent) {
      if (segment.held == segment.record.digest) {
        file_.bytes_resumed += range.end - range.begin;
        ++ranges_;
        continue;
      }
      ASSIGN_OR_RETURN(const std::string_view bytes, ReadAgain(range.begin, range.end));
      RETURN_IF_ERROR(Send(range.begin, bytes));
    }
    // Cut between two blocks: what is held of the others isn't wanted.
    if (segment.unsent.empty() && segment.held.has_value() && segment.held != segment.record.digest) {
      const uint64_t begin = segment.record.number * kSegmentBytes;
      ASSIGN_OR_RETURN(const std::string_view block, ReadAgain(begin, begin + kBlockBytes));
      RETURN_IF_ERROR(Send(begin, block));
    }
    if (segment.record.digest == model::Digest{}) {
      file_.segment_changes.push_back(RemoveSegment{file_.stat.inode, segment.record.number});
    } else {
      file_.segment_changes.push_back(PutSegment{file_.stat.inode, segment.record});
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    RETURN_IF_ERROR(EndSegment());
    file_.digest = digest_.Finish(files_.size);
    if (files_.size < base_size_) {
      const uint64_t segments = Up(files_.size, kSegmentBytes) / kSegmentBytes;
      file_.segment_changes.push_back(TruncateSegments{file_.stat.inode, segments});
    }
    if (files_.size != base_size_) RETURN_IF_ERROR(Begin());
    if (!file_.content_changed) return absl::OkStatus();
    RETURN_IF_ERROR(GiveUpHeldBefore(UINT64_MAX));
    return request_.sink.StageEnd(request_.volume, request_.slot);
  }

  const CaptureRequest& request_;
  const FrozenPair& files_;
  CapturedFile& file_;
  const uint64_t base_size_;
  delta::ContentDigest digest_;
  std::optional<Segment> segment_;  // that is being changed
  std::string base_bytes_;
  std::string now_bytes_;
  std::string again_bytes_;
  std::vector<model::SegmentDigest> held_;  // of an earlier session's staging
  size_t next_held_ = 0;
  uint64_t compared_to_ = 0;
  uint64_t ranges_ = 0;  // that DR has, about: those that were sent apart from each other, and held ones
  uint64_t sent_to_ = UINT64_MAX;
  bool sent_hole_ = false;
};

}  // namespace

absl::StatusOr<ExtentsOutcome> CaptureByExtents(const CaptureRequest& request, const FrozenPair& files,
                                                CapturedFile& file) {
  return ExtentsCapture(request, files, file).Run();
}

}  // namespace understudy::primary
