// Recovery points are given up for a filesystem that is short of space, and for nothing else that fails.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <tuple>

#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;

// Fails the next so many times that a step is reached.
class FailNext : public dr::FaultPoints {
 public:
  FailNext(dr::Step step, int error_number) : step_(step), error_number_(error_number) {}
  absl::Status Reach(dr::Step step, size_t) override {
    if (step != step_ || left == 0) return absl::OkStatus();
    --left;
    return ErrnoStatus(error_number_, "injected");
  }
  size_t left = 0;

 private:
  const dr::Step step_;
  const int error_number_;
};

class GivenUpTest : public RewindTest {
 protected:
  void MakePoints(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const absl::Status done = TryCommit({InlinePut("a", fmt::format("content {}", i))});
      ASSERT_TRUE(done.ok()) << done;
    }
  }
};

class OtherErrors : public GivenUpTest, public testing::WithParamInterface<std::tuple<dr::Step, int>> {};
INSTANTIATE_TEST_SUITE_P(Errors, OtherErrors,
                         testing::Combine(testing::Values(dr::Step::kStage, dr::Step::kPublish),
                                          testing::Values(EMFILE, ENFILE, ENOMEM, EMLINK, ENOSPC, EDQUOT, EIO)),
                         [](const auto& given) {
                           return fmt::format("{}{}",
                                              std::get<0>(given.param) == dr::Step::kStage ? "Stage" : "Publish",
                                              strerrorname_np(std::get<1>(given.param)));
                         });

TEST_P(OtherErrors, LeaveEveryPointWhereThereIsSpace) {
  constexpr size_t kFailures = 6;
  FailNext fault(std::get<0>(GetParam()), std::get<1>(GetParam()));
  session_ = dr::Session();
  engine_.reset();
  engine_ = host_->Start(fault);
  ASSERT_NO_FATAL_FAILURE(Open());
  ASSERT_NO_FATAL_FAILURE(MakePoints(20));
  ASSERT_TRUE(engine_->SetLabel("vol", {10, "before-upgrade", /*pinned=*/true}).ok());
  const size_t before = engine_->Points("vol")->size();
  fault.left = kFailures;
  for (size_t tries = 0; tries <= kFailures; ++tries) {
    if (TryCommit({InlinePut("a", "new")}).ok()) break;
    auto session = engine_->Open({"vol", Root(), 0});
    if (session.ok()) session_ = *std::move(session);
  }
  EXPECT_EQ(fault.left, 0u);
  EXPECT_GE(engine_->Points("vol")->size(), before);
  EXPECT_EQ(engine_->probe().points_given_up, 0u);
  const absl::Status back = engine_->Rewind("vol", 10);
  EXPECT_TRUE(back.ok()) << back;
  const auto shown = Show(*engine_, "vol");
  EXPECT_NE(shown.find("a kind1"), std::string::npos) << shown;
}

// What an xattr may take is a limit of ext4's, not of its space.
class OnExt4 : public GivenUpTest {
 protected:
  void SetUp() override { SetUpOn("ext4", 300); }
};

TEST_F(OnExt4, AnXattrThatIsTooLargeForTheFilesystemCostsNoPoint) {
  ASSERT_NO_FATAL_FAILURE(MakePoints(20));
  const size_t before = engine_->Points("vol")->size();
  model::Put large = InlinePut("b", "new");
  large.metadata = WithXattr(large.metadata, std::string(8192, 'x'));
  for (int tries = 0; tries < 6; ++tries) {
    EXPECT_FALSE(TryCommit({large}).ok());
    ASSERT_NO_FATAL_FAILURE(Open());
  }
  EXPECT_EQ(engine_->Points("vol")->size(), before);
  EXPECT_EQ(engine_->probe().points_given_up, 0u);
}

}  // namespace
}  // namespace understudy::tests
