// A tree of a kept state takes no more memory the more undo records lead there.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "core/os/root.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;

constexpr uint64_t kMebibyte = 1024 * 1024;

// In bytes, of this process.
uint64_t FromStatus(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

// The sanitizers keep what was freed for a while.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kFreedIsFree = false;
#else
constexpr bool kFreedIsFree = true;
#endif

class CloneMemoryTest : public RewindTest {};

TEST_F(CloneMemoryTest, RecordsAreReadOneAtATime) {
  constexpr int kRecords = 40;
  constexpr int kFiles = 4000;
  const std::string long_name(120, 'n');
  std::vector<model::Operation> operations;
  for (int i = 0; i < kFiles; ++i) operations.push_back(InlinePut(fmt::format("{}{:05}", long_name, i), "x"));
  ASSERT_TRUE(TryCommit(std::move(operations)).ok());
  const std::string shown = Show(*engine_, "vol");
  for (int record = 1; record <= kRecords; ++record) {
    operations.clear();
    for (int i = 0; i < kFiles; ++i) {
      operations.push_back(
          model::SetMetadata{fmt::format("{}{:05}", long_name, i), FileKind::kRegular, Meta(0600, record)});
    }
    ASSERT_TRUE(TryCommit(std::move(operations)).ok());
  }
  std::filesystem::create_directory(host_->File("tree"));
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;  // the peak counts from here on
  const uint64_t before = FromStatus("VmRSS");
  const absl::Status cloned = engine_->ClonePoint("vol", 1, *os::Root::Open(host_->File("tree")), {});
  ASSERT_TRUE(cloned.ok()) << cloned;
  const uint64_t peak = FromStatus("VmHWM");
  if (kFreedIsFree) {
    EXPECT_LE(peak, before + 24 * kMebibyte);
  }
  ASSERT_TRUE(engine_->Rewind("vol", 1).ok());
  EXPECT_EQ(Show(*engine_, "vol"), shown);
}

// The clone of a file with several names is found again whatever lies between them, and leaves no name of its own.
TEST_F(CloneMemoryTest, NamesOfOneFileStayThat) {
  Commit({InlinePut("a", "linked"), model::MakeDirectory{"d", Meta(0755)}, InlinePut("other", "other"),
          model::MakeSymlink{"s", "a", Meta(0777)}, model::Link{"d/b", "a"}, model::Link{"t", "s"},
          model::Link{"z", "a"}});
  Commit({model::Remove{"z", FileKind::kRegular}});
  const std::string folder = host_->File("tree");
  std::filesystem::create_directory(folder);
  const absl::Status cloned = engine_->ClonePoint("vol", 1, *os::Root::Open(folder), {});
  ASSERT_TRUE(cloned.ok()) << cloned;
  const std::string tree = folder + "/tree";
  EXPECT_EQ(std::filesystem::hard_link_count(tree + "/a"), 3u);
  EXPECT_TRUE(std::filesystem::equivalent(tree + "/a", tree + "/d/b"));
  EXPECT_TRUE(std::filesystem::equivalent(tree + "/a", tree + "/z"));
  EXPECT_FALSE(std::filesystem::exists(folder + "/links"));
}

}  // namespace
}  // namespace understudy::tests
