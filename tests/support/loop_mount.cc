#include "tests/support/loop_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "core/os/fd.h"
#include "tests/support/process.h"

namespace understudy::tests {
namespace {

constexpr std::string_view kFolderPrefix = "understudy-loop-";

// XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN are one request. Its flag 2 says: don't flush the log
// (XFS_FSOP_GOING_FLAGS_NOLOGFLUSH, EXT4_GOING_FLAGS_NOLOGFLUSH).
constexpr unsigned long kShutDown = _IOR('X', 125, uint32_t);
constexpr uint32_t kWithoutLogFlush = 2;

std::string ParentFolder() {
  const char* folder = std::getenv("TMPDIR");
  return std::filesystem::canonical(folder != nullptr && *folder != '\0' ? folder : "/var/tmp").string();
}

std::string ImageIn(const std::string& folder) {
  return folder + "/image";
}
std::string MountPointIn(const std::string& folder) {
  return folder + "/mount";
}

void TakeAway(const std::string& folder) {
  // Whoever still holds it open keeps it until then; the loop device detaches itself with the last unmount.
  umount2(MountPointIn(folder).c_str(), MNT_DETACH);
  std::error_code ignored;
  // Not recursively: were it still mounted, this would stop at the mount point.
  std::filesystem::remove(MountPointIn(folder), ignored);
  std::filesystem::remove(ImageIn(folder), ignored);
  std::filesystem::remove(folder, ignored);
}

// Folders carry the pid of the process that made them.
void TakeAwayLeftovers(const std::string& parent) {
  std::vector<std::string> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(parent)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kFolderPrefix)) continue;
    const long pid = std::strtol(name.c_str() + kFolderPrefix.size(), nullptr, 10);
    if (pid > 0 && kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) leftovers.push_back(entry.path());
  }
  for (const std::string& folder : leftovers) TakeAway(folder);
}

absl::Status Run(std::string program, std::vector<std::string> arguments) {
  ASSIGN_OR_RETURN(const ProcessResult result,
                   RunProcess({.program = program, .arguments = std::move(arguments)}, absl::Minutes(2)));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("{}: {}", program, result.err));
}

}  // namespace

LoopMount::LoopMount(std::string type, std::string folder)
    : type_(std::move(type)), folder_(std::move(folder)), image_(ImageIn(folder_)), path_(MountPointIn(folder_)) {}

absl::StatusOr<std::unique_ptr<LoopMount>> LoopMount::Make(std::string_view type, uint64_t megabytes,
                                                           const std::vector<std::string>& options) {
  if (geteuid() != 0) return absl::UnimplementedError("mounting a filesystem needs root");
  const std::string parent = ParentFolder();
  TakeAwayLeftovers(parent);
  std::string folder = fmt::format("{}/{}{}-XXXXXX", parent, kFolderPrefix, getpid());
  if (mkdtemp(folder.data()) == nullptr) return ErrnoStatus(errno, "make a folder in " + parent);
  std::unique_ptr<LoopMount> mount(new LoopMount(std::string(type), folder));
  if (mkdir(mount->path_.c_str(), 0755) != 0) return ErrnoStatus(errno, "make " + mount->path_);
  {
    const os::Fd image(open(mount->image_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
    if (!image.valid() || ftruncate(image.get(), static_cast<off_t>(megabytes << 20)) != 0) {
      return ErrnoStatus(errno, "make " + mount->image_);
    }
  }
  std::vector<std::string> arguments = {"-q"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(mount->image_);
  absl::Status made = Run(fmt::format("mkfs.{}", type), std::move(arguments));
  if (made.ok()) made = mount->Mount();
  if (!made.ok())
    return absl::UnimplementedError(fmt::format("no {} on a loop device here: {}", type, MessageOf(made)));
  return mount;
}

LoopMount::~LoopMount() {
  TakeAway(folder_);
}

absl::Status LoopMount::CutPower() {
  const os::Fd root(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  uint32_t flags = kWithoutLogFlush;
  if (!root.valid() || ioctl(root.get(), kShutDown, &flags) != 0) return ErrnoStatus(errno, "shut down " + path_);
  return absl::OkStatus();
}

absl::Status LoopMount::Unmount() {
  if (mounted_ && umount2(path_.c_str(), 0) != 0) return ErrnoStatus(errno, "unmount " + path_);
  mounted_ = false;
  return absl::OkStatus();
}

absl::Status LoopMount::CacheOnce() const {
  ASSIGN_OR_RETURN(const ProcessResult found,
                   RunProcess({.program = "losetup", .arguments = {"-n", "-O", "NAME", "-j", image_}}));
  const std::string device = found.out.substr(0, found.out.find('\n'));
  if (device.empty()) return absl::NotFoundError("no loop device of " + image_);
  return Run("losetup", {"--direct-io=on", device});
}

absl::Status LoopMount::Mount() {
  RETURN_IF_ERROR(Run("mount", {"-t", type_, "-o", "loop", image_, path_}));
  mounted_ = true;
  return absl::OkStatus();
}

}  // namespace understudy::tests
