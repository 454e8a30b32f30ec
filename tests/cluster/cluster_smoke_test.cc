// The clusters that the other tests of this suite stand on: both come up, bind a claim, and take it away again.
#include <gtest/gtest.h>

#include "tests/support/cluster.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;

const char kVolumes[] = "/api/v1/persistentvolumes";
const char kClaims[] = "/api/v1/namespaces/default/persistentvolumeclaims";

json Volume() {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolume"},
          {"metadata", {{"name", "data"}}},
          {"spec",
           {{"capacity", {{"storage", "1Gi"}}},
            {"accessModes", {"ReadWriteMany"}},
            {"persistentVolumeReclaimPolicy", "Retain"},
            {"storageClassName", "nfs"},
            {"nfs", {{"server", "nfs.example"}, {"path", "/export/data"}}}}}};
}

json Claim() {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", {{"name", "data"}}},
          {"spec",
           {{"accessModes", {"ReadWriteMany"}},
            {"resources", {{"requests", {{"storage", "1Gi"}}}}},
            {"storageClassName", "nfs"},
            {"volumeName", "data"}}}};
}

void ExpectBindsAndDeletes(const Cluster& cluster) {
  // The namespace is made by the API server itself, a moment after it is ready.
  ASSERT_EQ(WaitForOk("the default namespace", absl::Minutes(1),
                      [&] { return cluster.Get("/api/v1/namespaces/default").status(); }),
            absl::OkStatus());
  ASSERT_EQ(cluster.Post(kVolumes, Volume()).status(), absl::OkStatus());
  ASSERT_EQ(cluster.Post(kClaims, Claim()).status(), absl::OkStatus());
  const std::string claim = std::string(kClaims) + "/data";
  EXPECT_EQ(WaitFor("the claim to be bound", absl::Minutes(1),
                    [&] {
                      const auto found = cluster.Get(claim);
                      return found.ok() && found->at("status").value("phase", "") == "Bound";
                    }),
            absl::OkStatus());
  ASSERT_EQ(cluster.Delete(claim).status(), absl::OkStatus());
  EXPECT_EQ(
      WaitFor("the claim to be gone", absl::Minutes(1), [&] { return absl::IsNotFound(cluster.Get(claim).status()); }),
      absl::OkStatus());
}

TEST(ClusterTest, TwoClustersSideBySideBindAClaimAndLetItGo) {
  const auto primary = Cluster::Start("primary");
  ASSERT_TRUE(primary.ok()) << primary.status();
  const auto dr = Cluster::Start("dr");
  ASSERT_TRUE(dr.ok()) << dr.status();
  ExpectBindsAndDeletes(**primary);
  ExpectBindsAndDeletes(**dr);
}

TEST(ClusterTest, TheApiServerComesBackWithWhatItHeld) {
  const auto cluster = Cluster::Start("restarted");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  ASSERT_EQ((*cluster)->Post(kVolumes, Volume()).status(), absl::OkStatus());
  (*cluster)->StopApi();
  EXPECT_TRUE(absl::IsUnavailable((*cluster)->Get(kVolumes).status()));
  ASSERT_EQ((*cluster)->StartApi(), absl::OkStatus());
  EXPECT_EQ((*cluster)->Get(std::string(kVolumes) + "/data").status(), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound((*cluster)->Get(std::string(kVolumes) + "/other").status()));
}

}  // namespace
}  // namespace understudy::tests
