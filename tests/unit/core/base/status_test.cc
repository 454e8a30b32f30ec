#include "core/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace understudy {
namespace {

TEST(ErrnoStatusTest, OnlyAFullFilesystemIsExhausted) {
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(EDQUOT, "write").code(), absl::StatusCode::kResourceExhausted);
  for (const int transient : {EMFILE, ENFILE, ENOMEM}) {
    EXPECT_EQ(ErrnoStatus(transient, "open").code(), absl::StatusCode::kUnavailable) << transient;
  }
  EXPECT_EQ(ErrnoStatus(EMLINK, "link").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ErrnoStatusTest, ADamagedDiskIsDataLoss) {
  for (const int damaged : {EIO, EUCLEAN, EBADMSG}) {
    EXPECT_EQ(ErrnoStatus(damaged, "read").code(), absl::StatusCode::kDataLoss) << damaged;
  }
}

}  // namespace
}  // namespace understudy
