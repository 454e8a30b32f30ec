// side_by_side.h: what the benchmarks that set Understudy beside rsync and lsyncd have in common: filesystems and a
// network of their own, what a piece of work costs, and one form of results.
//
// Needs root and loop devices.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"
#include "tests/support/loop_mount.h"
#include "tests/support/process.h"
#include "tests/support/site.h"
#include "tests/support/temp_dir.h"

namespace understudy::bench {

// Of the whole process: what passes its loopback from here on is the benchmark's.
[[nodiscard]] absl::Status OwnNetwork();

struct Cost {
  double seconds = 0;
  double cpu_seconds = 0;     // of all processes, and of children that ended
  double wire_bytes = 0;      // what the loopback took, acknowledgements of TCP included
  double peak_mebibytes = 0;  // resident, of the largest of the processes
};

// What `work` costs these processes and the children that it starts and waits for.
[[nodiscard]] absl::StatusOr<Cost> Measure(const std::vector<pid_t>& processes,
                                           const std::function<absl::Status()>& work);

// Adds what a process that `work` started has cost since.
void AddProcess(Cost& cost, pid_t process);

// Of nothing: 0.
[[nodiscard]] double Median(std::vector<double> values);
[[nodiscard]] double Quantile(std::vector<double> values, double q);

// Two filesystems, and on each a folder for either contender ("ours", "theirs"; At).
class Beds {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Beds>> Make(const std::string& filesystem, uint64_t megabytes);
  [[nodiscard]] std::string Here(const std::string& contender) const { return here_->Path() + "/" + contender; }
  [[nodiscard]] std::string There(const std::string& contender) const { return there_->Path() + "/" + contender; }
  // Empties DR's folder of a contender.
  [[nodiscard]] absl::Status ClearThere(const std::string& contender) const;
  // Makes all that was written at DR durable.
  [[nodiscard]] absl::Status SyncThere() const;
  // A pair of agents, not started, whose volume `web` is below Here("ours").
  [[nodiscard]] absl::StatusOr<std::unique_ptr<tests::Site>> MakeSite() const;

 private:
  std::unique_ptr<tests::LoopMount> here_;
  std::unique_ptr<tests::LoopMount> there_;
};

// An rsync daemon that writes to one folder.
class RsyncDaemon {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RsyncDaemon>> Start(const std::string& folder);
  // Runs `rsync OPTIONS… SOURCE rsync://…/dr/`.
  [[nodiscard]] absl::Status Run(std::vector<std::string> options, const std::string& source) const;
  [[nodiscard]] pid_t pid() const { return process_->Pid(); }
  [[nodiscard]] std::string url() const;

 private:
  int port_ = 0;
  tests::TempDir folder_;
  std::unique_ptr<tests::Process> process_;
};

// Bytes that don't compress.
class Noise {
 public:
  void Fill(std::string& bytes);
  [[nodiscard]] uint64_t Below(uint64_t bound) { return random_() % bound; }
  // Files of 4 KiB of them, 1,000 in a folder; TreeFile says where. Not durable.
  [[nodiscard]] absl::Status MakeTree(const std::string& root, int files);
  // Writes them to [begin, end) of a file, made if it isn't there; durable.
  [[nodiscard]] absl::Status WriteTo(const std::string& path, uint64_t begin, uint64_t end);

 private:
  std::mt19937_64 random_{7};
};

// Of Noise::MakeTree.
[[nodiscard]] std::string TreeFile(const std::string& root, int number);

// `drctl volumes sync web`: until DR has everything durably.
[[nodiscard]] absl::Status SyncNow(tests::Site& site);

// Rows of one benchmark, printed as they come.
class Results {
 public:
  // Those that follow are of this filesystem.
  void On(const std::string& filesystem);
  // The medians of `costs`; `changed_bytes`: what wire bytes are set against, or 0.
  void Add(const std::string& work, const std::string& name, const std::vector<Cost>& costs, double changed_bytes = 0);
  // Of times in milliseconds.
  void AddTimes(const std::string& work, const std::string& name, const std::vector<double>& milliseconds);
  // How many times as long the second of two that were added took, and what else there is to compare.
  void AddRatio(const std::string& work, const std::string& name, const std::string& against);

  // With the machine's description.
  [[nodiscard]] nlohmann::json ToJson() const;

 private:
  struct Row {
    std::string filesystem;
    std::string work;
    std::string name;
    double seconds;
    double cpu_seconds;
  };
  std::string filesystem_;
  std::vector<Row> rows_;
  nlohmann::json results_ = nlohmann::json::array();
};

// Prints an error, writes the results; the process's exit code.
[[nodiscard]] int Finish(const char* program, const absl::Status& status, const Results& results,
                         const std::string& json_file);

}  // namespace understudy::bench
