#include "agent-primary/capture/file_capture.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <ctime>
#include <utility>

#include "agent-primary/capture/changed_ranges.h"
#include "agent-primary/capture/extents_capture.h"
#include "agent-primary/capture/reading_capture.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"

namespace understudy::primary {
namespace {

absl::Status CaptureSmall(const CaptureRequest& request, int fd, CapturedFile& file) {
  ASSIGN_OR_RETURN(std::string content, OfSource(os::ReadAt(fd, 0, static_cast<size_t>(file.stat.size))));
  file.unsettled |= content.size() < file.stat.size;
  file.stat.size = content.size();
  file.digest = delta::DigestOfContent(content);
  file.segment_changes.push_back(TruncateSegments{file.stat.inode, 0});
  const bool same =
      request.base.has_value() && request.base->row.size == file.stat.size && request.base->row.content == file.digest;
  if (same) return absl::OkStatus();
  file.content_changed = true;
  file.bytes_sent = content.size();
  file.content = std::move(content);
  return absl::OkStatus();
}

// What the replica has, frozen. nullopt: there is no such copy.
absl::StatusOr<std::optional<os::Fd>> OpenUsableBase(const CaptureRequest& request, uint64_t inode) {
  if (!request.base.has_value() || request.base->row.kind != model::FileKind::kRegular) return std::nullopt;
  const IndexRow& row = request.base->row;
  if (row.inode != inode || row.size <= kMaxInlineContentBytes) return std::nullopt;
  ASSIGN_OR_RETURN(const std::optional<BaseRecord> known, request.index.FindBase(inode));
  if (!known.has_value() || known->size != row.size || known->content != row.content) return std::nullopt;
  absl::StatusOr<os::Fd> base = request.bases->OpenBase(*known);
  if (!base.ok()) return std::nullopt;
  return *std::move(base);
}

// What is frozen becomes the base, if it is worth one.
void MakeBase(const CaptureRequest& request, FrozenFile& frozen, bool tells, CapturedFile& file) {
  const uint64_t inode = file.stat.inode;
  if (!tells) file.why_not_extents = "where most of its bytes are isn't told (they are compressed, or inline)";
  const bool too_short = file.extents > kManyExtents && frozen.size() / file.extents <= kLeastMeanExtentBytes;
  if (too_short) {
    file.why_not_extents =
        fmt::format("its {} extents are so short on average that reading it costs less", file.extents);
  }
  if (tells && !too_short && frozen.holds().longest <= kLongestClone) {
    // Durable before the index names it: what a power cut leaves of a clone must be all of it, or be no base.
    absl::StatusOr<BaseRecord> base = frozen.Keep(file.digest);
    if (base.ok()) {
      file.segment_changes.push_back(PutBase{inode, *std::move(base)});
      return;
    }
    spdlog::warn("volume={} '{}' gets no base: {}", request.volume, Printable(request.path), MessageOf(base.status()));
  }
  file.segment_changes.push_back(DropBase{inode});
}

absl::Status CaptureClone(const CaptureRequest& request, FrozenFile& frozen, CapturedFile& file) {
  ASSIGN_OR_RETURN(const std::optional<os::Fd> base, OpenUsableBase(request, file.stat.inode));
  bool tells = request.bases->tells_all();
  if (!tells) {
    ASSIGN_OR_RETURN(tells, OfSource(TellsPlaces(frozen.fd(), frozen.size())));
  }
  ExtentsOutcome outcome = ExtentsOutcome::kNotTold;
  if (base.has_value() && tells) {
    ASSIGN_OR_RETURN(outcome, CaptureByExtents(request, {base->get(), frozen.fd(), frozen.size(), &frozen}, file));
  }
  if (outcome == ExtentsOutcome::kNotTold) {
    RETURN_IF_ERROR(CaptureByReading(request, frozen.fd(), &frozen, file));
  }
  // What was given up meanwhile may have been read as zeros.
  RETURN_IF_ERROR(frozen.CheckHolds());
  if (outcome != ExtentsOutcome::kSame) MakeBase(request, frozen, tells, file);  // else the base that there is does
  return absl::OkStatus();
}

absl::Status CaptureFrozen(const CaptureRequest& request, FrozenFile& frozen, CapturedFile& file) {
  const absl::Status captured = CaptureClone(request, frozen, file);
  if (!IsOfSource(captured)) return captured;
  RETURN_IF_ERROR(frozen.CheckHolds());
  return OfCopy(captured);
}

}  // namespace

bool IsRacilyClean(int64_t ctime_nanoseconds) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  const int64_t age = now.tv_sec * 1'000'000'000 + now.tv_nsec - ctime_nanoseconds;
  // A ctime far in the future comes from a clock that jumped back: the next change gets another one.
  return age < kRacyNanoseconds && age > -kRacyNanoseconds;
}

absl::StatusOr<OpenedFile> OpenForCapture(const CaptureRequest& request) {
  OpenedFile opened;
  // O_NONBLOCK: should a fifo stand there by now, opening it mustn't wait for a writer.
  ASSIGN_OR_RETURN(opened.fd, OfSource(request.root.OpenPath(request.path, O_RDONLY | O_NONBLOCK | O_NOATIME)));
  ASSIGN_OR_RETURN(opened.stat, OfSource(os::StatAt(opened.fd.get(), "")));
  if (opened.stat.kind != model::FileKind::kRegular) return absl::NotFoundError("not a regular file any more");
  if (request.inode != 0 && opened.stat.inode != request.inode) return absl::NotFoundError("another file by now");
  opened.metadata = os::MetadataOf(opened.stat);
  ASSIGN_OR_RETURN(opened.metadata.xattrs, OfSource(os::ReadXattrs(opened.fd.get(), "", request.labels)));
  opened.unsettled = IsRacilyClean(opened.stat.ctime_nanoseconds);
  const bool freeze = request.bases != nullptr && request.strategy == Strategy::kAuto;
  if (!freeze || opened.stat.size <= kMaxInlineContentBytes || !request.bases->IsFor(opened.stat.size)) return opened;
  absl::StatusOr<FrozenFile> frozen = request.bases->Freeze(opened.fd.get(), opened.stat.inode);
  if (!frozen.ok()) {
    opened.why_not_frozen = std::string(MessageOf(frozen.status()));
    return opened;
  }
  ASSIGN_OR_RETURN(const os::EntryStat after, OfSource(os::StatAt(opened.fd.get(), "")));
  opened.unsettled |= after.ctime_nanoseconds != opened.stat.ctime_nanoseconds || frozen->size() != opened.stat.size;
  opened.stat.size = frozen->size();
  opened.fd = os::Fd();
  opened.frozen.emplace(*std::move(frozen));
  return opened;
}

absl::StatusOr<CapturedFile> CaptureFile(const CaptureRequest& request, OpenedFile opened) {
  CapturedFile file;
  file.stat = opened.stat;
  file.metadata = std::move(opened.metadata);
  file.unsettled = opened.unsettled;
  file.why_not_extents = std::move(opened.why_not_frozen);
  const int fd = opened.frozen.has_value() ? opened.frozen->fd() : opened.fd.get();
  if (file.stat.size <= kMaxInlineContentBytes) {
    RETURN_IF_ERROR(CaptureSmall(request, fd, file));
  } else if (opened.frozen.has_value()) {
    RETURN_IF_ERROR(CaptureFrozen(request, *opened.frozen, file));
  } else {
    RETURN_IF_ERROR(CaptureByReading(request, fd, nullptr, file));
  }
  if (opened.frozen.has_value()) return file;
  // Should it have a base, that is of what it was.
  if (request.base.has_value() && request.base->row.size > kMaxInlineContentBytes) {
    file.segment_changes.push_back(DropBase{file.stat.inode});
  }
  ASSIGN_OR_RETURN(const os::EntryStat after, OfSource(os::StatAt(fd, "")));
  file.changed = after.ctime_nanoseconds != file.stat.ctime_nanoseconds || after.size != file.stat.size;
  file.unsettled |= file.changed;
  return file;
}

}  // namespace understudy::primary
