#include "agent-dr/commit/trash.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "agent-dr/commit/remove_tree.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

using model::TrashState;

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE trash("
    "  id TEXT PRIMARY KEY, volume TEXT NOT NULL, root BLOB NOT NULL, export_path BLOB NOT NULL,"
    "  root_inode INTEGER NOT NULL, root_btime_nanoseconds INTEGER NOT NULL,"
    "  state TEXT NOT NULL, reason TEXT NOT NULL, deleted_at_nanoseconds INTEGER NOT NULL,"
    "  kept_nanoseconds INTEGER NOT NULL,"
    "  measured INTEGER NOT NULL, size_bytes INTEGER NOT NULL, entry_count INTEGER NOT NULL) WITHOUT ROWID",
};

constexpr char kTrashFolder[] = "trash";  // of the work folder, and of the state folder
constexpr char kVolumesFolder[] = "volumes";
constexpr char kDataFolder[] = "data";
constexpr size_t kEverything = std::numeric_limits<int64_t>::max();
constexpr size_t kPerPage = 64;

std::string_view BelowExport(const TrashedReplica& replica) {
  std::string_view below = replica.entry.root;
  below.remove_prefix(std::min(below.size(), replica.export_path.size()));
  while (below.starts_with('/')) below.remove_prefix(1);
  return below;
}

// Durable in both folders; ALREADY_EXISTS: something stands there.
absl::Status RenameInto(int from_folder, const std::string& from, int to_folder, const std::string& to) {
  int result = renameat2(from_folder, from.c_str(), to_folder, to.c_str(), RENAME_NOREPLACE);
  if (result != 0 && errno == EINVAL) {
    // A filesystem that can't refuse by itself.
    if (os::StatAt(to_folder, to).ok()) return absl::AlreadyExistsError(fmt::format("'{}' is there", Printable(to)));
    result = renameat(from_folder, from.c_str(), to_folder, to.c_str());
  }
  if (result != 0) return ErrnoStatus(errno, fmt::format("rename '{}' to '{}'", Printable(from), Printable(to)));
  RETURN_IF_ERROR(os::SyncFile(to_folder));
  return os::SyncFile(from_folder);
}

absl::StatusOr<bool> IsThere(int folder, const std::string& name, const Identity& identity) {
  const absl::StatusOr<os::EntryStat> stat = os::StatAt(folder, name);
  if (absl::IsNotFound(stat.status())) return false;
  RETURN_IF_ERROR(stat.status());
  return IdentityOf(*stat) == identity;
}

// <work folder>/trash/<id>; NOT_FOUND: there is none.
absl::StatusOr<os::Root> OpenOwnFolder(const TrashedReplica& replica) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(replica.export_path));
  ASSIGN_OR_RETURN(os::Fd own,
                   work.folder.OpenPath(fmt::format("{}/{}", kTrashFolder, replica.entry.id), O_RDONLY | O_DIRECTORY));
  return os::Root(std::move(own));
}

// Only for what was seen on its filesystem just now: made elsewhere, it would pass for an entry that lost its data.
absl::StatusOr<os::Root> MakeOwnFolder(const TrashedReplica& replica) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(replica.export_path));
  ASSIGN_OR_RETURN(const os::Root trash, os::PrivateFolder(work.folder.fd(), kTrashFolder));
  ASSIGN_OR_RETURN(os::Root own, os::PrivateFolder(trash.fd(), replica.entry.id));
  // Their names have to be durable before anything is moved into them.
  RETURN_IF_ERROR(os::SyncFile(trash.fd()));
  RETURN_IF_ERROR(os::SyncFile(work.folder.fd()));
  return own;
}

// The folder `name` with all that it holds; none is fine.
absl::Status RemoveWhole(const os::Root& parent, const std::string& name, std::stop_token stop) {
  absl::StatusOr<os::Fd> folder = parent.OpenPath(name, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(folder.status())) return absl::OkStatus();
  RETURN_IF_ERROR(folder.status());
  RETURN_IF_ERROR(RemoveAllIn(os::Root(*std::move(folder)), stop));
  if (unlinkat(parent.fd(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("remove folder '{}'", name));
}

absl::Status DataIsAway(const TrashedReplica& replica) {
  return absl::UnavailableError(
      fmt::format("its data isn't in the work folder of '{}': mount its filesystem", Printable(replica.export_path)));
}

// UNAVAILABLE: it isn't there, or another folder is.
absl::StatusOr<os::Root> OpenWithData(const TrashedReplica& replica) {
  absl::StatusOr<os::Root> own = OpenOwnFolder(replica);
  if (absl::IsNotFound(own.status())) return DataIsAway(replica);
  RETURN_IF_ERROR(own.status());
  ASSIGN_OR_RETURN(const bool there, IsThere(own->fd(), kDataFolder, replica.folder));
  if (!there) return DataIsAway(replica);
  return own;
}

// The folder that holds the replica's; UNAVAILABLE: the replica's isn't in it, or another one is.
absl::StatusOr<os::ParentAndName> OpenPlaceWithData(const TrashedReplica& replica) {
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(replica.export_path));
  absl::StatusOr<os::ParentAndName> place = exported.OpenParent(BelowExport(replica));
  bool there = false;
  if (!absl::IsNotFound(place.status())) {
    RETURN_IF_ERROR(place.status());
    ASSIGN_OR_RETURN(there, IsThere(place->folder.get(), place->name, replica.folder));
  }
  if (there) return place;
  return absl::UnavailableError(
      fmt::format("'{}' isn't the folder of this replica: mount its filesystem", Printable(replica.entry.root)));
}

bool Concerns(const TrashedReplica& replica, const model::VolumeName& volume, const std::string& root) {
  const std::string& other = replica.entry.root;
  return replica.entry.volume == volume || model::IsWithin(other, root) || model::IsWithin(root, other);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trash>> Trash::Open(TrashOptions options, Probe& probe) {
  ASSIGN_OR_RETURN(const os::Root state, os::Root::Open(options.state_dir));
  if (mkdirat(state.fd(), kTrashFolder, 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, "make the trash's folder in the state folder");
  }
  RETURN_IF_ERROR(os::SyncFile(state.fd()));
  ASSIGN_OR_RETURN(store::Database database,
                   store::Database::Open(options.state_dir + "/trash.db",
                                         {.durability = store::Durability::kFull, .exclusive = true}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return std::unique_ptr<Trash>(new Trash(std::move(options), probe, std::move(database)));
}

absl::Duration Trash::SinceAged() const {
  return options_.clock->Monotonic() - aged_at_;
}

// By the monotonic clock: nothing expires early because somebody set the other one.
absl::Status Trash::Age() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration since = SinceAged();
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE trash SET kept_nanoseconds = kept_nanoseconds + ?"));
  RETURN_IF_ERROR(update.BindInteger(1, absl::ToInt64Nanoseconds(since)).Run());
  aged_at_ += since;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TrashedReplica>> Trash::Query(const std::string& condition, const std::string& argument,
                                                         size_t limit) const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(
      store::Statement query,
      database_.Prepare(fmt::format(
          "SELECT id, volume, root, export_path, root_inode, root_btime_nanoseconds, state, reason,"
          " deleted_at_nanoseconds, kept_nanoseconds, measured, size_bytes, entry_count FROM trash WHERE {} ORDER BY id"
          " LIMIT ?2",
          condition)));
  query.BindText(1, argument).BindUnsigned(2, limit);
  std::vector<TrashedReplica> found;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return found;
    TrashedReplica& replica = found.emplace_back();
    replica.entry.id = query.String(0);
    replica.entry.volume = query.String(1);
    replica.entry.root = query.String(2);
    replica.export_path = query.String(3);
    replica.folder = {query.Unsigned(4), query.Integer(5)};
    ASSIGN_OR_RETURN(replica.entry.state, model::ParseTrashState(query.Bytes(6)));
    replica.entry.reason = query.String(7);
    replica.entry.deleted_at = absl::FromUnixNanos(query.Integer(8));
    const absl::Duration kept = absl::Nanoseconds(query.Integer(9)) + SinceAged();
    replica.entry.expires_at = options_.clock->Now() + options_.retain - kept;
    replica.entry.measured = query.Integer(10) != 0;
    replica.entry.size_bytes = query.Unsigned(11);
    replica.entry.entry_count = query.Unsigned(12);
  }
}

absl::Status Trash::Insert(const TrashedReplica& replica) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT INTO trash VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0)"));
  insert.BindText(1, replica.entry.id).BindText(2, replica.entry.volume);
  insert.BindBlob(3, replica.entry.root).BindBlob(4, replica.export_path);
  insert.BindUnsigned(5, replica.folder.inode).BindInteger(6, replica.folder.btime_nanoseconds);
  insert.BindText(7, model::ToString(TrashState::kMoving)).BindText(8, replica.entry.reason);
  insert.BindInteger(9, absl::ToUnixNanos(options_.clock->Now()));
  // The next Age adds what went by before it came, too.
  insert.BindInteger(10, -absl::ToInt64Nanoseconds(SinceAged()));
  return insert.Run();
}

absl::Status Trash::SetState(const std::string& id, TrashState from, TrashState to) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update, database_.Prepare("UPDATE trash SET state = ? WHERE id = ? AND state = ?"));
  update.BindText(1, model::ToString(to)).BindText(2, id).BindText(3, model::ToString(from));
  RETURN_IF_ERROR(update.Run());
  if (database_.ChangedRows() == 1) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("entry {} of the trash isn't {}", id, model::ToString(from)));
}

absl::Status Trash::SetSize(const std::string& id, uint64_t size_bytes, uint64_t entry_count) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE trash SET measured = 1, size_bytes = ?, entry_count = ? WHERE id = ?"));
  return update.BindUnsigned(1, size_bytes).BindUnsigned(2, entry_count).BindText(3, id).Run();
}

absl::Status Trash::Delete(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement statement, database_.Prepare("DELETE FROM trash WHERE id = ?"));
  return statement.BindText(1, id).Run();
}

absl::StatusOr<TrashedReplica> Trash::Find(const std::string& id) const {
  RETURN_IF_ERROR(model::ValidateTrashId(id));
  ASSIGN_OR_RETURN(std::vector<TrashedReplica> found, Query("id = ?1", id, 1));
  if (found.empty()) return absl::NotFoundError(fmt::format("no entry {} in the trash", id));
  return std::move(found.front());
}

absl::StatusOr<std::vector<model::TrashEntry>> Trash::List(const std::string& after_id, size_t limit) const {
  ASSIGN_OR_RETURN(std::vector<TrashedReplica> found, Query("id > ?1", after_id, limit));
  std::vector<model::TrashEntry> entries;
  entries.reserve(found.size());
  for (TrashedReplica& replica : found) entries.push_back(std::move(replica.entry));
  return entries;
}

absl::StatusOr<Trash::Totals> Trash::Sum() const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query, database_.Prepare("SELECT count(*), ifnull(sum(size_bytes), 0) FROM trash"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  return found ? Totals{query.Unsigned(0), query.Unsigned(1)} : Totals{};
}

absl::Status Trash::CheckExport(const TrashedReplica& replica) const {
  const auto& exports = options_.exports;
  if (std::find(exports.begin(), exports.end(), replica.export_path) != exports.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "'{}' is no export of understudy-dr any more: add it to its exports:", Printable(replica.export_path)));
}

absl::Status Trash::Move(const TrashedReplica& replica) {
  RETURN_IF_ERROR(model::ValidateTrashId(replica.entry.id));
  // Once the intent is written nothing else can have its name or place; so not for a folder that isn't there.
  RETURN_IF_ERROR(OpenPlaceWithData(replica).status());
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 0));
  RETURN_IF_ERROR(Insert(replica));
  return FinishMove(replica);
}

absl::Status Trash::MoveData(const TrashedReplica& replica) const {
  RETURN_IF_ERROR(CheckExport(replica));
  if (OpenWithData(replica).ok()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const os::ParentAndName place, OpenPlaceWithData(replica));
  ASSIGN_OR_RETURN(const os::Root own, MakeOwnFolder(replica));
  return RenameInto(place.folder.get(), place.name, own.fd(), kDataFolder);
}

absl::Status Trash::RestoreData(const TrashedReplica& replica) const {
  RETURN_IF_ERROR(CheckExport(replica));
  if (OpenPlaceWithData(replica).ok()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const os::Root own, OpenWithData(replica));
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(replica.export_path));
  ASSIGN_OR_RETURN(const os::ParentAndName place, exported.OpenParent(BelowExport(replica)));
  return RenameInto(own.fd(), kDataFolder, place.folder.get(), place.name);
}

// Of folders in the state folder; once it is done, doing it again is fine.
absl::Status Trash::RenameState(const std::string& from, const std::string& to) const {
  ASSIGN_OR_RETURN(const os::Root state, os::Root::Open(options_.state_dir));
  ASSIGN_OR_RETURN(const os::ParentAndName source, state.OpenParent(from));
  ASSIGN_OR_RETURN(const os::ParentAndName target, state.OpenParent(to));
  if (absl::IsNotFound(os::StatAt(source.folder.get(), source.name).status()) &&
      os::StatAt(target.folder.get(), target.name).ok()) {
    return absl::OkStatus();
  }
  return RenameInto(source.folder.get(), source.name, target.folder.get(), target.name);
}

absl::Status Trash::FinishMove(const TrashedReplica& replica) {
  const model::TrashEntry& entry = replica.entry;
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 1));
  if (options_.before_move != nullptr) options_.before_move(entry.volume);
  RETURN_IF_ERROR(MoveData(replica));
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 2));
  RETURN_IF_ERROR(
      RenameState(fmt::format("{}/{}", kVolumesFolder, entry.volume), fmt::format("{}/{}", kTrashFolder, entry.id)));
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 3));
  RETURN_IF_ERROR(SetState(entry.id, TrashState::kMoving, TrashState::kTrashed));
  absl::MutexLock lock(&mutex_);
  woken_ = true;
  return absl::OkStatus();
}

absl::Status Trash::Restore(const std::string& id) {
  ASSIGN_OR_RETURN(const TrashedReplica replica, Find(id));
  RETURN_IF_ERROR(CheckExport(replica));
  if (replica.entry.state == TrashState::kTrashed) RETURN_IF_ERROR(OpenWithData(replica).status());
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 4));
  RETURN_IF_ERROR(SetState(id, TrashState::kTrashed, TrashState::kRestoring));
  return FinishRestore(replica);
}

absl::Status Trash::FinishRestore(const TrashedReplica& replica) {
  const model::TrashEntry& entry = replica.entry;
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 5));
  const absl::Status restored = RestoreData(replica);
  if (absl::IsAlreadyExists(restored) || absl::IsNotFound(restored)) {
    // Something stands in its place, or the folder above is gone: nothing was moved yet, so it stays in the trash.
    RETURN_IF_ERROR(SetState(entry.id, TrashState::kRestoring, TrashState::kTrashed));
    return absl::FailedPreconditionError(
        fmt::format("'{}' can't be put back: {}", Printable(entry.root), MessageOf(restored)));
  }
  RETURN_IF_ERROR(restored);
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 6));
  RETURN_IF_ERROR(
      RenameState(fmt::format("{}/{}", kTrashFolder, entry.id), fmt::format("{}/{}", kVolumesFolder, entry.volume)));
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 7));
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(replica.export_path));
  ASSIGN_OR_RETURN(const os::Root trash, os::PrivateFolder(work.folder.fd(), kTrashFolder));
  RETURN_IF_ERROR(RemoveWhole(trash, entry.id, {}));  // empty
  return Delete(entry.id);
}

absl::Status Trash::Finish(const TrashedReplica& replica) {
  const bool moving = replica.entry.state == TrashState::kMoving;
  return Annotate(moving ? FinishMove(replica) : FinishRestore(replica),
                  fmt::format("volume '{}' is {} {} the trash", replica.entry.volume,
                              model::ToString(replica.entry.state), moving ? "to" : "from"));
}

absl::Status Trash::FinishPending(const model::VolumeName& volume, const std::string& root) {
  ASSIGN_OR_RETURN(const std::vector<TrashedReplica> pending,
                   Query("state IN ('moving', 'restoring') AND ?1 = ''", "", kEverything));
  for (const TrashedReplica& replica : pending) {
    if (Concerns(replica, volume, root)) RETURN_IF_ERROR(Finish(replica));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Trash::Unfinished>> Trash::FinishAllPending() {
  ASSIGN_OR_RETURN(const std::vector<TrashedReplica> pending,
                   Query("state IN ('moving', 'restoring') AND ?1 = ''", "", kEverything));
  std::vector<Unfinished> unfinished;
  for (const TrashedReplica& replica : pending) {
    const absl::Status finished = Finish(replica);
    if (!finished.ok()) unfinished.push_back({replica.entry.volume, finished});
  }
  return unfinished;
}

absl::Status Trash::Purge(const std::string& id) {
  ASSIGN_OR_RETURN(const TrashedReplica replica, Find(id));
  if (replica.entry.state == TrashState::kPurging) return absl::OkStatus();
  RETURN_IF_ERROR(SetState(id, TrashState::kTrashed, TrashState::kPurging));
  absl::MutexLock lock(&mutex_);
  woken_ = true;
  return absl::OkStatus();
}

absl::Status Trash::MarkExpired() {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update, database_.Prepare("UPDATE trash SET state = 'purging'"
                                                              " WHERE state = 'trashed' AND kept_nanoseconds >= ?"));
  return update.BindInteger(1, absl::ToInt64Nanoseconds(options_.retain)).Run();
}

// Its folder in the trash goes last, so that it tells an entry that is purged in part from a filesystem that isn't
// there; and it goes for good before the row does, or a power cut could bring back what nobody knows of.
absl::Status Trash::RemoveData(const TrashedReplica& replica, std::stop_token stop) {
  const std::string& id = replica.entry.id;
  RETURN_IF_ERROR(CheckExport(replica));
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(replica.export_path));
  ASSIGN_OR_RETURN(const os::Root trash, os::PrivateFolder(work.folder.fd(), kTrashFolder));
  ASSIGN_OR_RETURN(const os::Root states, os::Root::Open(fmt::format("{}/{}", options_.state_dir, kTrashFolder)));
  absl::StatusOr<os::Fd> own = trash.OpenPath(id, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(own.status()) && states.Stat(id).ok()) {
    return DataIsAway(replica);
  }
  if (!own.ok() && !absl::IsNotFound(own.status())) return own.status();
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 8));
  if (own.ok()) RETURN_IF_ERROR(RemoveAllIn(os::Root(*std::move(own)), stop));
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 9));
  RETURN_IF_ERROR(RemoveWhole(work.folder, WorkArea::FolderName(id), stop));
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 10));
  RETURN_IF_ERROR(RemoveWhole(states, id, stop));
  RETURN_IF_ERROR(os::SyncFile(states.fd()));
  RETURN_IF_ERROR(options_.faults->Reach(Step::kTrash, 11));
  RETURN_IF_ERROR(RemoveWhole(trash, id, stop));
  return os::SyncFilesystem(trash.fd());
}

absl::Status Trash::PurgeOne(const TrashedReplica& replica, std::stop_token stop) {
  RETURN_IF_ERROR(RemoveData(replica, stop));
  RETURN_IF_ERROR(Delete(replica.entry.id));
  ++probe_.trash_purged;
  return absl::OkStatus();
}

absl::Status Trash::Measure(const TrashedReplica& replica, std::stop_token stop) {
  RETURN_IF_ERROR(CheckExport(replica));
  ASSIGN_OR_RETURN(const os::Root own, OpenWithData(replica));
  ASSIGN_OR_RETURN(os::Fd folder, own.OpenPath(kDataFolder, O_RDONLY | O_DIRECTORY));
  const os::Root data(std::move(folder));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(data, ""));
  uint64_t size_bytes = 0;
  uint64_t entry_count = 0;
  while (!stop.stop_requested()) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return SetSize(replica.entry.id, size_bytes, entry_count);
    ++entry_count;
    if (entry->stat.kind == model::FileKind::kRegular) size_bytes += entry->stat.size;
  }
  return absl::CancelledError("stopped while a trash entry was counted");
}

void Trash::Say(const std::string& id, const std::string& what, const absl::Status& status) {
  if (status.ok()) {
    said_.erase(id);
    return;
  }
  std::string message = fmt::format("trash: {} {}: {}", what, id, MessageOf(status));
  std::string& said = said_[id];
  if (said != message && !absl::IsCancelled(status)) spdlog::warn("{}", message);
  said = std::move(message);
}

absl::Status Trash::ForEach(const std::string& condition, std::stop_token stop,
                            const std::function<void(const TrashedReplica&)>& work) {
  std::string after_id;
  while (!stop.stop_requested()) {
    ASSIGN_OR_RETURN(const std::vector<TrashedReplica> page, Query("id > ?1 AND " + condition, after_id, kPerPage));
    if (page.empty()) break;
    for (const TrashedReplica& replica : page) work(replica);  // which ends soon when it is to stop
    after_id = page.back().entry.id;
  }
  return absl::OkStatus();
}

void Trash::Work(std::stop_token stop) {
  absl::Status marked = Age();
  if (marked.ok()) marked = MarkExpired();
  Say("", "mark what has expired", marked);
  Say("list", "what is to be purged", ForEach("state = 'purging'", stop, [&](const TrashedReplica& replica) {
        const absl::Status purged = PurgeOne(replica, stop);
        Say(replica.entry.id, "purge", purged);
        if (purged.ok()) spdlog::info("volume={} id={} purged from the trash", replica.entry.volume, replica.entry.id);
      }));
  Say("count", "what is new", ForEach("state = 'trashed' AND measured = 0", stop, [&](const TrashedReplica& replica) {
        const absl::Status measured = Measure(replica, stop);
        // One that was restored or is to be purged meanwhile isn't there, or isn't whole, any more.
        const absl::StatusOr<TrashedReplica> now = Find(replica.entry.id);
        const bool still = now.ok() && now->entry.state == TrashState::kTrashed;
        Say(replica.entry.id, "count", still ? measured : absl::OkStatus());
      }));
}

void Trash::WaitForWork(std::stop_token stop, absl::Duration duration) {
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);
    woken_ = true;
  });
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&woken_), duration);
  woken_ = false;
}

}  // namespace understudy::dr
