// How old the data of a volume is in which nothing changes, when its primary is gone and DR started anew.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "control/commands/freshness_client.h"
#include "nlohmann/json.hpp"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

constexpr char kPlan[] = "state_dir: state-control\nfailover: {plans: [{name: shop, volumes: [local/web]}]}\n";

TEST(Freshness, AnIdleVolumeIsAsOldAsTheLastWordOfItsPrimary) {
  auto made = Site::Make({.more_control_settings = kPlan});
  ASSERT_TRUE(made.ok()) << made.status();
  const std::unique_ptr<Site> site = *std::move(made);
  ASSERT_TRUE(site->StartDr().ok());
  ASSERT_TRUE(site->StartPrimary().ok());
  std::ofstream(site->Volume("web") + "/file") << "content";
  ASSERT_TRUE(site->Sync("web").ok());
  const auto client = control::FreshnessClient::Create(
      fmt::format("127.0.0.1:{}", site->dr_port()),
      {site->File("pki/ca.crt"), site->File("pki/control.crt"), site->File("pki/control.key")});
  ASSERT_TRUE(client.ok()) << client.status();
  absl::Time first;
  const auto newest = [&]() -> std::optional<absl::Time> {
    const auto confirmed = client->List();
    if (!confirmed.ok() || confirmed->empty()) return std::nullopt;
    return confirmed->at(0).as_of;
  };
  ASSERT_TRUE(WaitFor("a confirmation", absl::Minutes(1), [&] {
                const auto now = newest();
                if (now) first = *now;
                return now.has_value();
              }).ok());
  // A later one is on disk by the time that one more has come.
  ASSERT_TRUE(WaitFor("the next one", absl::Minutes(1), [&] {
                const auto now = newest();
                return now && *now > first;
              }).ok());
  site->primary().Kill();
  site->dr().Kill();
  ASSERT_TRUE(site->StartDr().ok());
  ASSERT_TRUE(WaitFor("DR to answer again", absl::Minutes(1), [&] { return client->List().ok(); }).ok());
  const ProcessResult result = site->Drctl({"failover", "run", "--unplanned", "--yes", "-o", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json volume = nlohmann::json::parse(result.out)["volumes"][0];
  EXPECT_EQ(volume["data_age_by"], "confirmation") << volume;
  EXPECT_FALSE(volume["confirmed_at"].is_null());
}

}  // namespace
}  // namespace understudy::tests
