#include "agent-dr/commit/staged_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "agent-dr/commit/metadata_trial.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/wire/limits.h"
#include "core/wire/status_path.h"

namespace understudy::dr {
namespace {

constexpr uint64_t kSyncAheadBytes = 16 * 1024 * 1024;
constexpr uint32_t kPermissionBits = 0777;

}  // namespace

SyncAhead::~SyncAhead() {
  if (thread_.joinable()) thread_.join();
}

void SyncAhead::Note(int folder_fd, uint64_t bytes) {
  bytes_ += bytes;
  if (bytes_ < kSyncAheadBytes || under_way_) return;
  if (thread_.joinable()) thread_.join();
  // A description of its own: what the disk fails at is told once to each.
  os::Fd folder(openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return;
  bytes_ = 0;
  under_way_ = true;
  try {
    thread_ = std::thread([this, folder = std::move(folder)] {
      os::SyncFilesystem(folder.get()).IgnoreError();
      under_way_ = false;
    });
  } catch (const std::system_error&) {
    under_way_ = false;  // no thread to be had: the commit's own sync does it all
  }
}

absl::Status StagedFiles::CountPath(const std::string& path) {
  path_bytes_ += path.size();
  if (path_bytes_ <= wire::kMaxMessageBytes) return absl::OkStatus();
  return absl::InvalidArgumentError("more is staged ahead than one commit can name");
}

absl::Status StagedFiles::Add(const model::StagedBatch& batch) {
  for (const std::string& path : batch.folders) RETURN_IF_ERROR(AddFolder(path));
  uint64_t bytes = 0;
  for (const model::StagedFile& file : batch.files) {
    RETURN_IF_ERROR(AddFile(file));
    bytes += file.content.size();
  }
  sync_ahead_.Note(work_.staging().fd(), bytes);
  return absl::OkStatus();
}

absl::Status StagedFiles::AddFolder(const std::string& path) {
  if (folders_.size() >= wire::kMaxCommitOperations) return absl::InvalidArgumentError("too many new folders at once");
  if (folders_.contains(path)) {
    return absl::InvalidArgumentError(fmt::format("folder '{}' is new twice", Printable(path)));
  }
  RETURN_IF_ERROR(CountPath(path));
  const auto parent = folders_.find(model::Parent(path));
  std::string place = parent == folders_.end() ? WorkArea::StagedFolder(next_folder_++)
                                               : model::Join(parent->second, model::LeafName(path));
  // Below another name than the replica's the path can be longer than one may be.
  if (place.size() > model::kMaxPathBytes) place = WorkArea::StagedFolder(next_folder_++);
  ASSIGN_OR_RETURN(const int folder, FolderAt(std::string(model::Parent(place))));
  if (mkdirat(folder, std::string(model::LeafName(place)).c_str(), 0700) != 0) {
    return ErrnoStatus(errno, fmt::format("stage folder '{}'", Printable(path)));
  }
  folders_.emplace(path, std::move(place));
  return absl::OkStatus();
}

absl::Status StagedFiles::AddFile(const model::StagedFile& file) {
  if (delta::DigestOfContent(file.content) != file.digest) {
    return wire::WithPath(absl::DataLossError(fmt::format("the content sent for '{}' doesn't match its digest: send it "
                                                          "again",
                                                          Printable(file.path))),
                          file.path);
  }
  RETURN_IF_ERROR(CountPath(file.path));
  const auto folder = folders_.find(model::Parent(file.path));
  SmallFile small{file.path, WorkArea::StagedContent(file.slot), file.content.size(), file.digest,
                  !file.metadata.xattrs.empty()};
  int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
  if (folder != folders_.end()) {
    std::string place = model::Join(folder->second, model::LeafName(file.path));
    if (place.size() <= model::kMaxPathBytes) {
      small.place = std::move(place);
      flags |= O_EXCL;
    }
  }
  ASSIGN_OR_RETURN(const int folder_fd, FolderAt(std::string(model::Parent(small.place))));
  const std::string name(model::LeafName(small.place));
  const os::Fd fd(openat(folder_fd, name.c_str(), flags, file.metadata.mode & kPermissionBits));
  if (!fd.valid()) return ErrnoStatus(errno, fmt::format("stage '{}'", Printable(file.path)));
  RETURN_IF_ERROR(os::WriteAt(fd.get(), 0, file.content));
  RETURN_IF_ERROR(ApplyMetadataOf(file.path, fd.get(), model::FileKind::kRegular, file.metadata));
  files_.emplace(file.slot, std::move(small));
  return absl::OkStatus();
}

absl::StatusOr<int> StagedFiles::FolderAt(const std::string& place) {
  if (place.empty()) return work_.staging().fd();
  if (!open_.valid() || open_place_ != place) {
    ASSIGN_OR_RETURN(open_, work_.staging().OpenPath(place, O_RDONLY | O_DIRECTORY));
    open_place_ = place;
  }
  return open_.get();
}

const SmallFile* StagedFiles::Find(model::Slot slot) const {
  const auto found = files_.find(slot);
  return found == files_.end() ? nullptr : &found->second;
}

const std::string* StagedFiles::FindFolder(const std::string& path) const {
  const auto found = folders_.find(path);
  return found == folders_.end() ? nullptr : &found->second;
}

void StagedFiles::Clear() {
  files_.clear();
  folders_.clear();
  path_bytes_ = 0;
  open_ = os::Fd();
}

}  // namespace understudy::dr
