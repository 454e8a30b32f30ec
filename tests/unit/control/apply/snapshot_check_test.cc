#include "control/apply/snapshot_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "nlohmann/json.hpp"

namespace understudy::control {
namespace {

using ::testing::HasSubstr;

class ArchiveCheckTest : public ::testing::Test {
 protected:
  static model::CatalogEntry Content(const std::string& handle) {
    model::CatalogEntry entry;
    entry.key = {model::ObjectKind::kVolumeSnapshotContent, "", "content-1"};
    entry.volume = "content-1";
    entry.replica_path = "/replicas/snap-1";
    entry.resource =
        nlohmann::json{{"spec", {{"driver", "nfs.csi.k8s.io"}}}, {"status", {{"snapshotHandle", handle}}}}.dump();
    return entry;
  }
  absl::Status Check(const std::string& handle = "nfs1#export#snap-1#snap-1#pvc-1") {
    ArchiveCheck check(
        [this](const std::string& volume, const std::string& path) -> absl::StatusOr<std::optional<uint64_t>> {
          if (!error_.ok()) return error_;
          const auto file = files_.find(volume + ":" + path);
          return file == files_.end() ? std::nullopt : std::optional(file->second);
        });
    return check.Check(Content(handle));
  }

  std::map<std::string, uint64_t> files_;
  absl::Status error_;
};

TEST_F(ArchiveCheckTest, TakesEitherEnding) {
  files_ = {{"content-1:pvc-1.tar.gz", 10}};
  EXPECT_EQ(Check(), absl::OkStatus());
  files_ = {{"content-1:pvc-1.tar", 10}};
  EXPECT_EQ(Check(), absl::OkStatus());
}

TEST_F(ArchiveCheckTest, AMissingOrEmptyArchiveIsNone) {
  files_ = {{"content-1:pvc-2.tar.gz", 10}, {"content-2:pvc-1.tar.gz", 10}};
  EXPECT_EQ(Check().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Check().message()), HasSubstr("/replicas/snap-1/pvc-1.tar.gz is missing or empty"));
  files_["content-1:pvc-1.tar.gz"] = 0;
  EXPECT_EQ(Check().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ArchiveCheckTest, WhatCannotBeAskedIsNoAnswer) {
  error_ = absl::UnavailableError("DR is away");
  EXPECT_EQ(Check(), error_);
  EXPECT_EQ(Check("another handle").code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace understudy::control
