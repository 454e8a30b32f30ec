// A power cut at DR: what wasn't synced is gone. Nothing that was acknowledged is among it, and no state is half.
//
// The filesystem's own shutdown without flushing its log stands in for the cut. It is as strict as the filesystem: what
// the loop device was given, it keeps, so lost or reordered writes of a disk's cache aren't seen.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "agent-dr/commit/commit_engine.h"
#include "tests/fault/fault_pair.h"
#include "tests/support/loop_mount.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

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

// The trash forgets an entry only when the disk has forgotten its folders: else they would come back, and nobody would
// know of them.
TEST_P(PowerCutTest, WhatIsPurgedStaysPurged) {
  const auto made = LoopMount::Make(GetParam(), 400);
  if (absl::IsUnimplemented(made.status())) GTEST_SKIP() << made.status();
  ASSERT_TRUE(made.ok()) << made.status();
  LoopMount& disk = **made;
  const TempDir state;
  const auto start = [&] {
    return dr::CommitEngine::Start({.state_dir = state.Path(), .exports = {disk.Path()}}).value();
  };
  std::string id;
  {
    const auto engine = start();
    const std::string root = disk.Path() + "/vol";
    auto session = engine->Open({"vol", root, 0});
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("f", "A")})).ok());
    id = session->State().replica_id;
    ASSERT_TRUE(engine->MoveToTrash({"vol", root, id, session->State().epoch}, "deleted").ok());
    ASSERT_TRUE(engine->trash().Purge(id).ok());
    engine->trash().Work({});
    ASSERT_EQ(engine->trash().Sum()->volumes, 0u);
    ASSERT_TRUE(disk.CutPower().ok());
  }
  ASSERT_TRUE(disk.Unmount().ok());
  ASSERT_TRUE(disk.Mount().ok());
  EXPECT_TRUE(start()->Problems().empty());
  for (const char* const left : {"trash/", "replica-"}) {
    EXPECT_FALSE(std::filesystem::exists(disk.Path() + "/.understudy/" + left + id)) << left;
  }
}

INSTANTIATE_TEST_SUITE_P(Filesystems, PowerCutTest, ::testing::Values("xfs", "ext4"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace understudy::tests
