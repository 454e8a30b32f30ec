// bench_latency: how long a small change takes from the write at the primary until the replica's folder shows it, on
// loopback, with two real agents. Measured at the file itself, not at any report of ours.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/base/clock.h"
#include "core/os/fd.h"
#include "nlohmann/json.hpp"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy {
namespace {

struct Samples {
  std::string name;
  std::vector<double> milliseconds;
  [[nodiscard]] double Quantile(double q) {
    std::sort(milliseconds.begin(), milliseconds.end());
    return milliseconds[static_cast<size_t>(q * static_cast<double>(milliseconds.size() - 1))];
  }
};

// Looks without a pause: the wait itself is part of what is measured.
absl::Status WaitForContent(const std::string& path, const std::string& content) {
  const absl::Duration deadline = Clock::System().Monotonic() + absl::Seconds(30);
  while (Clock::System().Monotonic() < deadline) {
    std::ifstream file(path, std::ios::binary);
    const std::string found(std::istreambuf_iterator<char>(file), {});
    if (found == content) return absl::OkStatus();
    usleep(200);
  }
  return absl::DeadlineExceededError("the change didn't show at DR within 30 s");
}

absl::StatusOr<Samples> Measure(const std::string& name, int rounds,
                                const std::function<void(int, const std::string&)>& change,
                                const std::function<std::string(int)>& shown_at) {
  Samples samples{name, {}};
  for (int i = 0; i < rounds; ++i) {
    const std::string content = fmt::format("{} {}", name, i);
    const absl::Duration begin = Clock::System().Monotonic();
    change(i, content);
    RETURN_IF_ERROR(WaitForContent(shown_at(i), content));
    samples.milliseconds.push_back(absl::ToDoubleMilliseconds(Clock::System().Monotonic() - begin));
  }
  return samples;
}

absl::Status Run(int rounds, int files, const std::string& json_file) {
  ASSIGN_OR_RETURN(const std::unique_ptr<tests::Site> site, tests::Site::Make());
  const std::string volume = site->Volume("web");
  for (int i = 0; i < files; ++i) {
    const std::string folder = fmt::format("{}/{}", volume, i / 100);
    if (i % 100 == 0) std::filesystem::create_directory(folder);
    std::ofstream(fmt::format("{}/{}", folder, i)) << i;
  }
  RETURN_IF_ERROR(site->StartDr());
  RETURN_IF_ERROR(site->StartPrimary());
  RETURN_IF_ERROR(site->Sync("web"));
  const std::string replica = site->Replica("web");
  std::vector<Samples> all;
  const auto write = [](const std::string& path, const std::string& content) { std::ofstream(path) << content; };
  ASSIGN_OR_RETURN(Samples created,
                   Measure(
                       "new file", rounds,
                       [&](int i, const std::string& content) { write(fmt::format("{}/new{}", volume, i), content); },
                       [&](int i) { return fmt::format("{}/new{}", replica, i); }));
  all.push_back(std::move(created));
  ASSIGN_OR_RETURN(Samples changed, Measure(
                                        "changed file", rounds,
                                        [&](int, const std::string& content) { write(volume + "/same", content); },
                                        [&](int) { return replica + "/same"; }));
  all.push_back(std::move(changed));
  nlohmann::json json = {{"files", files}, {"rounds", rounds}, {"results", nlohmann::json::array()}};
  fmt::print("{:<14} {:>8} {:>8} {:>8}   write to visible at DR, ms; {} files in the volume, {} rounds\n", "", "p50",
             "p90", "p99", files, rounds);
  for (Samples& samples : all) {
    const double p50 = samples.Quantile(0.5);
    const double p90 = samples.Quantile(0.9);
    const double p99 = samples.Quantile(0.99);
    fmt::print("{:<14} {:>8.1f} {:>8.1f} {:>8.1f}\n", samples.name, p50, p90, p99);
    json["results"].push_back({{"name", samples.name}, {"p50_ms", p50}, {"p90_ms", p90}, {"p99_ms", p99}});
  }
  if (!json_file.empty()) std::ofstream(json_file) << json.dump(2) << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) {
  CLI::App app(
      "How long a small change takes from the write until the replica shows it. Example: bench_latency --rounds 200");
  int rounds = 200;
  int files = 2000;
  std::string json_file;
  app.add_option("--rounds", rounds, "changes of each kind")->check(CLI::PositiveNumber);
  app.add_option("--files", files, "files in the volume meanwhile")->check(CLI::NonNegativeNumber);
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = understudy::Run(rounds, files, json_file);
  if (!status.ok()) fmt::print(stderr, "bench_latency: {}\n", understudy::MessageOf(status));
  return static_cast<int>(understudy::ExitCodeFor(status));
}
