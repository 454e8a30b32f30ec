// Exports switched on the kernel's NFS server, as the kernel's own NFS client sees it. Runs inside user-mode-linux
// (knfsd_exports_test.sh), which has readied the server and a filesystem to export from, $TEST_TMPDIR.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "core/os/fd.h"
#include "tests/support/export_flips.h"
#include "tests/support/process.h"
#include "tests/support/site.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;

constexpr char kForeignFile[] = "/etc/exports.d/theirs.exports";
constexpr char kOwnFile[] = "/etc/exports.d/understudy-primary.exports";

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A mount of the kernel's client; lazily unmounted when it goes.
class NfsMount {
 public:
  static absl::StatusOr<std::unique_ptr<NfsMount>> Make(const std::string& version, const std::string& folder) {
    std::unique_ptr<NfsMount> made(new NfsMount());
    const std::string options = fmt::format("vers={},proto=tcp,noac{}", version, version == "3" ? ",nolock" : "");
    ASSIGN_OR_RETURN(
        const ProcessResult mounted,
        RunProcess({.program = "mount", .arguments = {"-t", "nfs", "-o", options, "127.0.0.1:" + folder, made->Path()}},
                   absl::Minutes(2)));
    if (mounted.exit_code != 0) return absl::NotFoundError(mounted.err);
    return made;
  }
  ~NfsMount() { umount2(Path().c_str(), MNT_FORCE | MNT_DETACH); }
  std::string Path() const { return mount_point_; }

 private:
  NfsMount() {
    std::string pattern = "/mnt/client-XXXXXX";
    mount_point_ = mkdtemp(pattern.data());
  }
  std::string mount_point_;
};

// As a virtual machine's disk without a cache: each write goes to the server and comes back.
class KernelWriter : public NfsWriter {
 public:
  static absl::StatusOr<std::unique_ptr<KernelWriter>> Open(const std::string& version, const std::string& folder,
                                                            const std::string& name) {
    ASSIGN_OR_RETURN(std::unique_ptr<NfsMount> mount, NfsMount::Make(version, folder));
    const std::string path = mount->Path() + "/" + name;
    os::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_SYNC | O_CLOEXEC, 0644));
    if (!file.valid()) return ErrnoStatus(errno, "open " + path);
    return std::unique_ptr<KernelWriter>(new KernelWriter(std::move(mount), std::move(file)));
  }
  absl::Status WriteBlock(uint64_t block, const std::string& data) override {
    std::memcpy(buffer_, data.data(), kFlipBlockBytes);
    const ssize_t written = pwrite(file_.get(), buffer_, kFlipBlockBytes, static_cast<off_t>(block * kFlipBlockBytes));
    if (written == static_cast<ssize_t>(kFlipBlockBytes)) return absl::OkStatus();
    if (written < 0 && errno == EROFS) return absl::PermissionDeniedError("refused");
    return absl::InternalError(fmt::format("write: {}", written < 0 ? std::strerror(errno) : "short"));
  }

 private:
  KernelWriter(std::unique_ptr<NfsMount> mount, os::Fd file) : mount_(std::move(mount)), file_(std::move(file)) {}
  alignas(kFlipBlockBytes) char buffer_[kFlipBlockBytes];
  std::unique_ptr<NfsMount> mount_;
  os::Fd file_;
};

class KnfsdExportsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(theirs_.File("data"));
    std::ofstream(kForeignFile) << theirs_.File("data") << " 127.0.0.1(rw,no_subtree_check,no_root_squash,insecure)\n";
    auto site = Site::Make({.volumes = {"web"},
                            .more_export_settings = "backend: knfsd, clients: [127.0.0.1, 10.0.0.0/8], options: "
                                                    "['sec=sys,no_root_squash,insecure']"});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartPrimary().ok());
  }
  void TearDown() override {
    site_.reset();
    std::filesystem::remove(kForeignFile);
    std::filesystem::remove(kOwnFile);
    EXPECT_EQ(RunProcess({.program = "exportfs", .arguments = {"-r"}})->exit_code, 0);
  }

  TempDir theirs_;
  std::unique_ptr<Site> site_;
};

TEST_F(KnfsdExportsTest, ClientsThatHoldTheirFilesOpenSeeEveryFlip) {
  const absl::Status set = SetExport(*site_, "rw");
  ASSERT_TRUE(set.ok()) << set;
  std::vector<FlippedClient> clients;
  for (const char* const version : {"3", "4.2"}) {
    const std::string name = std::string("vm-") + version;
    auto writer = KernelWriter::Open(version, site_->Volume("web"), name);
    ASSERT_TRUE(writer.ok()) << version << ": " << writer.status();
    clients.push_back({"v" + std::string(version), site_->Volume("web") + "/" + name, *std::move(writer)});
  }
  const absl::Status flipped = RunFlips(*site_, std::move(clients), {.flips = FlipsOfRun(20)});
  EXPECT_TRUE(flipped.ok()) << flipped << "\n" << site_->primary().Err();
}

TEST_F(KnfsdExportsTest, WhatIsntExportedCantBeMountedAndStrangersExportsStay) {
  ASSERT_EQ(RunProcess({.program = "exportfs", .arguments = {"-r"}})->exit_code, 0);
  std::filesystem::create_directories(theirs_.File("by-hand"));
  ASSERT_EQ(RunProcess({.program = "exportfs",
                        .arguments = {"-o", "rw,no_subtree_check,no_root_squash,insecure",
                                      "127.0.0.1:" + theirs_.File("by-hand")}})
                ->exit_code,
            0);
  auto theirs = KernelWriter::Open("4.2", theirs_.File("data"), "f");
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  auto by_hand = KernelWriter::Open("3", theirs_.File("by-hand"), "f");
  ASSERT_TRUE(by_hand.ok()) << by_hand.status();
  const std::string block(kFlipBlockBytes, 'x');
  for (const char* const mode : {"none", "rw", "none"}) {
    const absl::Status set = SetExport(*site_, mode);
    ASSERT_TRUE(set.ok()) << set;
    EXPECT_EQ(NfsMount::Make("3", site_->Volume("web")).ok(), std::string_view(mode) == "rw") << mode;
    EXPECT_TRUE((*theirs)->WriteBlock(0, block).ok()) << mode;
    EXPECT_TRUE((*by_hand)->WriteBlock(0, block).ok()) << mode;
  }
  EXPECT_THAT(ReadAll("/var/lib/nfs/etab"), HasSubstr(theirs_.File("by-hand")));
}

TEST_F(KnfsdExportsTest, AStrangersExportAboveByWhichClientsWriteIsNoFence) {
  std::ofstream(kForeignFile, std::ios::app)
      << site_->Folder() << " 127.0.0.1(rw,no_subtree_check,no_root_squash,insecure)\n";
  ASSERT_EQ(RunProcess({.program = "exportfs", .arguments = {"-r"}})->exit_code, 0);
  ProcessResult set;
  constexpr int kUnreachable = 4;
  ASSERT_TRUE(WaitFor("the agent", absl::Minutes(1), [&] {
                set = site_->Drctl({"exports", "set", "web", "ro", "--site", "primary"});
                return set.exit_code != kUnreachable;
              }).ok());
  EXPECT_EQ(set.exit_code, 5) << set.out;
  EXPECT_THAT(set.err, HasSubstr("clients that came by that way write to the volume"));
  // And so they do.
  auto by_that_way = KernelWriter::Open("3", site_->Folder(), "a/web/f");
  ASSERT_TRUE(by_that_way.ok()) << by_that_way.status();
  EXPECT_TRUE((*by_that_way)->WriteBlock(0, std::string(kFlipBlockBytes, 'x')).ok());
}

}  // namespace
}  // namespace understudy::tests
