// fanotify on the filesystems that NFS servers export. Needs root and loop devices.
#include "agent-primary/watch/fanotify_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "agent-primary/watch/mixed_source.h"
#include "core/os/file_handle.h"
#include "tests/support/loop_mount.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-primary/watch/recorder.h"

namespace understudy::primary {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

uint64_t InodeOf(const std::string& path) {
  struct stat raw {};
  EXPECT_EQ(stat(path.c_str(), &raw), 0) << path;
  return raw.st_ino;
}

// Writes as an NFS server does that was restarted: by the file's handle, with nothing of it in the kernel's caches.
void WriteByHandle(const std::string& mount, const std::string& path, const std::string& text) {
  alignas(file_handle) char storage[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  auto* const handle = reinterpret_cast<file_handle*>(storage);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  ASSERT_EQ(name_to_handle_at(AT_FDCWD, path.c_str(), handle, &mount_id, 0), 0);
  sync();
  std::ofstream("/proc/sys/vm/drop_caches") << "2";
  const os::Fd folder(open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const os::Fd file(open_by_handle_at(folder.get(), handle, O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(file.valid()) << strerror(errno);
  ASSERT_EQ(pwrite(file.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
}

class FanotifySourceTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto mount = tests::LoopMount::Make(GetParam(), 320);
    if (absl::IsUnimplemented(mount.status())) GTEST_SKIP() << mount.status();
    ASSERT_TRUE(mount.ok()) << mount.status();
    mount_ = *std::move(mount);
    std::filesystem::create_directories(Path("d/e"));
    std::filesystem::create_directories(mount_->Path() + "/other");
    std::filesystem::create_directory(dir_.File("cookies"));
    auto source = FanotifySource::Start(dir_.File("cookies"), recorder_, kQueuedEvents);
    if (absl::IsUnimplemented(source.status())) GTEST_SKIP() << source.status();
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
    ASSERT_EQ(source_->AddVolume("web", mount_->Path() + "/web"), absl::OkStatus());
  }
  void TearDown() override {
    recorder_.SetOverflowOpen(true);
    recorder_.SetOpen(true);
  }
  std::string Path(const std::string& path) const { return mount_->Path() + "/web/" + path; }
  std::set<std::string> Hints() {
    EXPECT_EQ(source_->Flush(absl::Seconds(20)), absl::OkStatus());
    return recorder_.TakePaths();
  }

  static constexpr size_t kQueuedEvents = 1000;
  tests::TempDir dir_;
  std::unique_ptr<tests::LoopMount> mount_;
  Recorder recorder_;
  std::unique_ptr<FanotifySource> source_;
};

TEST_P(FanotifySourceTest, EveryKindOfChangeIsHintedAt) {
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
  ASSERT_EQ(chmod(Path("").c_str(), 0700), 0);
  EXPECT_THAT(Hints(), Contains("")) << "the root's mode";
  EXPECT_EQ(recorder_.overflows(), 0);
  std::filesystem::create_hard_link(file, Path("d/e/link"));
  EXPECT_THAT(Hints(), Contains("d/e/link"));
  std::filesystem::rename(file, Path("d/e/file"));
  EXPECT_THAT(Hints(), IsSupersetOf({"d/file", "d/e/file"}));
  std::filesystem::remove(Path("d/e/file"));
  EXPECT_THAT(Hints(), Contains("d/e/file")) << "removed";
  std::filesystem::remove_all(Path("d/e"));
  EXPECT_THAT(Hints(), Contains("d/e")) << "a removed folder";
}

TEST_P(FanotifySourceTest, FlushComesAfterEverythingBefore) {
  for (int i = 0; i < 200; ++i) {
    const std::string name = "d/" + std::to_string(i);
    std::ofstream(Path(name)) << "x";
    ASSERT_THAT(Hints(), Contains(name));
  }
  recorder_.SetOpen(false);
  std::ofstream(Path("d/held")) << "x";
  EXPECT_TRUE(absl::IsDeadlineExceeded(source_->Flush(absl::Milliseconds(300))));
  recorder_.SetOpen(true);
  EXPECT_THAT(Hints(), Contains("d/held"));
}

// Folders that the kernel has forgotten are found by their handles all the same.
TEST_P(FanotifySourceTest, NothingIsLostWhileCachesAreDropped) {
  for (int i = 0; i < 50; ++i) std::filesystem::create_directories(Path(fmt::format("d/{}/x/y", i)));
  (void)Hints();
  const std::jthread dropper([](const std::stop_token& stop) {
    while (!stop.stop_requested()) std::ofstream("/proc/sys/vm/drop_caches") << "2";
  });
  for (int i = 0; i < 300; ++i) {
    const std::string name = fmt::format("d/{}/x/y/{}", i % 50, i);
    std::ofstream(Path(name)) << "x";
    // What was found before is forgotten, too.
    std::filesystem::rename(Path("d/0/x/y"), Path("d/0/x/z"));
    std::filesystem::rename(Path("d/0/x/z"), Path("d/0/x/y"));
    ASSERT_THAT(Hints(), Contains(name)) << recorder_.overflows();
  }
}

TEST_P(FanotifySourceTest, FoldersAreFollowedWhereverTheyGo) {
  std::filesystem::create_directories(Path("n1/n2/n3"));
  std::ofstream(Path("n1/n2/n3/file")) << "x";
  EXPECT_THAT(Hints(), IsSupersetOf({"n1", "n1/n2/n3/file"}));
  std::filesystem::rename(Path("n1/n2"), Path("d/moved"));
  EXPECT_THAT(Hints(), IsSupersetOf({"n1/n2", "d/moved"}));
  std::ofstream(Path("d/moved/n3/file")) << "y";
  EXPECT_THAT(Hints(), Contains("d/moved/n3/file"));
  ASSERT_EQ(renameat2(AT_FDCWD, Path("d").c_str(), AT_FDCWD, Path("n1").c_str(), RENAME_EXCHANGE), 0);
  std::ofstream(Path("n1/moved/n3/file")) << "z";
  EXPECT_THAT(Hints(), IsSupersetOf({"d", "n1", "n1/moved/n3/file"}));
  // Out of the volume, and back in.
  std::filesystem::rename(Path("n1"), mount_->Path() + "/other/n1");
  (void)Hints();
  std::ofstream(mount_->Path() + "/other/n1/moved/n3/file") << "z";
  EXPECT_THAT(Hints(), IsEmpty());
  std::filesystem::rename(mount_->Path() + "/other/n1", Path("back"));
  (void)Hints();
  std::ofstream(Path("back/moved/n3/file")) << "z";
  EXPECT_THAT(Hints(), Contains("back/moved/n3/file"));
}

TEST_P(FanotifySourceTest, EachVolumeHearsOfItsOwn) {
  ASSERT_EQ(source_->AddVolume("other", mount_->Path() + "/other"), absl::OkStatus());
  std::filesystem::create_directories(Path(".understudy/bases"));
  std::ofstream(Path(".understudy/bases/clone")) << "x";
  std::ofstream(mount_->Path() + "/in-none") << "x";
  std::ofstream(mount_->Path() + "/other/file") << "x";
  EXPECT_THAT(Hints(), ElementsAre("file"));
  EXPECT_THAT(recorder_.TakeVolumes(), ElementsAre("other"));
  source_->RemoveVolume("other");
  std::ofstream(mount_->Path() + "/other/file") << "x";
  EXPECT_THAT(Hints(), IsEmpty());
}

// What inotify doesn't see at all.
TEST_P(FanotifySourceTest, AWriteByHandleTellsTheInode) {
  const std::string file = Path("d/e/disk");
  std::ofstream(file) << "content";
  const uint64_t inode = InodeOf(file);
  (void)Hints();
  (void)recorder_.TakeInodes();
  WriteByHandle(mount_->Path(), file, "changed");
  const std::set<std::string> hints = Hints();
  const std::set<uint64_t> inodes = recorder_.TakeInodes();
  EXPECT_TRUE(hints.contains("d/e/disk") || inodes.contains(inode)) << "not hinted at";
  EXPECT_THAT(inodes, Contains(inode)) << "the name was cached after all: the test shows nothing";
}

TEST_P(FanotifySourceTest, AFileThatIsGoneIsNoError) {
  const std::string file = Path("d/e/disk");
  std::ofstream(file) << "content";
  (void)Hints();
  recorder_.SetOpen(false);
  std::ofstream(Path("d/hold")) << "x";  // held here, so that the next events are read when the file is gone
  ASSERT_TRUE(absl::IsDeadlineExceeded(source_->Flush(absl::Milliseconds(100))));
  WriteByHandle(mount_->Path(), file, "changed");
  std::filesystem::remove_all(Path("d/e"));
  recorder_.SetOpen(true);
  EXPECT_THAT(Hints(), Contains("d/e"));
  EXPECT_EQ(recorder_.overflows(), 0);
}

TEST_P(FanotifySourceTest, PastTheBoundEveryVolumeIsToldOf) {
  recorder_.SetOpen(false);
  std::ofstream(Path("d/hold")) << "x";
  for (int i = 0; i < 10'000; ++i) std::ofstream(Path(fmt::format("d/{}", i))) << "x";
  recorder_.SetOpen(true);
  (void)Hints();
  const int overflows = recorder_.overflows();
  EXPECT_GE(overflows, 1);
  std::ofstream(Path("d/later")) << "x";
  const std::set<std::string> hints = Hints();
  EXPECT_TRUE(hints.contains("d/later") || recorder_.overflows() > overflows) << "neither told nor scanned for";
}

TEST_P(FanotifySourceTest, ARootThatGoesOrComesIsAnOverflow) {
  std::filesystem::rename(mount_->Path() + "/web", mount_->Path() + "/elsewhere");
  (void)Hints();
  EXPECT_EQ(recorder_.overflows(), 1);
  std::filesystem::create_directory(mount_->Path() + "/web");
  (void)Hints();
  EXPECT_EQ(recorder_.overflows(), 2);
  // The folder that was added is still the volume's, until it is added anew.
  ASSERT_EQ(source_->AddVolume("web", mount_->Path() + "/web"), absl::OkStatus());
  std::ofstream(Path("file")) << "x";
  EXPECT_THAT(Hints(), ElementsAre("file"));
}

TEST_P(FanotifySourceTest, AVolumeThatIsAMountOfItsOwnIsSeenThroughAnyOther) {
  std::filesystem::create_directory(dir_.File("bound"));
  ASSERT_EQ(mount((mount_->Path() + "/other").c_str(), dir_.File("bound").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(source_->AddVolume("other", dir_.File("bound")), absl::OkStatus());
  std::filesystem::create_directory(mount_->Path() + "/other/sub");
  std::ofstream(mount_->Path() + "/other/sub/file") << "x";
  EXPECT_THAT(Hints(), Contains("sub/file"));
  // The other way round: the descriptor that handles are opened by is the bind mount's alone.
  source_->RemoveVolume("web");
  ASSERT_EQ(source_->AddVolume("zweb", mount_->Path() + "/web"), absl::OkStatus());
  std::ofstream(Path("d/e/file")) << "x";
  EXPECT_THAT(Hints(), Contains("d/e/file"));
  source_.reset();
  EXPECT_EQ(umount(dir_.File("bound").c_str()), 0);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, FanotifySourceTest, ::testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& filesystem) { return std::string(filesystem.param); });

// A btrfs subvolume can't be marked.
TEST(MixedSourceTest, InotifyWatchesWhatFanotifyCant) {
  auto mount = tests::LoopMount::Make("btrfs", 128);
  if (absl::IsUnimplemented(mount.status())) GTEST_SKIP() << mount.status();
  ASSERT_TRUE(mount.ok()) << mount.status();
  const std::string subvolume = (*mount)->Path() + "/web";
  ASSERT_EQ(std::system(fmt::format("btrfs -q subvolume create {}", subvolume).c_str()), 0);
  std::filesystem::create_directories((*mount)->Path() + "/plain");
  const tests::TempDir dir;
  Recorder recorder;
  auto source = StartChangeSource(ChangeBackend::kFanotify, dir.Path(), recorder);
  if (absl::IsUnimplemented(source.status())) GTEST_SKIP() << source.status();
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_EQ((*source)->AddVolume("web", subvolume), absl::OkStatus());
  ASSERT_EQ((*source)->AddVolume("plain", (*mount)->Path() + "/plain"), absl::OkStatus());
  for (int i = 0; i < 50; ++i) {
    std::ofstream(fmt::format("{}/{}", subvolume, i)) << "x";
    std::ofstream(fmt::format("{}/plain/p{}", (*mount)->Path(), i)) << "x";
    ASSERT_EQ((*source)->Flush(absl::Seconds(20)), absl::OkStatus());
    ASSERT_THAT(recorder.TakePaths(), IsSupersetOf({std::to_string(i), fmt::format("p{}", i)}));
  }
}

// What is mounted in a volume belongs to it, and one mark wouldn't tell of it.
TEST_P(FanotifySourceTest, AVolumeWithAMountInItIsLeftToInotify) {
  ASSERT_EQ(mount((mount_->Path() + "/other").c_str(), Path("d/e").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_TRUE(absl::IsUnimplemented(source_->AddVolume("again", mount_->Path() + "/web")));
  source_.reset();
  EXPECT_EQ(umount(Path("d/e").c_str()), 0);
}

// Two volumes whose folders trade places: each hears of what it has now.
TEST_P(FanotifySourceTest, VolumesWhoseFoldersAreExchangedAreBothSeen) {
  ASSERT_EQ(source_->AddVolume("other", mount_->Path() + "/other"), absl::OkStatus());
  ASSERT_EQ(renameat2(AT_FDCWD, (mount_->Path() + "/web").c_str(), AT_FDCWD, (mount_->Path() + "/other").c_str(),
                      RENAME_EXCHANGE),
            0);
  ASSERT_EQ(source_->AddVolume("web", mount_->Path() + "/web"), absl::OkStatus());
  ASSERT_EQ(source_->AddVolume("other", mount_->Path() + "/other"), absl::OkStatus());
  (void)Hints();
  (void)recorder_.TakeVolumes();
  std::ofstream(mount_->Path() + "/web/file") << "x";
  EXPECT_THAT(Hints(), ElementsAre("file"));
  EXPECT_THAT(recorder_.TakeVolumes(), ElementsAre("web"));
  std::ofstream(mount_->Path() + "/other/d/file") << "x";
  EXPECT_THAT(Hints(), ElementsAre("d/file"));
  EXPECT_THAT(recorder_.TakeVolumes(), ElementsAre("other"));
}

}  // namespace
}  // namespace understudy::primary
