#include "agent-primary/watch/inotify_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <set>

#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-primary/watch/recorder.h"

namespace understudy::primary {
namespace {

using ::testing::Contains;
using ::testing::Not;

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
  void TearDown() override {
    recorder_.SetOverflowOpen(true);
    recorder_.SetOpen(true);
  }
  std::string Path(const std::string& path) const { return dir_.File("web/" + path); }
  static size_t QueueBound() {
    size_t bound = 0;
    std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> bound;
    return bound;
  }
  // Leaves the source's thread held at a hint, and more events behind it than the kernel keeps.
  void FillQueue() {
    recorder_.SetOpen(false);
    std::ofstream(Path("d/hold")) << "x";
    // Making and removing in turns, because the kernel joins an event to an equal one before it.
    for (size_t events = 0; events < QueueBound() + 10'000; events += 2) {
      ASSERT_EQ(symlink("x", Path("d/flood").c_str()), 0);
      ASSERT_EQ(unlink(Path("d/flood").c_str()), 0);
    }
  }
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

TEST_F(InotifySourceTest, TheAgentsOwnFolderIsLeftOut) {
  std::filesystem::create_directories(Path(".understudy/bases-web"));
  std::ofstream(Path(".understudy/bases-web/clone")) << "x";
  std::ofstream(Path("d/seen")) << "x";
  const std::set<std::string> hints = Hints();
  EXPECT_THAT(hints, Contains("d/seen"));
  for (const std::string& hint : hints) EXPECT_FALSE(hint.starts_with(".understudy")) << hint;
}

TEST_F(InotifySourceTest, NewFoldersAreWatchedAllTheWayDown) {
  std::filesystem::create_directories(Path("n1/n2/n3"));
  EXPECT_THAT(Hints(), Contains("n1"));
  std::ofstream(Path("n1/n2/n3/file")) << "x";
  EXPECT_THAT(Hints(), Contains("n1/n2/n3/file"));
}

TEST_F(InotifySourceTest, EveryKindOfChangeIsHintedAt) {
  const std::string file = Path("d/file");
  std::ofstream(file) << "x";
  EXPECT_THAT(Hints(), Contains("d/file"));
  {
    std::ofstream still_open(file);
    still_open << "y" << std::flush;
    EXPECT_THAT(Hints(), Contains("d/file")) << "written";
  }
  (void)Hints();
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  EXPECT_THAT(Hints(), Contains("d/file")) << "mode";
  ASSERT_EQ(setxattr(file.c_str(), "user.note", "x", 1, 0), 0);
  EXPECT_THAT(Hints(), Contains("d/file")) << "xattr";
  ASSERT_EQ(chmod(Path("d").c_str(), 0700), 0);
  EXPECT_THAT(Hints(), Contains("d")) << "a folder's mode";
  std::filesystem::create_hard_link(file, Path("d/e/link"));
  EXPECT_THAT(Hints(), Contains("d/e/link"));
  std::filesystem::rename(file, Path("d/e/file"));
  EXPECT_THAT(Hints(), ::testing::IsSupersetOf({"d/file", "d/e/file"}));
  std::filesystem::remove(Path("d/e/file"));
  EXPECT_THAT(Hints(), Contains("d/e/file")) << "removed";
  std::filesystem::remove_all(Path("d/e"));
  EXPECT_THAT(Hints(), Contains("d/e")) << "a removed folder";
}

TEST_F(InotifySourceTest, AfterAnOverflowTheVolumeIsToldOfAndEveryFolderWatched) {
  if (QueueBound() == 0 || QueueBound() > 200'000) GTEST_SKIP() << "filling such a queue would take too long";
  FillQueue();
  std::filesystem::create_directories(Path("unseen/below"));
  std::filesystem::rename(Path("d/e"), Path("unseen/e"));
  recorder_.SetOpen(true);
  (void)Hints();
  EXPECT_GE(recorder_.overflows(), 1);
  (void)Hints();
  std::ofstream(Path("unseen/below/file")) << "x";
  std::ofstream(Path("unseen/e/file")) << "x";
  EXPECT_THAT(Hints(), ::testing::IsSupersetOf({"unseen/below/file", "unseen/e/file"}));
}

// The scan that the overflow asked for may be over by then, so the change's own hint has to come.
TEST_F(InotifySourceTest, FlushAfterAnOverflowWasToldOfWaitsForItsOwnCookie) {
  if (QueueBound() == 0 || QueueBound() > 200'000) GTEST_SKIP() << "filling such a queue would take too long";
  FillQueue();
  recorder_.SetOverflowOpen(false);
  recorder_.SetOpen(true);
  ASSERT_TRUE(tests::WaitFor("the overflow", absl::Seconds(60), [&] { return recorder_.overflows() > 0; }).ok());
  recorder_.SetOpen(false);
  std::ofstream(Path("d/late")) << "x";
  const auto cookies_time = [&] { return std::filesystem::last_write_time(dir_.File("cookies")); };
  const auto before = cookies_time();
  std::future<absl::Status> flush = std::async(std::launch::async, [&] { return source_->Flush(absl::Seconds(60)); });
  ASSERT_TRUE(tests::WaitFor("the cookie", absl::Seconds(20), [&] { return cookies_time() != before; }).ok());
  recorder_.SetOverflowOpen(true);
  EXPECT_EQ(flush.wait_for(std::chrono::milliseconds(500)), std::future_status::timeout)
      << "d/late isn't hinted at yet";
  recorder_.SetOpen(true);
  EXPECT_TRUE(flush.get().ok());
  EXPECT_THAT(recorder_.TakePaths(), Contains("d/late"));
}

TEST_F(InotifySourceTest, AfterAnOverflowNothingThatIsGoneIsWatched) {
  std::filesystem::create_directories(Path("gone/sub"));
  (void)Hints();
  EXPECT_EQ(source_->watch_count(), 5u);
  FillQueue();
  std::filesystem::remove_all(Path("gone"));
  std::filesystem::rename(Path("d/e"), dir_.File("outside"));
  recorder_.SetOpen(true);
  (void)Hints();
  EXPECT_GE(recorder_.overflows(), 1);
  EXPECT_EQ(source_->watch_count(), 2u);
  std::ofstream(dir_.File("outside/file")) << "x";
  EXPECT_THAT(Hints(), ::testing::IsEmpty());
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

// Runs `body` in a process with a user namespace of its own, where the limits of inotify can be set, and expects it to
// succeed. The process has no threads but those that `body` starts.
void InUserNamespace(const std::function<void()>& body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int user = static_cast<int>(getuid());
    if (unshare(CLONE_NEWUSER) != 0) _exit(77);
    std::ofstream("/proc/self/uid_map") << fmt::format("0 {} 1", user);
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(WEXITSTATUS(status), 0) << "see above";
}

bool SetWatchLimit(int limit) {
  std::ofstream file("/proc/sys/user/max_inotify_watches");
  file << limit << std::flush;
  return file.good();
}

TEST(InotifyLimitTest, WhatCannotBeWatchedIsToldOfAndWatchedWhenThereAreWatchesAgain) {
  InUserNamespace([] {
    const tests::TempDir dir;
    for (const char* path : {"web/a/b/c", "web/d/e", "cookies"}) std::filesystem::create_directories(dir.File(path));
    ASSERT_TRUE(SetWatchLimit(3));  // one for the cookies
    Recorder recorder;
    auto source = InotifySource::Start(dir.File("cookies"), recorder, absl::Milliseconds(20));
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_TRUE((*source)->AddVolume("web", dir.File("web")).ok());
    const std::string told(recorder.coverage().message());
    EXPECT_TRUE(absl::IsResourceExhausted(recorder.coverage())) << recorder.coverage();
    EXPECT_THAT(told, ::testing::HasSubstr("no watch left for 4 of the volume's folders"));
    EXPECT_THAT(told, ::testing::HasSubstr("fs.inotify.max_user_watches"));
    EXPECT_EQ((*source)->watch_count(), 2u);
    // What can be watched is.
    std::ofstream(dir.File("web/x")) << "x";
    EXPECT_TRUE((*source)->Flush(absl::Seconds(20)).ok());
    EXPECT_THAT(recorder.TakePaths(), Contains("x"));
    EXPECT_EQ(recorder.overflows(), 0);

    ASSERT_TRUE(SetWatchLimit(100));
    EXPECT_TRUE(tests::WaitFor("every folder to be watched", absl::Seconds(20),
                               [&] { return recorder.coverage().ok() && recorder.overflows() == 1; })
                    .ok())
        << recorder.coverage();
    EXPECT_EQ((*source)->watch_count(), 6u);
    std::ofstream(dir.File("web/a/b/c/y")) << "y";
    EXPECT_TRUE((*source)->Flush(absl::Seconds(20)).ok());
    EXPECT_THAT(recorder.TakePaths(), Contains("a/b/c/y"));

    ASSERT_TRUE(SetWatchLimit(1));  // a new folder meets the limit, too
    std::filesystem::create_directory(dir.File("web/d/new"));
    EXPECT_TRUE((*source)->Flush(absl::Seconds(20)).ok());
    EXPECT_TRUE(absl::IsResourceExhausted(recorder.coverage())) << recorder.coverage();
  });
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
