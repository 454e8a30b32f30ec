// What commit_engine.h declares of signatures.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "agent-dr/commit/admission.h"
#include "agent-dr/commit/commit_engine.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/delta/rsync_segment.h"
#include "core/os/file_io.h"
#include "core/os/stat.h"

namespace understudy::dr {
namespace {

absl::StatusOr<std::string> ReadSegment(const os::Root& root, const std::string& path, uint64_t number) {
  const auto missing = [&] {
    return absl::NotFoundError(fmt::format("the replica's '{}' has no segment {}", Printable(path), number));
  };
  // O_NONBLOCK: should a fifo stand there, opening it mustn't wait for a writer.
  const absl::StatusOr<os::Fd> file = root.OpenPath(path, O_RDONLY | O_NONBLOCK);
  if (absl::IsNotFound(file.status())) return missing();
  RETURN_IF_ERROR(file.status());
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(file->get(), ""));
  if (stat.kind != model::FileKind::kRegular || number >= stat.size / delta::kSegmentBytes + 1) return missing();
  const uint64_t offset = number * delta::kSegmentBytes;
  if (offset >= stat.size) return missing();
  return os::ReadAt(file->get(), offset, static_cast<size_t>(std::min(delta::kSegmentBytes, stat.size - offset)));
}

}  // namespace

absl::StatusOr<std::string> CommitEngine::SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                           uint64_t number) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  std::string bytes;
  const absl::Status read = replica->WithPublished([&](const Replica::Published& published) -> absl::Status {
    RETURN_IF_ERROR(CheckNoWorkFolder(path, !published.excluded_name.empty()));
    ASSIGN_OR_RETURN(bytes, ReadSegment(published.root, path, number));
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(read);
  return delta::MakeSignature(bytes);
}

absl::StatusOr<std::string> LocalSink::SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                        uint64_t number) {
  return engine_.SegmentSignature(volume, path, number);
}

}  // namespace understudy::dr
