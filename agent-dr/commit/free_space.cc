#include "agent-dr/commit/free_space.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/strings/cord.h"

namespace understudy::dr {
namespace {

constexpr char kWantOfSpace[] = "understudy.dr/want-of-space";

absl::Status WantOfSpace(const std::string& message) {
  absl::Status status = absl::ResourceExhaustedError(message);
  status.SetPayload(kWantOfSpace, absl::Cord());
  return status;
}

}  // namespace

absl::Status CheckFreeSpace(int fd, uint64_t bytes, uint64_t entries, Reserve reserve) {
  struct statvfs space {};
  if (fstatvfs(fd, &space) != 0) return ErrnoStatus(errno, "ask for the free space");
  const uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
  const uint64_t whole = uint64_t{space.f_blocks} * space.f_frsize;
  const uint64_t spared =
      reserve == Reserve::kOpen ? 0 : std::min(kFreeSpaceReserveBytes, whole / kFreeSpaceReserveDivisor);
  if (free < spared || free - spared < bytes) {
    return WantOfSpace(
        fmt::format("no space for the replica: {} bytes more and a reserve of {} are needed, {} are free: make room on "
                    "its filesystem, and replication goes on by itself",
                    bytes, spared, free));
  }
  // Filesystems that make inodes as they need them say 0 of how many there are.
  if (space.f_files != 0 && space.f_favail < entries) {
    return WantOfSpace(
        fmt::format("no inodes for the replica: {} more are needed, {} are free: remove files from its filesystem, and "
                    "replication goes on by itself",
                    entries, uint64_t{space.f_favail}));
  }
  return absl::OkStatus();
}

bool IsForWantOfSpace(const absl::Status& error, int fd) {
  if (!absl::IsResourceExhausted(error)) return false;
  return error.GetPayload(kWantOfSpace).has_value() || absl::IsResourceExhausted(CheckFreeSpace(fd, 0, 1));
}

}  // namespace understudy::dr
