#include "agent-dr/commit/remove_tree.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

class RemoveTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_.File("tree/a/b/c"));
    fs::create_directories(folder_.File("tree/kept/kept"));
    std::ofstream(folder_.File("tree/a/b/file")) << "x";
    std::ofstream(folder_.File("tree/kept/a")) << "x";
    fs::create_directory_symlink(folder_.File("outside"), folder_.File("tree/a/link"));
    fs::create_directories(folder_.File("outside/theirs"));
  }
  [[nodiscard]] os::Root Tree() const { return *os::Root::Open(folder_.File("tree")); }

  TempDir folder_;
};

TEST_F(RemoveTreeTest, TakesEverythingButTheFolderItself) {
  ASSERT_TRUE(dr::RemoveAllIn(Tree()).ok());
  EXPECT_TRUE(fs::is_empty(folder_.File("tree")));
  EXPECT_TRUE(fs::exists(folder_.File("outside/theirs"))) << "through a symlink";
}

TEST_F(RemoveTreeTest, WhatIsKeptStaysWithAllThatItHolds) {
  ASSERT_TRUE(dr::RemoveAllIn(Tree(), {}, [](const std::string& name) { return name == "kept" || name == "b"; }).ok());
  EXPECT_TRUE(fs::exists(folder_.File("tree/kept/a")));
  EXPECT_TRUE(fs::exists(folder_.File("tree/kept/kept")));
  EXPECT_FALSE(fs::exists(folder_.File("tree/a"))) << "only names in the folder itself are kept";
}

TEST_F(RemoveTreeTest, StopsWhenItIsToldTo) {
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_EQ(dr::RemoveAllIn(Tree(), stopped.get_token()).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(fs::exists(folder_.File("tree/a/b/file")));
}

}  // namespace
}  // namespace understudy::tests
