#include "agent-primary/capture/gentle_clone.h"

#include <fcntl.h>

#include <cerrno>

#include "core/os/clone_file.h"

namespace understudy::primary {
namespace {

// What a piece is meant to take.
constexpr absl::Duration kPieceHold = absl::Microseconds(500);
constexpr uint64_t kPieceUnitBytes = 64 * 1024;
constexpr uint64_t kFirstPieceBytes = 1024 * 1024;
// A piece is longer than the one before by no more than this: the file needn't be the same everywhere.
constexpr double kMostGrowth = 4;

// What the next piece should have, after one that took `hold`.
uint64_t NextLength(uint64_t length, absl::Duration hold) {
  const double wanted = hold > absl::ZeroDuration() ? absl::FDivDuration(kPieceHold, hold) : kMostGrowth;
  const double next = static_cast<double>(length) * std::min(wanted, kMostGrowth);
  return std::max(static_cast<uint64_t>(next) / kPieceUnitBytes * kPieceUnitBytes, kPieceUnitBytes);
}

}  // namespace

int WritePages(int file, uint64_t offset, uint64_t length) {
  constexpr unsigned kWriteAndWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  return sync_file_range(file, static_cast<off64_t>(offset), static_cast<off64_t>(length), kWriteAndWait) == 0 ? 0
                                                                                                               : errno;
}

void ClonePieces(int source, int target, uint64_t size, const Clock& clock, CloneHolds& holds) {
  uint64_t length = kFirstPieceBytes;
  for (uint64_t at = 0; at < size;) {
    const uint64_t piece = std::min(length, size - at);
    // The kernel would do it while it holds the writers up.
    if (WritePages(source, at, piece) != 0) return;
    const absl::Duration began = clock.Monotonic();
    const int error_number = os::CloneRange(source, target, at, piece);
    const absl::Duration hold = clock.Monotonic() - began;
    holds.Note(hold);
    holds.pieces += hold;
    if (error_number != 0) return;
    at += piece;
    length = NextLength(length, hold);
  }
  holds.all_pieces = true;
}

int CloneAtOnce(int source, int target, const Clock& clock, CloneHolds& holds) {
  // What was written since: the kernel would do it while it holds the writers up.
  if (const int error_number = WritePages(source, 0, 0); error_number != 0) return error_number;
  const absl::Duration began = clock.Monotonic();
  const int error_number = os::CloneFile(source, target);
  holds.whole = clock.Monotonic() - began;
  holds.Note(holds.whole);
  return error_number;
}

}  // namespace understudy::primary
