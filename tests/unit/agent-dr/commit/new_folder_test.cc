// New folders are published with all that the commit puts into them.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

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

}  // namespace
}  // namespace understudy::tests
