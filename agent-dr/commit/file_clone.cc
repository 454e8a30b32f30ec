#include "agent-dr/commit/file_clone.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>

#include "agent-dr/commit/free_space.h"
#include "core/os/clone_file.h"
#include "core/os/file_io.h"
#include "core/os/write_behind.h"

namespace understudy::dr {
namespace {

constexpr uint64_t kCopyBytes = 1024 * 1024;  // of one read and write where the kernel can't copy by itself
constexpr uint64_t kPieceBytes = 64 * kCopyBytes;

absl::Status CopyByHand(int source, int target, uint64_t begin, uint64_t end) {
  while (begin < end) {
    ASSIGN_OR_RETURN(const std::string data, os::ReadAt(source, begin, std::min(kCopyBytes, end - begin)));
    if (data.empty()) return absl::OkStatus();  // the source is shorter: the rest stays a hole
    RETURN_IF_ERROR(os::WriteAt(target, begin, data));
    begin += data.size();
  }
  return absl::OkStatus();
}

// The kernel shares the blocks instead, where the filesystem can and the range's ends allow it.
absl::Status CopyRange(int source, int target, uint64_t begin, uint64_t end) {
  while (begin < end) {
    auto from = static_cast<off_t>(begin);
    auto to = static_cast<off_t>(begin);
    const ssize_t copied = copy_file_range(source, &from, target, &to, std::min(end - begin, os::kWriteBehindBytes), 0);
    if (copied < 0) {
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EXDEV || errno == EINVAL) {
        return CopyByHand(source, target, begin, end);
      }
      return ErrnoStatus(errno, "copy content");
    }
    if (copied == 0) return CopyByHand(source, target, begin, end);
    begin += static_cast<uint64_t>(copied);
    if (static_cast<uint64_t>(copied) == os::kWriteBehindBytes) os::BeginWriting(target);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> SharesBlocks(const os::Root& folder) {
  ASSIGN_OR_RETURN(const os::Fd one, folder.OpenPath("", O_TMPFILE | O_RDWR, 0600));
  ASSIGN_OR_RETURN(const os::Fd two, folder.OpenPath("", O_TMPFILE | O_RDWR, 0600));
  RETURN_IF_ERROR(os::WriteAt(one.get(), 0, "shared"));
  return os::CloneFile(one.get(), two.get()) == 0;
}

absl::Status SetSize(int file, uint64_t size) {
  if (ftruncate(file, static_cast<off_t>(size)) != 0) return ErrnoStatus(errno, "set the size of a file");
  return absl::OkStatus();
}

absl::Status CloneContent(int source, int target, uint64_t length, uint64_t size, const os::GoOn& go_on) {
  const int error_number = os::CloneFile(source, target);
  if (error_number == 0) {
    // The clone is the whole source: what lies past `length` has to go, also when the size grows again.
    RETURN_IF_ERROR(SetSize(target, std::min(length, size)));
    return SetSize(target, size);
  }
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EIO) {
    return ErrnoStatus(error_number, "clone the base");
  }
  RETURN_IF_ERROR(SetSize(target, size));
  const uint64_t end = std::min(length, size);
  uint64_t offset = 0;
  while (offset < end) {
    if (go_on != nullptr) RETURN_IF_ERROR(go_on());
    ASSIGN_OR_RETURN(const std::optional<os::DataRange> data, os::NextData(source, offset));
    if (!data.has_value() || data->begin >= end) break;
    const uint64_t begin = std::max(data->begin, offset);
    offset = std::min({data->end, end, begin + kPieceBytes});
    RETURN_IF_ERROR(CopyRange(source, target, begin, offset));
  }
  return absl::OkStatus();
}

absl::Status ZeroRange(int file, uint64_t offset, uint64_t length) {
  if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                static_cast<off_t>(length)) == 0) {
    return absl::OkStatus();
  }
  if (errno != EOPNOTSUPP && errno != ENOSYS) return ErrnoStatus(errno, "punch a hole");
  const std::string zeros(std::min(kCopyBytes, length), '\0');
  while (length > 0) {
    const uint64_t count = std::min<uint64_t>(zeros.size(), length);
    RETURN_IF_ERROR(os::WriteAt(file, offset, std::string_view(zeros).substr(0, count)));
    offset += count;
    length -= count;
  }
  return absl::OkStatus();
}

absl::Status ApplyRange(int source, int target, const ContentRange& range) {
  return range.hole ? ZeroRange(target, range.offset, range.length)
                    : CopyRange(source, target, range.offset, range.offset + range.length);
}

absl::Status SaveRange(int source, int target, const ContentRange& range) {
  file_clone_range shared{
      .src_fd = source, .src_offset = range.offset, .src_length = range.length, .dest_offset = range.offset};
  if (ioctl(target, FICLONERANGE, &shared) == 0) return absl::OkStatus();
  if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return ErrnoStatus(errno, "keep old content");
  RETURN_IF_ERROR(CheckFreeSpace(target, range.length, 0));
  return CopyRange(source, target, range.offset, range.offset + range.length);
}

absl::StatusOr<std::vector<ContentRange>> SaveRanges(int source, int target, const std::vector<ContentRange>& ranges) {
  std::vector<ContentRange> saved;
  // The data that begins last at or before what is looked at; a new look for each range would go through all extents.
  os::DataRange data{0, 0};
  for (const ContentRange& range : ranges) {
    const uint64_t end = range.offset + range.length;
    for (uint64_t offset = range.offset; offset < end;) {
      if (offset >= data.end) {
        ASSIGN_OR_RETURN(const std::optional<os::DataRange> next, os::NextData(source, offset));
        data = next.value_or(os::DataRange{UINT64_MAX, UINT64_MAX});
      }
      // Past so many pieces holes are copied, too.
      const bool fine = saved.size() < kMaxContentRanges;
      const uint64_t begin = fine ? std::clamp(data.begin, offset, end) : offset;
      const uint64_t until = fine ? std::min(data.end, end) : end;
      if (begin > offset) AppendRange(saved, {.offset = offset, .length = begin - offset, .hole = true});
      if (until > begin) {
        const ContentRange piece{.offset = begin, .length = until - begin};
        RETURN_IF_ERROR(SaveRange(source, target, piece));
        AppendRange(saved, piece);
      }
      offset = std::max(begin, until);
    }
  }
  return saved;
}

}  // namespace understudy::dr
