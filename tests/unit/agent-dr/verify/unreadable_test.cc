// What a disk doesn't give back at all is told, and keeps nobody from looking at the rest.
#include <dirent.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "tests/unit/agent-dr/verify/verify_fixture.h"

namespace {

std::string unreadable_folder;  // a path; empty: none
std::string unreadable_file;    // likewise

bool Is(int fd, const std::string& path) {
  std::error_code error;
  return !path.empty() && std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error) == path;
}

}  // namespace

// Both take the place of libc's for the whole program.
extern "C" ssize_t UnreadablePread(int fd, void* buffer, size_t size, off_t offset) asm("pread");
extern "C" ssize_t UnreadablePread(int fd, void* buffer, size_t size, off_t offset) {
  static auto* const real = reinterpret_cast<ssize_t (*)(int, void*, size_t, off_t)>(dlsym(RTLD_NEXT, "pread"));
  if (Is(fd, unreadable_file)) {
    errno = EIO;
    return -1;
  }
  return real(fd, buffer, size, offset);
}
extern "C" dirent* readdir(DIR* stream) {
  static auto* const real = reinterpret_cast<dirent* (*)(DIR*)>(dlsym(RTLD_NEXT, "readdir"));
  if (Is(dirfd(stream), unreadable_folder)) {
    errno = EIO;
    return nullptr;
  }
  return real(stream);
}

namespace understudy::tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class UnreadableTest : public VerifyTest {
 protected:
  void SetUp() override {
    VerifyTest::SetUp();
    ASSERT_TRUE(Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/in", "xxxx"),
                        model::MakeDirectory{"e", Meta(0755)}, InlinePut("e/after", "yyyy")})
                    .ok());
    unreadable_folder = File("d");
  }
  void TearDown() override {
    unreadable_folder.clear();
    unreadable_file.clear();
    VerifyTest::TearDown();
  }
};

TEST_F(UnreadableTest, AFolderThatCantBeListedIsToldAndTheRestIsScrubbed) {
  FlipBit(File("e/after"), 1);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("d", "e/after"));
  EXPECT_TRUE(absl::IsDataLoss(damage_->Alert()));
  EXPECT_EQ(probe_.passes, 1u);
  ASSERT_EQ(TakeTold().size(), 1u) << "no primary can mend a folder that can't be read";
  // What lies in it is out of sight, not gone: its digest stays known, however long that takes.
  for (int pass = 0; pass < 4; ++pass) Scrub();
  unreadable_folder.clear();
  FlipBit(File("d/in"), 1);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("d/in", "e/after"));
}

TEST_F(UnreadableTest, TheAlertEndsWithAPassThatCouldListIt) {
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("d"));
  unreadable_folder.clear();
  Tend();
  EXPECT_THAT(Damaged(), ElementsAre("d"));
  Scrub();
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_TRUE(damage_->Alert().ok());
}

TEST_F(UnreadableTest, AKeptFolderThatCantBeListedEndsNoPass) {
  unreadable_folder.clear();
  ASSERT_TRUE(Commit({model::Remove{"d", model::FileKind::kDirectory}}).ok());
  for (const auto& replica : std::filesystem::directory_iterator(host_.File(".understudy"))) {
    unreadable_folder = replica.path() / "undo" / "2" / "0";
  }
  ASSERT_TRUE(std::filesystem::is_directory(unreadable_folder)) << unreadable_folder;
  FlipBit(File("e/after"), 1);
  for (int pass = 0; pass < 4; ++pass) Scrub();
  EXPECT_EQ(probe_.passes, 4u);
  EXPECT_THAT(Damaged(), ElementsAre("e/after"));
  // What it holds is out of sight, not gone: brought back, its content is known.
  unreadable_folder.clear();
  ASSERT_TRUE(engine_->Rewind("vol", 1).ok());
  FlipBit(File("d/in"), 1);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("d/in", "e/after"));
}

// The primary rebuilds its index from that, and sends what has no digest.
TEST_F(UnreadableTest, AnInventoryGivesAFileThatCantBeReadNoDigest) {
  unreadable_folder.clear();
  unreadable_file = File("d/in");
  std::map<std::string, bool> has_digest;
  const absl::Status listed = engine_->Inventory("vol", /*with_digests=*/true, [&](const model::InventoryEntry& entry) {
    if (entry.kind == model::FileKind::kRegular) has_digest[entry.path] = entry.digest.has_value();
    return absl::OkStatus();
  });
  ASSERT_TRUE(listed.ok()) << listed;
  EXPECT_THAT(has_digest, ElementsAre(std::pair("d/in", false), std::pair("e/after", true)));
}

TEST_F(UnreadableTest, VerifyingNamesItAndGoesOn) {
  FlipBit(File("e/after"), 1);
  const Verified kept = Verify(model::VerifyDepth::kKept);
  ASSERT_EQ(kept.differences.size(), 2u);
  EXPECT_EQ(kept.differences[0].path, "d");
  EXPECT_EQ(kept.differences[0].kind, model::DifferenceKind::kUnreadable);
  EXPECT_EQ(kept.differences[1].path, "e/after");
}

}  // namespace
}  // namespace understudy::tests
