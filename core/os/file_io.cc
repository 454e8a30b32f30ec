#include "core/os/file_io.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/delta/content_digest.h"

namespace understudy::os {

absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t length) {
  std::string data(length, '\0');
  ASSIGN_OR_RETURN(const size_t done, ReadInto(fd, offset, data));
  data.resize(done);
  return data;
}

absl::StatusOr<size_t> ReadInto(int fd, uint64_t offset, std::span<char> buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got = pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read");
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

absl::Status WriteAt(int fd, uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    const ssize_t put = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write");
    }
    data.remove_prefix(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<DataRange>> NextData(int fd, uint64_t offset) {
  const off_t begin = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (begin < 0) {
    if (errno == ENXIO) return std::nullopt;
    if (errno != EINVAL && errno != EOPNOTSUPP) return ErrnoStatus(errno, "seek to data");
    struct stat raw {};
    if (fstat(fd, &raw) != 0) return ErrnoStatus(errno, "stat");
    const auto size = static_cast<uint64_t>(raw.st_size);
    if (offset >= size) return std::nullopt;
    return DataRange{offset, size};
  }
  const off_t end = lseek(fd, begin, SEEK_HOLE);
  if (end < 0) {
    if (errno == ENXIO) return std::nullopt;  // cut meanwhile
    return ErrnoStatus(errno, "seek to hole");
  }
  return DataRange{static_cast<uint64_t>(begin), static_cast<uint64_t>(end)};
}

absl::StatusOr<model::Digest> DigestOfFile(int fd, uint64_t size, const DigestOptions& options) {
  delta::ContentDigest digest;
  std::string buffer(static_cast<size_t>(std::min(size, delta::kSegmentBytes)), '\0');
  uint64_t offset = 0;
  while (offset < size) {
    if (options.go_on != nullptr) RETURN_IF_ERROR(options.go_on());
    ASSIGN_OR_RETURN(const std::optional<DataRange> data, NextData(fd, offset));
    if (!data.has_value() || data->begin >= size) break;
    const uint64_t number = std::max(data->begin, offset) / delta::kSegmentBytes;
    const uint64_t begin = number * delta::kSegmentBytes;
    const auto length = static_cast<size_t>(std::min<uint64_t>(delta::kSegmentBytes, size - begin));
    ASSIGN_OR_RETURN(const size_t got, ReadInto(fd, begin, std::span(buffer).first(length)));
    if (got < length) return absl::AbortedError("the file was cut while it was read");
    offset = begin + length;
    const std::string_view bytes = std::string_view(buffer).substr(0, length);
    if (delta::IsAllZeros(bytes)) continue;
    const model::Digest of_segment = delta::DigestOfSegment(number, bytes);
    digest.Add(of_segment);
    if (options.segments != nullptr) options.segments->push_back({number, of_segment});
  }
  return digest.Finish(size);
}

absl::Status SyncFilesystem(int fd) {
  if (syncfs(fd) != 0) return ErrnoStatus(errno, "syncfs");
  return absl::OkStatus();
}

absl::Status SyncFile(int fd) {
  if (fsync(fd) != 0) return ErrnoStatus(errno, "fsync");
  return absl::OkStatus();
}

}  // namespace understudy::os
