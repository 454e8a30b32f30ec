// bench_follow: how soon DR follows, beside lsyncd with an rsync daemon: one small file changed in a tree of very many,
// from the write until DR's file shows it; and a disk image that stays open and is written to without a pause.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "bench/side_by_side.h"
#include "core/base/clock.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/wait.h"

namespace understudy::bench {
namespace {

constexpr uint64_t kMebibyte = 1024 * 1024;

struct Options {
  std::string filesystem = "xfs";
  int rounds = 100;
  int files = 100'000;
  int seconds = 30;
  std::vector<int> rates = {500, 2000};
  uint64_t image_mib = 1024;
};

// Looks without a pause: the wait itself is part of what is measured.
absl::StatusOr<double> MillisecondsUntilShown(const std::string& path, const std::string& content) {
  const absl::Duration began = Clock::System().Monotonic();
  while (Clock::System().Monotonic() < began + absl::Seconds(60)) {
    std::ifstream file(path, std::ios::binary);
    const std::string found(std::istreambuf_iterator<char>(file), {});
    if (found == content) return absl::ToDoubleMilliseconds(Clock::System().Monotonic() - began);
    usleep(200);
  }
  return absl::DeadlineExceededError(fmt::format("{} wasn't shown within a minute", path));
}

absl::StatusOr<std::vector<double>> MeasureChanges(const std::string& here, const std::string& there,
                                                   const Options& options, Noise& noise) {
  std::vector<double> times;
  for (int round = 0; round < options.rounds; ++round) {
    const auto i = static_cast<int>(noise.Below(static_cast<uint64_t>(options.files)));
    const std::string content = fmt::format("change {} of {}", round, i);
    std::ofstream(TreeFile(here, i), std::ios::binary | std::ios::trunc) << content;
    ASSIGN_OR_RETURN(const double milliseconds, MillisecondsUntilShown(TreeFile(there, i), content));
    times.push_back(milliseconds);
  }
  return times;
}

absl::StatusOr<std::unique_ptr<tests::Process>> StartLsyncd(const std::string& source, const RsyncDaemon& daemon,
                                                            const std::string& folder) {
  const std::string config = folder + "/lsyncd.conf";
  std::ofstream(config) << fmt::format(
      "settings {{ nodaemon = true, insist = true }}\n"
      "sync {{ default.rsync, source = \"{}\", target = \"{}\", delay = 0, rsync = {{ archive = true }} }}\n",
      source, daemon.url());
  return tests::Process::Start({.program = "lsyncd", .arguments = {"-nodaemon", config}});
}

absl::Status SmallChanges(const Beds& beds, tests::Site& site, const Options& options, Noise& noise, Results& results) {
  const std::string work = fmt::format("a change among {} files", options.files);
  ASSIGN_OR_RETURN(const auto ours, MeasureChanges(site.Volume("web"), site.Replica("web"), options, noise));
  results.AddTimes(work, "understudy", ours);
  ASSIGN_OR_RETURN(const auto daemon, RsyncDaemon::Start(beds.There("theirs")));
  RETURN_IF_ERROR(daemon->Run({"-a"}, beds.Here("theirs") + "/"));
  const tests::TempDir folder;
  ASSIGN_OR_RETURN(const auto lsyncd, StartLsyncd(beds.Here("theirs"), *daemon, folder.Path()));
  // Its first look is over when it follows a change.
  std::ofstream(beds.Here("theirs") + "/ready") << "ready";
  ASSIGN_OR_RETURN(const double ready, MillisecondsUntilShown(beds.There("theirs") + "/ready", "ready"));
  (void)ready;
  ASSIGN_OR_RETURN(const auto theirs, MeasureChanges(beds.Here("theirs"), beds.There("theirs"), options, noise));
  results.AddTimes(work, "lsyncd", theirs);
  results.AddRatio(work, "understudy", "lsyncd");
  return absl::OkStatus();
}

// Of the image's replica: the newest mark in its first block. A writer puts the time of each write there.
int64_t MarkIn(const std::string& path) {
  const os::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  int64_t mark = 0;
  if (!file.valid() || pread(file.get(), &mark, sizeof(mark), 0) != sizeof(mark)) return 0;
  return mark;
}

// A hundred times a second so many random blocks that there are `rate` in a second, as far as the machine bears it.
absl::Status SteadyWrites(tests::Site& site, int rate, const Options& options, Noise& noise, Results& results) {
  const std::string image = fmt::format("{}/disk{}.img", site.Volume("web"), rate);
  RETURN_IF_ERROR(noise.WriteTo(image, 0, options.image_mib * kMebibyte));
  RETURN_IF_ERROR(site.Sync("web", absl::Hours(1)));
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> blocks = 0;
  std::vector<double> writes;  // what each took; the writer's until it ends
  std::jthread writer([&] {
    const os::Fd file(open(image.c_str(), O_RDWR | O_CLOEXEC));  // open all the time
    std::string block(4096, '\0');
    Noise of_writer;
    while (!stop) {
      const int64_t now = absl::ToInt64Nanoseconds(Clock::System().Monotonic());
      (void)os::WriteAt(file.get(), 0, std::string_view(reinterpret_cast<const char*>(&now), sizeof(now)));
      for (int i = 1; i < rate / 100; ++i) {
        of_writer.Fill(block);
        const absl::Duration begins = Clock::System().Monotonic();
        (void)os::WriteAt(file.get(), (1 + of_writer.Below(options.image_mib * 256 - 1)) * 4096, block);
        writes.push_back(absl::ToDoubleMilliseconds(Clock::System().Monotonic() - begins));
      }
      blocks += static_cast<uint64_t>(rate) / 100;
      usleep(10'000);
    }
  });
  std::vector<double> lags;
  const std::string replica = fmt::format("{}/disk{}.img", site.Replica("web"), rate);
  const absl::Duration began = Clock::System().Monotonic();
  while (Clock::System().Monotonic() < began + absl::Seconds(options.seconds)) {
    const int64_t mark = MarkIn(replica);
    const int64_t now = absl::ToInt64Nanoseconds(Clock::System().Monotonic());
    // Before the first mark arrives the image's own noise stands there.
    if (mark > absl::ToInt64Nanoseconds(began) - 1'000'000'000 && mark <= now) {
      lags.push_back(static_cast<double>(now - mark) / 1e6);
    } else if (now > absl::ToInt64Nanoseconds(began) + 5'000'000'000) {
      return absl::InternalError("the image isn't followed");
    }
    usleep(20'000);
  }
  stop = true;
  writer.join();
  results.AddTimes(fmt::format("lag of an open image, {} blocks/s", blocks / static_cast<uint64_t>(options.seconds)),
                   "understudy", lags);
  // What its writers feel of that.
  results.AddTimes(fmt::format("a write into it, {} blocks/s", blocks / static_cast<uint64_t>(options.seconds)),
                   "understudy", writes);
  std::filesystem::remove(image);
  return absl::OkStatus();
}

absl::Status Run(const Options& options, Results& results) {
  RETURN_IF_ERROR(OwnNetwork());
  results.On(options.filesystem);
  ASSIGN_OR_RETURN(const auto beds, Beds::Make(options.filesystem, 8192));
  ASSIGN_OR_RETURN(const auto site, beds->MakeSite());
  Noise noise;
  RETURN_IF_ERROR(noise.MakeTree(site->Volume("web"), options.files));
  RETURN_IF_ERROR(noise.MakeTree(beds->Here("theirs"), options.files));
  RETURN_IF_ERROR(site->StartDr());
  RETURN_IF_ERROR(site->StartPrimary());
  RETURN_IF_ERROR(site->Sync("web", absl::Hours(1)));
  RETURN_IF_ERROR(SmallChanges(*beds, *site, options, noise, results));
  for (const int rate : options.rates) RETURN_IF_ERROR(SteadyWrites(*site, rate, options, noise, results));
  return absl::OkStatus();
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  CLI::App app("How soon DR follows, beside lsyncd. Example: bench_follow --files 10000 --rounds 50");
  understudy::bench::Options options;
  std::string json_file;
  app.add_option("--filesystem", options.filesystem, "xfs, btrfs or ext4");
  app.add_option("--rounds", options.rounds, "of small changes")->check(CLI::PositiveNumber);
  app.add_option("--files", options.files, "of 4 KiB in the tree")->check(CLI::PositiveNumber);
  app.add_option("--seconds", options.seconds, "of steady writes")->check(CLI::PositiveNumber);
  app.add_option("--rate", options.rates, "random blocks of 4 KiB a second; may be given several times")
      ->check(CLI::Range(100, 100'000));
  app.add_option("--image-mib", options.image_mib, "that are written to")->check(CLI::PositiveNumber);
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  understudy::bench::Results results;
  const absl::Status status = understudy::bench::Run(options, results);
  return understudy::bench::Finish("bench_follow", status, results, json_file);
}
