// bench_first: the first copy of what is hardest to copy: a large sparse image, and very many small files; and a look
// at all of the latter when nothing has changed. Beside rsync to a daemon, in one run, with two real agents.
#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <vector>

#include "bench/side_by_side.h"
#include "bench/sync_client.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/wait.h"

namespace understudy::bench {
namespace {

constexpr uint64_t kMebibyte = 1024 * 1024;

struct Options {
  std::string filesystem = "xfs";
  int rounds = 5;
  int files = 100'000;
  uint64_t image_gib = 64;
  uint64_t data_gib = 1;
};

// Data in pieces of 1 MiB, spread evenly.
absl::Status MakeSparse(const std::string& path, uint64_t bytes, uint64_t data_bytes, Noise& noise) {
  const os::Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return ErrnoStatus(errno, "make a sparse image");
  const uint64_t pieces = data_bytes / kMebibyte;
  std::string piece(kMebibyte, '\0');
  for (uint64_t i = 0; i < pieces; ++i) {
    noise.Fill(piece);
    RETURN_IF_ERROR(os::WriteAt(file.get(), i * (bytes / pieces / kMebibyte) * kMebibyte, piece));
  }
  return os::SyncFile(file.get());
}

struct Contest {
  std::string work;
  std::vector<std::string> rsync_flags;
  std::function<absl::Status(const std::string& folder)> make;
  bool again;  // also once more, when nothing has changed
};

// From the start of the primary's agent, as rsync starts, until DR has everything durably.
absl::StatusOr<Cost> StartAndSync(tests::Site& site) {
  ASSIGN_OR_RETURN(Cost cost, Measure({site.dr().Pid()}, [&]() -> absl::Status {
                     RETURN_IF_ERROR(site.StartPrimary());
                     return tests::WaitForOk("the copy", absl::Hours(1), [&] { return SyncNow(site); });
                   }));
  AddProcess(cost, site.primary().Pid());
  return cost;
}

// Of an agent that runs, which has been there for months: everything is looked at again.
absl::StatusOr<Cost> Rescan(tests::Site& site) {
  ASSIGN_OR_RETURN(const SyncClient client, SyncClient::Connect(site));
  return Measure({site.dr().Pid(), site.primary().Pid()}, [&] { return client.Sync(/*rescan=*/true); });
}

absl::Status RunContest(const Contest& contest, const Options& options, Results& results) {
  std::vector<Cost> of_us;
  std::vector<Cost> of_rsync;
  std::vector<Cost> again_of_us;
  std::vector<Cost> rescans;
  std::vector<Cost> again_of_rsync;
  ASSIGN_OR_RETURN(const auto beds, Beds::Make(options.filesystem, 8192));
  {
    ASSIGN_OR_RETURN(const auto site, beds->MakeSite());  // makes the volume's folder
    RETURN_IF_ERROR(contest.make(site->Volume("web")));
    RETURN_IF_ERROR(contest.make(beds->Here("theirs")));
  }
  ASSIGN_OR_RETURN(const auto daemon, RsyncDaemon::Start(beds->There("theirs")));
  for (int round = 0; round < options.rounds; ++round) {
    RETURN_IF_ERROR(beds->ClearThere("ours"));
    ASSIGN_OR_RETURN(const auto site, beds->MakeSite());
    RETURN_IF_ERROR(site->StartDr());
    ASSIGN_OR_RETURN(const Cost first, StartAndSync(*site));
    of_us.push_back(first);
    if (contest.again) {
      (void)site->primary().Stop();
      ASSIGN_OR_RETURN(const Cost again, StartAndSync(*site));
      again_of_us.push_back(again);
      ASSIGN_OR_RETURN(const Cost rescan, Rescan(*site));
      rescans.push_back(rescan);
    }
    RETURN_IF_ERROR(beds->ClearThere("theirs"));
    const auto copied = [&]() -> absl::Status {
      RETURN_IF_ERROR(daemon->Run(contest.rsync_flags, beds->Here("theirs") + "/"));
      return beds->SyncThere();
    };
    ASSIGN_OR_RETURN(const Cost theirs, Measure({daemon->pid()}, copied));
    of_rsync.push_back(theirs);
    if (!contest.again) continue;
    ASSIGN_OR_RETURN(const Cost theirs_again, Measure({daemon->pid()}, copied));
    again_of_rsync.push_back(theirs_again);
  }
  results.Add(contest.work, "understudy", of_us);
  results.Add(contest.work, "rsync", of_rsync);
  results.AddRatio(contest.work, "understudy", "rsync");
  if (!contest.again) return absl::OkStatus();
  const std::string rescan = "the same, nothing changed";
  results.Add(rescan, "understudy", rescans);
  results.Add(rescan, "rsync", again_of_rsync);
  results.AddRatio(rescan, "understudy", "rsync");
  const std::string again = "the same, from the agent's start";
  results.Add(again, "understudy", again_of_us);
  results.Add(again, "rsync", again_of_rsync);
  results.AddRatio(again, "understudy", "rsync");
  return absl::OkStatus();
}

absl::Status Run(const Options& options, Results& results) {
  RETURN_IF_ERROR(OwnNetwork());
  results.On(options.filesystem);
  Noise noise;
  RETURN_IF_ERROR(RunContest({.work = fmt::format("{} GiB sparse, {} GiB of data", options.image_gib, options.data_gib),
                              .rsync_flags = {"-aS"},
                              .make =
                                  [&](const std::string& folder) {
                                    return MakeSparse(folder + "/disk.img", options.image_gib << 30,
                                                      options.data_gib << 30, noise);
                                  },
                              .again = false},
                             options, results));
  return RunContest({.work = fmt::format("{} files of 4 KiB", options.files),
                     .rsync_flags = {"-a"},
                     .make = [&](const std::string& folder) -> absl::Status {
                       RETURN_IF_ERROR(noise.MakeTree(folder, options.files));
                       sync();
                       return absl::OkStatus();
                     },
                     .again = true},
                    options, results);
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  CLI::App app("First copies, and a look at what hasn't changed, beside rsync. Example: bench_first --files 10000");
  understudy::bench::Options options;
  std::string json_file;
  app.add_option("--filesystem", options.filesystem, "xfs, btrfs or ext4");
  app.add_option("--rounds", options.rounds, "of each copy")->check(CLI::PositiveNumber);
  app.add_option("--files", options.files, "of 4 KiB in the tree")->check(CLI::PositiveNumber);
  app.add_option("--image-gib", options.image_gib, "the sparse image's size")->check(CLI::PositiveNumber);
  app.add_option("--data-gib", options.data_gib, "data in it")->check(CLI::PositiveNumber);
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  understudy::bench::Results results;
  const absl::Status status = understudy::bench::Run(options, results);
  return understudy::bench::Finish("bench_first", status, results, json_file);
}
