// Thousands of seeded histories of a volume and its replica (tests/sim/history.h), in worker processes.
//
// UNDERSTUDY_SEED=N runs the one history again and tells its story whatever comes of it. UNDERSTUDY_SIM_HISTORIES says
// how many are run, UNDERSTUDY_SIM_FIRST from which seed on (1), UNDERSTUDY_SIM_DIR where (default: /dev/shm, where
// syncs cost nothing).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "core/base/status.h"
#include "tests/sim/history.h"
#include "tests/support/temp_dir.h"

namespace understudy::sim {
namespace {

constexpr uint64_t kHistories = 5000;
constexpr uint64_t kMaxFailuresTold = 3;
constexpr unsigned kMaxWorkers = 16;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What the workers and the test share.
struct Progress {
  std::atomic<uint64_t> next_seed{0};
  std::atomic<uint64_t> done{0};
  std::atomic<uint64_t> failed{0};
  std::array<std::atomic<uint64_t>, kMaxWorkers> seeds{};  // that the workers are at, should one of them end there
};

// OK, or what broke; `story` says how it came to that.
absl::Status RunHistory(uint64_t seed, const std::string& folder, std::string& story) {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  History history(seed, folder);
  absl::Status status = history.Run();
  story = history.Story();
  return status;
}

void TellFailure(uint64_t seed, const absl::Status& status, const std::string& story) {
  fmt::print(stderr, "history {} failed: {}\n{}run it again with UNDERSTUDY_SEED={}\n\n", seed, status.ToString(),
             story, seed);
}

void Work(Progress& progress, unsigned worker, uint64_t end, const std::string& folder) {
  for (uint64_t seed = progress.next_seed++; seed < end; seed = progress.next_seed++) {
    progress.seeds[worker] = seed;
    std::string story;
    const absl::Status status = RunHistory(seed, folder, story);
    ++progress.done;
    if (status.ok()) continue;
    if (progress.failed++ < kMaxFailuresTold) TellFailure(seed, status, story);
  }
}

class Simulation : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    if (std::filesystem::is_directory("/dev/shm")) setenv("TEST_TMPDIR", "/dev/shm", 1);
    if (const char* dir = std::getenv("UNDERSTUDY_SIM_DIR")) setenv("TEST_TMPDIR", dir, 1);
  }
};

TEST_F(Simulation, EveryPromiseHoldsInEveryHistory) {
  const tests::TempDir dir;
  if (const uint64_t seed = FromEnvironment("UNDERSTUDY_SEED", 0); seed != 0) {
    std::string story;
    const absl::Status status = RunHistory(seed, dir.File("history"), story);
    EXPECT_TRUE(status.ok()) << status << "\n" << story;
    fmt::print("{}", story);
    return;
  }
  void* shared = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto& progress = *new (shared) Progress;
  const uint64_t histories = FromEnvironment("UNDERSTUDY_SIM_HISTORIES", kHistories);
  const uint64_t first = FromEnvironment("UNDERSTUDY_SIM_FIRST", 1);
  progress.next_seed = first;
  std::vector<pid_t> workers;
  const unsigned count = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxWorkers);
  for (unsigned worker = 0; worker < count; ++worker) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Work(progress, worker, first + histories, dir.File(fmt::format("worker{}", worker)));
      _exit(0);
    }
    workers.push_back(child);
  }
  for (size_t worker = 0; worker < workers.size(); ++worker) {
    int status = 0;
    ASSERT_EQ(waitpid(workers[worker], &status, 0), workers[worker]);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "a worker ended with wait status " << status << ": UNDERSTUDY_SEED=" << progress.seeds[worker];
  }
  EXPECT_EQ(progress.failed, 0u);
  EXPECT_EQ(progress.done, histories);
}

}  // namespace
}  // namespace understudy::sim
