// Exports switched on a real NFS-Ganesha, as an NFS client sees it. In a network of its own (in_own_network.sh), since
// NFS version 3 has fixed places on a host.
// clang-format off
#include <nfsc/libnfs.h>  // the others need it before them
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nfs.h>
// clang-format on
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "core/exports/ganesha_bus.h"
#include "tests/support/export_flips.h"
#include "tests/support/process.h"
#include "tests/support/site.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

// libnfs hands handles out, and keeps what they are to itself (libnfs-private.h of 4.0 and 5.0).
struct nfs_fh {
  int len;
  char* val;
};

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Minutes(1);
constexpr int kNfsPort = 22049;
constexpr int kMountPort = 22050;
constexpr uint16_t kForeignId = 5;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::Status Failed(int result, nfs_context* nfs, std::string_view what) {
  const std::string words = fmt::format("{}: {}", what, nfs_get_error(nfs));
  if (result == -EROFS) return absl::PermissionDeniedError(words);
  if (result == -EACCES || result == -ENOENT) return absl::NotFoundError(words);
  return absl::InternalError(fmt::format("{} ({})", words, result));
}

// A client over NFS version 3, which libnfs speaks, with a file of its own open. One thread at a time.
class LibnfsWriter : public NfsWriter {
 public:
  // NOT_FOUND: the server doesn't let it mount that. PERMISSION_DENIED: the file isn't there, and can't be made.
  static absl::StatusOr<std::unique_ptr<LibnfsWriter>> Open(const std::string& folder, const std::string& name) {
    std::unique_ptr<LibnfsWriter> writer(new LibnfsWriter());
    nfs_set_version(writer->nfs_, NFS_V3);
    const std::string url =
        fmt::format("nfs://127.0.0.1{}?version=3&nfsport={}&mountport={}", folder, kNfsPort, kMountPort);
    nfs_url* const parsed = nfs_parse_url_dir(writer->nfs_, url.c_str());
    if (parsed == nullptr) return Failed(-EINVAL, writer->nfs_, url);
    const int mounted = nfs_mount(writer->nfs_, parsed->server, parsed->path);
    nfs_destroy_url(parsed);
    if (mounted != 0) return absl::NotFoundError(fmt::format("mount {}: {}", folder, nfs_get_error(writer->nfs_)));
    const std::string path = "/" + name;
    int opened = nfs_open(writer->nfs_, path.c_str(), O_RDWR, &writer->file_);
    // libnfs asks what it may do; whether a write is refused is for the server to say.
    if (opened == -EACCES) opened = nfs_open(writer->nfs_, path.c_str(), O_RDONLY, &writer->file_);
    if (opened == -ENOENT) opened = nfs_creat(writer->nfs_, path.c_str(), 0644, &writer->file_);
    if (opened != 0) return Failed(opened, writer->nfs_, "open " + name);
    return writer;
  }
  ~LibnfsWriter() override {
    if (file_ != nullptr) nfs_close(nfs_, file_);
    nfs_destroy_context(nfs_);
  }

  // By the protocol's own call, since nfs_pwrite doesn't tell why a server refuses.
  absl::Status WriteBlock(uint64_t block, const std::string& data) override {
    const nfs_fh& handle = *nfs_get_fh(file_);
    std::string bytes = data;
    WRITE3args arguments{};
    arguments.file.data.data_len = static_cast<u_int>(handle.len);
    arguments.file.data.data_val = handle.val;
    arguments.offset = block * kFlipBlockBytes;
    arguments.count = static_cast<count3>(bytes.size());
    arguments.stable = FILE_SYNC;
    arguments.data.data_len = static_cast<u_int>(bytes.size());
    arguments.data.data_val = bytes.data();
    Answer answer;
    rpc_context* const rpc = nfs_get_rpc_context(nfs_);
    if (rpc_nfs3_write_async(rpc, TakeAnswer, &arguments, &answer) != 0) return absl::InternalError(rpc_get_error(rpc));
    while (!answer.came) {
      constexpr int kStepMilliseconds = 100;
      pollfd wait{.fd = rpc_get_fd(rpc), .events = static_cast<short>(rpc_which_events(rpc)), .revents = 0};
      if (poll(&wait, 1, kStepMilliseconds) < 0 || rpc_service(rpc, wait.revents) < 0) {
        return absl::InternalError(rpc_get_error(rpc));
      }
    }
    if (answer.rpc != RPC_STATUS_SUCCESS) return absl::InternalError(rpc_get_error(rpc));
    if (answer.nfs == NFS3ERR_ROFS) return absl::PermissionDeniedError("read-only");
    if (answer.nfs == NFS3_OK && answer.count == data.size()) return absl::OkStatus();
    return absl::InternalError(
        fmt::format("write: NFS status {}, {} bytes", static_cast<int>(answer.nfs), answer.count));
  }

 private:
  struct Answer {
    bool came = false;
    int rpc = 0;
    nfsstat3 nfs = NFS3_OK;
    size_t count = 0;
  };

  LibnfsWriter() : nfs_(nfs_init_context()) {}
  static void TakeAnswer(rpc_context*, int status, void* data, void* answer_of_call) {
    Answer& answer = *static_cast<Answer*>(answer_of_call);
    answer.came = true;
    answer.rpc = status;
    if (status != RPC_STATUS_SUCCESS) return;
    const WRITE3res& result = *static_cast<const WRITE3res*>(data);
    answer.nfs = result.status;
    if (result.status == NFS3_OK) answer.count = result.WRITE3res_u.resok.count;
  }

  nfs_context* nfs_;
  nfsfh* file_ = nullptr;
};

// A Ganesha with a bus of its own, and an export of somebody else.
class Ganesha {
 public:
  // Includes the agents' own files.
  explicit Ganesha(const std::vector<std::string>& own_files) {
    std::filesystem::create_directories(dir_.File("recovery"));
    std::filesystem::create_directories(dir_.File("theirs"));
    chmod(dir_.File("theirs").c_str(), 0777);
    std::ofstream(dir_.File("bus.conf")) << fmt::format(
        R"(<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_type="method_call"/><allow eavesdrop="true"/></policy></busconfig>
)",
        BusAddress());
    std::ofstream(dir_.File("ganesha.conf")) << fmt::format(
        R"(NFS_CORE_PARAM {{ Protocols = 3,4; NFS_Port = {}; MNT_Port = {}; Enable_NLM = false; Enable_RQUOTA = false;
  Enable_UDP = false; mount_path_pseudo = true; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {}; Only_Numeric_Owners = true; }}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{ Export_Id = {}; Path = {}; Pseudo = {}; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  Protocols = 3,4; Transports = TCP; FSAL {{ Name = VFS; }} }}
)",
        kNfsPort, kMountPort, dir_.File("recovery"), kForeignId, Theirs(), Theirs());
    std::ofstream config(dir_.File("ganesha.conf"), std::ios::app);
    for (const std::string& file : own_files) config << fmt::format("%include \"{}\"\n", file);
  }

  absl::Status Start() {
    if (bus_ == nullptr) {
      ASSIGN_OR_RETURN(bus_, Process::Start({.program = "dbus-daemon",
                                             .arguments = {"--config-file=" + dir_.File("bus.conf"), "--nofork"}}));
      RETURN_IF_ERROR(WaitFor("the bus", kPatience, [this] { return std::filesystem::exists(dir_.File("bus")); }));
    }
    std::filesystem::remove(Log());
    ASSIGN_OR_RETURN(ganesha_, Process::Start({.program = "ganesha.nfsd",
                                               .arguments = {"-F", "-f", dir_.File("ganesha.conf"), "-L", Log(), "-p",
                                                             dir_.File("pid"), "-N", "EVENT"},
                                               .environment = {{"DBUS_SYSTEM_BUS_ADDRESS", BusAddress()}}}));
    return WaitForOk("NFS-Ganesha", kPatience, [this]() -> absl::Status {
      if (ReadAll(Log()).find("NFS SERVER INITIALIZED") == std::string::npos)
        return absl::UnavailableError(ReadAll(Log()));
      ASSIGN_OR_RETURN(const auto manager, exports::ConnectGanesha(BusAddress(), absl::Seconds(10)));
      return manager->Show().status();
    });
  }
  void Kill() { ganesha_->Kill(); }
  bool Running() { return ganesha_->Running(); }

  std::string BusAddress() const { return "unix:path=" + dir_.File("bus"); }
  std::string Theirs() const { return dir_.File("theirs"); }
  std::string Log() const { return dir_.File("log"); }

 private:
  TempDir dir_;
  std::unique_ptr<Process> bus_;
  std::unique_ptr<Process> ganesha_;
};

class GaneshaExportsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(config_dir_.Path());
    ganesha_ = std::make_unique<Ganesha>(std::vector{config_dir_.File("understudy-primary.conf")});
    auto site =
        Site::Make({.volumes = {"web"},
                    .more_primary_settings = fmt::format("ganesha: {{config_dir: {}, bus_address: \"{}\"}}\n",
                                                         config_dir_.Path(), ganesha_->BusAddress()),
                    .more_export_settings =
                        "backend: ganesha, clients: [127.0.0.1, 10.0.0.0/8], options: [no_root_squash, insecure]"});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    // The agent makes the file that Ganesha includes.
    ASSERT_TRUE(site_->StartPrimary().ok());
    ASSERT_TRUE(WaitFor("the agent's file", kPatience,
                        [this] { return std::filesystem::exists(config_dir_.File("understudy-primary.conf")); })
                    .ok())
        << site_->primary().Err();
    const absl::Status started = ganesha_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }

  absl::StatusOr<std::unique_ptr<LibnfsWriter>> Mount() { return LibnfsWriter::Open(site_->Volume("web"), "vm.img"); }

  TempDir config_dir_;
  std::unique_ptr<Ganesha> ganesha_;
  std::unique_ptr<Site> site_;
};

TEST_F(GaneshaExportsTest, AClientThatHoldsItsFileOpenSeesEveryFlip) {
  const absl::Status set = SetExport(*site_, "rw");
  ASSERT_TRUE(set.ok()) << set;
  auto writer = Mount();
  ASSERT_TRUE(writer.ok()) << writer.status();
  std::vector<FlippedClient> clients;
  clients.push_back({"v3", site_->Volume("web") + "/vm.img", *std::move(writer)});
  const absl::Status flipped = RunFlips(*site_, std::move(clients), {.flips = FlipsOfRun(100), .kills = 8});
  EXPECT_TRUE(flipped.ok()) << flipped << "\n" << site_->primary().Err();
}

TEST_F(GaneshaExportsTest, WhatIsntExportedCantBeMountedAndAStrangersExportStays) {
  auto theirs = LibnfsWriter::Open(ganesha_->Theirs(), "f");
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  const std::string block(kFlipBlockBytes, 'x');
  EXPECT_TRUE(absl::IsNotFound(Mount().status()));
  for (const char* const mode : {"rw", "none", "ro", "rw"}) {
    const absl::Status set = SetExport(*site_, mode);
    ASSERT_TRUE(set.ok()) << set;
    const auto writer = Mount();
    if (std::string_view(mode) == "none") {
      EXPECT_TRUE(absl::IsNotFound(writer.status())) << writer.status();
    } else {
      ASSERT_TRUE(writer.ok()) << writer.status();
      EXPECT_EQ((*writer)->WriteBlock(0, block).ok(), std::string_view(mode) == "rw") << mode;
    }
    EXPECT_TRUE((*theirs)->WriteBlock(0, block).ok()) << mode;
  }
}

TEST_F(GaneshaExportsTest, AServerThatWasKilledHasTheExportsAgain) {
  const absl::Status set = SetExport(*site_, "rw");
  ASSERT_TRUE(set.ok()) << set;
  ASSERT_TRUE(Mount().ok());
  ganesha_->Kill();
  // While it is away the desired state is kept, and told as not reached.
  const ProcessResult away = site_->Drctl({"exports", "set", "web", "ro", "--site", "primary"});
  EXPECT_EQ(away.exit_code, 1);
  EXPECT_THAT(away.err, HasSubstr("NFS-Ganesha doesn't answer"));
  const absl::Status started = ganesha_->Start();
  ASSERT_TRUE(started.ok()) << started;
  // It read the file at its own start: no moment of rw in between.
  const auto writer = Mount();
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE(absl::IsPermissionDenied((*writer)->WriteBlock(0, std::string(kFlipBlockBytes, 'x'))));
  const absl::Status again = SetExport(*site_, "rw");
  ASSERT_TRUE(again.ok()) << again;
  EXPECT_TRUE((*writer)->WriteBlock(0, std::string(kFlipBlockBytes, 'x')).ok());
}

// Both sites on one server: a client of the primary writes while a planned failover runs.
TEST(GaneshaFailoverTest, TheFenceHoldsNothingThatWasAcknowledgedIsLostAndDrTakesWrites) {
  TempDir primary_config;
  TempDir dr_config;
  std::filesystem::create_directories(primary_config.Path());
  std::filesystem::create_directories(dr_config.Path());
  const std::string own = primary_config.File("understudy-primary.conf");
  const std::string dr_own = dr_config.File("understudy-dr.conf");
  Ganesha ganesha({own, dr_own});
  const std::string exported = "backend: ganesha, clients: [127.0.0.1], options: [no_root_squash, insecure]";
  const auto settings = [&](const TempDir& folder) {
    return fmt::format("ganesha: {{config_dir: {}, bus_address: \"{}\"}}\n", folder.Path(), ganesha.BusAddress());
  };
  auto made = Site::Make(
      {.volumes = {"web"},
       .more_primary_settings = settings(primary_config),
       .more_dr_settings = settings(dr_config),
       .more_control_settings = "state_dir: state-control\nfailover: {plans: [{name: shop, volumes: [local/web]}]}\n",
       .more_export_settings = exported,
       .dr_export_settings = exported});
  ASSERT_TRUE(made.ok()) << made.status();
  const std::unique_ptr<Site> site = *std::move(made);
  ASSERT_TRUE(site->StartDr().ok());
  ASSERT_TRUE(site->StartPrimary().ok());
  ASSERT_TRUE(WaitFor("the agents' files", kPatience,
                      [&] { return std::filesystem::exists(own) && std::filesystem::exists(dr_own); })
                  .ok())
      << site->primary().Err() << site->dr().Err();
  const absl::Status started = ganesha.Start();
  ASSERT_TRUE(started.ok()) << started;
  const absl::Status set = SetExport(*site, "rw");
  ASSERT_TRUE(set.ok()) << set;
  auto writer = LibnfsWriter::Open(site->Volume("web"), "vm.img");
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->WriteBlock(0, std::string(kFlipBlockBytes, 'a')).ok());
  ASSERT_TRUE(site->Sync("web").ok());

  // What the server acknowledged, by block; the client goes on until it is refused.
  std::map<uint64_t, char> acknowledged = {{0, 'a'}};
  absl::StatusOr<std::unique_ptr<Process>> run =
      Process::Start({.program = ProgramPath("drctl"),
                      .arguments = {"--config", site->File("control.yaml"), "failover", "run", "--yes"}});
  ASSERT_TRUE(run.ok()) << run.status();
  absl::Status write;
  for (uint64_t i = 1; write.ok() && i < 1'000'000; ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    write = (*writer)->WriteBlock(i % kFlipBlocks, std::string(kFlipBlockBytes, letter));
    if (write.ok()) acknowledged[i % kFlipBlocks] = letter;
  }
  EXPECT_TRUE(absl::IsPermissionDenied(write)) << write;
  const auto ended = (*run)->Wait(kPatience);
  ASSERT_TRUE(ended.ok()) << ended.status();
  ASSERT_EQ(ended->exit_code, 0) << ended->err << site->dr().Err();

  const std::string at_dr = ReadAll(site->Replica("web") + "/vm.img");
  for (const auto& [block, letter] : acknowledged) {
    EXPECT_EQ(at_dr.substr(block * kFlipBlockBytes, kFlipBlockBytes), std::string(kFlipBlockBytes, letter)) << block;
  }
  EXPECT_TRUE(absl::IsPermissionDenied((*writer)->WriteBlock(0, std::string(kFlipBlockBytes, 'x'))));
  auto at_new_site = LibnfsWriter::Open(site->Replica("web"), "vm.img");
  ASSERT_TRUE(at_new_site.ok()) << at_new_site.status();
  EXPECT_TRUE((*at_new_site)->WriteBlock(0, std::string(kFlipBlockBytes, 'n')).ok());
  EXPECT_EQ(ReadAll(site->Replica("web") + "/vm.img")[0], 'n');
}

}  // namespace
}  // namespace understudy::tests
