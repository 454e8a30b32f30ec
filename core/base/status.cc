#include "core/base/status.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace understudy {

absl::Status ErrnoStatus(int error_number, std::string_view what) {
  // Absl maps errno to codes the way gRPC does, but for some that mean something of their own to a replicator.
  const absl::Status mapped = absl::ErrnoToStatus(error_number, std::string(what));
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(mapped.message());
    case EMFILE:
    case ENFILE:
    case ENOMEM:  // of the kernel's own
      return absl::UnavailableError(mapped.message());
    case EMLINK:
      return absl::FailedPreconditionError(mapped.message());
    case ESTALE:
      return absl::NotFoundError(mapped.message());
    case EIO:
    case EUCLEAN:  // what a filesystem says of its own damaged structures
    case EBADMSG:  // likewise, of a wrong checksum
      return absl::DataLossError(mapped.message());
    default:
      return mapped;
  }
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", context, MessageOf(status)));
}

ExitCode ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return ExitCode::kUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return ExitCode::kRefused;
    case absl::StatusCode::kDataLoss:
      return ExitCode::kDifference;
    default:
      return ExitCode::kFailed;
  }
}

void AbortOnBrokenInvariant(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, condition);
  std::abort();
}

}  // namespace understudy
