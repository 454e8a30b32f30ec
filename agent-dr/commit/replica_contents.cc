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

#include "agent-dr/commit/content_learner.h"
#include "agent-dr/commit/inventory.h"
#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/replica.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/wire/limits.h"

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

// About what it takes in memory.
size_t BytesOf(const model::InventoryEntry& entry) {
  size_t bytes = sizeof(entry) + entry.path.size() + entry.symlink_target.size();
  bytes += entry.segments.size() * sizeof(model::SegmentDigest);
  for (const model::Xattr& xattr : entry.metadata.xattrs) bytes += xattr.name.size() + xattr.value.size();
  return bytes;
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
  LetStateChangesPass();
  absl::MutexLock lock(&work_mutex_);
  const NoIdleIo no_idle_io;
  if (retired_) return absl::UnavailableError("the volume went to the trash just now");
  if (must_recover_ || folders_ == nullptr) RETURN_IF_ERROR(view_.SetUsable(Recover()));
  RETURN_IF_ERROR(PublishLocked());
  const model::ReplicaState state = State();
  return call(
      {state, folders_->root, folders_->work, HoldsWorkFolder() ? os::kWorkFolderName : "", store_->contents()});
}

absl::Status Replica::FillPage(InventoryUnderWay& inventory) {
  LetStateChangesPass();
  absl::MutexLock lock(&work_mutex_);
  if (folders_ == nullptr || retired_) {
    return absl::UnavailableError(fmt::format("replica folder '{}' can't be reached", Printable(State().root)));
  }
  RETURN_IF_ERROR(PublishLocked());
  const model::ReplicaState state = State();
  const os::GoOn go_on = [this] { return MakeWay(); };
  if (inventory.walk == nullptr) {
    inventory.sequence = state.sequence;
    inventory.epoch = state.epoch;
    const std::string excluded = HoldsWorkFolder() ? os::kWorkFolderName : "";
    ASSIGN_OR_RETURN(inventory.walk, InventoryWalk::Begin(folders_->root, excluded, inventory.with_digests, go_on));
  }
  RETURN_IF_ERROR(go_on());
  if (state.sequence != inventory.sequence || state.epoch != inventory.epoch) {
    return absl::AbortedError(fmt::format("volume '{}' changed since its inventory began: try again", state.volume));
  }
  ContentLearner learner(store_->contents(), state);
  size_t bytes = 0;
  inventory.page.clear();
  while (inventory.page.size() < wire::kMaxPageEntries && bytes < wire::kMaxPageBytes) {
    ASSIGN_OR_RETURN(
        std::optional<model::InventoryEntry> entry,
        inventory.walk->Next(
            [&](const os::EntryStat& stat, const model::Digest& digest) { return learner.Add(stat, digest); }, go_on));
    if (!entry.has_value()) {
      inventory.ended = true;
      break;
    }
    bytes += BytesOf(*entry);
    inventory.page.push_back(*std::move(entry));
  }
  return learner.Flush();
}

// Whoever is told may be slow, or hang: a page is told while nobody waits for it.
absl::Status Replica::Inventory(bool with_digests, const std::function<absl::Status(model::InventoryEntry)>& visit) {
  InventoryUnderWay inventory{.with_digests = with_digests};
  while (!inventory.ended) {
    RETURN_IF_ERROR(FillPage(inventory));
    for (model::InventoryEntry& entry : inventory.page) RETURN_IF_ERROR(visit(std::move(entry)));
  }
  return absl::OkStatus();
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
