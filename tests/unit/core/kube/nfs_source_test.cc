#include "core/kube/nfs_source.h"

#include <gtest/gtest.h>

namespace understudy::kube {
namespace {

using nlohmann::json;

json Content(const std::string& handle, const std::string& driver = "nfs.csi.k8s.io") {
  return {{"spec", {{"driver", driver}}}, {"status", {{"snapshotHandle", handle}}}};
}

TEST(NfsSnapshot, IsAnArchiveInAFolderOfItsOwn) {
  EXPECT_EQ(NfsSnapshotOf(Content("nfs1#export/a#snap-1#snap-1#pvc-1")),
            (NfsSnapshot{{"nfs1", "/export/a/snap-1"}, "pvc-1"}));
  EXPECT_EQ(NfsSnapshotOf(Content("nfs1##snap-1#snap-1#sub/pvc-1")), (NfsSnapshot{{"nfs1", "/snap-1"}, "sub/pvc-1"}));
  const json provisioned = {{"spec", {{"driver", "nfs.csi.k8s.io"}, {"source", {{"snapshotHandle", "n#e#s#s#p"}}}}}};
  EXPECT_EQ(NfsSnapshotOf(provisioned), (NfsSnapshot{{"n", "/e/s"}, "p"}));
}

TEST(NfsSnapshot, NothingElseIs) {
  for (const char* const handle :
       {"", "nfs1#export#snap-1#pvc-1", "nfs1#export#snap-1#snap-1#pvc-1#x", "#export#snap-1#snap-1#pvc-1",
        "nfs1#export##snap-1#pvc-1", "nfs1#export#.#snap-1#pvc-1", "nfs1#export#..#snap-1#pvc-1",
        "nfs1#../export#snap-1#snap-1#pvc-1", "nfs1#export#snap-1#snap-1#", "nfs1#export#snap-1#snap-1#../pvc-1"}) {
    EXPECT_FALSE(NfsSnapshotOf(Content(handle)).has_value()) << handle;
  }
  EXPECT_FALSE(NfsSnapshotOf(Content("nfs1#export#snap-1#snap-1#pvc-1", "rbd.csi.ceph.com")).has_value());
  for (const json& odd : {json(), json::array(), json{{"spec", 1}}, json{{"spec", {{"driver", 5}}}}}) {
    EXPECT_FALSE(NfsSnapshotOf(odd).has_value()) << odd;
  }
}

}  // namespace
}  // namespace understudy::kube
