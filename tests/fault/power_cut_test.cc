// A power cut at DR: what wasn't synced is gone. Nothing that was acknowledged is among it, and no state is half.
//
// The filesystem's own shutdown without flushing its log stands in for the cut. It is as strict as the filesystem: what
// the loop device was given, it keeps, so lost or reordered writes of a disk's cache aren't seen.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/fault/fault_pair.h"

namespace understudy::tests {
namespace {

constexpr int kKinds = 2;
constexpr int kCutsInCi = 3;

class PowerCutTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PowerCutTest, NothingAcknowledgedIsLost) {
  const auto made = FaultPair::Start(GetParam(), SeedOfRun());
  if (absl::IsUnimplemented(made.status())) GTEST_SKIP() << made.status();
  ASSERT_TRUE(made.ok()) << made.status();
  FaultPair& pair = **made;
  int committed = 0;
  const int cuts = CyclesOfRun(kKinds, kCutsInCi);
  for (int cut = 0; cut < cuts; ++cut) {
    const absl::StatusOr<RoundEnd> end = pair.Round([&pair]() -> absl::Status {
      RETURN_IF_ERROR(pair.dr_disk().CutPower());
      pair.site().dr().Kill();
      RETURN_IF_ERROR(pair.dr_disk().Unmount());
      return pair.dr_disk().Mount();
    });
    ASSERT_TRUE(end.ok()) << "cut " << cut << ": " << end.status();
    committed += end->was_committed ? 1 : 0;
  }
  fmt::print("{}: {} power cuts, {} after the commit point\n", GetParam(), cuts, committed);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, PowerCutTest, ::testing::Values("xfs", "ext4"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace understudy::tests
