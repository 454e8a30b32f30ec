// DR's filesystem is full: the last good state stays, the status says so, and replication goes on when space is back.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "core/os/fd.h"
#include "nlohmann/json.hpp"
#include "tests/support/loop_mount.h"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kDiskMegabytes = 96;
constexpr uint64_t kBytesThatDontFit = 16 << 20;
constexpr uint64_t kBytesLeftFree = 4 << 20;

void WriteRandom(const std::string& path, uint64_t size) {
  std::ofstream file(path, std::ios::binary);
  std::mt19937_64 random(size);
  for (uint64_t at = 0; at < size; at += sizeof(uint64_t)) {
    const uint64_t word = random();
    file.write(reinterpret_cast<const char*>(&word), sizeof(word));
  }
}

class FullDiskTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }
  void Start(const std::vector<std::string>& mkfs_options) {
    auto disk = LoopMount::Make("ext4", kDiskMegabytes, mkfs_options);
    if (absl::IsUnimplemented(disk.status())) GTEST_SKIP() << disk.status();
    ASSERT_TRUE(disk.ok()) << disk.status();
    disk_ = *std::move(disk);
    auto site = Site::Make({.dr_folder = disk_->Path()});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
  }

  nlohmann::json VolumeStatus() {
    const ProcessResult result = site_->Drctl({"status", "-o", "json"});
    const nlohmann::json status = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    return status.is_object() && !status.at("volumes").empty() ? status.at("volumes").at(0) : nlohmann::json::object();
  }
  std::vector<std::string> Differences(const std::string& tree) {
    const auto differences = CompareTrees(tree, site_->Replica("web"));
    return differences.ok() ? *differences : std::vector<std::string>{differences.status().ToString()};
  }
  absl::Status WaitForRefusal(const std::string& text, nlohmann::json* refused = nullptr) {
    return WaitFor("the status to say: " + text, absl::Seconds(60), [&] {
      const nlohmann::json status = VolumeStatus();  // while it tries again there is no error
      if (status.value("state", "") != "error") return false;
      if (refused != nullptr) *refused = status;
      return status.at("error").get<std::string>().find(text) != std::string::npos;
    });
  }
  absl::Status WaitUntilEqual() {
    return WaitFor("the replica to catch up", absl::Seconds(60), [&] {
      return VolumeStatus().value("state", "") == "idle" && Differences(site_->Volume("web")).empty();
    });
  }
  void Fill() {
    const uint64_t bytes = std::filesystem::space(disk_->Path()).free - kBytesLeftFree;
    const os::Fd filler(open((disk_->Path() + "/filler").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_EQ(posix_fallocate(filler.get(), 0, static_cast<off_t>(bytes)), 0);
  }

  std::unique_ptr<LoopMount> disk_;
  std::unique_ptr<Site> site_;
};

TEST_F(FullDiskTest, TheLastStateStaysAndReplicationGoesOnByItself) {
  const std::string volume = site_->Volume("web");
  WriteRandom(volume + "/old", 2 << 20);
  std::ofstream(volume + "/small") << "first";
  ASSERT_TRUE(site_->Sync("web").ok());
  const std::string before = site_->File("before");
  ASSERT_EQ(RunProcess({.program = "cp", .arguments = {"-a", volume, before}})->exit_code, 0);
  const nlohmann::json good = VolumeStatus();
  Fill();
  WriteRandom(volume + "/large", kBytesThatDontFit);
  nlohmann::json full;
  const absl::Status said = WaitForRefusal("space", &full);
  ASSERT_TRUE(said.ok()) << said << VolumeStatus() << site_->primary().Err();
  // Which volume needs how much, and how much there is.
  EXPECT_EQ(full.at("name"), "web");
  EXPECT_THAT(full.at("error").get<std::string>(),
              ::testing::ContainsRegex("[0-9]+ bytes more and a reserve of [0-9]+ are needed, [0-9]+ are free"));
  EXPECT_THAT(site_->Drctl({"volumes", "list"}).out, HasSubstr("web"));
  const ProcessResult sync = site_->Drctl({"volumes", "sync", "web", "--timeout", "4s"});
  EXPECT_EQ(sync.exit_code, 1) << sync.err;
  EXPECT_THAT(sync.err, ::testing::ContainsRegex("volume 'web': no barrier within 4s: .*are free"));
  EXPECT_GT(VolumeStatus().at("lag_seconds"), 0);
  EXPECT_EQ(VolumeStatus().at("replica").at("sequence"), good.at("replica").at("sequence"));
  EXPECT_THAT(Differences(before), IsEmpty());

  std::filesystem::remove(disk_->Path() + "/filler");
  const absl::Status equal = WaitUntilEqual();
  EXPECT_TRUE(equal.ok()) << equal << VolumeStatus();
  EXPECT_EQ(VolumeStatus().at("lag_seconds"), 0);
}

// What the user takes away at the primary makes room for what comes with it, though both are found by one look.
TEST_F(FullDiskTest, RemovalsMakeRoomForWhatComesWithThem) {
  constexpr int kFiles = 16;
  constexpr uint64_t kFileBytes = 2 << 20;
  const std::string volume = site_->Volume("web");
  for (int i = 0; i < kFiles; ++i) WriteRandom(fmt::format("{}/old{}", volume, i), kFileBytes);
  ASSERT_TRUE(site_->Sync("web").ok());
  Fill();
  WriteRandom(volume + "/large", kBytesThatDontFit);
  const absl::Status refused = WaitForRefusal("no space");
  ASSERT_TRUE(refused.ok()) << refused << VolumeStatus();
  for (int i = 0; i < kFiles - 2; ++i) std::filesystem::remove(fmt::format("{}/old{}", volume, i));
  const absl::Status equal = WaitUntilEqual();
  EXPECT_TRUE(equal.ok()) << equal << VolumeStatus();
}

class FewInodesTest : public FullDiskTest {
 protected:
  static constexpr int kFiles = 150;
  static constexpr int kMoreThanFit = 120;

  void SetUp() override {
    Start({"-N", "256"});
    if (site_ == nullptr) return;
    std::filesystem::create_directory(At("old"));
    for (int i = 0; i < kFiles; ++i) Write(fmt::format("old/{}", i));
    ASSERT_TRUE(site_->Sync("web").ok());
  }
  [[nodiscard]] std::string At(const std::string& path) const { return site_->Volume("web") + "/" + path; }
  void Write(const std::string& path) { std::ofstream(At(path)) << path; }
  void RemoveMost() {
    for (int i = 0; i < kFiles * 2 / 3; ++i) std::filesystem::remove(At(fmt::format("old/{}", i)));
  }
};

TEST_F(FewInodesTest, RemovalsMakeRoomForWhatComesWithThem) {
  for (int i = 0; i < kMoreThanFit; ++i) Write(fmt::format("new{}", i));
  const absl::Status refused = WaitForRefusal("no inodes");
  ASSERT_TRUE(refused.ok()) << refused << VolumeStatus();
  RemoveMost();
  Write("late");
  const absl::Status equal = WaitUntilEqual();
  EXPECT_TRUE(equal.ok()) << equal << VolumeStatus();
}

// Then there is none for the undo record of the removal, nor for anything else that it might need.
TEST_F(FewInodesTest, RemovalsGetThroughWithoutASingleInode) {
  std::filesystem::create_hard_link(At("old/0"), At("name"));
  ASSERT_TRUE(site_->Sync("web").ok());
  int others = 0;
  while (std::ofstream(fmt::format("{}/other{}", disk_->Path(), others)).is_open()) ++others;
  ASSERT_GT(others, 0);
  Write("new");
  const absl::Status refused = WaitForRefusal("no inodes");
  ASSERT_TRUE(refused.ok()) << refused << VolumeStatus();
  RemoveMost();  // of the file with two names one
  for (int i = 0; i < kFiles / 3; ++i) Write(fmt::format("new{}", i));
  const absl::Status equal = WaitUntilEqual();
  EXPECT_TRUE(equal.ok()) << equal << VolumeStatus();
}

}  // namespace
}  // namespace understudy::tests
