// A volume that nothing is written to keeps to its bounds, too; what goes early says why; and a way back that isn't
// there any more isn't begun.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <utility>

#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::HasSubstr;

// What is logged while it lives.
class LoggedLines {
 public:
  LoggedLines() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_)));
  }
  ~LoggedLines() { spdlog::set_default_logger(before_); }
  LoggedLines(const LoggedLines&) = delete;
  LoggedLines& operator=(const LoggedLines&) = delete;
  [[nodiscard]] std::string All() const { return lines_.str(); }

 private:
  std::ostringstream lines_;
  std::shared_ptr<spdlog::logger> before_;
};

class BoundsTest : public RewindTest {
 protected:
  void StartWith(const dr::PointBounds& bounds) {
    Restart(bounds);
    Open();
  }
  void ThinAll() {
    while (true) {
      const auto fewer = engine_->Thin("vol");
      ASSERT_TRUE(fewer.ok()) << fewer.status();
      if (*fewer == 0) return;
    }
  }
  static std::string Random(size_t bytes) {
    std::mt19937 random(7);
    std::string data(bytes, '\0');
    for (char& byte : data) byte = static_cast<char>(random());
    return data;
  }
};

TEST_F(BoundsTest, WhatIsTooMuchGoesWithoutAnotherCommit) {
  constexpr uint64_t kMaxBytes = 64 * 1024;
  StartWith({.max_bytes = kMaxBytes});
  Commit({InlinePut("large", Random(200 * 1024))});
  Commit({model::Remove{"large", FileKind::kRegular}});
  ASSERT_GT(engine_->TotalsOfPoints("vol")->held_bytes, kMaxBytes);
  ASSERT_NO_FATAL_FAILURE(ThinAll());
  EXPECT_LE(engine_->TotalsOfPoints("vol")->held_bytes, kMaxBytes);
  EXPECT_EQ(engine_->Points("vol")->size(), 0u);
  EXPECT_TRUE(host_->KeptForUndo().empty());
  const std::string shown = Show(*engine_, "vol");
  StartWith({.max_bytes = kMaxBytes});
  EXPECT_EQ(Show(*engine_, "vol"), shown);
  EXPECT_EQ(engine_->Points("vol")->size(), 0u);
}

TEST_F(BoundsTest, WhatIsTooOldGoesWithoutAnotherCommitButForPinnedStates) {
  StartWith({.keep_for = absl::Hours(24)});
  for (int i = 0; i < 4; ++i) Commit({InlinePut("a", fmt::format("{}", i))});
  ASSERT_TRUE(engine_->SetLabel("vol", {2, "kept", /*pinned=*/true}).ok());
  host_->AdvanceClock(absl::Hours(25));
  ASSERT_NO_FATAL_FAILURE(ThinAll());
  const auto points = engine_->Points("vol");
  ASSERT_FALSE(points->empty());
  EXPECT_EQ(points->back().sequence, 2u);
  RewindTo(states_[1]);
  ASSERT_TRUE(engine_->DropLabel("vol", 2).ok());
  host_->AdvanceClock(absl::Hours(25));
  ASSERT_NO_FATAL_FAILURE(ThinAll());
  EXPECT_TRUE(engine_->Points("vol")->empty());
  EXPECT_EQ(engine_->probe().points_given_up, 0u) << "their time was over";
}

TEST_F(BoundsTest, WhatGoesEarlySaysWhy) {
  StartWith({});
  for (int i = 0; i < 3; ++i) Commit({InlinePut("a", fmt::format("{}", i))});
  {
    const LoggedLines logged;
    StartWith({.keep_for = absl::ZeroDuration()});
    Commit({InlinePut("a", "no more points")});
    EXPECT_THAT(logged.All(), HasSubstr("before their time: points.keep_for or points.max_bytes is 0 now"));
  }
  StartWith({.max_bytes = 1024});
  const LoggedLines logged;
  Commit({InlinePut("a", Random(100 * 1024))});
  Commit({InlinePut("a", "small")});
  Commit({InlinePut("a", "smaller")});
  EXPECT_THAT(logged.All(), HasSubstr("before their time: there are more than points.max_bytes allows"));
}

class LostKept : public BoundsTest {
 protected:
  void SetUp() override {
    BoundsTest::SetUp();
    for (int i = 0; i < 4; ++i) Commit({InlinePut("a", fmt::format("{}", i))});
    const std::filesystem::path work = host_->File(".understudy");
    for (const auto& replica : std::filesystem::directory_iterator(work)) {
      std::filesystem::remove_all(replica.path() / "undo" / "2");
    }
  }
};

TEST_F(LostKept, ARewindThatNeedsItIsntBegun) {
  const std::string shown = Show(*engine_, "vol");
  const model::Sequence newest = Now();
  const absl::Status refused = engine_->Rewind("vol", 1);
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("mount the export as it was mounted before"));
  EXPECT_EQ(Now(), newest);
  EXPECT_EQ(Show(*engine_, "vol"), shown);
  RewindTo(states_[2]);  // that way is there
}

TEST_F(LostKept, ATreeThatNeedsItIsntBegun) {
  std::filesystem::create_directory(host_->File("tree"));
  const absl::Status refused = engine_->ClonePoint("vol", 1, *os::Root::Open(host_->File("tree")), {});
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  EXPECT_TRUE(std::filesystem::is_empty(host_->File("tree")));
}

}  // namespace
}  // namespace understudy::tests
