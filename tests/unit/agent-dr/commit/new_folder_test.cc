// New folders are published with all that the commit puts into them.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

// Stops publishing before its effect `at`.
class StopAt : public dr::FaultPoints {
 public:
  explicit StopAt(size_t at) : at_(at) {}
  absl::Status Reach(dr::Step step, size_t index) override {
    return step == dr::Step::kPublish && index == at_ ? absl::DataLossError("stopped") : absl::OkStatus();
  }

 private:
  const size_t at_;
};

// Whoever looks while it is published sees all of it or nothing.
TEST(NewFolderTest, ComesWithAllThatItHolds) {
  bool seen = false;
  for (size_t at = 0; at < 8; ++at) {
    DrHost host;
    StopAt stop(at);
    const auto engine = host.Start(stop);
    const std::string root = host.RootOf("vol");
    auto session = engine->Open({"vol", root, 0});
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE(session->StageFiles({{"new", "new/in"}, {SmallFile("new/in/c", "C", 1)}}).ok());
    const model::Commit commit =
        NextCommit(session->State(), {model::MakeDirectory{"new", Meta(0755)}, InlinePut("new/a", "A"),
                                      model::MakeSymlink{"new/b", "a", Meta(0777)},
                                      model::MakeDirectory{"new/in", Meta(0755)}, StagedPut("new/in/c", "C", 1)});
    ASSERT_TRUE(session->SubmitDurable(commit).ok());
    (void)session->Publish();
    if (!fs::exists(root + "/new")) continue;
    seen = true;
    for (const char* path : {"/new/a", "/new/b", "/new/in/c"}) {
      EXPECT_TRUE(fs::exists(root + path)) << path << ", stopped at effect " << at;
    }
  }
  EXPECT_TRUE(seen);
}

// What a peer stages and then names otherwise, or not at all, would come into the replica unseen, or in the way of what
// is published. Nothing of it is acknowledged, and the next commit is as ever.
TEST(NewFolderTest, WhatIsStagedAheadIsNamedForItsOwnPathAndAllOfIt) {
  const model::MakeDirectory folder{"new", Meta(0755)};
  const model::MakeDirectory within{"new/in", Meta(0755)};
  const std::vector<std::vector<model::Operation>> refused = {
      {folder, StagedPut("new/f", "F", 1), StagedPut("new/g", "G", 2)},  // new/in isn't made
      {folder, StagedPut("new/f", "F", 1), within},                      // new/g isn't put
      {folder, StagedPut("new/f", "F", 1), StagedPut("new/g", "G", 2), model::Link{"new/in", "old"}},
      {folder, StagedPut("new/f", "G", 2), StagedPut("new/g", "F", 1), within},  // for the other's path
  };
  DrHost host;
  const auto engine = host.Start();
  const std::string root = host.RootOf("vol");
  const auto submit = [&](const std::vector<model::Operation>& operations, bool stages) {
    auto session = engine->Open({"vol", root, 0});
    EXPECT_TRUE(session.ok()) << session.status();
    if (stages) {
      const model::StagedBatch batch{{"new", "new/in"}, {SmallFile("new/f", "F", 1), SmallFile("new/g", "G", 2)}};
      EXPECT_EQ(session->StageFiles(batch), absl::OkStatus());
    }
    const absl::Status status = session->SubmitDurable(NextCommit(session->State(), operations));
    return status.ok() ? session->Publish() : status;
  };
  ASSERT_EQ(submit({InlinePut("old", "O")}, /*stages=*/false), absl::OkStatus());
  for (const auto& operations : refused) {
    const absl::Status status = submit(operations, /*stages=*/true);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "order")) << status;
    EXPECT_FALSE(fs::exists(root + "/new"));
  }
  EXPECT_EQ(submit({folder, StagedPut("new/f", "F", 1), StagedPut("new/g", "G", 2), within}, /*stages=*/true),
            absl::OkStatus());
  EXPECT_TRUE(fs::exists(root + "/new/g"));
}

}  // namespace
}  // namespace understudy::tests
