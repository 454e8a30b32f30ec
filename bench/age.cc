// bench_age: what months of random writes do to an image whose base is kept, in minutes: thousands of blocks change
// between two commits, over and over. How many extents it has, how long its writers wait for a clone, how long it takes
// to find what changed, and what room the clones hold; until it is so fragmented that it is left alone, and when it
// was defragmented. XFS sets room aside around what it copies on write (128 KiB, as extsize hints say), and gives it
// back when it is short of room or the file is left alone for some minutes: that is held, too.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <set>
#include <string>

#include "agent-primary/capture/base_store.h"
#include "agent-primary/capture/changed_ranges.h"
#include "bench/side_by_side.h"
#include "core/base/clock.h"
#include "core/os/extents.h"
#include "core/os/file_io.h"
#include "core/os/stat.h"

namespace understudy::bench {
namespace {

using primary::BaseStore;

constexpr uint64_t kBlockBytes = 4096;
constexpr double kMebibyte = 1024 * 1024;
// A commit a second is what a volume under constant writes gets.
constexpr double kLeastPaceSeconds = 1;

struct Options {
  std::string filesystem = "xfs";
  uint64_t gibibytes = 4;
  int writes = 2000;
  int commits = 600;
  int row_each = 50;
};

double MillisecondsSince(absl::Duration begin) {
  return absl::ToDoubleMilliseconds(Clock::System().Monotonic() - begin);
}

class Image {
 public:
  static absl::StatusOr<std::unique_ptr<Image>> Make(const Options& options) {
    auto image = std::make_unique<Image>();
    image->bytes_ = options.gibibytes << 30;
    ASSIGN_OR_RETURN(image->disk_, tests::LoopMount::Make(options.filesystem, 3 * options.gibibytes * 1024 + 2048));
    if (const absl::Status direct = image->disk_->CacheOnce(); !direct.ok()) {
      fmt::print(stderr, "the disk is cached twice: {}\n", MessageOf(direct));
    }
    image->folder_path_ = image->disk_->Path() + "/export";
    std::filesystem::create_directories(image->folder_path_);
    RETURN_IF_ERROR(image->noise_.WriteTo(image->folder_path_ + "/disk.img", 0, image->bytes_));
    ASSIGN_OR_RETURN(const os::Root root, os::Root::Open(image->folder_path_));
    ASSIGN_OR_RETURN(image->file_, root.OpenPath("disk.img", O_RDWR));
    ASSIGN_OR_RETURN(image->store_, BaseStore::Open(image->folder_path_, "web", root.fd(), 0, Clock::System()));
    ASSIGN_OR_RETURN(image->used_alone_, image->UsedBytes());
    return image;
  }

  absl::Status Write(int blocks) {
    std::string block(kBlockBytes, '\0');
    for (int i = 0; i < blocks; ++i) {
      noise_.Fill(block);
      RETURN_IF_ERROR(os::WriteAt(file_.get(), noise_.Below(bytes_ / kBlockBytes) * kBlockBytes, block));
    }
    return absl::OkStatus();
  }

  // Written anew, in one go: what a defragmentation leaves.
  absl::Status Defragment() {
    if (ftruncate(file_.get(), 0) != 0) return ErrnoStatus(errno, "empty the image");
    return noise_.WriteTo(folder_path_ + "/disk.img", 0, bytes_);
  }

  struct Commit {
    double stop_ms = 0;
    double pieces_ms = 0;
    double compare_ms = 0;
    uint64_t ranges = 0;
  };
  // What a capture does before it reads anything. RESOURCE_EXHAUSTED: the image is left alone.
  absl::StatusOr<Commit> Take() {
    Commit commit;
    ASSIGN_OR_RETURN(primary::FrozenFile frozen, store_->Freeze(file_.get(), kInode));
    commit.stop_ms = absl::ToDoubleMilliseconds(frozen.holds().in_all);
    commit.pieces_ms = absl::ToDoubleMilliseconds(frozen.holds().pieces);
    const absl::Duration began = Clock::System().Monotonic();
    if (base_.has_value()) {
      ASSIGN_OR_RETURN(const os::Fd base, store_->OpenBase(*base_));
      primary::ChangedRanges ranges(base.get(), frozen.fd(), bytes_);
      for (;; ++commit.ranges) {
        ASSIGN_OR_RETURN(const std::optional<os::DataRange> range, ranges.Next());
        if (!range.has_value()) break;
      }
    }
    commit.compare_ms = MillisecondsSince(began);
    ASSIGN_OR_RETURN(base_, frozen.Keep({}));
    RETURN_IF_ERROR(store_->KeepOnly({base_->clone}));
    return commit;
  }

  absl::Status GiveUpBase() {
    base_.reset();
    return store_->GiveUpBases().status();
  }

  [[nodiscard]] uint64_t Extents() const { return os::CountExtents(file_.get()).value_or(0); }
  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  // By clones, and by the filesystem's records of them.
  [[nodiscard]] absl::StatusOr<uint64_t> HeldBytes() const {
    ASSIGN_OR_RETURN(const uint64_t used, UsedBytes());
    return used - std::min(used, used_alone_);
  }

 private:
  static constexpr uint64_t kInode = 1;

  absl::StatusOr<uint64_t> UsedBytes() const {
    struct statvfs space {};
    if (statvfs(folder_path_.c_str(), &space) != 0) return ErrnoStatus(errno, "ask for the free space");
    return uint64_t{space.f_blocks - space.f_bfree} * space.f_frsize;
  }

  std::unique_ptr<tests::LoopMount> disk_;
  std::string folder_path_;
  os::Fd file_;
  Noise noise_;
  std::unique_ptr<BaseStore> store_;
  std::optional<primary::BaseRecord> base_;
  uint64_t bytes_ = 0;
  uint64_t used_alone_ = 0;
};

class Age {
 public:
  Age(Image& image, const Options& options) : image_(image), options_(options) {}

  absl::Status Run() {
    fmt::print("{:>8} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>9}\n", "commits", "extents", "mean KiB", "stop ms",
               "pieces ms", "compare ms", "stopped %", "held MiB");
    for (int commit = 0; commit < options_.commits; ++commit) {
      RETURN_IF_ERROR(image_.Write(options_.writes));
      const absl::StatusOr<Image::Commit> taken = image_.Take();
      if (absl::IsResourceExhausted(taken.status())) return LeaveAlone(commit, taken.status());
      RETURN_IF_ERROR(taken.status());
      if (commit % options_.row_each == 0 || commit + 1 == options_.commits) RETURN_IF_ERROR(Tell(commit, *taken));
    }
    return absl::OkStatus();
  }

  [[nodiscard]] const nlohmann::json& results() const { return results_; }

 private:
  absl::Status Tell(int commit, const Image::Commit& taken) {
    const uint64_t extents = image_.Extents();
    ASSIGN_OR_RETURN(const uint64_t held, image_.HeldBytes());
    const double mean =
        static_cast<double>(image_.bytes()) / 1024 / static_cast<double>(std::max<uint64_t>(extents, 1));
    const double stop = taken.stop_ms / 1000;
    const double share = 100 * stop / std::max(kLeastPaceSeconds, (primary::kFreezeShare + 1) * stop);
    fmt::print("{:>8} {:>9} {:>9.1f} {:>9.1f} {:>9.1f} {:>10.1f} {:>10.2f} {:>9.0f}\n", commit, extents, mean,
               taken.stop_ms, taken.pieces_ms, taken.compare_ms, share, static_cast<double>(held) / kMebibyte);
    std::fflush(stdout);
    results_.push_back({{"commit", commit},
                        {"extents", extents},
                        {"stop_ms", taken.stop_ms},
                        {"pieces_ms", taken.pieces_ms},
                        {"compare_ms", taken.compare_ms},
                        {"ranges", taken.ranges},
                        {"stopped_percent", share},
                        {"held_bytes", held}});
    return absl::OkStatus();
  }

  // Its base goes, so that what is written from now on stays where it is; it comes back when it was defragmented.
  absl::Status LeaveAlone(int commit, const absl::Status& why) {
    fmt::print("{:>8} {:>9} left alone: {}\n", commit, image_.Extents(), MessageOf(why));
    RETURN_IF_ERROR(image_.GiveUpBase());
    ASSIGN_OR_RETURN(const uint64_t held, image_.HeldBytes());
    RETURN_IF_ERROR(image_.Write(options_.writes));
    const bool again = image_.Take().ok();
    RETURN_IF_ERROR(image_.Defragment());
    RETURN_IF_ERROR(image_.Take().status());
    fmt::print("{:>8} {:>9} without a base {:.0f} MiB are held; {}; defragmented it is cloned again\n", commit,
               image_.Extents(), static_cast<double>(held) / kMebibyte,
               again ? "it was cloned all the same" : "it is read");
    results_.push_back({{"commit", commit}, {"left_alone", std::string(MessageOf(why))}, {"held_bytes", held}});
    return again ? absl::InternalError("an image that is left alone was cloned") : absl::OkStatus();
  }

  Image& image_;
  const Options& options_;
  nlohmann::json results_ = nlohmann::json::array();
};

absl::Status Run(const Options& options, const std::string& json_file) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Image> image, Image::Make(options));
  Age age(*image, options);
  RETURN_IF_ERROR(age.Run());
  if (!json_file.empty()) std::ofstream(json_file) << nlohmann::json{{"results", age.results()}}.dump(2) << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  CLI::App app("What months of random writes do to an image that has a base. Example: bench_age --gib 1 --commits 300");
  understudy::bench::Options options;
  std::string json_file;
  app.add_option("--filesystem", options.filesystem, "xfs or btrfs");
  app.add_option("--gib", options.gibibytes, "the image's size in GiB")->check(CLI::PositiveNumber);
  app.add_option("--writes", options.writes, "of 4 KiB between two commits")->check(CLI::PositiveNumber);
  app.add_option("--commits", options.commits, "at most")->check(CLI::PositiveNumber);
  app.add_option("--row-each", options.row_each, "commits")->check(CLI::PositiveNumber);
  app.add_option("--json", json_file, "also write the results there");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = understudy::bench::Run(options, json_file);
  if (!status.ok()) fmt::print(stderr, "bench_age: {}\n", understudy::MessageOf(status));
  return static_cast<int>(understudy::ExitCodeFor(status));
}
