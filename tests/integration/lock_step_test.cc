// Two disk images that are written in lock step, replicated all the time: whatever DR publishes as one moment shows
// both within one step.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "agent-dr/commit/commit_engine.h"
#include "agent-primary/ship/data_plane.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/loop_mount.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy {
namespace {

constexpr uint64_t kMebibyte = 1024 * 1024;

uint64_t CounterIn(const std::string& file) {
  const os::Fd fd(open(file.c_str(), O_RDONLY));
  uint64_t counter = 0;
  const std::string bytes = os::ReadAt(fd.get(), 0, sizeof(counter)).value();
  std::memcpy(&counter, bytes.data(), sizeof(counter));
  return counter;
}

struct Seen {
  std::atomic<int> moments{0};  // that were called crash-consistent
  std::atomic<int> fuzzy{0};
  std::atomic<uint64_t> furthest_apart{0};  // of those that were called so
  std::atomic<bool> both{false};            // both images are at DR
};

// Looks at what DR shows after each commit.
class LookingSink : public dr::LocalSink {
 public:
  LookingSink(dr::CommitEngine& engine, std::string replica, Seen& seen)
      : LocalSink(engine), replica_(std::move(replica)), seen_(seen) {}
  absl::Status Submit(const model::Commit& commit) override {
    RETURN_IF_ERROR(LocalSink::Submit(commit));
    if (!commit.completes_capture || Published(commit.volume) < commit.sequence) return absl::OkStatus();
    if (!std::filesystem::exists(replica_ + "/data") || !std::filesystem::exists(replica_ + "/log")) {
      return absl::OkStatus();
    }
    seen_.both = true;
    const uint64_t data = CounterIn(replica_ + "/data");
    const uint64_t log = CounterIn(replica_ + "/log");
    if (commit.consistency != model::Consistency::kCrashConsistent) {
      ++seen_.fuzzy;
      return absl::OkStatus();
    }
    ++seen_.moments;
    // The log is written first.
    const uint64_t apart = log >= data ? log - data : UINT64_MAX;
    seen_.furthest_apart = std::max(seen_.furthest_apart.load(), apart);
    return absl::OkStatus();
  }

 private:
  const std::string replica_;
  Seen& seen_;
};

TEST(LockStepTest, WhatIsCalledOneMomentShowsBothImagesWithinOneStep) {
  auto disk = tests::LoopMount::Make("xfs", 700);
  if (absl::IsUnimplemented(disk.status())) GTEST_SKIP() << disk.status();
  ASSERT_TRUE(disk.ok()) << disk.status();
  const tests::TempDir state;
  const std::string root = (*disk)->Path();
  const std::string volume = root + "/primary/export/web";
  const std::string replica = root + "/dr/export/web";
  std::filesystem::create_directories(volume);
  std::filesystem::create_directories(root + "/dr/export");
  auto engine = dr::CommitEngine::Start({.state_dir = state.Path(), .exports = {root + "/dr/export"}});
  ASSERT_TRUE(engine.ok()) << engine.status();

  const os::Fd data(open((volume + "/data").c_str(), O_RDWR | O_CREAT, 0600));
  const os::Fd log(open((volume + "/log").c_str(), O_RDWR | O_CREAT, 0600));
  for (const int file : {data.get(), log.get()}) {
    ASSERT_TRUE(os::WriteAt(file, 0, std::string(8 * kMebibyte, '\0')).ok());
  }

  Seen seen;
  primary::DataPlaneOptions options;
  std::filesystem::create_directory(state.File("primary"));
  options.state_dir = state.File("primary");
  options.exports = {{root + "/primary/export", root + "/dr/export", {}}};
  options.replicator.times = {absl::Milliseconds(5), absl::Milliseconds(20)};
  options.replicator.least_frozen_bytes = kMebibyte;
  const auto connect = [&](const auto&, const auto&) -> absl::StatusOr<std::unique_ptr<model::ReplicaSink>> {
    return std::make_unique<LookingSink>(**engine, replica, seen);
  };
  auto plane = primary::DataPlane::Start(options, connect, Clock::System());
  ASSERT_TRUE(plane.ok()) << plane.status();
  ASSERT_TRUE((*plane)->AddListed("web", volume).ok());

  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::mt19937_64 random(20261130);
    for (uint64_t step = 1; !stop; ++step) {
      char bytes[sizeof(step)];
      std::memcpy(bytes, &step, sizeof(step));
      const std::string_view written(bytes, sizeof(bytes));
      if (!os::WriteAt(log.get(), 0, written).ok() || !os::WriteAt(data.get(), 0, written).ok()) return;
      // Somewhere else, too, so that there is something to be read.
      (void)os::WriteAt(log.get(), random() % (8 * kMebibyte - 8) + 8, "x");
      // Bursts, and pauses in which a moment can be had.
      if (random() % 50 == 0) absl::SleepFor(absl::Milliseconds(static_cast<int64_t>(random() % 80)));
    }
  });
  const absl::Status waited = tests::WaitFor("commits of one moment and others", absl::Seconds(120),
                                             [&] { return seen.moments >= 4 && seen.fuzzy >= 3; });
  stop = true;
  writer.join();
  EXPECT_TRUE(waited.ok()) << waited << ": " << seen.moments << " of one moment, " << seen.fuzzy << " others";
  EXPECT_LE(seen.furthest_apart, 1u);
}

}  // namespace
}  // namespace understudy
