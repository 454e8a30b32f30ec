// What people are shown of a change to an object.
#include "control/apply/diff.h"

#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using nlohmann::json;

TEST(DiffTest, EqualTextsHaveNone) {
  EXPECT_EQ(UnifiedDiff("", "", "a", "b"), "");
  EXPECT_EQ(UnifiedDiff("x\ny\n", "x\ny\n", "a", "b"), "");
}

TEST(DiffTest, ChangesStandInHunksWithTheirSurroundings) {
  const std::string before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n";
  const std::string after = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11\n12\n13\n15\n16\n17\n";
  EXPECT_EQ(UnifiedDiff(before, after, "a", "b"),
            "--- a\n+++ b\n"
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
            "@@ -11,6 +11,6 @@\n 11\n 12\n 13\n-14\n 15\n 16\n+17\n");
}

TEST(DiffTest, WhatIsNewOrGoneWholeHasAnEmptySide) {
  EXPECT_EQ(UnifiedDiff("", "x\ny\n", "/dev/null", "b"), "--- /dev/null\n+++ b\n@@ -0,0 +1,2 @@\n+x\n+y\n");
  EXPECT_EQ(UnifiedDiff("x\n", "", "a", "/dev/null"), "--- a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n");
}

TEST(DiffTest, WhatServersAndControllersWriteIsLeftOut) {
  const json object = {{"kind", "PersistentVolume"},
                       {"metadata",
                        {{"name", "x"},
                         {"uid", "1"},
                         {"resourceVersion", "2"},
                         {"managedFields", json::array()},
                         {"finalizers", {"kubernetes.io/pv-protection"}},
                         {"annotations", {{"pv.kubernetes.io/bound-by-controller", "yes"}}}}},
                       {"spec", {{"claimRef", {{"name", "c"}, {"namespace", "n"}, {"uid", "3"}}}}},
                       {"status", {{"phase", "Bound"}}}};
  EXPECT_EQ(WithoutServerFields(object), (json{{"kind", "PersistentVolume"},
                                               {"metadata", {{"name", "x"}}},
                                               {"spec", {{"claimRef", {{"name", "c"}, {"namespace", "n"}}}}}}));
}

TEST(DiffTest, AnObjectHoldsAManifestWhoseValuesItHas) {
  const json present = {{"spec", {{"a", 1}, {"list", {1, 2}}, {"more", true}}}};
  EXPECT_TRUE(Holds(present, {{"spec", {{"a", 1}, {"list", {1, 2}}}}}));
  EXPECT_FALSE(Holds(present, {{"spec", {{"a", 2}}}}));
  EXPECT_FALSE(Holds(present, {{"spec", {{"list", {1}}}}}));
  EXPECT_FALSE(Holds(present, {{"spec", {{"b", 1}}}}));
}

}  // namespace
}  // namespace understudy::control
