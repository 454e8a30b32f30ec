// Two real agents and drctl: what is wrong with a replica is found, told and healed; what only changes isn't.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "core/base/wait.h"
#include "nlohmann/json.hpp"
#include "tests/support/loop_mount.h"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr size_t kImageBytes = 24 * 1024 * 1024;
constexpr size_t kSegmentBytes = 4 * 1024 * 1024;
constexpr absl::Duration kPatience = absl::Seconds(60);

void WriteRandom(const std::string& path, size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string content(size, '\0');
  for (char& byte : content) byte = static_cast<char>(random());
  std::ofstream(path, std::ios::binary) << content;
}

// As a disk would: neither time nor size tells.
void FlipBit(const std::string& path, off_t offset) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0) << path;
  struct stat before {};
  ASSERT_EQ(fstat(fd, &before), 0);
  char byte = 0;
  ASSERT_EQ(pread(fd, &byte, 1, offset), 1);
  byte = static_cast<char>(byte ^ 4);
  ASSERT_EQ(pwrite(fd, &byte, 1, offset), 1);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(futimens(fd, times), 0);
  close(fd);
}

class VerifyPairTest : public testing::Test {
 protected:
  void MakeSite(const std::string& dr_settings, const SiteOptions& options = {}) {
    auto site = Site::Make(options);
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    std::ofstream(site_->File("dr.yaml"), std::ios::app) << dr_settings;
  }
  void StartBoth() {
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
  }
  void Sync() {
    const absl::Status synced = site_->Sync("web");
    ASSERT_TRUE(synced.ok()) << synced << Logs();
  }
  std::string Logs() { return "\nprimary: " + site_->primary().Err() + "\ndr: " + site_->dr().Err(); }
  [[nodiscard]] std::string Here(const std::string& path) const { return site_->Volume("web") + "/" + path; }
  [[nodiscard]] std::string There(const std::string& path) const { return site_->Replica("web") + "/" + path; }

  struct Verified {
    int exit_code = -1;
    json volume;
    std::string err;
    // "path kind", sorted by path.
    std::vector<std::string> differences;
  };
  Verified Verify(const std::string& depth) {
    const ProcessResult result = site_->Drctl({"volumes", "verify", "web", "--depth", depth, "-o", "json"});
    Verified verified;
    verified.exit_code = result.exit_code;
    verified.err = result.err;
    const json document = json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    if (document.is_discarded()) return verified;
    verified.volume = document.at("volumes").at(0);
    for (const json& difference : verified.volume.at("differences")) {
      verified.differences.push_back(difference.at("path").get<std::string>() + " " +
                                     difference.at("kind").get<std::string>());
    }
    return verified;
  }
  json Status() {
    const ProcessResult result = site_->Drctl({"status", "-o", "json", "--no-objects"});
    return json::parse(result.out).at("volumes").at(0);
  }
  void ExpectEqualTrees() {
    const auto differences = CompareTrees(site_->Volume("web"), site_->Replica("web"));
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty()) << Logs();
  }

  std::unique_ptr<Site> site_;
};

class ScrubOnFilesystem : public VerifyPairTest, public testing::WithParamInterface<const char*> {};

TEST_P(ScrubOnFilesystem, AFlippedBitIsFoundByTheScrubAndHealed) {
  std::unique_ptr<LoopMount> mount;
  SiteOptions options;
  if (std::string(GetParam()) != "tmp") {
    auto made = LoopMount::Make(GetParam(), 400);
    if (absl::IsUnimplemented(made.status())) GTEST_SKIP() << made.status();
    ASSERT_TRUE(made.ok()) << made.status();
    mount = *std::move(made);
    options.dr_folder = mount->Path();
  }
  MakeSite("scrub: {interval: 1s}\n", options);
  StartBoth();
  fs::create_directory(Here("d"));
  std::ofstream(Here("d/page")) << "hello, world";
  std::ofstream(Here("linked")) << "one file";
  fs::create_hard_link(Here("linked"), Here("d/linked too"));
  WriteRandom(Here("disk.img"), kImageBytes, 1);
  Sync();
  const uint64_t sent_before = Status().at("content_bytes_sent");
  FlipBit(There("d/page"), 4);
  FlipBit(There("linked"), 0);
  FlipBit(There("disk.img"), 13'000'000);
  const auto healed = [&] {
    const auto differences = CompareTrees(site_->Volume("web"), site_->Replica("web"));
    return differences.ok() && differences->empty() && Status().at("damaged").is_null();
  };
  const absl::Status waited = WaitFor("the replica to be healed", kPatience, healed);
  ASSERT_TRUE(waited.ok()) << waited << Logs();
  for (const char* const path : {"d/page", "d/linked too", "disk.img"}) {
    EXPECT_THAT(site_->dr().Err(), HasSubstr(fmt::format("file '{}' of the replica is damaged", path)));
    EXPECT_THAT(site_->primary().Err(), HasSubstr(fmt::format("DR found '{}' damaged", path)));
  }
  // Of the image, only the segment that differed.
  const uint64_t sent = Status().at("content_bytes_sent").get<uint64_t>() - sent_before;
  EXPECT_GE(sent, kSegmentBytes);
  EXPECT_LT(sent, 2 * kSegmentBytes);
  EXPECT_EQ(Verify("digests").exit_code, 0);
  EXPECT_EQ(Verify("kept").exit_code, 0);
  site_.reset();
}

INSTANTIATE_TEST_SUITE_P(Filesystems, ScrubOnFilesystem, testing::Values("tmp", "ext4", "xfs"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_F(VerifyPairTest, AFlippedBitIsFoundWithThePrimaryGoneAndHealedWhenItIsBack) {
  MakeSite("scrub: {interval: 0s}\n");
  StartBoth();
  std::ofstream(Here("page")) << "hello";
  WriteRandom(Here("disk.img"), kImageBytes, 2);
  Sync();
  EXPECT_EQ(Verify("kept").exit_code, 0);
  site_->primary().Stop();
  FlipBit(There("disk.img"), 20'000'000);
  const Verified kept = Verify("kept");
  EXPECT_EQ(kept.exit_code, 6) << kept.err;
  EXPECT_THAT(kept.differences, UnorderedElementsAre("disk.img content"));
  EXPECT_EQ(kept.volume.at("result"), "different");
  EXPECT_EQ(kept.volume.at("learned"), 0);
  // The alert stays, and what needs the primary can't be done.
  EXPECT_EQ(Status().at("damaged").at("first").at(0).at("path"), "disk.img");
  const ProcessResult table = site_->Drctl({"status", "--no-objects"});
  EXPECT_THAT(table.out, HasSubstr("1 files of DR's replica are damaged"));
  EXPECT_EQ(Verify("digests").exit_code, 4);
  EXPECT_EQ(Verify("exists").exit_code, 0);
  ASSERT_TRUE(site_->StartPrimary().ok());
  const absl::Status waited = WaitFor("the replica to be healed", kPatience, [&] {
    return Verify("kept").exit_code == 0 && Status().at("damaged").is_null();
  });
  EXPECT_TRUE(waited.ok()) << waited << Logs();
  Sync();
  ExpectEqualTrees();
  site_->dr().Stop();
  EXPECT_EQ(Verify("exists").exit_code, 4);
  EXPECT_EQ(Verify("metadata").exit_code, 4);
}

TEST_F(VerifyPairTest, EachKindOfDifferenceIsFound) {
  MakeSite("scrub: {interval: 0s}\n");
  StartBoth();
  const std::vector<std::string> files = {"content", "size",   "mode", "owner",  "mtime", "missing",
                                          "kind",    "xattrs", "same", "linked", "apart"};
  for (const std::string& name : files) std::ofstream(Here(name)) << name;
  fs::create_hard_link(Here("linked"), Here("linked too"));
  std::ofstream(Here("apart too")) << "apart";
  fs::create_symlink("somewhere", Here("symlink"));
  fs::create_directories(Here("gone/below"));
  fs::create_directory(Here("folder"));
  std::ofstream(Here("folder/in")) << "in";
  const bool xattrs = setxattr(Here("xattrs").c_str(), "user.a", "1", 1, 0) == 0;
  Sync();
  for (const char* const depth : {"exists", "metadata", "digests", "kept"}) {
    const Verified same = Verify(depth);
    EXPECT_EQ(same.exit_code, 0) << depth << same.err << same.volume;
    EXPECT_THAT(same.differences, IsEmpty());
  }
  const auto keep_times = [&](const std::string& path, const auto& change) {
    struct stat before {};
    ASSERT_EQ(lstat(There(path).c_str(), &before), 0);
    change();
    const timespec times[2] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(utimensat(AT_FDCWD, There(path).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  };
  keep_times("", [&] {
    FlipBit(There("content"), 1);
    keep_times("size", [&] { std::ofstream(There("size"), std::ios::app) << "x"; });
    ASSERT_EQ(chmod(There("mode").c_str(), 0711), 0);
    const int owned = geteuid() == 0 ? chown(There("owner").c_str(), 1234, 5678) : 0;
    ASSERT_EQ(owned, 0);
    const timespec times[2] = {{1, 0}, {2, 3}};
    ASSERT_EQ(utimensat(AT_FDCWD, There("mtime").c_str(), times, 0), 0);
    fs::remove(There("missing"));
    fs::remove(There("kind"));
    fs::create_directory(There("kind"));
    std::ofstream(There("kind/in it")) << "extra, and told with its folder";
    const int other_xattr = xattrs ? setxattr(There("xattrs").c_str(), "user.a", "2", 1, 0) : 0;
    ASSERT_EQ(other_xattr, 0);
    std::ofstream(There("extra")) << "extra";
    keep_times("symlink", [&] {
      fs::remove(There("symlink"));
      fs::create_symlink("elsewhere", There("symlink"));
    });
    // Names of one file that are two, and the other way round.
    keep_times("linked too", [&] {
      fs::remove(There("linked too"));
      fs::copy_file(There("linked"), There("linked too"));
      chmod(There("linked too").c_str(), fs::status(There("linked")).permissions() == fs::perms::none ? 0 : 0644);
    });
    keep_times("apart too", [&] {
      fs::remove(There("apart too"));
      fs::create_hard_link(There("apart"), There("apart too"));
    });
    fs::remove_all(There("gone"));
    keep_times("folder", [&] { std::ofstream(There("folder/extra")) << "x"; });
  });
  std::vector<std::string> expected = {"size size",       "mode mode",    "mtime mtime",       "missing missing",
                                       "kind kind",       "extra extra",  "symlink target",    "linked too links",
                                       "apart too links", "gone missing", "folder/extra extra"};
  if (geteuid() == 0) expected.push_back("owner owner");
  if (xattrs) expected.push_back("xattrs xattrs");
  Verified metadata = Verify("metadata");
  EXPECT_EQ(metadata.exit_code, 6) << metadata.err;
  // The times of what was made anew are of no account here.
  const auto without_times = [](std::vector<std::string> differences) {
    std::erase_if(differences, [](const std::string& line) {
      return line == "linked too mtime" || line == "symlink mtime" || line == "apart mtime" ||
             line == "apart too mtime";
    });
    return differences;
  };
  EXPECT_THAT(without_times(metadata.differences), testing::UnorderedElementsAreArray(expected));
  expected.push_back("content content");
  const Verified digests = Verify("digests");
  EXPECT_EQ(digests.exit_code, 6);
  EXPECT_THAT(without_times(digests.differences), testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(digests.volume.at("differences_found"), digests.differences.size());
}

TEST_F(VerifyPairTest, ABusyVolumeShowsNoDifference) {
  MakeSite("scrub: {interval: 1s}\n");
  StartBoth();
  WriteRandom(Here("disk.img"), kImageBytes, 3);
  for (int i = 0; i < 50; ++i) std::ofstream(Here(fmt::format("quiet{}", i))) << i;
  Sync();
  std::jthread writer([&](std::stop_token stop) {
    std::mt19937_64 random(4);
    for (uint64_t i = 0; WaitUnlessStopped(stop, absl::Milliseconds(3)); ++i) {
      {
        std::fstream image(Here("disk.img"), std::ios::binary | std::ios::in | std::ios::out);
        image.seekp(static_cast<std::streamoff>(random() % (kImageBytes - 8)));
        image.write(reinterpret_cast<const char*>(&i), 8);
      }
      std::ofstream(Here(fmt::format("busy{}", random() % 10))) << i;
      std::error_code ignored;
      fs::rename(Here("busy0"), Here("busy1"), ignored);
      std::ofstream(Here("busy0")) << i;
      fs::create_hard_link(Here("busy0"), Here(fmt::format("link{}", i % 5)), ignored);
      fs::remove(Here(fmt::format("link{}", (i + 2) % 5)), ignored);
    }
  });
  for (int i = 0; i < 2; ++i) {
    for (const char* const depth : {"exists", "metadata", "digests", "kept"}) {
      const Verified verified = Verify(depth);
      // What changed at each look may be left unchecked, and is told.
      const int expected = verified.volume.at("unchecked").get<uint64_t>() > 0 ? 3 : 0;
      EXPECT_EQ(verified.exit_code, expected) << depth << verified.err << verified.volume << Logs();
    }
  }
  writer = {};
  Sync();
  ExpectEqualTrees();
  EXPECT_THAT(site_->dr().Err(), testing::Not(HasSubstr("damaged")));
}

}  // namespace
}  // namespace understudy::tests
