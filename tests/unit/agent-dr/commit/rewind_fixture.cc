#include "tests/unit/agent-dr/commit/rewind_fixture.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <utility>

#include "core/model/path.h"
#include "tests/support/process.h"
#include "tests/support/tree_compare.h"

namespace understudy::tests {

using testing::IsEmpty;

std::vector<model::Operation> InOrder(std::vector<model::Operation> operations) {
  const auto place = [](const model::Operation& operation) {
    constexpr int kPasses[] = {1, 1, 2, 2, 2, 2, 2, 3, 3, 4};  // by index of the alternative
    const std::string& path = std::visit([](const auto& op) -> const std::string& { return op.path; }, operation);
    return std::pair(kPasses[operation.index()], model::Key(path));
  };
  std::sort(operations.begin(), operations.end(), [&](const model::Operation& a, const model::Operation& b) {
    const auto [pass, key] = place(a);
    const auto [other_pass, other_key] = place(b);
    if (pass != other_pass) return pass < other_pass;
    return pass == 2 || pass == 3 ? key < other_key : other_key < key;
  });
  return operations;
}

model::Metadata WithXattr(model::Metadata metadata, const std::string& value) {
  metadata.xattrs = {{"user.test", value}};
  return metadata;
}

void RewindTest::SetUp() {
  host_.emplace();
  engine_ = host_->Start();
  Open();
}

void RewindTest::SetUpOn(const char* filesystem, uint64_t megabytes) {
  auto mount = LoopMount::Make(filesystem, megabytes);
  if (absl::IsUnimplemented(mount.status())) GTEST_SKIP() << mount.status();
  ASSERT_TRUE(mount.ok()) << mount.status();
  mount_ = *std::move(mount);
  const char* before = std::getenv("TEST_TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  setenv("TEST_TMPDIR", mount_->Path().c_str(), 1);
  RewindTest::SetUp();
  before == nullptr ? unsetenv("TEST_TMPDIR") : setenv("TEST_TMPDIR", kept.c_str(), 1);
}

void RewindTest::TearDown() {
  session_ = dr::Session();
  engine_.reset();
  host_.reset();
  mount_.reset();
}

void RewindTest::Restart(const dr::PointBounds& points) {
  session_ = dr::Session();
  engine_.reset();
  engine_ = host_->Start(dr::FaultPoints::None(), points);
}

void RewindTest::Open() {
  auto session = engine_->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  session_ = *std::move(session);
}

absl::Status RewindTest::TryCommit(std::vector<model::Operation> operations) {
  RETURN_IF_ERROR(session_.SubmitDurable(NextCommit(session_.State(), InOrder(std::move(operations)))));
  return session_.Publish();
}

void RewindTest::Commit(std::vector<model::Operation> operations) {
  const absl::Status done = TryCommit(std::move(operations));
  ASSERT_TRUE(done.ok()) << done;
  Remember();
}

void RewindTest::Remember() {
  Remembered state{Now(), Show(*engine_, "vol"), host_->File(fmt::format("copy{}", states_.size()))};
  const auto copied = RunProcess({.program = "cp", .arguments = {"-a", Root(), state.copy}});
  ASSERT_TRUE(copied.ok() && copied->exit_code == 0) << copied.status();
  states_.push_back(std::move(state));
}

absl::Status RewindTest::StagePieces(model::Slot slot, const std::string& base, uint64_t size,
                                     const std::vector<Piece>& pieces) {
  RETURN_IF_ERROR(session_.StageBegin(slot, base, size, base));
  for (const Piece& piece : pieces) {
    if (piece.data.empty()) {
      RETURN_IF_ERROR(session_.StageHole(slot, piece.offset, piece.hole_length));
    } else {
      RETURN_IF_ERROR(session_.StageData(slot, piece.offset, piece.data));
    }
  }
  return session_.StageEnd(slot);
}

void RewindTest::Stage(model::Slot slot, const std::string& base, uint64_t size, const std::vector<Piece>& pieces) {
  const absl::Status staged = StagePieces(slot, base, size, pieces);
  ASSERT_TRUE(staged.ok()) << staged;
}

void RewindTest::RewindTo(const Remembered& state) {
  const absl::Status done = engine_->Rewind("vol", state.sequence);
  ASSERT_TRUE(done.ok()) << done;
  EXPECT_EQ(Show(*engine_, "vol"), state.shown) << "back at " << state.sequence;
  const auto differences = CompareTrees(state.copy, Root());
  ASSERT_TRUE(differences.ok()) << differences.status();
  EXPECT_THAT(*differences, IsEmpty()) << "back at " << state.sequence;
  EXPECT_THAT(host_->LeftInWorkFolder(), testing::Each(testing::HasSubstr("staging/o")));
}

void RewindTest::RewindToAll() {
  if (HasFatalFailure()) return;
  std::vector<size_t> order;
  for (size_t i = 0; i < states_.size(); ++i) order.push_back(i);
  RewindTo(states_.front());
  RewindTo(states_.back());
  std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
  for (const size_t i : order) {
    RewindTo(states_[i]);
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  Restart();
  RewindTo(states_.front());
  for (const Remembered& state : states_) RewindTo(state);
}

}  // namespace understudy::tests
