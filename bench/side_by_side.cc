#include "bench/side_by_side.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#include "core/base/clock.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/wait.h"

namespace understudy::bench {
namespace {

constexpr double kMebibyte = 1024 * 1024;

double WireBytes() {
  std::ifstream devices("/proc/thread-self/net/dev");
  for (std::string line; std::getline(devices, line);) {
    const size_t colon = line.find("lo:");
    if (colon != std::string::npos) return std::stod(line.substr(colon + 3));  // received
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

void ResetPeak(pid_t process) {
  std::ofstream(fmt::format("/proc/{}/clear_refs", process)) << "5";
}

double PeakMebibytes(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  }
  return 0;
}

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

nlohmann::json Machine() {
  utsname system{};
  uname(&system);
  return {{"cpu", CpuModel()},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_gib", sysconf(_SC_PHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) / 1024 / 1024},
          {"kernel", fmt::format("{} {}", system.sysname, system.release)}};
}

}  // namespace

absl::Status OwnNetwork() {
  if (unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "make a network namespace (root is needed)");
  const os::Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::copy_n("lo", 3, request.ifr_name);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return ErrnoStatus(errno, "bring up its loopback");
  return absl::OkStatus();
}

absl::StatusOr<Cost> Measure(const std::vector<pid_t>& processes, const std::function<absl::Status()>& work) {
  const auto cpu = [&] {
    double seconds = ChildrenCpuSeconds();
    for (const pid_t process : processes) seconds += CpuSeconds(process);
    return seconds;
  };
  for (const pid_t process : processes) ResetPeak(process);
  const double cpu_before = cpu();
  const double wire_before = WireBytes();
  const absl::Duration began = Clock::System().Monotonic();
  RETURN_IF_ERROR(work());
  Cost cost;
  cost.seconds = absl::ToDoubleSeconds(Clock::System().Monotonic() - began);
  cost.cpu_seconds = cpu() - cpu_before;
  cost.wire_bytes = WireBytes() - wire_before;
  for (const pid_t process : processes) cost.peak_mebibytes = std::max(cost.peak_mebibytes, PeakMebibytes(process));
  return cost;
}

void AddProcess(Cost& cost, pid_t process) {
  cost.cpu_seconds += CpuSeconds(process);
  cost.peak_mebibytes = std::max(cost.peak_mebibytes, PeakMebibytes(process));
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(q * static_cast<double>(values.size() - 1)))];
}

double Median(std::vector<double> values) {
  return Quantile(std::move(values), 0.5);
}

absl::StatusOr<std::unique_ptr<Beds>> Beds::Make(const std::string& filesystem, uint64_t megabytes) {
  auto beds = std::make_unique<Beds>();
  ASSIGN_OR_RETURN(beds->here_, tests::LoopMount::Make(filesystem, megabytes));
  ASSIGN_OR_RETURN(beds->there_, tests::LoopMount::Make(filesystem, megabytes));
  for (const auto* const mount : {beds->here_.get(), beds->there_.get()}) {
    if (const absl::Status direct = mount->CacheOnce(); !direct.ok()) {
      fmt::print(stderr, "disks are cached twice, so less fits into memory: {}\n", MessageOf(direct));
    }
  }
  for (const char* const contender : {"ours", "theirs"}) {
    std::filesystem::create_directories(beds->Here(contender));
    std::filesystem::create_directories(beds->There(contender));
  }
  return beds;
}

absl::Status Beds::ClearThere(const std::string& contender) const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(There(contender))) {
    std::filesystem::remove_all(entry.path(), error);
    if (error) return absl::InternalError(fmt::format("clear {}: {}", entry.path().string(), error.message()));
  }
  return SyncThere();
}

absl::Status Beds::SyncThere() const {
  const os::Fd folder(open(there_->Path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (syncfs(folder.get()) != 0) return ErrnoStatus(errno, "syncfs");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<tests::Site>> Beds::MakeSite() const {
  return tests::Site::Make({.primary_folder = Here("ours"), .dr_folder = There("ours")});
}

absl::StatusOr<std::unique_ptr<RsyncDaemon>> RsyncDaemon::Start(const std::string& folder) {
  auto daemon = std::make_unique<RsyncDaemon>();
  daemon->port_ = tests::FreePort();
  const std::string config = daemon->folder_.File("rsyncd.conf");
  std::ofstream(config) << fmt::format(
      "port = {}\naddress = 127.0.0.1\nuse chroot = no\nuid = 0\ngid = 0\nnumeric ids = yes\n[dr]\n  path = {}\n  read "
      "only = no\n",
      daemon->port_, folder);
  ASSIGN_OR_RETURN(
      daemon->process_,
      tests::Process::Start({.program = "rsync", .arguments = {"--daemon", "--no-detach", "--config", config}}));
  RETURN_IF_ERROR(tests::WaitForOk("the rsync daemon", absl::Seconds(30), [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const tests::ProcessResult listed,
                     tests::RunProcess({.program = "rsync", .arguments = {daemon->url()}}));
    return listed.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(listed.err);
  }));
  return daemon;
}

std::string RsyncDaemon::url() const {
  return fmt::format("rsync://127.0.0.1:{}/dr/", port_);
}

absl::Status RsyncDaemon::Run(std::vector<std::string> options, const std::string& source) const {
  options.push_back(source);
  options.push_back(url());
  ASSIGN_OR_RETURN(const tests::ProcessResult ended,
                   tests::RunProcess({.program = "rsync", .arguments = std::move(options)}, absl::Hours(2)));
  return ended.exit_code == 0 ? absl::OkStatus() : absl::InternalError("rsync: " + ended.err);
}

void Noise::Fill(std::string& bytes) {
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    const uint64_t word = random_();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, bytes.data() + at);
  }
  for (; at < bytes.size(); ++at) bytes[at] = static_cast<char>(random_());
}

absl::Status Noise::WriteTo(const std::string& path, uint64_t begin, uint64_t end) {
  const os::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoStatus(errno, "make " + path);
  std::string piece;
  for (uint64_t at = begin; at < end; at += piece.size()) {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(end - at, 1024 * 1024)));
    Fill(piece);
    RETURN_IF_ERROR(os::WriteAt(file.get(), at, piece));
  }
  return os::SyncFile(file.get());
}

std::string TreeFile(const std::string& root, int number) {
  return fmt::format("{}/{:04}/{:07}", root, number / 1000, number);
}

absl::Status Noise::MakeTree(const std::string& root, int files) {
  std::string content(4096, '\0');
  for (int i = 0; i < files; ++i) {
    const std::string path = TreeFile(root, i);
    if (i % 1000 == 0) std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    const os::Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    Fill(content);
    RETURN_IF_ERROR(os::WriteAt(file.get(), 0, content));
  }
  return absl::OkStatus();
}

absl::Status SyncNow(tests::Site& site) {
  const tests::ProcessResult synced = site.Drctl({"volumes", "sync", "web"});
  return synced.exit_code == 0 ? absl::OkStatus() : absl::InternalError("drctl volumes sync: " + synced.err);
}

void Results::On(const std::string& filesystem) {
  filesystem_ = filesystem;
  fmt::print("on {}; medians\n{:<34} {:<12} {:>10} {:>10} {:>12} {:>10}\n", filesystem_, "", "", "seconds", "CPU s",
             "wire", "peak MiB");
}

void Results::Add(const std::string& work, const std::string& name, const std::vector<Cost>& costs,
                  double changed_bytes) {
  const auto median = [&](double Cost::*field) {
    std::vector<double> values;
    for (const Cost& cost : costs) values.push_back(cost.*field);
    return Median(std::move(values));
  };
  const double seconds = median(&Cost::seconds);
  const double cpu = median(&Cost::cpu_seconds);
  const double wire = median(&Cost::wire_bytes);
  double peak = 0;
  for (const Cost& cost : costs) peak = std::max(peak, cost.peak_mebibytes);
  const std::string wire_text =
      changed_bytes > 0 ? fmt::format("{:.2f} x", wire / changed_bytes) : fmt::format("{:.1f} MiB", wire / kMebibyte);
  fmt::print("{:<34} {:<12} {:>10.3f} {:>10.3f} {:>12} {:>10.0f}\n", work, name, seconds, cpu, wire_text, peak);
  std::fflush(stdout);
  rows_.push_back({filesystem_, work, name, seconds, cpu});
  nlohmann::json row = {{"filesystem", filesystem_}, {"work", work},          {"name", name},
                        {"rounds", costs.size()},    {"seconds", seconds},    {"cpu_seconds", cpu},
                        {"wire_bytes", wire},        {"peak_mebibytes", peak}};
  if (changed_bytes > 0) row["changed_bytes"] = changed_bytes;
  results_.push_back(std::move(row));
}

void Results::AddTimes(const std::string& work, const std::string& name, const std::vector<double>& milliseconds) {
  const double p50 = Median(milliseconds);
  const double p99 = Quantile(milliseconds, 0.99);
  const double most = Quantile(milliseconds, 1);
  fmt::print("{:<34} {:<12} p50 {:.1f} ms, p99 {:.1f} ms, at most {:.1f} ms\n", work, name, p50, p99, most);
  std::fflush(stdout);
  rows_.push_back({filesystem_, work, name, p50 / 1000, 0});
  results_.push_back({{"filesystem", filesystem_},
                      {"work", work},
                      {"name", name},
                      {"rounds", milliseconds.size()},
                      {"p50_ms", p50},
                      {"p99_ms", p99},
                      {"max_ms", most}});
}

void Results::AddRatio(const std::string& work, const std::string& name, const std::string& against) {
  const auto find = [&](const std::string& wanted) {
    return std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) {
      return row.filesystem == filesystem_ && row.work == work && row.name == wanted;
    });
  };
  const auto ours = find(name);
  const auto theirs = find(against);
  if (ours == rows_.end() || theirs == rows_.end() || ours->seconds <= 0) return;
  const double ratio = theirs->seconds / ours->seconds;
  nlohmann::json row = {
      {"filesystem", filesystem_}, {"work", work}, {"name", name}, {"against", against}, {"times_faster", ratio}};
  fmt::print("{:<34} {:<12} {:.1f} x as fast as {}", "", "", ratio, against);
  if (ours->cpu_seconds > 0) {
    row["times_less_cpu"] = theirs->cpu_seconds / ours->cpu_seconds;
    fmt::print(", {:.1f} x less CPU", theirs->cpu_seconds / ours->cpu_seconds);
  }
  fmt::print("\n");
  std::fflush(stdout);
  results_.push_back(std::move(row));
}

nlohmann::json Results::ToJson() const {
  return {{"machine", Machine()}, {"results", results_}};
}

int Finish(const char* program, const absl::Status& status, const Results& results, const std::string& json_file) {
  if (!status.ok()) {
    fmt::print(stderr, "{}: {}\n", program, MessageOf(status));
  } else if (!json_file.empty()) {
    std::ofstream(json_file) << results.ToJson().dump(2) << "\n";
  }
  return static_cast<int>(ExitCodeFor(status));
}

}  // namespace understudy::bench
