// bench_image: what 1,000 random 4 KiB writes into a VM's disk image cost until DR has them, beside rsync to a daemon,
// in one run, with two real agents; for images of several sizes, on a filesystem of one's choice. The time is that of
// `drctl volumes sync`, and of the same call of a client that is connected already.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bench/side_by_side.h"
#include "bench/sync_client.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/wait.h"

namespace understudy::bench {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kGibibyte = uint64_t{1} << 30;
constexpr char kConnected[] = "connected";  // understudy, by a client that is

struct Options {
  std::vector<std::string> filesystems = {"xfs", "ext4"};
  std::vector<uint64_t> gibibytes = {4};
  int rounds = 5;
  int writes = 1000;
  bool rsync = true;
  bool repeat = false;
};

// A GiB of data over and over, which shares its blocks: an image of any size takes the room of one, and nothing about
// it is a hole.
absl::Status WriteRepeated(const std::string& path, uint64_t gibibytes) {
  Noise noise;
  RETURN_IF_ERROR(noise.WriteTo(path, 0, kGibibyte));
  const os::Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  for (uint64_t copy = 1; copy < gibibytes; ++copy) {
    file_clone_range range{
        .src_fd = file.get(), .src_offset = 0, .src_length = kGibibyte, .dest_offset = copy * kGibibyte};
    if (ioctl(file.get(), FICLONERANGE, &range) != 0) return ErrnoStatus(errno, "repeat an image's data");
  }
  return os::SyncFile(file.get());
}

// Durable at the end, as a guest's flush would leave them.
absl::Status WriteBlocks(const std::string& path, uint64_t bytes, int writes, Noise& noise) {
  const os::Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  std::string block(kBlockBytes, '\0');
  for (int i = 0; i < writes; ++i) {
    noise.Fill(block);
    RETURN_IF_ERROR(os::WriteAt(file.get(), noise.Below(bytes / kBlockBytes) * kBlockBytes, block));
  }
  return os::SyncFile(file.get());
}

// At DR, too, so that nothing has to be sent first.
absl::Status MakeImages(tests::Site& site, const std::string& path, uint64_t gibibytes, const Options& options,
                        Noise& noise) {
  if (!options.repeat) return noise.WriteTo(path, 0, gibibytes * kGibibyte);
  RETURN_IF_ERROR(WriteRepeated(path, gibibytes));
  std::filesystem::create_directories(site.Replica("web"));
  return WriteRepeated(site.Replica("web") + "/disk.img", gibibytes);
}

absl::Status RunWith(const std::string& filesystem, uint64_t gibibytes, const Options& options, Results& results) {
  const uint64_t bytes = gibibytes * kGibibyte;
  const uint64_t megabytes = gibibytes * 1024 * (options.rsync ? 2 : 1) + 2048;
  ASSIGN_OR_RETURN(const auto beds, Beds::Make(filesystem, megabytes));
  ASSIGN_OR_RETURN(const auto site, beds->MakeSite());
  const std::string ours = site->Volume("web") + "/disk.img";
  const std::string theirs = beds->Here("theirs") + "/disk.img";
  Noise noise;
  RETURN_IF_ERROR(MakeImages(*site, ours, gibibytes, options, noise));
  RETURN_IF_ERROR(site->StartDr());
  RETURN_IF_ERROR(site->StartPrimary());
  RETURN_IF_ERROR(site->Sync("web", absl::Hours(2)));
  // What is learnt of a file after it was sent first, in any case before it changes.
  RETURN_IF_ERROR(site->Sync("web", absl::Hours(2)));
  std::unique_ptr<RsyncDaemon> daemon;
  const std::vector<std::string> flags = {"-a", "--inplace", "--no-whole-file"};
  if (options.rsync) {
    RETURN_IF_ERROR(noise.WriteTo(theirs, 0, bytes));
    ASSIGN_OR_RETURN(daemon, RsyncDaemon::Start(beds->There("theirs")));
    RETURN_IF_ERROR(daemon->Run(flags, theirs));
  }
  ASSIGN_OR_RETURN(const SyncClient client, SyncClient::Connect(*site));
  std::vector<Cost> of_us;
  std::vector<Cost> of_client;
  std::vector<Cost> of_rsync;
  for (int round = 0; round < options.rounds; ++round) {
    RETURN_IF_ERROR(WriteBlocks(ours, bytes, options.writes, noise));
    ASSIGN_OR_RETURN(const Cost cost,
                     Measure({site->primary().Pid(), site->dr().Pid()}, [&] { return SyncNow(*site); }));
    of_us.push_back(cost);
    RETURN_IF_ERROR(WriteBlocks(ours, bytes, options.writes, noise));
    ASSIGN_OR_RETURN(const Cost of_call,
                     Measure({site->primary().Pid(), site->dr().Pid()}, [&] { return client.Sync(); }));
    of_client.push_back(of_call);
    if (!options.rsync) continue;
    RETURN_IF_ERROR(WriteBlocks(theirs, bytes, options.writes, noise));
    ASSIGN_OR_RETURN(const Cost other, Measure({daemon->pid()}, [&] { return daemon->Run(flags, theirs); }));
    of_rsync.push_back(other);
  }
  const std::string work = fmt::format("{} changed blocks of {} GiB", options.writes, gibibytes);
  const double changed = static_cast<double>(options.writes) * kBlockBytes;
  results.Add(work, "understudy", of_us, changed);
  results.Add(work, kConnected, of_client, changed);
  if (!options.rsync) return absl::OkStatus();
  results.Add(work, "rsync", of_rsync, changed);
  results.AddRatio(work, "understudy", "rsync");
  results.AddRatio(work, kConnected, "rsync");
  return absl::OkStatus();
}

absl::Status Run(const Options& options, Results& results) {
  RETURN_IF_ERROR(OwnNetwork());
  for (const std::string& filesystem : options.filesystems) {
    results.On(filesystem);
    for (const uint64_t gibibytes : options.gibibytes) {
      RETURN_IF_ERROR(RunWith(filesystem, gibibytes, options, results));
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  CLI::App app(
      "What random writes into a disk image cost until DR has them, beside rsync. Example: bench_image --gib 4 --gib "
      "16");
  understudy::bench::Options options;
  std::string json_file;
  bool without_rsync = false;
  app.add_option("--filesystem", options.filesystems, "xfs, btrfs or ext4; may be given several times");
  app.add_option("--gib", options.gibibytes, "the image's size in GiB; may be given several times");
  app.add_option("--rounds", options.rounds, "of writes")->check(CLI::PositiveNumber);
  app.add_option("--writes", options.writes, "of 4 KiB in a round")->check(CLI::PositiveNumber);
  app.add_flag(
      "--repeat", options.repeat,
      "an image is one GiB of data over and over, at DR from the start: it takes the room of that (xfs, btrfs)");
  app.add_flag("--without-rsync", without_rsync, "measure the agents alone");
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  options.rsync = !without_rsync;
  understudy::bench::Results results;
  const absl::Status status = understudy::bench::Run(options, results);
  return understudy::bench::Finish("bench_image", status, results, json_file);
}
