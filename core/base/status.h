// status.h: how errors travel: absl::Status and absl::StatusOr, and how they end in an exit code.
//
// The code says what kind of error it is (it maps to gRPC's codes one to one); the message says what was tried, on
// what, and what to do. Thread-safe: free functions without state.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy {

// The status for a failed system call: "<what>: <strerror>", with the code that errno stands for.
[[nodiscard]] absl::Status ErrnoStatus(int error_number, std::string_view what);

// The message of `status`, for fmt and std::string_view (Debian's absl::string_view is a type of its own).
[[nodiscard]] inline std::string_view MessageOf(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// The same error with "<context>: " before its message.
[[nodiscard]] absl::Status Annotate(const absl::Status& status, std::string_view context);

// Whether nobody answered, or not in time.
[[nodiscard]] inline bool IsUnreachable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// Whether the same call may go well at another try: nobody answered, or something else came in between.
[[nodiscard]] inline bool MayPass(const absl::Status& status) {
  return IsUnreachable(status) || absl::IsAborted(status);
}

// The exit codes of every program (design §9).
enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kPartial = 3,
  kUnreachable = 4,
  kRefused = 5,
  kDifference = 6,
};

// INVALID_ARGUMENT and NOT_FOUND end as kUsage, UNAVAILABLE and DEADLINE_EXCEEDED as kUnreachable, FAILED_PRECONDITION,
// PERMISSION_DENIED and UNAUTHENTICATED as kRefused, DATA_LOSS as kDifference, any other error as kFailed.
[[nodiscard]] ExitCode ExitCodeFor(const absl::Status& status);

}  // namespace understudy

// Returns the status from the enclosing function unless it is OK.
#define RETURN_IF_ERROR(expression)                                                                                \
  do {                                                                                                             \
    if (absl::Status status_of_expression = (expression); !status_of_expression.ok()) return status_of_expression; \
  } while (false)

// Declares or assigns `lhs` from the StatusOr `expression`, or returns its status from the enclosing function.
#define ASSIGN_OR_RETURN(lhs, expression) \
  UNDERSTUDY_ASSIGN_OR_RETURN_(UNDERSTUDY_CONCAT_(status_or_of_line_, __LINE__), lhs, expression)
#define UNDERSTUDY_ASSIGN_OR_RETURN_(temporary, lhs, expression) \
  auto temporary = (expression);                                 \
  if (!temporary.ok()) return std::move(temporary).status();     \
  lhs = *std::move(temporary)
#define UNDERSTUDY_CONCAT_(a, b) UNDERSTUDY_CONCAT_INNER_(a, b)
#define UNDERSTUDY_CONCAT_INNER_(a, b) a##b

// A broken invariant is a bug: it ends the program, in release builds too, before it can reach anybody's data.
#define UNDERSTUDY_CHECK(condition)                                                         \
  do {                                                                                      \
    if (!(condition)) ::understudy::AbortOnBrokenInvariant(#condition, __FILE__, __LINE__); \
  } while (false)

namespace understudy {
[[noreturn]] void AbortOnBrokenInvariant(const char* condition, const char* file, int line);
}  // namespace understudy
