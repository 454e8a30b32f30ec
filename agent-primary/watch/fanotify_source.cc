#include "agent-primary/watch/fanotify_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fanotify.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/root.h"
#include "core/os/work_folder.h"

namespace understudy::primary {
namespace {

constexpr uint64_t kEvents =
    FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE | FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ONDIR;
constexpr uint64_t kNobodyWrites = FAN_CLOSE_WRITE | FAN_MOVED_TO | FAN_MOVED_FROM | FAN_DELETE;
constexpr size_t kBufferBytes = 256 * 1024;
constexpr absl::Duration kCountInterval = absl::Milliseconds(100);
constexpr std::string_view kCookiePrefix = "fanotify-";

absl::Status CantUse(int error_number, std::string_view what) {
  if (error_number == EPERM) {
    return absl::UnimplementedError(
        fmt::format("{}: not permitted: it needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH", what));
  }
  return absl::UnimplementedError(fmt::format("{}: {}", what, std::strerror(error_number)));
}

// Whether the handles of this filesystem can be opened: folders are found by them, and what has no name is told.
absl::Status CheckHandles(const os::Fd& folder) {
  ASSIGN_OR_RETURN(const os::FileHandle handle, os::HandleOf(folder.get()));
  return os::OpenHandle(folder.get(), handle).status();
}

// A mount point below the folder; nullopt: there is none, or the kernel doesn't tell.
std::optional<std::string> MountBelow(const os::Root& root) {
  const absl::StatusOr<std::string> path = os::ReadLinkAt(AT_FDCWD, fmt::format("/proc/self/fd/{}", root.fd()));
  if (!path.ok()) return std::nullopt;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    // ID, parent, device, root, mount point (with blanks and the like as \ooo), …
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(' ', 5));
    std::string point;
    if (fields.size() < 5 || !absl::CUnescape(fields[4], &point)) continue;
    if (point != *path && model::IsWithin(point, *path)) return point;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FanotifySource>> FanotifySource::Start(const std::string& cookie_folder, HintSink& sink,
                                                                      size_t max_queued_events) {
  os::Fd group(fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS |
                                 FAN_REPORT_FID | FAN_REPORT_DFID_NAME,
                             O_RDONLY));
  if (!group.valid()) return CantUse(errno, "fanotify_init");
  os::Fd stop_event(eventfd(0, EFD_CLOEXEC));
  if (!stop_event.valid()) return ErrnoStatus(errno, "eventfd");
  const os::Fd folder(::open(cookie_folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return ErrnoStatus(errno, fmt::format("open '{}'", cookie_folder));
  if (fanotify_mark(group.get(), FAN_MARK_ADD, FAN_CREATE, folder.get(), nullptr) != 0) {
    return CantUse(errno, fmt::format("fanotify_mark of '{}'", cookie_folder));
  }
  ASSIGN_OR_RETURN(os::FileHandle handle, os::HandleOf(folder.get()));
  std::unique_ptr<FanotifySource> source(new FanotifySource(std::move(group), std::move(stop_event), cookie_folder,
                                                            std::move(handle), sink, max_queued_events));
  source->thread_ = std::thread([raw = source.get()] { raw->ReadEvents(); });
  return source;
}

FanotifySource::FanotifySource(os::Fd group, os::Fd stop_event, std::string cookie_folder, os::FileHandle cookie_handle,
                               HintSink& sink, size_t max_queued_events)
    : group_(std::move(group)),
      stop_event_(std::move(stop_event)),
      cookie_folder_(std::move(cookie_folder)),
      cookie_handle_(std::move(cookie_handle)),
      max_queued_events_(max_queued_events),
      sink_(sink),
      buffer_(kBufferBytes) {}

FanotifySource::~FanotifySource() {
  const uint64_t one = 1;
  UNDERSTUDY_CHECK(::write(stop_event_.get(), &one, sizeof(one)) == sizeof(one));
  if (thread_.joinable()) thread_.join();
}

absl::Status FanotifySource::AddVolume(const model::VolumeName& volume, const std::string& path) {
  ASSIGN_OR_RETURN(const os::Root root, os::Root::Open(path));
  if (const std::optional<std::string> mounted = MountBelow(root); mounted.has_value()) {
    return absl::UnimplementedError(fmt::format("'{}' is mounted in it", Printable(*mounted)));
  }
  ASSIGN_OR_RETURN(const os::Fd folder, root.OpenPath("", O_RDONLY | O_DIRECTORY));
  RETURN_IF_ERROR(CheckHandles(folder));
  ASSIGN_OR_RETURN(const uint64_t filesystem, os::FilesystemOf(folder.get()));
  RemoveVolume(volume);
  absl::MutexLock lock(&mutex_);
  // In the table before the first event can come.
  RETURN_IF_ERROR(filesystems_[filesystem].Add(volume, root, path));
  filesystem_of_[volume] = filesystem;
  if (fanotify_mark(group_.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, kEvents, folder.get(), nullptr) == 0) {
    return absl::OkStatus();
  }
  const absl::Status refused = CantUse(errno, fmt::format("fanotify_mark of the filesystem of '{}'", Printable(path)));
  filesystems_[filesystem].Remove(volume);
  if (filesystems_[filesystem].empty()) filesystems_.erase(filesystem);
  filesystem_of_.erase(volume);
  return refused;
}

void FanotifySource::RemoveVolume(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  const auto found = filesystem_of_.find(volume);
  if (found == filesystem_of_.end()) return;
  const auto filesystem = filesystems_.find(found->second);
  filesystem_of_.erase(found);
  // The last one's mark stays until the group ends: its events are of no volume, and cost little.
  filesystem->second.Remove(volume);
  if (filesystem->second.empty()) filesystems_.erase(filesystem);
}

absl::Status FanotifySource::Flush(absl::Duration timeout) {
  uint64_t mine = 0;
  uint64_t overflows_before = 0;
  {
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(lost_);
    mine = ++cookies_made_;
    overflows_before = overflows_begun_;
  }
  const std::string file = fmt::format("{}/{}{}", cookie_folder_, kCookiePrefix, mine);
  const os::Fd cookie(::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  const int open_error = errno;
  ::unlink(file.c_str());
  if (!cookie.valid()) return ErrnoStatus(open_error, fmt::format("make the cookie '{}'", file));
  absl::MutexLock lock(&mutex_);
  const auto passed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // An overflow may have swallowed the cookie; then everything was hinted at by the overflow itself. One that was
    // being handled already doesn't count: a volume that it told of first may have been scanned before the change.
    return cookies_seen_ >= mine || overflows_handled_ > overflows_before || !lost_.ok();
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&passed), timeout)) {
    return absl::DeadlineExceededError("the change source is busy: its own cookie didn't come back in time; try again");
  }
  return lost_;
}

void FanotifySource::ReadEvents() {
  for (;;) {
    pollfd fds[2] = {{group_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return Lose(ErrnoStatus(errno, "fanotify: poll"));
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    if (const absl::Status status = ReadBatch(); !status.ok()) return Lose(status);
  }
}

// Nothing hints any more: every volume is scanned from time to time instead.
void FanotifySource::Lose(const absl::Status& error) {
  spdlog::error("{}; changes are found by scans only", MessageOf(error));
  {
    absl::MutexLock lock(&mutex_);
    lost_ = error;
  }
  for (const model::VolumeName& volume : AllVolumes()) {
    sink_.OnCoverage(volume, absl::ResourceExhaustedError(fmt::format(
                                 "{}: restart the agent; until then scans find what changes", MessageOf(error))));
    sink_.OnOverflow(volume);
  }
}

absl::Status FanotifySource::ReadBatch() {
  size_t waiting = 0;
  ASSIGN_OR_RETURN(const bool overfull, IsOverfull(waiting));
  if (overfull) return Drain(waiting);
  const ssize_t length = ::read(group_.get(), buffer_.data(), buffer_.size());
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return absl::OkStatus();
    return ErrnoStatus(errno, "fanotify: read");
  }
  return ForEachFanotifyEvent({buffer_.data(), static_cast<size_t>(length)},
                              [this](const FanotifyEvent& event) { Handle(event); });
}

// The kernel counts them one by one while writers wait, so it isn't asked often.
absl::StatusOr<bool> FanotifySource::IsOverfull(size_t& waiting) {
  const absl::Duration now = Clock::System().Monotonic();
  if (now < next_count_) return false;
  next_count_ = now + kCountInterval;
  int queued = 0;
  if (ioctl(group_.get(), FIONREAD, &queued) != 0) return ErrnoStatus(errno, "fanotify: FIONREAD");
  waiting = static_cast<size_t>(queued) / sizeof(fanotify_event_metadata);  // each counts as that many bytes
  return waiting > max_queued_events_;
}

// As many as those that wait; writers may keep on adding.
absl::Status FanotifySource::Drain(size_t waiting) {
  for (size_t dropped = 0; dropped < waiting;) {
    const ssize_t length = ::read(group_.get(), buffer_.data(), buffer_.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno != EAGAIN) return ErrnoStatus(errno, "fanotify: read");
    if (length <= 0) break;
    RETURN_IF_ERROR(
        ForEachFanotifyEvent({buffer_.data(), static_cast<size_t>(length)}, [&](const FanotifyEvent&) { ++dropped; }));
  }
  HandleOverflow(fmt::format("{} events waited, more than {}: they were dropped", waiting, max_queued_events_));
  return absl::OkStatus();
}

void FanotifySource::Handle(const FanotifyEvent& event) {
  if ((event.mask & FAN_Q_OVERFLOW) != 0) {
    HandleOverflow("its queue overflowed");
  } else if (event.folder == cookie_handle_ && event.name.starts_with(kCookiePrefix)) {
    uint64_t number = 0;
    std::from_chars(event.name.data() + kCookiePrefix.size(), event.name.data() + event.name.size(), number);
    absl::MutexLock lock(&mutex_);
    cookies_seen_ = std::max(cookies_seen_, number);
  } else if (event.folder.has_value()) {
    HandleInFolder(event);
  } else if (event.object.has_value()) {
    HandleNameless(event);
  }
}

void FanotifySource::HandleInFolder(const FanotifyEvent& event) {
  const bool moves_folder = (event.mask & FAN_ONDIR) != 0 && (event.mask & (FAN_MOVED_FROM | FAN_MOVED_TO)) != 0;
  std::optional<Hint> hint;
  std::vector<model::VolumeName> unclear;  // all may have changed
  {
    absl::MutexLock lock(&mutex_);
    const auto filesystem = filesystems_.find(event.folder->filesystem);
    if (filesystem == filesystems_.end()) return;
    if (moves_folder) filesystem->second.Forget();
    const absl::StatusOr<const FoundFolder*> found = filesystem->second.Find(*event.folder);
    if (!found.ok()) {
      spdlog::warn("fanotify: {}; the filesystem's volumes are scanned", MessageOf(found.status()));
      unclear = filesystem->second.Volumes();
    } else if (*found != nullptr) {
      const FoundFolder& folder = **found;
      const auto root = folder.roots.find(event.name);
      // A change of the root itself is told in itself; here it came or went.
      if (root != folder.roots.end() && (event.mask & ~(FAN_ONDIR | FAN_ATTRIB)) != 0) unclear.push_back(root->second);
      if (folder.volume.has_value() && folder.too_deep) {
        unclear.push_back(*folder.volume);
      } else if (folder.volume.has_value()) {
        hint = Hint{*folder.volume, event.name == "." ? folder.path : model::Join(folder.path, event.name)};
      }
    }
  }
  for (const model::VolumeName& volume : unclear) sink_.OnOverflow(volume);
  if (!hint.has_value() || hint->path == os::kWorkFolderName) return;
  const bool arrives = (event.mask & FAN_ONDIR) != 0 && (event.mask & (FAN_CREATE | FAN_MOVED_TO)) != 0;
  if (arrives) hint->kind = HintKind::kSubtree;
  sink_.OnHint(hint->volume, hint->path, hint->kind, arrives || (event.mask & kNobodyWrites) != 0);
}

void FanotifySource::HandleNameless(const FanotifyEvent& event) {
  std::vector<model::VolumeName> volumes;
  std::optional<FoundObject> object;
  bool unclear = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto filesystem = filesystems_.find(event.object->filesystem);
    if (filesystem == filesystems_.end()) return;
    volumes = filesystem->second.Volumes();
    absl::StatusOr<std::optional<FoundObject>> found = filesystem->second.FindObject(*event.object);
    if (found.ok()) {
      object = *found;
    } else {
      spdlog::warn("fanotify: {}; the filesystem's volumes are scanned", MessageOf(found.status()));
      unclear = true;
    }
  }
  if (unclear) {
    for (const model::VolumeName& volume : volumes) sink_.OnOverflow(volume);
  }
  if (!object.has_value()) return;
  for (const model::VolumeName& volume : volumes) {
    sink_.OnInode(volume, object->inode, (event.mask & kNobodyWrites) != 0);
  }
}

std::vector<model::VolumeName> FanotifySource::AllVolumes() {
  absl::MutexLock lock(&mutex_);
  std::vector<model::VolumeName> names;
  for (const auto& [name, filesystem] : filesystem_of_) names.push_back(name);
  return names;
}

void FanotifySource::HandleOverflow(std::string_view why) {
  spdlog::warn("fanotify: {}; every volume is scanned", why);
  {
    absl::MutexLock lock(&mutex_);
    ++overflows_begun_;  // no cookie that is made from here on was among what is lost
    for (auto& [id, filesystem] : filesystems_) filesystem.Forget();
  }
  for (const model::VolumeName& volume : AllVolumes()) sink_.OnOverflow(volume);
  absl::MutexLock lock(&mutex_);
  ++overflows_handled_;
}

}  // namespace understudy::primary
