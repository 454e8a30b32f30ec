// Everything that a file can be besides its content, through the primary's half and the commit engine: made, changed
// and turned into something else, it is the same at DR.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "agent-dr/commit/commit_engine.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/os/fd.h"
#include "core/os/metadata.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_compare.h"

namespace understudy {
namespace {

using ::testing::IsEmpty;

// struct posix_acl_xattr_header and its entries (linux/posix_acl_xattr.h), little-endian: user::rw-, user:UID:r--,
// group::r--, mask::r--, other::---.
std::string AclFor(uint32_t uid) {
  std::string acl("\x02\0\0\0", 4);
  const auto add = [&](uint16_t tag, uint16_t rights, uint32_t id) {
    for (int shift = 0; shift < 16; shift += 8) acl.push_back(static_cast<char>(tag >> shift));
    for (int shift = 0; shift < 16; shift += 8) acl.push_back(static_cast<char>(rights >> shift));
    for (int shift = 0; shift < 32; shift += 8) acl.push_back(static_cast<char>(id >> shift));
  };
  constexpr uint32_t kNobody = UINT32_MAX;
  add(0x01, 6, kNobody);
  add(0x02, 4, uid);
  add(0x04, 4, kNobody);
  add(0x10, 4, kNobody);
  add(0x20, 0, kNobody);
  return acl;
}

// struct vfs_cap_data of revision 2 (linux/capability.h): cap_net_bind_service=ep.
std::string NetBindCapability() {
  std::string value("\x01\x00\x00\x02", 4);
  value += std::string("\x00\x04\x00\x00", 4);
  value += std::string(12, '\0');
  return value;
}

class FidelityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can make all that root can make";
    for (const char* folder : {"primary/web", "dr", "state-dr"}) std::filesystem::create_directories(dir_.File(folder));
    auto engine = dr::CommitEngine::Start({.state_dir = dir_.File("state-dr"), .exports = {dir_.File("dr")}});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    sink_ = std::make_unique<dr::LocalSink>(*engine_);
    StartReplicator(os::Labels::kOmit);
  }

  void StartReplicator(os::Labels labels) {
    replicator_.reset();
    const primary::ReplicatorOptions options{.times = {absl::ZeroDuration(), absl::ZeroDuration()}, .labels = labels};
    auto replicator =
        primary::VolumeReplicator::Open("web", Volume(), Replica(), dir_.File("web.db"), options, Clock::System());
    ASSERT_TRUE(replicator.ok()) << replicator.status();
    replicator_ = *std::move(replicator);
  }

  std::string Volume() const { return dir_.File("primary/web"); }
  std::string Replica() const { return dir_.File("dr/web"); }
  std::string At(const std::string& path) const { return Volume() + "/" + path; }
  void Write(const std::string& path, const std::string& content) { std::ofstream(At(path)) << content; }
  void SetXattr(const std::string& path, const char* name, const std::string& value) {
    ASSERT_EQ(lsetxattr(At(path).c_str(), name, value.data(), value.size(), 0), 0) << path << " " << name;
  }

  void ExpectEqual(const std::string& when) {
    replicator_->OnOverflow();
    const uint64_t barrier = replicator_->RequestBarrier();
    while (!replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration())) {
      const absl::Status status = replicator_->Run(*sink_, {});
      ASSERT_TRUE(status.ok()) << status << " " << when;
    }
    const auto differences = tests::CompareTrees(Volume(), Replica());
    ASSERT_TRUE(differences.ok()) << differences.status() << " " << when;
    ASSERT_THAT(*differences, IsEmpty()) << when;
  }

  tests::TempDir dir_;
  std::unique_ptr<dr::CommitEngine> engine_;
  std::unique_ptr<dr::LocalSink> sink_;
  std::unique_ptr<primary::VolumeReplicator> replicator_;
};

TEST_F(FidelityTest, EveryKind) {
  Write("empty", "");
  std::filesystem::create_symlink("/nowhere/at all", At("dangling"));
  ASSERT_EQ(mkfifo(At("fifo").c_str(), 0640), 0);
  ASSERT_EQ(mknod(At("character").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  ASSERT_EQ(mknod(At("block").c_str(), S_IFBLK | 0660, makedev(259, 1'048'575)), 0);
  const os::Fd socket_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  ASSERT_LT(At("socket").size(), sizeof(address.sun_path));
  std::strcpy(address.sun_path, At("socket").c_str());
  ASSERT_EQ(bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ExpectEqual("made");
  for (const char* name : {"fifo", "character", "block", "socket", "empty"}) {
    ASSERT_EQ(lchown(At(name).c_str(), 1234, 5678), 0);
  }
  ASSERT_EQ(lchown(At("dangling").c_str(), 1234, 5678), 0);
  ExpectEqual("given away");
  ASSERT_EQ(unlink(At("character").c_str()), 0);
  ASSERT_EQ(mknod(At("character").c_str(), S_IFCHR | 0600, makedev(1, 5)), 0);
  ExpectEqual("another device");
}

TEST_F(FidelityTest, OwnerModeAndTimes) {
  Write("file", "content");
  std::filesystem::create_directory(At("folder"));
  Write("folder/inside", "content");
  std::filesystem::create_symlink("target", At("link"));
  ASSERT_EQ(chown(At("file").c_str(), 4'000'000'000, 3'000'000'000), 0);
  ASSERT_EQ(chmod(At("file").c_str(), 06751), 0);
  ASSERT_EQ(chmod(At("folder").c_str(), 03775), 0);
  constexpr std::array<timespec, 4> kTimes = {{{-86'401, 1}, {0, 0}, {4'102'444'800, 999'999'999}, {1'000'000'000, 7}}};
  for (const timespec& time : kTimes) {
    const timespec times[2] = {{0, UTIME_OMIT}, time};
    for (const char* name : {"file", "folder", "link", "folder/inside"}) {
      ASSERT_EQ(utimensat(AT_FDCWD, At(name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
    }
    ExpectEqual(fmt::format("mtime {}.{:09}", time.tv_sec, time.tv_nsec));
  }
  ASSERT_EQ(chmod(Volume().c_str(), 01777), 0);
  ASSERT_EQ(chown(Volume().c_str(), 107, 107), 0);
  ExpectEqual("the volume's own folder");
}

TEST_F(FidelityTest, XattrsAclsAndCapabilities) {
  Write("file", "content");
  std::filesystem::create_directory(At("folder"));
  Write("folder/program", "content");
  std::filesystem::create_symlink("target", At("link"));
  SetXattr("file", "user.empty", "");
  SetXattr("file", "user.binary", std::string("\0\xff\n", 3));
  SetXattr("file", "trusted.origin", "primary");
  SetXattr("folder", "user.note", std::string(2000, 'n'));
  SetXattr("link", "trusted.link", "of its own");
  SetXattr("file", "system.posix_acl_access", AclFor(1000));
  SetXattr("folder", "system.posix_acl_default", AclFor(1001));
  SetXattr("folder/program", "security.capability", NetBindCapability());
  ExpectEqual("set");
  // Owner and capability: a change of owner takes a capability away, so the order counts.
  ASSERT_EQ(chown(At("folder/program").c_str(), 1000, 1000), 0);
  SetXattr("folder/program", "security.capability", NetBindCapability());
  ASSERT_EQ(removexattr(At("file").c_str(), "user.binary"), 0);
  SetXattr("file", "system.posix_acl_access", AclFor(2000));
  ASSERT_EQ(removexattr(At("folder").c_str(), "system.posix_acl_default"), 0);
  ExpectEqual("changed");
  // Inherits the default ACL of its folder at the primary; at DR it must come with its own.
  SetXattr("folder", "system.posix_acl_default", AclFor(1002));
  Write("folder/heir", "content");
  Write("folder/stranger", "content");
  ASSERT_EQ(removexattr(At("folder/stranger").c_str(), "system.posix_acl_access"), 0);
  std::filesystem::create_directory(At("folder/below"));
  ExpectEqual("inherited");
}

TEST_F(FidelityTest, SelinuxLabelsTravelOnlyWhenAsked) {
  const auto label_at_dr = [&](const char* name) {
    std::array<char, 256> value{};
    const ssize_t size = lgetxattr((Replica() + "/" + name).c_str(), "security.selinux", value.data(), value.size());
    return std::string(value.data(), size < 0 ? 0 : static_cast<size_t>(size));
  };
  const std::string svirt = "system_u:object_r:svirt_image_t:s0:c1,c2";
  Write("file", "content");
  if (!label_at_dr("").empty()) GTEST_SKIP() << "the host labels files itself";
  SetXattr("file", "security.selinux", svirt);
  ExpectEqual("not asked");
  EXPECT_EQ(label_at_dr("file"), "");
  StartReplicator(os::Labels::kTake);
  std::filesystem::create_directory(At("folder"));
  std::filesystem::create_symlink("target", At("link"));
  for (const char* name : {"file", "folder", "link"}) SetXattr(name, "security.selinux", svirt);
  ASSERT_EQ(chmod(At("file").c_str(), 0640), 0);  // it had its label before
  ExpectEqual("asked");
  for (const char* name : {"file", "folder", "link"}) EXPECT_EQ(label_at_dr(name), svirt) << name;
  // What isn't asked for stays as the host has it.
  StartReplicator(os::Labels::kOmit);
  Write("file", "other content");
  ASSERT_EQ(chmod(At("folder").c_str(), 0700), 0);
  ExpectEqual("not asked any more");
  EXPECT_EQ(label_at_dr("folder"), svirt);
}

TEST_F(FidelityTest, Names) {
  for (const std::string& name : {std::string("new\nline"), std::string("\xff\xfe\x80"), std::string("-rf"),
                                  std::string(255, 'x'), std::string(" "), std::string("..."), std::string("a\\b")}) {
    Write(name, name);
    std::filesystem::create_directory(At("folder of " + name.substr(0, 200)));
    Write("folder of " + name.substr(0, 200) + "/" + name, name);
  }
  ExpectEqual("written");
  std::filesystem::rename(At("-rf"), At("\xf0\x28"));
  ExpectEqual("renamed");
}

TEST_F(FidelityTest, TreesDeeperThanAnyPath) {
  constexpr int kLevels = 40;  // of 201 bytes: twice PATH_MAX
  const std::string name(200, 'd');
  os::Fd at(open(Volume().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int level = 0; level < kLevels; ++level) {
    ASSERT_EQ(mkdirat(at.get(), name.c_str(), 0755), 0);
    at = os::Fd(openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at.valid());
    const os::Fd file(openat(at.get(), "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    const std::string content = fmt::format("level {}", level);
    ASSERT_EQ(write(file.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  }
  ExpectEqual("made");
  const os::Fd large(openat(at.get(), "large", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  const std::string content(1'000'000, 'l');
  ASSERT_EQ(write(large.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  ASSERT_EQ(unlinkat(at.get(), "file", 0), 0);
  ASSERT_EQ(symlinkat("target", at.get(), "link"), 0);
  ExpectEqual("changed at the bottom");
  std::filesystem::rename(At(name), At("renamed"));
  ExpectEqual("the topmost folder renamed");
  std::filesystem::create_directory(At("another"));
  std::filesystem::rename(At("renamed"), At("another/place"));
  ExpectEqual("moved");
  ASSERT_EQ(std::system(fmt::format("rm -rf '{}'", At("another")).c_str()), 0);
  ExpectEqual("removed");
}

TEST_F(FidelityTest, HolesStayHoles) {
  constexpr uint64_t kSize = uint64_t{1} << 28;
  const os::Fd image(open(At("image").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
  ASSERT_EQ(ftruncate(image.get(), static_cast<off_t>(kSize)), 0);
  const std::string block(65536, 'b');
  for (const uint64_t at : {uint64_t{0}, kSize / 2, kSize - block.size()}) {
    ASSERT_EQ(pwrite(image.get(), block.data(), block.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(block.size()));
  }
  Write("small", std::string(10, 's'));
  ASSERT_EQ(truncate(At("small").c_str(), 200'000), 0);
  const auto expect_same_space = [&](const std::string& when) {
    ExpectEqual(when);
    const auto wasted = tests::CompareSpace(Volume(), Replica(), 256 * 1024);
    ASSERT_TRUE(wasted.ok()) << wasted.status();
    EXPECT_THAT(*wasted, IsEmpty()) << when;
  };
  expect_same_space("written");
  ASSERT_EQ(fallocate(image.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(kSize / 2),
                      static_cast<off_t>(block.size())),
            0);
  expect_same_space("punched");
  ASSERT_EQ(ftruncate(image.get(), static_cast<off_t>(4 * kSize)), 0);
  expect_same_space("grown");
  ASSERT_EQ(ftruncate(image.get(), 100), 0);
  expect_same_space("cut");
}

TEST_F(FidelityTest, OneKindBecomesAnother) {
  const auto make = [&](const std::string& kind, const std::string& path) {
    if (kind == "file") Write(path, "content of " + path);
    if (kind == "folder") {
      std::filesystem::create_directories(At(path + "/below"));
      Write(path + "/below/file", "content");
    }
    if (kind == "symlink") std::filesystem::create_symlink("target", At(path));
    if (kind == "fifo") {
      ASSERT_EQ(mkfifo(At(path).c_str(), 0600), 0);
    }
  };
  const std::array<std::string, 4> kinds = {"file", "folder", "symlink", "fifo"};
  for (const std::string& from : kinds) {
    for (const std::string& to : kinds) make(from, from + " to " + to);
  }
  ExpectEqual("made");
  for (const std::string& from : kinds) {
    for (const std::string& to : kinds) {
      std::filesystem::remove_all(At(from + " to " + to));
      make(to, from + " to " + to);
    }
  }
  ExpectEqual("each became each");
}

TEST_F(FidelityTest, SwapsAndCyclesOfFilesAndFoldersSendNoContent) {
  const std::string content(500'000, 'c');
  for (const char* name : {"a", "b", "c"}) {
    Write(name, content + name);
    std::filesystem::create_directory(At(fmt::format("folder {}", name)));
    Write(fmt::format("folder {}/file", name), content + "in folder " + name);
  }
  ExpectEqual("made");
  const uint64_t sent = replicator_->Status().content_bytes_sent;
  for (const char* prefix : {"", "folder "}) {
    const auto path = [&](const char* name) { return At(prefix + std::string(name)); };
    std::filesystem::rename(path("a"), path("held"));
    std::filesystem::rename(path("c"), path("a"));
    std::filesystem::rename(path("b"), path("c"));
    std::filesystem::rename(path("held"), path("b"));
  }
  ExpectEqual("turned round");
  ASSERT_EQ(renameat2(AT_FDCWD, At("a").c_str(), AT_FDCWD, At("folder a").c_str(), RENAME_EXCHANGE), 0);
  ExpectEqual("a file and a folder exchanged");
  ASSERT_EQ(renameat2(AT_FDCWD, At("folder b/file").c_str(), AT_FDCWD, At("b").c_str(), RENAME_EXCHANGE), 0);
  std::filesystem::rename(At("folder b"), At("folder c/now below"));
  ExpectEqual("nested");
  EXPECT_EQ(replicator_->Status().content_bytes_sent, sent);
}

}  // namespace
}  // namespace understudy
