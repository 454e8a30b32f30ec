#include "agent-primary/watch/inotify_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using ::testing::Contains;
using ::testing::Not;

class Recorder : public HintSink {
 public:
  void OnHint(const model::VolumeName&, std::string_view path, HintKind, bool) override {
    absl::MutexLock lock(&mutex_);
    paths_.emplace(path);
  }
  void OnOverflow(const model::VolumeName&) override {
    absl::MutexLock lock(&mutex_);
    ++overflows_;
  }
  std::set<std::string> TakePaths() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(paths_, {});
  }
  int overflows() {
    absl::MutexLock lock(&mutex_);
    return overflows_;
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> paths_ ABSL_GUARDED_BY(mutex_);
  int overflows_ ABSL_GUARDED_BY(mutex_) = 0;
};

class InotifySourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(Path("d/e"));
    std::filesystem::create_directory(dir_.File("cookies"));
    auto source = InotifySource::Start(dir_.File("cookies"), recorder_);
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
    ASSERT_TRUE(source_->AddVolume("web", dir_.File("web")).ok());
  }
  std::string Path(const std::string& path) const { return dir_.File("web/" + path); }
  std::set<std::string> Hints() {
    EXPECT_TRUE(source_->Flush(absl::Seconds(20)).ok());
    return recorder_.TakePaths();
  }

  tests::TempDir dir_;
  Recorder recorder_;
  std::unique_ptr<InotifySource> source_;
};

TEST_F(InotifySourceTest, FlushComesAfterEverythingBefore) {
  for (int i = 0; i < 200; ++i) {
    const std::string name = "d/" + std::to_string(i);
    std::ofstream(Path(name)) << "x";
    ASSERT_THAT(Hints(), Contains(name));
  }
}

TEST_F(InotifySourceTest, NewFoldersAreWatchedAllTheWayDown) {
  std::filesystem::create_directories(Path("n1/n2/n3"));
  EXPECT_THAT(Hints(), Contains("n1"));
  std::ofstream(Path("n1/n2/n3/file")) << "x";
  EXPECT_THAT(Hints(), Contains("n1/n2/n3/file"));
}

TEST_F(InotifySourceTest, ARenamedFolderIsHintedAtByItsNewName) {
  std::filesystem::rename(Path("d"), Path("moved"));
  EXPECT_THAT(Hints(), ::testing::IsSupersetOf({"d", "moved"}));
  std::ofstream(Path("moved/e/file")) << "x";
  EXPECT_THAT(Hints(), Contains("moved/e/file"));
}

TEST_F(InotifySourceTest, ExchangedFoldersKeepTheirWatches) {
  std::filesystem::create_directories(Path("x/y"));
  (void)Hints();
  ASSERT_EQ(renameat2(AT_FDCWD, Path("d").c_str(), AT_FDCWD, Path("x").c_str(), RENAME_EXCHANGE), 0);
  // A second batch, after which folders that nobody adopted are forgotten.
  for (int i = 0; i < 3; ++i) (void)Hints();
  std::ofstream(Path("x/e/file")) << "x";
  std::ofstream(Path("d/y/file")) << "x";
  EXPECT_THAT(Hints(), ::testing::IsSupersetOf({"x/e/file", "d/y/file"}));
}

TEST_F(InotifySourceTest, WhatLeftTheVolumeIsNotHintedAt) {
  std::filesystem::rename(Path("d"), dir_.File("outside"));
  for (int i = 0; i < 3; ++i) (void)Hints();
  std::ofstream(dir_.File("outside/e/file")) << "x";
  const std::set<std::string> hints = Hints();
  EXPECT_TRUE(hints.empty()) << *hints.begin();
  EXPECT_EQ(source_->watch_count(), 1u);
}

TEST_F(InotifySourceTest, ARemovedVolumeHasNoWatches) {
  source_->RemoveVolume("web");
  EXPECT_EQ(source_->watch_count(), 0u);
  std::ofstream(Path("d/file")) << "x";
  EXPECT_TRUE(Hints().empty());
}

TEST_F(InotifySourceTest, AMovedRootIsAnOverflow) {
  std::filesystem::rename(dir_.File("web"), dir_.File("elsewhere"));
  (void)Hints();
  EXPECT_EQ(recorder_.overflows(), 1);
}

}  // namespace
}  // namespace understudy::primary
