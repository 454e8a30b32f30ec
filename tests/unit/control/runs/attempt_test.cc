// What is repeated of an attempt, for how long, and what isn't.
#include "control/runs/attempt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Each call takes some time, and fails as often as was said before it answers.
class ForgetfulStep : public Step {
 public:
  struct Call {
    int failures = 0;
    absl::Status failure = absl::UnavailableError("no answer");
    absl::Duration takes{};
    int made = 0;

    absl::Status Make(absl::Duration& now) {
      ++made;
      now += takes;
      return made <= failures ? failure : absl::OkStatus();
    }
  };
  explicit ForgetfulStep(absl::Duration& now) : now_(now) {}

  std::string_view name() const override { return "forgetful"; }
  std::string_view purpose() const override { return "answer in the end"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord&, std::stop_token) override {
    return std::vector<Item>{{"", "", 0}};
  }
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override {
    RETURN_IF_ERROR(check.Make(now_));
    return false;
  }
  absl::Status Do(const Item&, ItemContext&) override { return deed.Make(now_); }
  absl::Status Confirm(const Item&, ItemContext&) override { return confirm.Make(now_); }

  Call check;
  Call deed;
  Call confirm;

 private:
  absl::Duration& now_;
};

// Moves on a little whenever it is looked at, so that a bound is reached without waiting for it.
class TestClock : public Clock {
 public:
  explicit TestClock(absl::Duration& now) : now_(now) {}
  absl::Time Now() const override { return absl::UnixEpoch() + now_; }
  absl::Duration Monotonic() const override { return now_ += absl::Milliseconds(1); }

 private:
  absl::Duration& now_;
};

class AttemptTest : public testing::Test {
 protected:
  Attempt Make(std::stop_token stop = {}) {
    const RunRecord run;
    const ItemRecord before;
    ItemContext context(
        run, before, std::move(stop),
        [&](const std::string& text) {
          told_.push_back(text);
          if (told_.size() == 3) on_third_();
        },
        [](const nlohmann::ordered_json&) { return absl::OkStatus(); });
    return MakeAttempt(step_, {"", "", 0}, context, patience_, TestClock(now_));
  }

  absl::Duration now_;
  ForgetfulStep step_{now_};
  Patience patience_{
      .bound = absl::Seconds(10), .first_pause = absl::Microseconds(1), .longest_pause = absl::Microseconds(10)};
  std::vector<std::string> told_;
  std::function<void()> on_third_ = [] {};
};

TEST_F(AttemptTest, LooksAreRepeatedUntilSomebodyAnswersAndThatIsTold) {
  step_.check.failures = 3;
  step_.confirm = {.failures = 2, .failure = absl::DeadlineExceededError("too slow")};
  EXPECT_EQ(Make().made, absl::OkStatus());
  EXPECT_EQ(step_.check.made, 4);
  EXPECT_EQ(step_.deed.made, 1);
  EXPECT_EQ(step_.confirm.made, 3);
  EXPECT_THAT(told_, SizeIs(5));
  EXPECT_THAT(told_, Each(HasSubstr("it is tried again")));
  EXPECT_THAT(told_[0], HasSubstr("no answer"));
}

TEST_F(AttemptTest, ADeedIsNotRepeated) {
  step_.deed.failures = 1;
  EXPECT_TRUE(absl::IsUnavailable(Make().made));
  EXPECT_EQ(step_.deed.made, 1);
  EXPECT_EQ(step_.confirm.made, 0);
}

TEST_F(AttemptTest, AnAnswerIsNotAskedForAgain) {
  step_.check = {.failures = 1, .failure = absl::PermissionDeniedError("not you")};
  EXPECT_TRUE(absl::IsPermissionDenied(Make().made));
  EXPECT_EQ(step_.check.made, 1);
  EXPECT_EQ(step_.deed.made, 0);
}

TEST_F(AttemptTest, NobodyIsWaitedForLongerThanTheBound) {
  step_.check = {.failures = 1'000'000, .takes = absl::Seconds(1)};
  EXPECT_TRUE(absl::IsUnavailable(Make().made));
  EXPECT_GT(step_.check.made, 5);
  EXPECT_LE(step_.check.made, 11);
}

// It waited for what was to come, and that didn't: once more would double what the plan says.
TEST_F(AttemptTest, ALookWhoseOwnTimeWasUpIsNotBegunAnew) {
  step_.confirm = {.failures = 1, .failure = absl::DeadlineExceededError("isn't bound"), .takes = absl::Minutes(5)};
  EXPECT_TRUE(absl::IsDeadlineExceeded(Make().made));
  EXPECT_EQ(step_.confirm.made, 1);
}

// The agent restarts in the midst of a long wait.
TEST_F(AttemptTest, ALongLookThatLosesItsConnectionIsBegunAnew) {
  step_.confirm = {.failures = 1, .takes = absl::Minutes(5)};
  EXPECT_EQ(Make().made, absl::OkStatus());
  EXPECT_EQ(step_.confirm.made, 2);
}

TEST_F(AttemptTest, AStopEndsTheRepetition) {
  std::stop_source source;
  step_.check.failures = 1'000'000;
  on_third_ = [&] { source.request_stop(); };
  EXPECT_FALSE(Make(source.get_token()).made.ok());
  EXPECT_EQ(step_.check.made, 3);
}

TEST(Verdict, OnlyWhatSaysSomethingOfTheItemIsOne) {
  EXPECT_TRUE(IsVerdict(absl::AbortedError("CrashLoopBackOff")));
  EXPECT_TRUE(IsVerdict(absl::DataLossError("PartiallyFailed")));
  EXPECT_FALSE(IsVerdict(absl::UnavailableError("")));
  EXPECT_FALSE(IsVerdict(absl::DeadlineExceededError("")));
  EXPECT_FALSE(IsVerdict(absl::UnauthenticatedError("")));
  EXPECT_FALSE(IsVerdict(absl::PermissionDeniedError("")));
}

}  // namespace
}  // namespace understudy::control
