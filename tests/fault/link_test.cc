// A link that stops without closing: no packet comes through, and nobody is told. The primary notices within a bound,
// says so, reports the growing lag, and the pair is equal by itself soon after the link is back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "core/net/limits.h"
#include "nlohmann/json.hpp"
#include "tests/support/net_link.h"
#include "tests/support/site.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

constexpr uint64_t kFileBytes = 96ull << 20;
// core/net/limits.h: a silent link is asked once in an interval and given up when no answer comes. The rest is for a
// busy machine.
const absl::Duration kNoticeBound = net::kKeepaliveInterval + net::kKeepaliveTimeout + absl::Seconds(20);
constexpr absl::Duration kReturnBound = absl::Seconds(60);

class LinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto link = NetLink::Make();
    if (absl::IsUnimplemented(link.status())) GTEST_SKIP() << link.status();
    ASSERT_TRUE(link.ok()) << link.status();
    link_ = *std::move(link);
    auto site = Site::Make({.primary_host = link_->LeftAddress(),
                            .dr_host = link_->RightAddress(),
                            .primary_prefix = link_->Left(),
                            .dr_prefix = link_->Right()});
    ASSERT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    ASSERT_TRUE(site_->StartDr().ok());
    ASSERT_TRUE(site_->StartPrimary().ok());
  }
  void TearDown() override {
    if (HasFailure() && site_ != nullptr) std::cerr << site_->primary().Err() << site_->dr().Err();
  }

  nlohmann::json VolumeStatus() {
    const ProcessResult result = site_->Drctl({"status", "-o", "json"});
    const nlohmann::json status = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    return status.is_object() && !status.at("volumes").empty() ? status.at("volumes").at(0) : nlohmann::json::object();
  }
  bool IsEqual() {
    const auto differences = CompareTrees(site_->Volume("web"), site_->Replica("web"));
    return differences.ok() && differences->empty();
  }
  bool ContentIsUnderWay() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(site_->File(".understudy"))) {
      if (entry.path().parent_path().filename() == "staging") return true;
    }
    return false;
  }

  std::unique_ptr<NetLink> link_;
  std::unique_ptr<Site> site_;
};

TEST_F(LinkTest, ASilentLinkIsNoticedAndThePairIsEqualAgainByItself) {
  const std::string volume = site_->Volume("web");
  std::ofstream(volume + "/first") << "first";
  ASSERT_TRUE(site_->Sync("web").ok());
  {
    std::ofstream file(volume + "/large", std::ios::binary);
    std::mt19937_64 random(1);
    for (uint64_t at = 0; at < kFileBytes; at += sizeof(uint64_t)) {
      const uint64_t word = random();
      file.write(reinterpret_cast<const char*>(&word), sizeof(word));
    }
  }
  ASSERT_TRUE(WaitFor("content on its way", absl::Seconds(60), [&] { return ContentIsUnderWay(); }).ok());
  ASSERT_TRUE(link_->Pull().ok());
  const absl::Status noticed =
      WaitFor("the primary to notice", kNoticeBound, [&] { return VolumeStatus().value("state", "") == "connecting"; });
  ASSERT_TRUE(noticed.ok()) << noticed << VolumeStatus();
  const nlohmann::json broken = VolumeStatus();
  EXPECT_THAT(broken.at("error").get<std::string>(), ::testing::HasSubstr(link_->RightAddress()));
  const absl::Status grows = WaitFor("the lag to grow", absl::Seconds(30),
                                     [&] { return VolumeStatus().at("lag_seconds") > broken.at("lag_seconds"); });
  EXPECT_TRUE(grows.ok()) << grows << VolumeStatus();
  EXPECT_FALSE(IsEqual());

  ASSERT_TRUE(link_->Plug().ok());
  const absl::Status equal = WaitFor("the pair to be equal", kReturnBound,
                                     [&] { return VolumeStatus().value("state", "") == "idle" && IsEqual(); });
  EXPECT_TRUE(equal.ok()) << equal << VolumeStatus();
}

}  // namespace
}  // namespace understudy::tests
