// What replica.h declares of the contents that a replica should have, and of those that are damaged.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>
#include <utility>
#include <variant>

#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/replica.h"
#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::dr {
namespace {

bool IsInRoot(std::string_view path) {
  return !path.empty() && path.find('/') == std::string_view::npos;
}

// Whether an operation gives the root folder an entry.
bool PlacesInRoot(const model::Operation& operation) {
  const bool places = PlacesStagedEntry(operation) || std::holds_alternative<model::Attach>(operation) ||
                      std::holds_alternative<model::Link>(operation);
  return places && IsInRoot(std::visit([](const auto& op) -> const std::string& { return op.path; }, operation));
}

// Whether a folder has a name that isn't one of `known`; ends with the first that it meets.
absl::StatusOr<bool> HasOtherNames(const os::Root& root, const std::set<std::string>& known) {
  struct CloseFolder {
    void operator()(DIR* handle) const { closedir(handle); }
  };
  const std::unique_ptr<DIR, CloseFolder> names(fdopendir(openat(root.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (names == nullptr) return ErrnoStatus(errno, "list the replica's folder");
  while (true) {
    errno = 0;
    const dirent* const entry = readdir(names.get());
    if (entry == nullptr && errno != 0) return ErrnoStatus(errno, "list the replica's folder");
    if (entry == nullptr) return false;
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && !known.contains(std::string(name))) return true;
  }
}

// Whoever has the lock keeps commits waiting, so its I/O doesn't wait for everybody else's, as the scrub's does
// otherwise.
class NoIdleIo {
 public:
  NoIdleIo() : before_(static_cast<int>(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0))) {
    if (IsIdle()) Set(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_NONE, 0));
  }
  ~NoIdleIo() {
    if (IsIdle()) Set(before_);
  }
  NoIdleIo(const NoIdleIo&) = delete;
  NoIdleIo& operator=(const NoIdleIo&) = delete;

 private:
  // Of the calling thread.
  static void Set(int priority) { (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority); }
  [[nodiscard]] bool IsIdle() const { return before_ >= 0 && IOPRIO_PRIO_CLASS(before_) == IOPRIO_CLASS_IDLE; }
  const int before_;
};

}  // namespace

absl::Status Replica::FindOldDigests(const CommitPlan& plan, std::map<std::string, OldEntry>& old) {
  for (const auto& [index, identity] : plan.patched) {
    ASSIGN_OR_RETURN(const std::optional<KeptContent> kept, store_->contents().Find(identity));
    if (kept.has_value() && kept->digest.has_value()) old.at(plan.patched_paths.at(index)).digest = *kept->digest;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<bool>> Replica::HoldsEntriesAfter(const model::Commit& commit) {
  std::set<std::string> leave;
  for (const model::Operation& operation : commit.operations) {
    if (PlacesInRoot(operation)) return true;
    const auto* remove = std::get_if<model::Remove>(&operation);
    const auto* detach = std::get_if<model::Detach>(&operation);
    if (remove != nullptr && IsInRoot(remove->path)) leave.insert(remove->path);
    if (detach != nullptr && IsInRoot(detach->path)) leave.insert(detach->path);
  }
  if (leave.empty()) return std::nullopt;
  if (HoldsWorkFolder()) leave.insert(os::kWorkFolderName);
  return HasOtherNames(folders_->root, leave);
}

absl::Status Replica::WithPublished(const std::function<absl::Status(const Published&)>& call) {
  absl::MutexLock lock(&work_mutex_);
  const NoIdleIo no_idle_io;
  if (retired_) return absl::UnavailableError("the volume went to the trash just now");
  if (must_recover_ || folders_ == nullptr) RETURN_IF_ERROR(view_.SetUsable(Recover()));
  RETURN_IF_ERROR(PublishLocked());
  const model::ReplicaState state = State();
  return call(
      {state, folders_->root, folders_->work, HoldsWorkFolder() ? os::kWorkFolderName : "", store_->contents()});
}

absl::Status Replica::CheckPlace() {
  absl::MutexLock lock(&work_mutex_);
  return ReplicaFolders::Open(place_, State(), root_folder_).status();
}

void Replica::Listen(SessionToken token, std::function<void(const model::DamagedFile&)> listener) {
  absl::MutexLock lock(&listener_mutex_);
  if (listener == nullptr && listening_ != token.number) return;  // a later session's
  listening_ = token.number;
  listener_ = std::move(listener);
}

bool Replica::TellDamage(const model::DamagedFile& file) {
  absl::MutexLock lock(&listener_mutex_);
  if (listener_ == nullptr) return false;
  listener_(file);
  return true;
}

}  // namespace understudy::dr
