// Agents killed at any moment, on each filesystem: afterwards nothing is lost, and at no time does DR show half a
// state.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/fault/fault_pair.h"

namespace understudy::tests {
namespace {

constexpr int kKinds = 3;
constexpr int kCyclesInCi = 4;
constexpr uint64_t kStepsOfLiveCycle = 40;

class KillTest : public ::testing::TestWithParam<const char*> {};

// Clients go on writing while one of the agents is killed and started again.
absl::Status LiveCycle(FaultPair& pair) {
  const uint64_t killed_at = pair.Below(kStepsOfLiveCycle);
  const bool kills_dr = pair.Below(2) == 0;
  pair.workload().KeepSmall();
  for (uint64_t step = 0; step < kStepsOfLiveCycle; ++step) {
    pair.workload().Step();
    if (step != killed_at) continue;
    (kills_dr ? pair.site().dr() : pair.site().primary()).Kill();
    RETURN_IF_ERROR(kills_dr ? pair.site().StartDr() : pair.site().StartPrimary());
  }
  return pair.ExpectEqual();
}

TEST_P(KillTest, NothingIsLostAndNoStateIsHalf) {
  const auto made = FaultPair::Start(GetParam(), SeedOfRun());
  if (absl::IsUnimplemented(made.status())) GTEST_SKIP() << made.status();
  ASSERT_TRUE(made.ok()) << made.status();
  FaultPair& pair = **made;
  int rounds = 0;
  int staged = 0;
  int committed = 0;
  const int cycles = CyclesOfRun(kKinds, kCyclesInCi);
  for (int cycle = 0; cycle < cycles; ++cycle) {
    if (cycle % 2 == 1) {
      const absl::Status live = LiveCycle(pair);
      ASSERT_TRUE(live.ok()) << "cycle " << cycle << ": " << live;
      continue;
    }
    const absl::StatusOr<RoundEnd> end = pair.Round([&pair] {
      pair.site().dr().Kill();
      return absl::OkStatus();
    });
    ASSERT_TRUE(end.ok()) << "cycle " << cycle << ": " << end.status();
    ++rounds;
    staged += end->content_was_staged ? 1 : 0;
    committed += end->was_committed ? 1 : 0;
  }
  fmt::print(
      "{}: {} cycles; of {} kills of DR in a round, {} left entries in its work folder and {} came after the "
      "commit point\n",
      GetParam(), cycles, rounds, staged, committed);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, KillTest, ::testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace understudy::tests
