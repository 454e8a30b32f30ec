#include "core/wire/points_codec.h"

#include <gtest/gtest.h>

#include <string>

#include "core/wire/limits.h"
#include "understudy/v1/points.pb.h"

namespace understudy::wire {
namespace {

v1::PointTree TreeMessage(char id) {
  v1::PointTree tree;
  tree.set_id(std::string(32, id));
  tree.set_volume("vol");
  tree.set_sequence(7);
  tree.set_path("/srv/b/vol.point-7");
  tree.set_state("ready");
  return tree;
}

TEST(PointsCodecTest, APageOfTreesThatWouldNeverEndIsRefused) {
  v1::ListTreesResponse page;
  EXPECT_TRUE(Parse(page).ok());
  page.set_more(true);
  EXPECT_FALSE(Parse(page).ok());
  *page.add_trees() = TreeMessage('a');
  *page.add_trees() = TreeMessage('b');
  const auto parsed = Parse(page);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->more);
  EXPECT_EQ(ToProto(parsed->trees.at(1)).SerializeAsString(), TreeMessage('b').SerializeAsString());
  *page.add_trees() = TreeMessage('b');
  EXPECT_FALSE(Parse(page).ok());
}

TEST(PointsCodecTest, APageOfTreesKeepsToItsBounds) {
  v1::ListTreesRequest request;
  EXPECT_TRUE(Parse(request).ok());
  request.set_after_id("../web");
  EXPECT_FALSE(Parse(request).ok());
  v1::ListTreesResponse page;
  for (size_t i = 0; i <= kMaxPageEntries; ++i) {
    std::string digits = std::to_string(i);
    v1::PointTree tree = TreeMessage('0');
    tree.set_id(std::string(32 - digits.size(), '0') + digits);
    *page.add_trees() = tree;
  }
  EXPECT_FALSE(Parse(page).ok());
  page.mutable_trees()->RemoveLast();
  EXPECT_TRUE(Parse(page).ok());
}

}  // namespace
}  // namespace understudy::wire
