#include "agent-primary/watch/inotify_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/tree_walk.h"

namespace understudy::primary {
namespace {

constexpr uint32_t kFolderMask = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                                 IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW |
                                 IN_EXCL_UNLINK;
constexpr size_t kBufferBytes = 256 * 1024;
constexpr std::string_view kCookiePrefix = "cookie-";

std::string MagicPath(int folder_fd, const std::string& name) {
  return name.empty() ? fmt::format("/proc/self/fd/{}/.", folder_fd)
                      : fmt::format("/proc/self/fd/{}/{}", folder_fd, name);
}

absl::Status WatchError(int error_number, std::string_view path) {
  if (error_number == ENOSPC) {
    return absl::ResourceExhaustedError(fmt::format(
        "inotify has no watch left for '{}': raise the sysctl fs.inotify.max_user_watches; until then scans find what "
        "changes there",
        Printable(path)));
  }
  return ErrnoStatus(error_number, fmt::format("watch '{}'", Printable(path)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<InotifySource>> InotifySource::Start(const std::string& cookie_folder, HintSink& sink) {
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
      new InotifySource(std::move(inotify), std::move(stop_event), cookie_folder, sink));
  source->cookie_watch_ = cookie_watch;
  source->thread_ = std::thread([raw = source.get()] { raw->ReadEvents(); });
  return source;
}

InotifySource::InotifySource(os::Fd inotify, os::Fd stop_event, std::string cookie_folder, HintSink& sink)
    : inotify_(std::move(inotify)),
      stop_event_(std::move(stop_event)),
      cookie_folder_(std::move(cookie_folder)),
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
    volumes_[volume] = Volume{path, root, -1};
  }
  return WatchTree(volume, *root, "");
}

void InotifySource::RemoveVolume(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  if (found->second.root_watch >= 0) Forget(found->second.root_watch, /*tell_kernel=*/true);
  volumes_.erase(found);
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
  return watches_.size();
}

// ---- watches

absl::Status InotifySource::WatchTree(const model::VolumeName& volume, const os::Root& root, const std::string& path) {
  // The watch of each folder between `path` and the walk's place, by depth.
  std::vector<std::pair<std::string, int>> chain;
  int watch = -1;
  if (path.empty()) {
    RETURN_IF_ERROR(WatchOne(volume, root.fd(), "", -1, &watch));
  } else {
    int parent = -1;
    {
      absl::MutexLock lock(&mutex_);
      const auto found = volumes_.find(volume);
      if (found == volumes_.end()) return absl::OkStatus();
      parent = found->second.root_watch;
      for (std::string_view rest = model::Parent(path); !rest.empty();) {
        const size_t slash = rest.find('/');
        const auto at = watches_.find(parent);
        if (at == watches_.end()) return absl::OkStatus();
        const auto child = at->second.children.find(rest.substr(0, slash));
        if (child == at->second.children.end()) return absl::OkStatus();  // moved away meanwhile
        parent = child->second;
        rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
      }
    }
    absl::StatusOr<os::ParentAndName> place = root.OpenParent(path);
    if (absl::IsNotFound(place.status())) return absl::OkStatus();
    RETURN_IF_ERROR(place.status());
    RETURN_IF_ERROR(WatchOne(volume, place->folder.get(), place->name, parent, &watch));
  }
  if (watch < 0) return absl::OkStatus();  // gone again
  chain.emplace_back(path, watch);
  absl::StatusOr<os::TreeWalk> walk = os::TreeWalk::Begin(root, path);
  if (absl::IsNotFound(walk.status())) return absl::OkStatus();
  RETURN_IF_ERROR(walk.status());
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk->Next());
    if (!entry.has_value()) return absl::OkStatus();
    if (entry->stat.kind != model::FileKind::kDirectory) continue;
    while (chain.back().first != model::Parent(entry->path)) chain.pop_back();
    RETURN_IF_ERROR(WatchOne(volume, entry->folder_fd, entry->name, chain.back().second, &watch));
    if (watch < 0) {
      walk->SkipChildren();
    } else {
      chain.emplace_back(entry->path, watch);
    }
  }
}

// Sets *watch to -1 when the folder is gone.
absl::Status InotifySource::WatchOne(const model::VolumeName& volume, int folder_fd, const std::string& name,
                                     int parent, int* watch) {
  // The lock is held over the call, so that an event of the new watch can't be handled before the watch is in the
  // table.
  absl::MutexLock lock(&mutex_);
  *watch = -1;
  const auto home = volumes_.find(volume);
  if (home == volumes_.end()) return absl::OkStatus();  // removed meanwhile
  if (parent >= 0 && !watches_.contains(parent)) return absl::OkStatus();
  const int added = inotify_add_watch(inotify_.get(), MagicPath(folder_fd, name).c_str(), kFolderMask);
  if (added < 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return absl::OkStatus();
    return WatchError(errno, name);
  }
  if (watches_.contains(added)) Detach(added);  // a folder that we know, at another place now
  Watch& entry = watches_[added];
  entry.volume = volume;
  entry.parent = parent;
  entry.name = name;
  entry.seen = walks_;
  if (parent >= 0) {
    int& place = watches_[parent].children.try_emplace(name, added).first->second;
    if (place != added) {
      // Something else stood there; its own event will tell where it went, if it is still in the volume.
      watches_[place].parent = -1;
      orphans_.push_back(std::exchange(place, added));
    }
  } else {
    home->second.root_watch = added;
  }
  *watch = added;
  return absl::OkStatus();
}

bool InotifySource::PathOf(int watch, std::string* path) const {
  path->clear();
  for (int at = watch;;) {
    const auto found = watches_.find(at);
    if (found == watches_.end()) return false;
    if (found->second.parent < 0) {
      const auto home = volumes_.find(found->second.volume);
      return home != volumes_.end() && home->second.root_watch == at;  // an orphan has no parent either
    }
    *path = path->empty() ? found->second.name : fmt::format("{}/{}", found->second.name, *path);
    at = found->second.parent;
  }
}

// Takes the folder out of its parent, with everything below it.
void InotifySource::Detach(int watch) {
  Watch& entry = watches_.at(watch);
  if (entry.parent >= 0) {
    const auto parent = watches_.find(entry.parent);
    if (parent != watches_.end()) {
      const auto child = parent->second.children.find(entry.name);
      if (child != parent->second.children.end() && child->second == watch) parent->second.children.erase(child);
    }
  }
  entry.parent = -1;
}

void InotifySource::Forget(int watch, bool tell_kernel) {
  std::vector<int> pending = {watch};
  if (watches_.contains(watch)) Detach(watch);
  while (!pending.empty()) {
    const int at = pending.back();
    pending.pop_back();
    const auto found = watches_.find(at);
    if (found == watches_.end()) continue;
    for (const auto& [name, child] : found->second.children) pending.push_back(child);
    watches_.erase(found);
    if (tell_kernel) inotify_rm_watch(inotify_.get(), at);  // EINVAL: the kernel dropped it already
  }
}

// Folders that the walk after an overflow didn't meet: the events that told of their end were lost. One that moved on
// before the walk has an event of its own waiting, and is watched again by it.
void InotifySource::ForgetUnseen(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  std::vector<int> unseen;
  for (const auto& [watch, entry] : watches_) {
    if (entry.volume == volume && entry.seen < walks_) unseen.push_back(watch);
  }
  for (const int watch : unseen) Forget(watch, /*tell_kernel=*/true);
}

void InotifySource::ForgetOrphans() {
  // A batch later the other half of the move would have come.
  for (const int watch : old_orphans_) {
    const auto found = watches_.find(watch);
    if (found == watches_.end() || found->second.parent >= 0) continue;
    const auto home = volumes_.find(found->second.volume);
    if (home != volumes_.end() && home->second.root_watch == watch) continue;
    Forget(watch, /*tell_kernel=*/true);
  }
  old_orphans_ = std::exchange(orphans_, {});
}

// ---- events

void InotifySource::ReadEvents() {
  for (;;) {
    pollfd fds[2] = {{inotify_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) {
      spdlog::error("inotify: poll failed: {}; changes are found by scans only", std::strerror(errno));
      return;
    }
    if (fds[1].revents != 0) return;
    if (fds[0].revents != 0 && !ReadBatch()) return;
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
  ForgetOrphans();
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
    Forget(event.wd, /*tell_kernel=*/false);
    return;
  }
  HandleInFolder(event, name);
}

void InotifySource::HandleInFolder(const inotify_event& event, std::string_view name) {
  model::VolumeName volume;
  std::string folder;
  bool root_moved = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = watches_.find(event.wd);
    if (found == watches_.end() || !PathOf(event.wd, &folder)) return;  // outside the volume by now
    volume = found->second.volume;
    root_moved = found->second.parent < 0;
  }
  if (name.empty()) {
    // About the folder itself. Its parent told of a move or removal already, unless it is the root.
    if (root_moved && (event.mask & (IN_MOVE_SELF | IN_DELETE_SELF)) != 0) {
      sink_.OnOverflow(volume);
    } else if ((event.mask & IN_ATTRIB) != 0) {
      sink_.OnHint(volume, folder, HintKind::kPath, /*at_once=*/false);
    }
    return;
  }
  const std::string path = model::Join(folder, name);
  const bool is_folder = (event.mask & IN_ISDIR) != 0;
  if (is_folder && (event.mask & (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM)) != 0) {
    HandleFolderMove(event, path);
    return;
  }
  const bool at_once = (event.mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)) != 0;
  sink_.OnHint(volume, path, HintKind::kPath, at_once);
}

// A folder came or went: `path` is its path in the volume.
void InotifySource::HandleFolderMove(const inotify_event& event, const std::string& path) {
  model::VolumeName volume;
  std::shared_ptr<const os::Root> root;
  {
    absl::MutexLock lock(&mutex_);
    const auto parent = watches_.find(event.wd);
    if (parent == watches_.end()) return;
    volume = parent->second.volume;
    const auto home = volumes_.find(volume);
    if (home == volumes_.end()) return;
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
    const auto parent = watches_.find(folder);
    if (parent != watches_.end()) {
      const auto child = parent->second.children.find(model::LeafName(path));
      if (child != parent->second.children.end()) {
        orphans_.push_back(child->second);
        Detach(child->second);
      }
    }
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
    ++walks_;
    for (const auto& [name, volume] : volumes_) all.emplace_back(name, volume.root);
  }
  spdlog::warn("inotify: its queue overflowed (sysctl fs.inotify.max_queued_events); every volume is scanned");
  for (const auto& [name, root] : all) {
    // Folders may have come, gone and moved unseen: a walk puts every watch back in its place.
    const absl::Status status = WatchTree(name, *root, "");
    if (status.ok()) {
      ForgetUnseen(name);
    } else {
      spdlog::warn("volume={} {}", name, MessageOf(status));
    }
    sink_.OnOverflow(name);
  }
  absl::MutexLock lock(&mutex_);
  ++overflows_handled_;
}

}  // namespace understudy::primary
