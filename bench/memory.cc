// bench_memory: how much memory the two agents take at most with a very large volume: the first sync of many small
// files, a restart that scans them, a change of each, and a sparse image of 100 GiB. The bound that is promised is 256
// MiB each.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "nlohmann/json.hpp"
#include "tests/support/site.h"

namespace understudy {
namespace {

constexpr int kFilesInAFolder = 1000;
constexpr uint64_t kImageBytes = uint64_t{100} << 30;
constexpr int kImageSpots = 1000;
constexpr double kBoundMebibytes = 256;
constexpr absl::Duration kSyncTimeout = absl::Hours(2);

// The most memory that the process ever held.
double PeakMebibytes(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  }
  return 0;
}

class Bench {
 public:
  explicit Bench(std::unique_ptr<tests::Site> site) : site_(std::move(site)) {}

  absl::Status Run(int files) {
    RETURN_IF_ERROR(Start());
    RETURN_IF_ERROR(MakeFiles(files));
    RETURN_IF_ERROR(Phase(fmt::format("first sync of {} files", files)));
    (void)site_->primary().Stop();
    (void)site_->dr().Stop();
    RETURN_IF_ERROR(Start());
    RETURN_IF_ERROR(Phase("restart and scan"));
    RETURN_IF_ERROR(ChangeFiles(files));
    RETURN_IF_ERROR(Phase("another mode for each"));
    RETURN_IF_ERROR(WriteImage());
    return Phase(fmt::format("image of 100 GiB, {} spots written", kImageSpots));
  }

  // One object for each phase.
  [[nodiscard]] const nlohmann::json& results() const { return results_; }
  [[nodiscard]] bool within_bound() const { return within_bound_; }

 private:
  absl::Status Start() {
    RETURN_IF_ERROR(site_->StartDr());
    return site_->StartPrimary();
  }

  std::string PathOf(int file) const {
    return fmt::format("{}/{}/{}", site_->Volume("web"), file / kFilesInAFolder, file);
  }

  absl::Status MakeFiles(int files) const {
    for (int i = 0; i < files; ++i) {
      if (i % kFilesInAFolder == 0) std::filesystem::create_directory(std::filesystem::path(PathOf(i)).parent_path());
      const os::Fd file(::open(PathOf(i).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
      if (!file.valid()) return ErrnoStatus(errno, PathOf(i));
      RETURN_IF_ERROR(os::WriteAt(file.get(), 0, std::to_string(i)));
    }
    return absl::OkStatus();
  }

  absl::Status ChangeFiles(int files) const {
    for (int i = 0; i < files; ++i) {
      if (::chmod(PathOf(i).c_str(), 0600) != 0) return ErrnoStatus(errno, PathOf(i));
    }
    return absl::OkStatus();
  }

  absl::Status WriteImage() const {
    const std::string path = site_->Volume("web") + "/image";
    const os::Fd image(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    if (!image.valid() || ::ftruncate(image.get(), static_cast<off_t>(kImageBytes)) != 0)
      return ErrnoStatus(errno, path);
    for (int spot = 0; spot < kImageSpots; ++spot) {
      const uint64_t offset = kImageBytes / kImageSpots * static_cast<uint64_t>(spot);
      RETURN_IF_ERROR(os::WriteAt(image.get(), offset, std::string(4096, static_cast<char>('a' + spot % 26))));
    }
    return absl::OkStatus();
  }

  absl::Status Phase(const std::string& name) {
    const absl::Duration begin = Clock::System().Monotonic();
    RETURN_IF_ERROR(site_->Sync("web", kSyncTimeout));
    const double seconds = absl::ToDoubleSeconds(Clock::System().Monotonic() - begin);
    const double primary = PeakMebibytes(site_->primary().Pid());
    const double dr = PeakMebibytes(site_->dr().Pid());
    within_bound_ = within_bound_ && primary < kBoundMebibytes && dr < kBoundMebibytes;
    fmt::print("{:<40} {:>9.1f} {:>14.1f} {:>8.1f}\n", name, seconds, primary, dr);
    std::fflush(stdout);
    results_.push_back({{"name", name}, {"sync_seconds", seconds}, {"primary_peak_mib", primary}, {"dr_peak_mib", dr}});
    return absl::OkStatus();
  }

  const std::unique_ptr<tests::Site> site_;
  nlohmann::json results_ = nlohmann::json::array();
  bool within_bound_ = true;
};

absl::Status Run(int files, const std::string& json_file) {
  ASSIGN_OR_RETURN(std::unique_ptr<tests::Site> site, tests::Site::Make());
  fmt::print("{:<40} {:>9} {:>14} {:>8}   peak memory, MiB (bound: {})\n", "", "sync, s", "primary", "DR",
             kBoundMebibytes);
  Bench bench(std::move(site));
  RETURN_IF_ERROR(bench.Run(files));
  const nlohmann::json json = {{"files", files}, {"bound_mib", kBoundMebibytes}, {"results", bench.results()}};
  if (!json_file.empty()) std::ofstream(json_file) << json.dump(2) << "\n";
  return bench.within_bound() ? absl::OkStatus() : absl::ResourceExhaustedError("an agent took more than the bound");
}

}  // namespace
}  // namespace understudy

int main(int argc, char** argv) {
  CLI::App app("The agents' peak memory with very large volumes. Example: bench_memory --files 100000");
  int files = 1'000'000;
  std::string json_file;
  app.add_option("--files", files, "small files in the volume")->check(CLI::PositiveNumber);
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = understudy::Run(files, json_file);
  if (!status.ok()) fmt::print(stderr, "bench_memory: {}\n", understudy::MessageOf(status));
  return static_cast<int>(understudy::ExitCodeFor(status));
}
