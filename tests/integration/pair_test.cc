// Two real agents and drctl as processes on loopback: what a user does with a smallest pair, and what can go wrong.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "core/net/channel.h"
#include "core/net/http_client.h"
#include "nlohmann/json.hpp"
#include "tests/support/health_probe.h"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kGibibyte = 1ull << 30;

// `size` bytes that don't repeat, with holes between the pieces when `pieces` is smaller than the size.
void WriteImage(const std::string& path, uint64_t size, uint64_t data_bytes) {
  std::ofstream file(path, std::ios::binary);
  std::mt19937_64 random(size);
  std::vector<uint64_t> block(128 * 1024);
  const uint64_t block_bytes = block.size() * sizeof(block[0]);
  const uint64_t stride = std::max<uint64_t>(block_bytes, size / std::max<uint64_t>(1, data_bytes / block_bytes));
  for (uint64_t at = 0; at + block_bytes <= size; at += stride) {
    for (uint64_t& word : block) word = random();
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(block_bytes));
  }
  file.close();
  ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(size)), 0);
}

class PairTest : public ::testing::Test {
 protected:
  void MakeSite(const SiteOptions& options = {}) {
    auto site = Site::Make(options);
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
  }
  void StartBoth() {
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
  }
  void ExpectEqual(const std::string& volume = "web") {
    const absl::Status synced = site_->Sync(volume);
    ASSERT_TRUE(synced.ok()) << synced << "\nprimary: " << site_->primary().Err() << "\ndr: " << site_->dr().Err();
    const auto differences = CompareTrees(site_->Volume(volume), site_->Replica(volume));
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty());
  }
  nlohmann::json VolumeStatus(const std::string& volume = "web") {
    const ProcessResult result = site_->Drctl({"status", "-o", "json"});
    const nlohmann::json status = nlohmann::json::parse(result.out);
    for (const nlohmann::json& entry : status.at("volumes")) {
      if (entry.at("name") == volume) return entry;
    }
    return {};
  }

  std::unique_ptr<Site> site_;
};

TEST_F(PairTest, FilesOfEverySizeAreWrittenRenamedCutAndDeleted) {
  MakeSite();
  StartBoth();
  const std::string volume = site_->Volume("web");
  const std::vector<uint64_t> sizes = {1, 1000, 256 * 1024, 256 * 1024 + 1, 5'000'000, 100'000'000};
  for (const uint64_t size : sizes) WriteImage(fmt::format("{}/{}", volume, size), size, size);
  WriteImage(volume + "/disk.img", kGibibyte, 64'000'000);
  ExpectEqual();
  std::filesystem::create_directory(volume + "/moved");
  for (const uint64_t size : sizes) {
    std::filesystem::rename(fmt::format("{}/{}", volume, size), fmt::format("{}/moved/{}", volume, size));
  }
  ExpectEqual();
  for (const uint64_t size : sizes) {
    const std::string path = fmt::format("{}/moved/{}", volume, size);
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(size / 3)), 0);
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  }
  {
    std::fstream image(volume + "/disk.img", std::ios::binary | std::ios::in | std::ios::out);
    image.seekp(777'777'777);
    image << "a small change";
  }
  ExpectEqual();
  std::filesystem::remove_all(volume + "/moved");
  ExpectEqual();
  EXPECT_EQ(VolumeStatus().at("lag_seconds"), 0);
}

TEST_F(PairTest, ChangesShowAtDrWithoutAnyCommand) {
  MakeSite();
  StartBoth();
  std::filesystem::create_directories(site_->Volume("web") + "/a/b");
  std::ofstream(site_->Volume("web") + "/a/b/page") << "hello";
  const absl::Status shown = WaitFor("the file at DR", absl::Seconds(60), [&] {
    std::ifstream page(site_->Replica("web") + "/a/b/page");
    return std::string(std::istreambuf_iterator<char>(page), {}) == "hello";
  });
  EXPECT_TRUE(shown.ok()) << shown << site_->primary().Err() << site_->dr().Err();
}

TEST_F(PairTest, WhatChangedWhileThePrimaryAgentWasDownIsFound) {
  MakeSite();
  StartBoth();
  const std::string volume = site_->Volume("web");
  for (const char* name : {"keep", "change", "remove"}) std::ofstream(volume + "/" + name) << name;
  ExpectEqual();
  EXPECT_EQ(site_->primary().Stop().exit_code, 0);
  std::ofstream(volume + "/change") << "other";
  std::ofstream(volume + "/new") << "new";
  std::filesystem::remove(volume + "/remove");
  ASSERT_TRUE(site_->StartPrimary().ok());
  ExpectEqual();
}

TEST_F(PairTest, KilledWhileALargeFileIsUnderWay) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const std::string image = site_->Volume("web") + "/disk.img";
  WriteImage(image, kGibibyte, kGibibyte);
  // Content is being staged at DR when a staging folder holds something.
  const auto under_way = [&] {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             site_->File(".understudy"), std::filesystem::directory_options::skip_permission_denied)) {
      if (entry.path().parent_path().filename() == "staging" && entry.is_regular_file()) return true;
    }
    return false;
  };
  ASSERT_TRUE(WaitFor("content at DR's staging folder", absl::Seconds(60), under_way).ok());
  site_->primary().Kill();
  ASSERT_TRUE(site_->StartPrimary().ok());
  ASSERT_TRUE(WaitFor("content at DR's staging folder", absl::Seconds(60), under_way).ok());
  site_->dr().Kill();
  ASSERT_TRUE(site_->StartDr().ok());
  ExpectEqual();
}

// Of a large file on its way, in order and without holes: how far it came.
class ResumeTest : public PairTest {
 protected:
  static constexpr uint64_t kImageBytes = 256 * 1024 * 1024;
  static constexpr uint64_t kSegmentBytes = 4 * 1024 * 1024;

  // A dense image appears at once in the volume; returns what DR had staged of it when that was well under way.
  uint64_t BeginImage() {
    WriteImage(site_->File("disk.img"), kImageBytes, kImageBytes);
    std::filesystem::rename(site_->File("disk.img"), site_->Volume("web") + "/disk.img");
    return WaitUntilStaged();
  }
  // All of an image that DR has is written anew, while the primary's agent is down.
  uint64_t BeginRewrite() {
    BeginImage();
    ExpectEqual();
    EXPECT_EQ(site_->primary().Stop().exit_code, 0);
    std::fstream image(site_->Volume("web") + "/disk.img", std::ios::binary | std::ios::in | std::ios::out);
    std::mt19937_64 random(1);
    std::vector<uint64_t> block(kImageBytes / sizeof(uint64_t));
    for (uint64_t& word : block) word = random();
    image.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(kImageBytes));
    image.close();
    EXPECT_TRUE(site_->StartPrimary().ok());
    return WaitUntilStaged();
  }
  uint64_t WaitUntilStaged() {
    uint64_t staged = 0;
    const absl::Status under_way = WaitFor("DR to stage 64 MiB", absl::Seconds(120), [&] {
      staged = Staged();
      return staged >= 64 * 1024 * 1024;
    });
    EXPECT_TRUE(under_way.ok()) << under_way << site_->primary().Err() << site_->dr().Err();
    return staged;
  }
  uint64_t Staged() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(site_->File(".understudy"))) {
      if (entry.path().parent_path().filename() != "staging" || entry.path().filename().string()[0] != 's') continue;
      const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      if (file < 0) continue;
      const off_t hole = lseek(file, 0, SEEK_HOLE);
      close(file);
      return hole < 0 ? 0 : static_cast<uint64_t>(hole);
    }
    return 0;
  }
  void ExpectResumed(uint64_t staged) {
    ExpectEqual();
    // Only what a successful capture sent counts: the whole image, had DR nothing left of it.
    const uint64_t sent = VolumeStatus().at("content_bytes_sent");
    EXPECT_LE(sent, kImageBytes - staged + kSegmentBytes);
    EXPECT_GT(sent, 0u);
  }
};

TEST_F(ResumeTest, ALargeFileGoesOnWhereAKilledPrimaryLeftIt) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const uint64_t staged = BeginImage();
  site_->primary().Kill();
  ASSERT_FALSE(std::filesystem::exists(site_->Replica("web") + "/disk.img")) << "it was across already";
  ASSERT_TRUE(site_->StartPrimary().ok());
  ExpectResumed(staged);
}

TEST_F(ResumeTest, ARewrittenFileGoesOnWhereAKilledPrimaryLeftIt) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const uint64_t staged = BeginRewrite();
  site_->primary().Kill();
  ASSERT_TRUE(site_->StartPrimary().ok());
  ExpectResumed(staged);
}

TEST_F(ResumeTest, ARewrittenFileGoesOnWhereAKilledDrLeftIt) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const uint64_t staged = BeginRewrite();
  site_->dr().Kill();
  ASSERT_TRUE(site_->StartDr().ok());
  ExpectResumed(staged);
}

TEST_F(ResumeTest, ALargeFileGoesOnWhereAKilledDrLeftIt) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const uint64_t staged = BeginImage();
  site_->dr().Kill();
  ASSERT_FALSE(std::filesystem::exists(site_->Replica("web") + "/disk.img")) << "it was across already";
  ASSERT_TRUE(site_->StartDr().ok());
  ExpectResumed(staged);
}

TEST_F(PairTest, BothKilledAgainAndAgainUnderChanges) {
  MakeSite();
  StartBoth();
  const std::string volume = site_->Volume("web");
  std::mt19937_64 random(1);
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 40; ++i) std::ofstream(fmt::format("{}/{}", volume, random() % 60)) << random();
    if (random() % 2 == 0) {
      site_->primary().Kill();
      ASSERT_TRUE(site_->StartPrimary().ok());
    } else {
      site_->dr().Kill();
      ASSERT_TRUE(site_->StartDr().ok());
    }
  }
  ExpectEqual();
}

TEST_F(PairTest, ManyVolumesAtATime) {
  MakeSite({.volumes = {"v1", "v2", "v3", "v4", "v5", "v6"}});
  StartBoth();
  for (int i = 1; i <= 6; ++i) {
    WriteImage(fmt::format("{}/disk", site_->Volume(fmt::format("v{}", i))), 3'000'000u * static_cast<unsigned>(i),
               3'000'000);
  }
  const ProcessResult all = site_->Drctl({"volumes", "sync", "--all", "--published"});
  for (int i = 1; i <= 6; ++i) ExpectEqual(fmt::format("v{}", i));
}

TEST_F(PairTest, AMassDeletionWaitsForItsApproval) {
  MakeSite({.volumes = {"web", "db"}});
  StartBoth();
  for (int i = 0; i < 300; ++i) std::ofstream(fmt::format("{}/{}", site_->Volume("web"), i)) << i;
  ExpectEqual();
  for (int i = 0; i < 300; ++i) std::filesystem::remove(fmt::format("{}/{}", site_->Volume("web"), i));
  const ProcessResult refused = site_->Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(refused.exit_code, 5) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("drctl guard approve web"));
  const nlohmann::json held = VolumeStatus();
  EXPECT_EQ(held.at("state"), "guarded");
  EXPECT_EQ(held.at("guard").at("kind"), "deletion");
  EXPECT_EQ(held.at("guard").at("entries_before"), 300);
  net::HttpClient client({});
  net::HttpRequest metrics;
  metrics.url = fmt::format("http://127.0.0.1:{}/metrics", site_->primary_metrics_port());
  const auto page = client.Send(metrics);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(page->body, HasSubstr("understudy_volume_guarded{volume=\"web\",kind=\"deletion\"} 1\n"));
  EXPECT_THAT(page->body, HasSubstr("understudy_volume_guarded{volume=\"web\",kind=\"root\"} 0\n"));
  EXPECT_THAT(page->body, HasSubstr("understudy_volume_guarded{volume=\"db\",kind=\"deletion\"} 0\n"));
  const auto at_dr = [&] { return std::distance(std::filesystem::directory_iterator(site_->Replica("web")), {}); };
  EXPECT_GE(at_dr(), 150);  // as much as may go unasked can be gone
  std::ofstream(site_->Volume("db") + "/other") << "goes on";
  ExpectEqual("db");
  EXPECT_EQ(site_->Drctl({"guard", "approve", "web"}).exit_code, 5) << "nobody was asked";
  EXPECT_EQ(VolumeStatus().at("state"), "guarded");
  // Gone are more by now than the status said only if the deletion was still being looked at.
  const absl::Status approved = WaitFor("the approval", absl::Seconds(60), [&] {
    return site_->Drctl({"guard", "approve", "web", "--yes"}).exit_code == 0;
  });
  ASSERT_TRUE(approved.ok()) << approved << site_->primary().Err();
  ExpectEqual();
  EXPECT_EQ(at_dr(), 0);
  EXPECT_EQ(site_->Drctl({"guard", "approve", "web", "--yes"}).exit_code, 5);
}

TEST_F(PairTest, AVolumeWhoseFolderCameBackIsWatchedAgain) {
  MakeSite();
  StartBoth();
  std::ofstream(site_->Volume("web") + "/a") << "a";
  ExpectEqual();
  std::filesystem::rename(site_->Volume("web"), site_->Volume("away"));
  EXPECT_EQ(site_->Drctl({"volumes", "sync", "web"}).exit_code, 5);
  EXPECT_EQ(VolumeStatus().at("guard").at("kind"), "root");
  std::filesystem::create_directory(site_->Volume("web"));
  EXPECT_EQ(site_->Drctl({"volumes", "sync", "web"}).exit_code, 5);
  ASSERT_EQ(site_->Drctl({"guard", "approve", "web", "--yes"}).exit_code, 0);
  ExpectEqual();
  std::ofstream(site_->Volume("web") + "/b") << "b";
  const absl::Status shown = WaitFor("the new file at DR without any command", absl::Seconds(60),
                                     [&] { return std::filesystem::exists(site_->Replica("web") + "/b"); });
  EXPECT_TRUE(shown.ok()) << shown << site_->primary().Err();
}

TEST_F(PairTest, APrimaryThatStartsWithoutAVolumesFolderWaitsForIt) {
  MakeSite({.volumes = {"web", "db"}});
  StartBoth();
  std::ofstream(site_->Volume("web") + "/a") << "a";
  ExpectEqual();
  EXPECT_EQ(site_->primary().Stop().exit_code, 0);
  std::filesystem::rename(site_->Volume("web"), site_->Volume("away"));
  ASSERT_TRUE(site_->StartPrimary().ok());
  ExpectEqual("db");
  EXPECT_EQ(VolumeStatus().at("guard").at("kind"), "root");
  EXPECT_EQ(site_->Drctl({"volumes", "sync", "web"}).exit_code, 5);
  std::filesystem::rename(site_->Volume("away"), site_->Volume("web"));
  ExpectEqual();
  std::ofstream(site_->Volume("web") + "/b") << "b";
  const absl::Status shown = WaitFor("the new file at DR without any command", absl::Seconds(60),
                                     [&] { return std::filesystem::exists(site_->Replica("web") + "/b"); });
  EXPECT_TRUE(shown.ok()) << shown << site_->primary().Err();
}

TEST_F(PairTest, HealthOfBothAgentsOverMutualTls) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const net::TlsFiles tls{site_->File("pki/ca.crt"), site_->File("pki/control.crt"), site_->File("pki/control.key")};
  for (const auto& [role, port] :
       {std::pair(net::Role::kPrimary, site_->primary_port()), std::pair(net::Role::kDr, site_->dr_port())}) {
    const auto channel = net::MakeChannel({fmt::format("127.0.0.1:{}", port), tls, net::Role::kControl, role});
    ASSERT_TRUE(channel.ok()) << channel.status();
    for (const char* service : {"", "understudy.v1.Replication"}) {
      const absl::Status serving =
          WaitFor(fmt::format("{} '{}' to serve", net::ToString(role), service), absl::Seconds(30),
                  [&] { return CheckHealth(*channel, service).value_or(false); });
      EXPECT_TRUE(serving.ok()) << serving;
    }
  }
}

TEST_F(PairTest, UnknownVolumeIsAUsageError) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const ProcessResult result = site_->Drctl({"volumes", "sync", "nosuch"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("nosuch"));
}

TEST_F(PairTest, UnreachableAgentIsExitCodeFour) {
  MakeSite();
  const ProcessResult result = site_->Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_THAT(result.err, HasSubstr(std::to_string(site_->primary_port())));
}

TEST_F(PairTest, ASyncWithoutDrSaysThatDrCannotBeReached) {
  MakeSite();
  ASSERT_TRUE(site_->StartPrimary().ok());
  ASSERT_TRUE(WaitFor("the primary to name the peer that it can't reach", absl::Seconds(30), [&] {
                const nlohmann::json status = nlohmann::json::parse(site_->Drctl({"status", "-o", "json"}).out);
                const nlohmann::json& error = status.at("pairs").at(0).at("primary").at("peer_error");
                return error.is_string() &&
                       error.get<std::string>().find(std::to_string(site_->dr_port())) != std::string::npos;
              }).ok());
  const ProcessResult result = site_->Drctl({"volumes", "sync", "web", "--timeout", "3s"});
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("volume 'web': no barrier within 3s: can't reach understudy-dr"));
  EXPECT_THAT(result.err, Not(HasSubstr("didn't answer")));
}

TEST_F(PairTest, PrimaryWaitsForAnUnreachablePeerAndSaysSo) {
  MakeSite();
  ASSERT_TRUE(site_->StartPrimary().ok());
  std::ofstream(site_->Volume("web") + "/early") << "written before DR was there";
  const absl::Status said = WaitFor("the status to name the peer", absl::Seconds(30), [&] {
    const ProcessResult result = site_->Drctl({"status", "-o", "json"});
    return result.out.find(std::to_string(site_->dr_port())) != std::string::npos;
  });
  EXPECT_TRUE(said.ok()) << said;
  ASSERT_TRUE(site_->StartDr().ok());
  ExpectEqual();
  const std::string log = site_->primary().Err();
  const size_t told = log.find("can't reach understudy-dr");
  EXPECT_NE(told, std::string::npos) << log;
  EXPECT_EQ(log.find("can't reach understudy-dr", told + 1), std::string::npos) << "told more than once: " << log;
}

TEST_F(PairTest, AReturningPeerIsNoticedWithoutAnyChange) {
  MakeSite();
  StartBoth();
  ExpectEqual();
  const auto volume_says = [&](std::string_view state) {
    return WaitFor(fmt::format("the volume to be {}", state), absl::Seconds(60),
                   [&] { return VolumeStatus().value("state", "") == state; });
  };
  site_->dr().Kill();
  ASSERT_TRUE(WaitFor("the status to name the peer", absl::Seconds(30), [&] {
                const ProcessResult result = site_->Drctl({"volumes", "list", "-o", "json"});
                return result.out.find("connecting") != std::string::npos;
              }).ok());
  ASSERT_TRUE(site_->StartDr().ok());
  EXPECT_TRUE(volume_says("idle").ok()) << site_->Drctl({"status", "-o", "json"}).out;
}

TEST_F(PairTest, BadConfigurationStopsBeforeAnythingIsDone) {
  MakeSite({.more_primary_settings = "qiet_period: 1s\n"});
  ASSERT_TRUE(site_->StartPrimary().ok());
  const auto result = site_->primary().Wait(absl::Seconds(30));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit_code, 2);
  EXPECT_THAT(result->err, HasSubstr("qiet_period"));
  EXPECT_FALSE(std::filesystem::exists(site_->File("state-primary")));
}

TEST_F(PairTest, CertificateOfAnotherAuthorityIsRefused) {
  MakeSite();
  auto stranger = Site::Make();
  ASSERT_TRUE(stranger.ok());
  ASSERT_TRUE(site_->StartDr().ok());
  // The primary trusts and has its own authority's certificates, which DR doesn't know.
  std::filesystem::remove_all(site_->File("pki-dr"));
  for (const char* file : {"ca.crt", "primary.crt", "primary.key", "control.crt", "control.key"}) {
    std::filesystem::copy((*stranger)->File(std::string("pki/") + file), site_->File(std::string("pki/") + file),
                          std::filesystem::copy_options::overwrite_existing);
  }
  ASSERT_TRUE(site_->StartPrimary().ok());
  std::ofstream(site_->Volume("web") + "/secret") << "s";
  const absl::Status said = WaitFor("the status to say that it can't connect", absl::Seconds(30), [&] {
    const ProcessResult result = site_->Drctl({"volumes", "list", "-o", "json"});
    return result.out.find("connecting") != std::string::npos || result.err.find("certificate") != std::string::npos;
  });
  EXPECT_TRUE(said.ok()) << said;
  EXPECT_FALSE(std::filesystem::exists(site_->Replica("web")));
}

}  // namespace
}  // namespace understudy::tests
