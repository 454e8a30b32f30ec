#include "agent-primary/watch/inotify_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/tree_walk.h"
#include "core/os/work_folder.h"

namespace understudy::primary {
namespace {

constexpr uint32_t kFolderMask = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                                 IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW |
                                 IN_EXCL_UNLINK;
constexpr int kNoWatch = -1;
constexpr size_t kBufferBytes = 256 * 1024;
constexpr std::string_view kCookiePrefix = "cookie-";

std::string MagicPath(int folder_fd, const std::string& name) {
  return name.empty() ? fmt::format("/proc/self/fd/{}/.", folder_fd)
                      : fmt::format("/proc/self/fd/{}/{}", folder_fd, name);
}

constexpr char kWatchLimitFile[] = "/proc/sys/fs/inotify/max_user_watches";

absl::Status WatchError(int error_number, std::string_view path) {
  if (error_number == ENOSPC) {
    return absl::ResourceExhaustedError(fmt::format(
        "inotify has no watch left for '{}': raise the sysctl fs.inotify.max_user_watches", Printable(path)));
  }
  if (error_number == ENOMEM) {
    return absl::ResourceExhaustedError(fmt::format("the kernel has no memory to watch '{}'", Printable(path)));
  }
  return ErrnoStatus(error_number, fmt::format("watch '{}'", Printable(path)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<InotifySource>> InotifySource::Start(const std::string& cookie_folder, HintSink& sink,
                                                                    absl::Duration retry_interval) {
  os::Fd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) {
    if (errno == EMFILE) {
      return absl::ResourceExhaustedError(
          "inotify has no instance left: raise the sysctl fs.inotify.max_user_instances");
    }
    return ErrnoStatus(errno, "inotify_init");
  }
  os::Fd stop_event(eventfd(0, EFD_CLOEXEC));
  if (!stop_event.valid()) return ErrnoStatus(errno, "eventfd");
  const int cookie_watch = inotify_add_watch(inotify.get(), cookie_folder.c_str(), IN_CREATE | IN_ONLYDIR);
  if (cookie_watch < 0) return WatchError(errno, cookie_folder);
  std::unique_ptr<InotifySource> source(
      new InotifySource(std::move(inotify), std::move(stop_event), cookie_folder, sink, retry_interval));
  source->cookie_watch_ = cookie_watch;
  source->thread_ = std::thread([raw = source.get()] { raw->ReadEvents(); });
  return source;
}

InotifySource::InotifySource(os::Fd inotify, os::Fd stop_event, std::string cookie_folder, HintSink& sink,
                             absl::Duration retry_interval)
    : inotify_(std::move(inotify)),
      stop_event_(std::move(stop_event)),
      cookie_folder_(std::move(cookie_folder)),
      retry_interval_(retry_interval),
      sink_(sink),
      buffer_(kBufferBytes) {}

InotifySource::~InotifySource() {
  const uint64_t one = 1;
  UNDERSTUDY_CHECK(::write(stop_event_.get(), &one, sizeof(one)) == sizeof(one));
  if (thread_.joinable()) thread_.join();
}

absl::Status InotifySource::AddVolume(const model::VolumeName& volume, const std::string& path) {
  ASSIGN_OR_RETURN(os::Root opened, os::Root::Open(path));
  auto root = std::make_shared<const os::Root>(std::move(opened));
  {
    absl::MutexLock lock(&mutex_);
    volumes_[volume] = Volume{.root = root};
  }
  return WatchTree(volume, *root, "");
}

void InotifySource::RemoveVolume(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  volumes_.erase(volume);
  Unwatch(table_.ForgetVolume(volume));
}

absl::Status InotifySource::Flush(absl::Duration timeout) {
  uint64_t mine = 0;
  uint64_t overflows_before = 0;
  {
    absl::MutexLock lock(&mutex_);
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
    return cookies_seen_ >= mine || overflows_handled_ > overflows_before;
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&passed), timeout)) {
    return absl::DeadlineExceededError("the change source is busy: its own cookie didn't come back in time; try again");
  }
  return absl::OkStatus();
}

size_t InotifySource::watch_count() const {
  absl::MutexLock lock(&mutex_);
  return table_.size();
}

absl::StatusOr<int> InotifySource::WatchTop(const model::VolumeName& volume, const os::Root& root,
                                            const std::string& path) {
  if (path.empty()) return WatchOne(volume, root.fd(), "", kNoWatch);
  std::optional<int> parent;
  {
    absl::MutexLock lock(&mutex_);
    parent = table_.WatchOf(volume, model::Parent(path));
  }
  if (!parent.has_value()) return kNoWatch;  // moved away meanwhile
  absl::StatusOr<os::ParentAndName> place = root.OpenParent(path);
  if (absl::IsNotFound(place.status())) return kNoWatch;
  RETURN_IF_ERROR(place.status());
  return WatchOne(volume, place->folder.get(), place->name, *parent);
}

absl::Status InotifySource::WatchTree(const model::VolumeName& volume, const os::Root& root, const std::string& path) {
  // The watch of each folder between `path` and the walk's place, by depth.
  std::vector<std::pair<std::string, int>> chain;
  // What can't be watched is counted, with what is below it.
  std::optional<std::string> dark;
  uint64_t unwatched = 0;
  const auto note = [&](const std::string& folder, const absl::StatusOr<int>& watch) {
    if (absl::IsResourceExhausted(watch.status())) {
      ++unwatched;
      dark = folder;
      return absl::OkStatus();
    }
    if (watch.ok() && *watch != kNoWatch) chain.emplace_back(folder, *watch);
    return watch.status();
  };
  RETURN_IF_ERROR(note(path, WatchTop(volume, root, path)));
  if (chain.empty() && !dark.has_value()) return absl::OkStatus();  // gone again
  absl::StatusOr<os::TreeWalk> walk = os::TreeWalk::Begin(root, path, os::kWorkFolderName, os::Walk::kFolders);
  if (absl::IsNotFound(walk.status())) return absl::OkStatus();
  RETURN_IF_ERROR(walk.status());
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk->Next());
    if (!entry.has_value()) break;
    if (dark.has_value() && model::IsWithin(entry->path, *dark)) {
      ++unwatched;
      continue;
    }
    while (chain.back().first != model::Parent(entry->path)) chain.pop_back();
    const absl::StatusOr<int> watch = WatchOne(volume, entry->folder_fd, entry->name, chain.back().second);
    RETURN_IF_ERROR(note(entry->path, watch));
    if (watch.ok() && *watch == kNoWatch) walk->SkipChildren();
  }
  if (unwatched > 0) TellOfLimit(volume, unwatched);
  return absl::OkStatus();
}

void InotifySource::TellOfLimit(const model::VolumeName& volume, uint64_t unwatched) {
  uint64_t limit = 0;
  std::ifstream(kWatchLimitFile) >> limit;
  const absl::Status coverage = absl::ResourceExhaustedError(fmt::format(
      "inotify has no watch left for {} of the volume's folders: set the sysctl fs.inotify.max_user_watches to {} or "
      "more (it is {}); until then scans find what changes there",
      unwatched, limit + unwatched, limit));
  bool first = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = volumes_.find(volume);
    if (found == volumes_.end()) return;
    found->second.covered = false;
    first = !std::exchange(limit_told_, true);
  }
  if (first) spdlog::warn("volume={} {}", volume, MessageOf(coverage));
  sink_.OnCoverage(volume, coverage);
}

void InotifySource::WatchTheRest() {
  std::vector<std::pair<model::VolumeName, std::shared_ptr<const os::Root>>> dark;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [name, volume] : volumes_) {
      if (!std::exchange(volume.covered, true)) dark.emplace_back(name, volume.root);
    }
  }
  for (const auto& [name, root] : dark) {
    const absl::Status status = WatchTree(name, *root, "");
    if (!status.ok()) spdlog::warn("volume={} {}", name, MessageOf(status));
    {
      absl::MutexLock lock(&mutex_);
      const auto found = volumes_.find(name);
      if (found == volumes_.end() || !found->second.covered) continue;
      if (!status.ok()) {
        found->second.covered = false;  // it is tried again
        continue;
      }
      limit_told_ = false;
    }
    spdlog::info("volume={} every folder is watched now", name);
    sink_.OnCoverage(name, absl::OkStatus());
    sink_.OnOverflow(name);  // what changed before the last watch was set
  }
}

absl::StatusOr<int> InotifySource::WatchOne(const model::VolumeName& volume, int folder_fd, const std::string& name,
                                            int parent) {
  // The lock is held over the call, so that an event of the new watch can't be handled before the watch is in the
  // table.
  absl::MutexLock lock(&mutex_);
  if (!volumes_.contains(volume)) return kNoWatch;  // removed meanwhile
  if (parent != kNoWatch && !table_.Contains(parent)) return kNoWatch;
  const int watch = inotify_add_watch(inotify_.get(), MagicPath(folder_fd, name).c_str(), kFolderMask);
  if (watch < 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return kNoWatch;
    return WatchError(errno, name);
  }
  if (parent == kNoWatch) {
    table_.PlaceRoot(watch, volume);
  } else {
    table_.PlaceBelow(parent, name, watch);
  }
  return watch;
}

void InotifySource::Unwatch(const std::vector<int>& watches) {
  for (const int watch : watches) inotify_rm_watch(inotify_.get(), watch);  // EINVAL: the kernel dropped it already
}

void InotifySource::ReadEvents() {
  const Clock& clock = Clock::System();
  absl::Duration next_retry = clock.Monotonic() + retry_interval_;
  for (;;) {
    pollfd fds[2] = {{inotify_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
    const absl::Duration left = std::max(next_retry - clock.Monotonic(), absl::ZeroDuration());
    if (poll(fds, 2, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) < 0 && errno != EINTR) {
      spdlog::error("inotify: poll failed: {}; changes are found by scans only", std::strerror(errno));
      return;
    }
    if (fds[1].revents != 0) return;
    if (fds[0].revents != 0 && !ReadBatch()) return;
    if (clock.Monotonic() >= next_retry) {
      WatchTheRest();
      next_retry = clock.Monotonic() + retry_interval_;
    }
  }
}

bool InotifySource::ReadBatch() {
  const ssize_t length = ::read(inotify_.get(), buffer_.data(), buffer_.size());
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return true;
    spdlog::error("inotify: read failed: {}; changes are found by scans only", std::strerror(errno));
    return false;
  }
  for (ssize_t at = 0; at < length;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer_.data() + at);
    Handle(*event);
    at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
  }
  absl::MutexLock lock(&mutex_);
  // A batch later the other half of a move would have come.
  Unwatch(table_.ForgetOrphans());
  return true;
}

void InotifySource::Handle(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    HandleOverflow();
    return;
  }
  const std::string_view name(event.len > 0 ? event.name : "");
  if (event.wd == cookie_watch_) {
    uint64_t number = 0;
    if (name.starts_with(kCookiePrefix)) {
      std::from_chars(name.data() + kCookiePrefix.size(), name.data() + name.size(), number);
      absl::MutexLock lock(&mutex_);
      cookies_seen_ = std::max(cookies_seen_, number);
    }
    return;
  }
  if ((event.mask & IN_IGNORED) != 0) {
    absl::MutexLock lock(&mutex_);
    table_.Forget(event.wd);
    return;
  }
  HandleInFolder(event, name);
}

void InotifySource::HandleInFolder(const inotify_event& event, std::string_view name) {
  std::optional<WatchTable::Place> folder;
  {
    absl::MutexLock lock(&mutex_);
    folder = table_.Find(event.wd);
  }
  if (!folder.has_value()) return;  // outside the volume by now
  if (name.empty()) {
    // About the folder itself. Its parent told of a move or removal already, unless it is the root.
    if (folder->path.empty() && (event.mask & (IN_MOVE_SELF | IN_DELETE_SELF)) != 0) {
      sink_.OnOverflow(folder->volume);
    } else if ((event.mask & IN_ATTRIB) != 0) {
      sink_.OnHint(folder->volume, folder->path, HintKind::kPath, /*at_once=*/false);
    }
    return;
  }
  if (folder->path.empty() && name == os::kWorkFolderName) return;  // the agent's own
  const std::string path = model::Join(folder->path, name);
  const bool is_folder = (event.mask & IN_ISDIR) != 0;
  if (is_folder && (event.mask & (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM)) != 0) {
    HandleFolderMove(event, folder->volume, path);
    return;
  }
  const bool at_once = (event.mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)) != 0;
  sink_.OnHint(folder->volume, path, HintKind::kPath, at_once);
}

// A folder came or went: `path` is its path in the volume.
void InotifySource::HandleFolderMove(const inotify_event& event, const model::VolumeName& volume,
                                     const std::string& path) {
  std::shared_ptr<const os::Root> root;
  {
    absl::MutexLock lock(&mutex_);
    const auto home = volumes_.find(volume);
    if (home == volumes_.end() || !table_.Contains(event.wd)) return;
    root = home->second.root;
  }
  if ((event.mask & IN_MOVED_FROM) != 0) {
    HandleDeparture(event.wd, volume, *root, path);
    return;
  }
  // First the watches, then the scan that the hint asks for: what comes in between is in both.
  const absl::Status status = WatchTree(volume, *root, path);
  if (!status.ok()) spdlog::warn("volume={} {}", volume, MessageOf(status));
  sink_.OnHint(volume, path, HintKind::kSubtree, /*at_once=*/true);
}

// The event tells of the past; what counts is what stands at `path` now. After an exchange of two folders it is the
// other one, and its watch is in its place already.
void InotifySource::HandleDeparture(int folder, const model::VolumeName& volume, const os::Root& root,
                                    const std::string& path) {
  const absl::StatusOr<os::EntryStat> now = root.Stat(path);
  const bool another_arrived = now.ok() && now->kind == model::FileKind::kDirectory;
  if (!another_arrived) {
    absl::MutexLock lock(&mutex_);
    table_.MovedAway(folder, model::LeafName(path));
  } else if (const absl::Status status = WatchTree(volume, root, path); !status.ok()) {
    spdlog::warn("volume={} {}", volume, MessageOf(status));
  }
  sink_.OnHint(volume, path, another_arrived ? HintKind::kSubtree : HintKind::kPath, /*at_once=*/true);
}

void InotifySource::HandleOverflow() {
  std::vector<std::pair<model::VolumeName, std::shared_ptr<const os::Root>>> all;
  {
    absl::MutexLock lock(&mutex_);
    ++overflows_begun_;
    table_.BeginWalk();
    for (const auto& [name, volume] : volumes_) all.emplace_back(name, volume.root);
  }
  spdlog::warn("inotify: its queue overflowed (sysctl fs.inotify.max_queued_events); every volume is scanned");
  for (const auto& [name, root] : all) {
    // Folders may have come, gone and moved unseen: a walk puts every watch back in its place.
    const absl::Status status = WatchTree(name, *root, "");
    if (status.ok()) {
      // The events that told of the end of others were lost. A folder that moved on before the walk has an event of its
      // own waiting, and is watched again by it.
      absl::MutexLock lock(&mutex_);
      Unwatch(table_.ForgetUnseen(name));
    } else {
      spdlog::warn("volume={} {}", name, MessageOf(status));
    }
    sink_.OnOverflow(name);
  }
  absl::MutexLock lock(&mutex_);
  ++overflows_handled_;
}

}  // namespace understudy::primary
