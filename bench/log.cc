// bench_log: a large log into whose middle something is put, so that half of it moves: what that costs until DR has it,
// beside rsync to a daemon, in one run, with two real agents.
#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <vector>

#include "bench/side_by_side.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"

namespace understudy::bench {
namespace {

constexpr uint64_t kMebibyte = 1024 * 1024;

struct Options {
  std::string filesystem = "ext4";
  int rounds = 5;
  uint64_t mebibytes = 1024;
};

// Lines as a log has them, different ones.
std::string Lines(size_t length, Noise& noise) {
  std::string text;
  while (text.size() < length) {
    text += fmt::format("2026-11-30T{:02}:{:02}:{:02}Z host-{:03} service[{}]: request {:016x} took {} ms\n",
                        noise.Below(24), noise.Below(60), noise.Below(60), noise.Below(500), noise.Below(65536),
                        noise.Below(UINT64_MAX), noise.Below(5000));
  }
  text.resize(length);
  return text;
}

absl::Status MakeLog(const std::string& path, uint64_t mebibytes, Noise& noise) {
  const os::Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  for (uint64_t at = 0; at < mebibytes; ++at) {
    RETURN_IF_ERROR(os::WriteAt(file.get(), at * kMebibyte, Lines(kMebibyte, noise)));
  }
  return os::SyncFile(file.get());
}

absl::Status PutIntoTheMiddle(const std::string& path, const std::string& text) {
  const os::Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const auto size = static_cast<uint64_t>(lseek(file.get(), 0, SEEK_END));
  ASSIGN_OR_RETURN(const std::string tail, os::ReadAt(file.get(), size / 2, static_cast<size_t>(size - size / 2)));
  RETURN_IF_ERROR(os::WriteAt(file.get(), size / 2, text));
  RETURN_IF_ERROR(os::WriteAt(file.get(), size / 2 + text.size(), tail));
  return os::SyncFile(file.get());
}

absl::Status Run(const Options& options, Results& results) {
  RETURN_IF_ERROR(OwnNetwork());
  results.On(options.filesystem);
  ASSIGN_OR_RETURN(const auto beds, Beds::Make(options.filesystem, options.mebibytes * 5 + 2048));
  ASSIGN_OR_RETURN(const auto site, beds->MakeSite());
  const std::string ours = site->Volume("web") + "/log";
  const std::string theirs = beds->Here("theirs") + "/log";
  Noise noise;
  RETURN_IF_ERROR(MakeLog(ours, options.mebibytes, noise));
  RETURN_IF_ERROR(MakeLog(theirs, options.mebibytes, noise));
  RETURN_IF_ERROR(site->StartDr());
  RETURN_IF_ERROR(site->StartPrimary());
  RETURN_IF_ERROR(site->Sync("web", absl::Hours(1)));
  RETURN_IF_ERROR(site->Sync("web", absl::Hours(1)));
  ASSIGN_OR_RETURN(const auto daemon, RsyncDaemon::Start(beds->There("theirs")));
  const std::vector<std::string> flags = {"-a", "--no-whole-file"};
  RETURN_IF_ERROR(daemon->Run(flags, theirs));
  std::vector<Cost> of_us;
  std::vector<Cost> of_rsync;
  for (int round = 0; round < options.rounds; ++round) {
    const std::string text = Lines(kMebibyte, noise);
    RETURN_IF_ERROR(PutIntoTheMiddle(ours, text));
    ASSIGN_OR_RETURN(const Cost cost,
                     Measure({site->primary().Pid(), site->dr().Pid()}, [&] { return SyncNow(*site); }));
    of_us.push_back(cost);
    RETURN_IF_ERROR(PutIntoTheMiddle(theirs, text));
    ASSIGN_OR_RETURN(const Cost other, Measure({daemon->pid()}, [&] { return daemon->Run(flags, theirs); }));
    of_rsync.push_back(other);
  }
  const std::string work = fmt::format("1 MiB put into a log of {} MiB", options.mebibytes);
  results.Add(work, "understudy", of_us);
  results.Add(work, "rsync", of_rsync);
  results.AddRatio(work, "understudy", "rsync");
  return absl::OkStatus();
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  CLI::App app("What something put into the middle of a log costs, beside rsync. Example: bench_log --mib 256");
  understudy::bench::Options options;
  std::string json_file;
  app.add_option("--filesystem", options.filesystem, "ext4, xfs or btrfs");
  app.add_option("--rounds", options.rounds, "of changes")->check(CLI::PositiveNumber);
  app.add_option("--mib", options.mebibytes, "the log's size at first")->check(CLI::PositiveNumber);
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  understudy::bench::Results results;
  const absl::Status status = understudy::bench::Run(options, results);
  return understudy::bench::Finish("bench_log", status, results, json_file);
}
