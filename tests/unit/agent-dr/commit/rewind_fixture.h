// rewind_fixture.h: one volume at a DR host, whose states are remembered as they come, to be gone back to.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/loop_mount.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {

// What staged content of a Patch differs in.
struct Piece {
  uint64_t offset;
  std::string data;  // empty: a hole
  uint64_t hole_length = 0;
};

// As a commit's operations have to stand.
[[nodiscard]] std::vector<model::Operation> InOrder(std::vector<model::Operation> operations);

[[nodiscard]] model::Metadata WithXattr(model::Metadata metadata, const std::string& value);

class RewindTest : public testing::Test {
 protected:
  struct Remembered {
    model::Sequence sequence;
    std::string shown;  // with which names are one file's
    std::string copy;   // path of a copy of the whole tree
  };

  void SetUp() override;
  // The same on a filesystem of its own, of so many megabytes; skips the test where it can't be mounted.
  void SetUpOn(const char* filesystem, uint64_t megabytes);
  void TearDown() override;
  void Restart(const dr::PointBounds& points = {});
  void Open();
  [[nodiscard]] std::string Root() const { return host_->RootOf("vol"); }
  [[nodiscard]] model::Sequence Now() const { return engine_->State("vol")->sequence; }

  absl::Status TryCommit(std::vector<model::Operation> operations);
  // The next commit, and what it leads to.
  void Commit(std::vector<model::Operation> operations);
  void Remember();

  absl::Status StagePieces(model::Slot slot, const std::string& base, uint64_t size, const std::vector<Piece>& pieces);
  void Stage(model::Slot slot, const std::string& base, uint64_t size, const std::vector<Piece>& pieces);

  void RewindTo(const Remembered& state);
  // To every state, in an order that goes back and forth.
  void RewindToAll();

  std::unique_ptr<LoopMount> mount_;  // of SetUpOn
  std::optional<DrHost> host_;
  std::unique_ptr<dr::CommitEngine> engine_;
  dr::Session session_;
  std::vector<Remembered> states_;
};

}  // namespace understudy::tests
