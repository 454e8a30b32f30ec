// trash_fixture.h: a DR host whose volumes are deleted and brought back, and a clock that the test sets.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {

// What a primary that knows the replica says.
absl::Status Discard(dr::CommitEngine& engine, const std::string& volume, const std::string& root);

class SetClock : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return now_; }
  [[nodiscard]] absl::Duration Monotonic() const override { return monotonic_; }
  void Advance(absl::Duration duration) {
    now_ += duration;
    monotonic_ += duration;
  }
  // Somebody sets the wall clock.
  void Set(absl::Duration by) { now_ += by; }

 private:
  absl::Duration monotonic_ = absl::Hours(5);
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

class TrashTest : public testing::Test {
 protected:
  // Keeps what is deleted for a day.
  std::unique_ptr<dr::CommitEngine> Start(dr::FaultPoints& faults = dr::FaultPoints::None());
  [[nodiscard]] std::string Root() const { return host_.RootOf("vol"); }
  // A replica of a file and a folder, one commit; its state.
  model::ReplicaState MakeVolume(dr::CommitEngine& engine, const std::string& content = "A");
  static std::vector<model::TrashEntry> List(const dr::CommitEngine& engine);
  [[nodiscard]] std::string DataOf(const std::string& id) const {
    return host_.File(".understudy/trash/" + id + "/data");
  }
  static std::string Read(const std::string& path);

  DrHost host_;
  SetClock clock_;
  std::vector<std::string> told_;  // before each move, by engines of Start
};

}  // namespace understudy::tests
