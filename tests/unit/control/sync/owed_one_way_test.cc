#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/sync/ports.h"
#include "tests/support/memory_sync.h"

namespace understudy::control {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(OwedOneWay, EachDirectionHasItsOwnOfOneNameAndSettlesNoOther) {
  tests::MemoryOwed all;
  OwedOneWay at_dr(all, Direction::kToDr);
  OwedOneWay at_primary(all, Direction::kToPrimary);
  OwedRelease release{.key = {model::ObjectKind::kPersistentVolume, "", "pv"},
                      .source_uid = "of the primary",
                      .pair = "east",
                      .volume = "pv",
                      .source = {"nfs1", "/export/pv"}};
  ASSERT_EQ(at_dr.Owe(release), absl::OkStatus());
  release.source_uid = "of DR";
  ASSERT_EQ(at_primary.Owe(release), absl::OkStatus());
  ASSERT_THAT(*all.Owed(), SizeIs(2));
  ASSERT_THAT(*at_primary.Owed(), SizeIs(1));
  EXPECT_EQ(at_primary.Owed()->front().source_uid, "of DR");
  EXPECT_EQ(at_primary.Owed()->front().pair, "east");
  ASSERT_EQ(at_primary.Settle(release), absl::OkStatus());
  EXPECT_THAT(*at_primary.Owed(), IsEmpty());
  ASSERT_THAT(*at_dr.Owed(), SizeIs(1));
  EXPECT_EQ(at_dr.Owed()->front().source_uid, "of the primary");
}

}  // namespace
}  // namespace understudy::control
