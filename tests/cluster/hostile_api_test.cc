// An API server at the primary that lies, fails or is another one, and clusters that are away for a while: DR keeps
// what it has, says so, and catches up by itself.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "core/base/wait.h"
#include "tests/cluster/cluster_site.h"
#include "tests/support/api_proxy.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kClaims = 8;
constexpr char kShop[] = "shop";
constexpr absl::Duration kPatience = absl::Minutes(3);
constexpr char kLongForm[] = "UNDERSTUDY_CHAOS_CLAIMS";

std::string NameOf(int claim) {
  return fmt::format("d{}", claim);
}

class HostileApiTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ClusterSite::StartClusters({kShop});
    ASSERT_TRUE(made.ok()) << made.status();
    world_ = *std::move(made);
    proxy_ = std::make_unique<ApiProxy>(world_->primary());
    ASSERT_EQ(world_->StartAgents(
                  {.namespaces = {kShop}, .primary_kubeconfig = proxy_->Kubeconfig(), .more_primary_settings = {}}),
              absl::OkStatus());
    for (int i = 0; i < kClaims; ++i) ASSERT_EQ(world_->Create(kShop, NameOf(i)), absl::OkStatus());
    ASSERT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  }

  // The guards that hold something back, by name.
  std::map<std::string, json> Guards() {
    std::map<std::string, json> guards;
    const json document = world_->Drctl({"guard", "list"});
    for (const json& guard : document.value("guards", json::array())) {
      guards[guard.at("name").get<std::string>()] = guard;
    }
    return guards;
  }
  void ExpectHeld(const std::string& name, uint64_t gone) {
    const auto held = [&] {
      const auto guards = Guards();
      return guards.contains(name) && guards.at(name).at("entries_gone") == gone;
    };
    EXPECT_EQ(WaitFor(fmt::format("{} of {} to be held back", gone, name), kPatience, held), absl::OkStatus())
        << world_->Drctl({"guard", "list"}) << world_->site().primary().Err();
  }
  void ExpectNothingHeld() {
    EXPECT_EQ(WaitFor("nothing to be held back", kPatience, [&] { return Guards().empty(); }), absl::OkStatus())
        << world_->Drctl({"guard", "list"});
  }
  // A few more lists have been answered: what was concluded from them has had its chance.
  void WaitForLists(int count) {
    const int before = proxy_->Lists();
    EXPECT_EQ(WaitFor("more lists", kPatience, [&] { return proxy_->Lists() >= before + count; }), absl::OkStatus());
  }
  void ExpectAllStillAtDr() {
    const auto at_dr = world_->AtDr();
    ASSERT_TRUE(at_dr.ok()) << at_dr.status();
    EXPECT_EQ(at_dr->size(), static_cast<size_t>(kClaims));
    EXPECT_THAT(world_->DeletionsAtDr(), IsEmpty());
    for (int i = 0; i < kClaims; ++i) {
      EXPECT_TRUE(std::filesystem::exists(world_->site().Replica("pv-" + NameOf(i)) + "/content")) << i;
    }
  }
  std::string Metrics() {
    net::HttpRequest request;
    request.url = fmt::format("http://127.0.0.1:{}/metrics", world_->site().primary_metrics_port());
    const absl::StatusOr<net::HttpResponse> page = net::HttpClient({}).Send(request);
    return page.ok() ? page->body : std::string(MessageOf(page.status()));
  }

  std::unique_ptr<ClusterSite> world_;
  std::unique_ptr<ApiProxy> proxy_;
};

TEST_F(HostileApiTest, AnApiServerThatLiesEmptiesNothingAndIsSaidToLie) {
  Site& site = world_->site();
  proxy_->SetMode(ApiProxy::Mode::kEmptyLists);
  ExpectHeld("objects:PersistentVolume", kClaims);
  ExpectHeld("objects:PersistentVolumeClaim", kClaims);
  EXPECT_THAT(Metrics(), HasSubstr(fmt::format("understudy_object_guard_held{{kind=\"objects:PersistentVolume\"}} {}\n",
                                               kClaims)));
  EXPECT_THAT(site.Drctl({"status"}).out, HasSubstr("drctl guard approve objects:PersistentVolume"));
  WaitForLists(4);
  ExpectAllStillAtDr();

  // A new agent knows nothing but what is on its disk and what it is told.
  site.primary().Kill();
  ASSERT_EQ(site.StartPrimary(), absl::OkStatus());
  ExpectHeld("objects:PersistentVolumeClaim", kClaims);
  WaitForLists(8);
  ExpectHeld("objects:PersistentVolume", kClaims);
  ExpectAllStillAtDr();

  proxy_->SetMode(ApiProxy::Mode::kFirstPageOnly);
  // Most of the objects: the guard alone would let the others go.
  const auto list_is_doubted = [&] {
    return site.Drctl({"status"}).out.find("is there when it is asked for by name") != std::string::npos;
  };
  EXPECT_EQ(WaitFor("the list to be doubted", kPatience, list_is_doubted), absl::OkStatus())
      << site.Drctl({"status"}).out;
  WaitForLists(8);
  ExpectAllStillAtDr();

  proxy_->SetMode(ApiProxy::Mode::kErrors);
  EXPECT_EQ(WaitFor("the failure to be told", kPatience,
                    [&] {
                      return site.Drctl({"status", "-o", "json"}).out.find("etcd is away") != std::string::npos;
                    }),
            absl::OkStatus())
      << site.Drctl({"status", "-o", "json"}).out;
  ExpectAllStillAtDr();

  proxy_->SetMode(ApiProxy::Mode::kPass);
  ExpectNothingHeld();
  ASSERT_EQ(world_->Change(kShop, NameOf(0), 1), absl::OkStatus());
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  ExpectAllStillAtDr();
}

TEST_F(HostileApiTest, AnotherClusterDeletesNothingUntilItIsApproved) {
  proxy_->SetClusterUid("another");
  // The agent asks now and then; what it knows of the cluster may be a few seconds old.
  world_->site().primary().Kill();
  ASSERT_EQ(world_->site().StartPrimary(), absl::OkStatus());
  ASSERT_EQ(WaitFor("the cluster to be noticed", kPatience, [&] { return Guards().contains("cluster"); }),
            absl::OkStatus());
  EXPECT_THAT(Guards().at("cluster").at("reason").get<std::string>(), HasSubstr("expected is cluster"));
  ASSERT_EQ(world_->Delete(kShop, NameOf(0)), absl::OkStatus());
  ASSERT_EQ(world_->Change(kShop, NameOf(1), 1), absl::OkStatus());
  EXPECT_EQ(WaitFor("the change to be at DR", kPatience,
                    [&] {
                      const auto at_dr = world_->AtDr();
                      return at_dr.ok() && at_dr->contains("shop/d1") && at_dr->at("shop/d1").step == "1";
                    }),
            absl::OkStatus());
  ExpectAllStillAtDr();
  ASSERT_EQ(world_->site().Drctl({"guard", "approve", "cluster", "--yes"}).exit_code, 0);
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  ExpectNothingHeld();
}

TEST_F(HostileApiTest, AMassDeletionThatIsSeenOneByOneIsHeldUntilItIsApproved) {
  for (int i = 0; i < 6; ++i) ASSERT_EQ(world_->Delete(kShop, NameOf(i)), absl::OkStatus());
  ExpectHeld("objects:PersistentVolumeClaim", 2);
  ExpectHeld("objects:PersistentVolume", 2);
  // Of each kind; which ones are left may differ, as a volume that has to wait for its claim lets others go first.
  const auto half_is_left = [&] {
    const auto left = world_->CountAtDr();
    return left.ok() && *left == std::pair<size_t, size_t>(4, 4);
  };
  EXPECT_EQ(WaitFor("half of them to be gone", kPatience, half_is_left), absl::OkStatus());
  int with_data = 0;
  for (int i = 0; i < 6; ++i) {
    with_data += static_cast<int>(std::filesystem::exists(world_->site().Replica("pv-" + NameOf(i)) + "/content"));
  }
  EXPECT_GE(with_data, 2) << "of the two that are held";
  EXPECT_EQ(world_->site().Drctl({"guard", "approve", "objects:PersistentVolume"}).exit_code, 5) << "nobody was asked";
  for (const char* guard : {"objects:PersistentVolumeClaim", "objects:PersistentVolume"}) {
    const ProcessResult approved = world_->site().Drctl({"guard", "approve", guard, "--yes"});
    EXPECT_EQ(approved.exit_code, 0) << approved.err;
  }
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  ExpectNothingHeld();
  EXPECT_EQ(world_->site().Drctl({"guard", "approve", "objects:PersistentVolume", "--yes"}).exit_code, 5);
}

TEST_F(HostileApiTest, AnOutageOfEitherClusterLosesNothingAndDeletesNothingTwice) {
  const absl::Duration outage = std::getenv(kLongForm) == nullptr ? absl::Seconds(5) : absl::Minutes(2);
  world_->dr().StopApi();
  ASSERT_EQ(world_->Delete(kShop, NameOf(0)), absl::OkStatus());
  ASSERT_EQ(world_->Delete(kShop, NameOf(1)), absl::OkStatus());
  ASSERT_EQ(world_->Create(kShop, NameOf(1)), absl::OkStatus());
  ASSERT_EQ(world_->Create(kShop, "late"), absl::OkStatus());
  ASSERT_EQ(world_->Change(kShop, NameOf(2), 7), absl::OkStatus());
  WaitUnlessStopped({}, outage);  // the length of the outage is what is tested
  ASSERT_EQ(world_->dr().StartApi(), absl::OkStatus());
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());

  world_->primary().StopApi();
  WaitUnlessStopped({}, outage);
  ASSERT_EQ(world_->primary().StartApi(), absl::OkStatus());
  ASSERT_EQ(world_->Delete(kShop, NameOf(3)), absl::OkStatus());
  EXPECT_EQ(world_->ExpectEqual(kPatience), absl::OkStatus());
  EXPECT_EQ(world_->CompareContent(), absl::OkStatus());
  const std::map<std::string, int> deletions = world_->DeletionsAtDr();
  for (const char* path :
       {"/api/v1/namespaces/shop/persistentvolumeclaims/d0", "/api/v1/namespaces/shop/persistentvolumeclaims/d3",
        "/api/v1/persistentvolumes/pv-d0", "/api/v1/persistentvolumes/pv-d3"}) {
    EXPECT_TRUE(deletions.contains(path)) << path;
  }
  for (const auto& [path, times] : deletions) EXPECT_EQ(times, 1) << path;
}

}  // namespace
}  // namespace understudy::tests
