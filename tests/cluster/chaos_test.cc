// The whole of the metadata plane under fire: claims are made, changed and deleted at random while API servers, agents
// and drctl serve are killed; at the end DR is as the primary.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <set>

#include "absl/strings/numbers.h"
#include "tests/cluster/cluster_site.h"

namespace understudy::tests {
namespace {

constexpr char kClaimsVariable[] = "UNDERSTUDY_CHAOS_CLAIMS";
constexpr int kClaimsInCi = 30;
constexpr int kKillsInCi = 8;
constexpr int kClaimsForEachKill = 10;  // in the long form
constexpr int kStepsForEachKill = 8;
const std::vector<std::string> kNamespaces = {"shop", "bank", "mail", "desk", "yard"};

uint64_t SeedOfRun() {
  const char* text = std::getenv("UNDERSTUDY_SEED");
  uint64_t seed = 1;
  if (text != nullptr) {
    UNDERSTUDY_CHECK(absl::SimpleAtoi(text, &seed));
  } else if (std::getenv(kClaimsVariable) != nullptr) {
    seed = std::random_device{}();
  }
  fmt::print("seed: run again with UNDERSTUDY_SEED={}\n", seed);
  std::fflush(stdout);  // a run that is killed still says how to run it again
  return seed;
}

int ClaimsOfRun() {
  const char* text = std::getenv(kClaimsVariable);
  int claims = kClaimsInCi;
  UNDERSTUDY_CHECK(text == nullptr || absl::SimpleAtoi(text, &claims));
  return claims;
}

// A world that changes by a seed. A claim's namespace follows from its number.
class ChaosTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ClusterSite::StartClusters(kNamespaces);
    ASSERT_TRUE(made.ok()) << made.status();
    world_ = *std::move(made);
    ASSERT_EQ(world_->StartAgents({.namespaces = kNamespaces}), absl::OkStatus());
    for (int i = 0; i < claims_; ++i) ASSERT_EQ(Create(i), absl::OkStatus());
  }

  static std::string NamespaceOf(int claim) { return kNamespaces[static_cast<size_t>(claim) % kNamespaces.size()]; }
  static std::string NameOf(int claim) { return fmt::format("d{}", claim); }
  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint64_t>(bound)); }

  absl::Status Create(int claim) {
    RETURN_IF_ERROR(world_->Create(NamespaceOf(claim), NameOf(claim)));
    live_.insert(claim);
    return absl::OkStatus();
  }

  // Deletes only as many as the guard on deletions lets pass.
  absl::Status Step() {
    const int claim = Below(claims_);
    if (!live_.contains(claim)) return Create(claim);
    const bool may_delete = live_.size() * 10 > static_cast<size_t>(claims_) * 8;
    if (!may_delete || Below(2) == 0) return world_->Change(NamespaceOf(claim), NameOf(claim), ++steps_ % 50 + 1);
    RETURN_IF_ERROR(world_->Delete(NamespaceOf(claim), NameOf(claim)));
    live_.erase(claim);
    // Made again at once, or some day.
    return Below(3) == 0 ? Create(claim) : absl::OkStatus();
  }

  absl::Status Kill() {
    Site& site = world_->site();
    switch (Below(6)) {
      case 0:
        world_->primary().StopApi();
        return world_->primary().StartApi();
      case 1:
        world_->dr().StopApi();
        return world_->dr().StartApi();
      case 2:
        world_->dr().StopControllers();
        return world_->dr().StartControllers();
      case 3:
        site.primary().Kill();
        return site.StartPrimary();
      case 4:
        site.dr().Kill();
        return site.StartDr();
      default:
        site.serve().Kill();
        return site.StartServe();
    }
  }

  const int claims_ = ClaimsOfRun();
  const int kills_ = std::getenv(kClaimsVariable) == nullptr ? kKillsInCi : claims_ / kClaimsForEachKill;
  std::mt19937_64 random_{SeedOfRun()};
  std::unique_ptr<ClusterSite> world_;
  std::set<int> live_;
  int steps_ = 0;
};

TEST_F(ChaosTest, WhateverIsKilledDrEndsUpAsThePrimary) {
  for (int kill = 0; kill < kills_; ++kill) {
    ASSERT_EQ(Kill(), absl::OkStatus());
    for (int step = 0; step < kStepsForEachKill; ++step) ASSERT_EQ(Step(), absl::OkStatus());
  }
  EXPECT_EQ(world_->ExpectEqual(absl::Minutes(5) + absl::Seconds(1) * claims_), absl::OkStatus());
  EXPECT_EQ(world_->CompareContent(), absl::OkStatus());
  const nlohmann::json guards = world_->Drctl({"guard", "list"});
  EXPECT_EQ(guards.value("guards", nlohmann::json()), nlohmann::json::array()) << guards;
}

}  // namespace
}  // namespace understudy::tests
