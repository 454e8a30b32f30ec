// engine_fixture.h: a DR host in a temporary folder, for tests of the commit engine.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent-dr/commit/commit_engine.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

// The folders of one DR host; engines come and go over them.
class DrHost {
 public:
  DrHost();

  // A new engine over what is there; aborts the test when it can't start.
  std::unique_ptr<dr::CommitEngine> Start(dr::FaultPoints& faults = dr::FaultPoints::None(),
                                          const dr::PointBounds& points = {});

  [[nodiscard]] std::string Export() const { return folder_.File("export"); }
  [[nodiscard]] std::string RootOf(const std::string& volume) const { return Export() + "/" + volume; }
  [[nodiscard]] std::string State() const { return folder_.File("state"); }
  [[nodiscard]] std::string File(const std::string& name) const { return folder_.File(name); }
  // Paths of everything below the work folders, which is nothing but empty folders at rest, but for undo records.
  [[nodiscard]] std::vector<std::string> LeftInWorkFolder() const;
  // Names of the folders of what undo records keep: one volume's sequences.
  [[nodiscard]] std::vector<std::string> KeptForUndo() const;

  // Of the engines' clock, which stands still otherwise.
  void AdvanceClock(absl::Duration by) { clock_.now += by; }

 private:
  struct TestClock : Clock {
    absl::Time now = absl::FromUnixSeconds(1'750'000'000);
    [[nodiscard]] absl::Time Now() const override { return now; }
    [[nodiscard]] absl::Duration Monotonic() const override { return now - absl::UnixEpoch(); }
  };

  TestClock clock_;
  TempDir folder_;
};

[[nodiscard]] model::Metadata Meta(uint32_t mode, int64_t mtime = 1'700'000'000);
[[nodiscard]] model::Put InlinePut(const std::string& path, const std::string& content);
[[nodiscard]] model::Put StagedPut(const std::string& path, const std::string& content, model::Slot slot);

// Staged ahead for that StagedPut.
[[nodiscard]] model::StagedFile SmallFile(const std::string& path, const std::string& content, model::Slot slot);

// What the volume's folder shows: one line for each entry with all that a commit sets.
[[nodiscard]] std::string Show(dr::CommitEngine& engine, const std::string& volume);

// Exit codes of InProcess's processes.
inline constexpr int kCrashed = 42;  // for a fault that ends one
inline constexpr int kFailed = 43;   // `body` was false

// Runs `body` in a process of its own; its exit code: 0 when it came to its end.
int InProcess(const std::function<bool()>& body);

// A commit on top of `state`.
[[nodiscard]] model::Commit NextCommit(const model::ReplicaState& state, std::vector<model::Operation> operations);

}  // namespace understudy::tests
