// bench_image: what 1,000 random 4 KiB writes into a VM's disk image cost until DR has them, beside rsync to a daemon,
// in one run, with two real agents; for images of several sizes, on a filesystem of one's choice.
//
// In a network namespace of its own, so that what passes its loopback is all theirs. Needs root and loop devices.
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <vector>

#include "core/base/clock.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "nlohmann/json.hpp"
#include "tests/support/loop_mount.h"
#include "tests/support/process.h"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kGibibyte = uint64_t{1} << 30;
constexpr int kRsyncPort = 8730;

struct Options {
  std::string filesystem = "xfs";
  std::vector<uint64_t> gibibytes = {4};
  int rounds = 5;
  int writes = 1000;
  bool rsync = true;
};

struct Cost {
  double seconds = 0;
  double cpu_seconds = 0;  // of both sides
  double wire_bytes = 0;   // what the loopback took, acknowledgements of TCP included
};

absl::Status OwnNetwork() {
  if (unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "make a network namespace (root is needed)");
  const os::Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::copy_n("lo", 3, request.ifr_name);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return ErrnoStatus(errno, "bring up its loopback");
  return absl::OkStatus();
}

double WireBytes() {
  std::ifstream devices("/proc/thread-self/net/dev");
  for (std::string line; std::getline(devices, line);) {
    const size_t colon = line.find("lo:");
    if (colon == std::string::npos) continue;
    return std::stod(line.substr(colon + 3));  // received
  }
  return 0;
}

// With its children that ended.
double CpuSeconds(pid_t process) {
  std::ifstream stat(fmt::format("/proc/{}/stat", process));
  const std::string text(std::istreambuf_iterator<char>(stat), {});
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::vector<std::string> values(std::istream_iterator<std::string>(fields), {});
  double ticks = 0;
  for (const size_t field : {11, 12, 13, 14}) ticks += std::stod(values.at(field));
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double ChildrenCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {}

  absl::Status Run() {
    RETURN_IF_ERROR(OwnNetwork());
    fmt::print("{} random writes of 4 KiB into an image on {}, {} rounds, medians; change to acknowledged\n",
               options_.writes, options_.filesystem, options_.rounds);
    fmt::print("{:>8} {:<12} {:>10} {:>10} {:>14}\n", "image", "", "seconds", "CPU s", "wire / changed");
    for (const uint64_t gibibytes : options_.gibibytes) RETURN_IF_ERROR(RunWith(gibibytes));
    return absl::OkStatus();
  }

  [[nodiscard]] const nlohmann::json& results() const { return results_; }

 private:
  absl::Status RunWith(uint64_t gibibytes) {
    const uint64_t megabytes = gibibytes * 1024 * 2 + 2048;
    ASSIGN_OR_RETURN(const auto here, tests::LoopMount::Make(options_.filesystem, megabytes));
    ASSIGN_OR_RETURN(const auto there, tests::LoopMount::Make(options_.filesystem, megabytes));
    for (const std::string& folder :
         {here->Path() + "/ours", there->Path() + "/ours", here->Path() + "/rsync", there->Path() + "/rsync"}) {
      std::filesystem::create_directories(folder);
    }
    ASSIGN_OR_RETURN(const auto site, tests::Site::Make({.primary_folder = here->Path() + "/ours",
                                                         .dr_folder = there->Path() + "/ours"}));
    const std::string ours = site->Volume("web") + "/disk.img";
    const std::string theirs = here->Path() + "/rsync/disk.img";
    RETURN_IF_ERROR(MakeImage(ours, gibibytes * kGibibyte));
    RETURN_IF_ERROR(site->StartDr());
    RETURN_IF_ERROR(site->StartPrimary());
    RETURN_IF_ERROR(site->Sync("web", absl::Hours(2)));
    std::unique_ptr<tests::Process> daemon;
    if (options_.rsync) {
      RETURN_IF_ERROR(MakeImage(theirs, gibibytes * kGibibyte));
      ASSIGN_OR_RETURN(daemon, StartRsync(there->Path() + "/rsync"));
      RETURN_IF_ERROR(tests::WaitForOk("the first copy by rsync", absl::Hours(2), [&] { return RunRsync(theirs); }));
    }
    std::vector<Cost> of_us;
    std::vector<Cost> of_rsync;
    for (int round = 0; round < options_.rounds; ++round) {
      RETURN_IF_ERROR(WriteBlocks(ours, gibibytes * kGibibyte));
      ASSIGN_OR_RETURN(const Cost cost, Understudy(*site));
      of_us.push_back(cost);
      if (!options_.rsync) continue;
      RETURN_IF_ERROR(WriteBlocks(theirs, gibibytes * kGibibyte));
      ASSIGN_OR_RETURN(const Cost other, Measure({daemon->Pid()}, [&] { return RunRsync(theirs); }));
      of_rsync.push_back(other);
    }
    Print(gibibytes, "understudy", of_us);
    if (options_.rsync) Print(gibibytes, "rsync", of_rsync);
    return absl::OkStatus();
  }

  absl::Status MakeImage(const std::string& path, uint64_t bytes) {
    const os::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file.valid()) return ErrnoStatus(errno, "make " + path);
    std::string piece(1024 * 1024, '\0');
    for (uint64_t at = 0; at < bytes; at += piece.size()) {
      for (size_t i = 0; i < piece.size(); i += 8) {
        const uint64_t word = random_();
        std::copy_n(reinterpret_cast<const char*>(&word), 8, piece.data() + i);
      }
      RETURN_IF_ERROR(os::WriteAt(file.get(), at, piece));
    }
    return os::SyncFile(file.get());
  }

  // Durable at the end, as a guest's flush would leave them.
  absl::Status WriteBlocks(const std::string& path, uint64_t bytes) {
    const os::Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
    std::string block(kBlockBytes, '\0');
    for (int i = 0; i < options_.writes; ++i) {
      for (char& byte : block) byte = static_cast<char>(random_());
      RETURN_IF_ERROR(os::WriteAt(file.get(), random_() % (bytes / kBlockBytes) * kBlockBytes, block));
    }
    return os::SyncFile(file.get());
  }

  template <typename Work>
  absl::StatusOr<Cost> Measure(const std::vector<pid_t>& processes, const Work& work) {
    const auto cpu = [&] {
      double seconds = ChildrenCpuSeconds();
      for (const pid_t process : processes) seconds += CpuSeconds(process);
      return seconds;
    };
    const double cpu_before = cpu();
    const double wire_before = WireBytes();
    const absl::Duration began = Clock::System().Monotonic();
    RETURN_IF_ERROR(work());
    Cost cost;
    cost.seconds = absl::ToDoubleSeconds(Clock::System().Monotonic() - began);
    cost.cpu_seconds = cpu() - cpu_before;
    cost.wire_bytes = WireBytes() - wire_before;
    return cost;
  }

  absl::StatusOr<Cost> Understudy(tests::Site& site) {
    return Measure({site.primary().Pid(), site.dr().Pid()}, [&]() -> absl::Status {
      const tests::ProcessResult synced = site.Drctl({"volumes", "sync", "web"});
      return synced.exit_code == 0 ? absl::OkStatus() : absl::InternalError("drctl volumes sync: " + synced.err);
    });
  }

  absl::StatusOr<std::unique_ptr<tests::Process>> StartRsync(const std::string& folder) {
    const std::string config = folder + "/rsyncd.conf";
    std::ofstream(config) << fmt::format(
        "port = {}\naddress = 127.0.0.1\nuse chroot = no\nuid = 0\ngid = 0\n[dr]\n  path = {}\n  read only = no\n",
        kRsyncPort, folder);
    ASSIGN_OR_RETURN(
        auto daemon,
        tests::Process::Start({.program = "rsync", .arguments = {"--daemon", "--no-detach", "--config", config}}));
    return daemon;
  }

  static absl::Status RunRsync(const std::string& image) {
    ASSIGN_OR_RETURN(const auto run,
                     tests::Process::Start({.program = "rsync",
                                            .arguments = {"-a", "--inplace", "--no-whole-file", image,
                                                          fmt::format("rsync://127.0.0.1:{}/dr/", kRsyncPort)}}));
    ASSIGN_OR_RETURN(const tests::ProcessResult ended, run->Wait(absl::Hours(2)));
    return ended.exit_code == 0 ? absl::OkStatus() : absl::InternalError("rsync: " + ended.err);
  }

  void Print(uint64_t gibibytes, const std::string& name, const std::vector<Cost>& costs) {
    const auto median = [&](double Cost::*field) {
      std::vector<double> values;
      for (const Cost& cost : costs) values.push_back(cost.*field);
      return Median(std::move(values));
    };
    const double changed = static_cast<double>(options_.writes) * kBlockBytes;
    const double seconds = median(&Cost::seconds);
    const double cpu = median(&Cost::cpu_seconds);
    const double wire = median(&Cost::wire_bytes) / changed;
    fmt::print("{:>4} GiB {:<12} {:>10.3f} {:>10.3f} {:>14.2f}\n", gibibytes, name, seconds, cpu, wire);
    results_.push_back({{"filesystem", options_.filesystem},
                        {"image_gib", gibibytes},
                        {"name", name},
                        {"seconds", seconds},
                        {"cpu_seconds", cpu},
                        {"wire_per_changed_byte", wire}});
  }

  const Options options_;
  std::mt19937_64 random_{7};
  nlohmann::json results_ = nlohmann::json::array();
};

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) {
  CLI::App app(
      "What random writes into a disk image cost until DR has them, beside rsync. Example: bench_image --gib 4 --gib "
      "16");
  understudy::Options options;
  std::string json_file;
  bool without_rsync = false;
  app.add_option("--filesystem", options.filesystem, "xfs, btrfs or ext4");
  app.add_option("--gib", options.gibibytes, "the image's size in GiB; may be given several times");
  app.add_option("--rounds", options.rounds, "of writes")->check(CLI::PositiveNumber);
  app.add_option("--writes", options.writes, "of 4 KiB in a round")->check(CLI::PositiveNumber);
  app.add_flag("--without-rsync", without_rsync, "measure the agents alone");
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  options.rsync = !without_rsync;
  understudy::Bench bench(options);
  const absl::Status status = bench.Run();
  if (!status.ok()) fmt::print(stderr, "bench_image: {}\n", understudy::MessageOf(status));
  if (status.ok() && !json_file.empty()) std::ofstream(json_file) << bench.results().dump(2) << "\n";
  return static_cast<int>(understudy::ExitCodeFor(status));
}
