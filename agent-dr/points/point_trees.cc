#include "agent-dr/points/point_trees.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "agent-dr/commit/remove_tree.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/base/random_id.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/stat.h"
#include "core/wire/validate.h"

namespace understudy::dr {
namespace {

using model::PointTreeState;

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE tree("
    "  id TEXT PRIMARY KEY, volume TEXT NOT NULL, sequence INTEGER NOT NULL, path BLOB NOT NULL,"
    "  export_path BLOB NOT NULL, writable INTEGER NOT NULL, state TEXT NOT NULL, made_at_nanoseconds INTEGER NOT NULL,"
    "  inode INTEGER NOT NULL, btime_nanoseconds INTEGER NOT NULL,"
    "  work_inode INTEGER NOT NULL, work_btime_nanoseconds INTEGER NOT NULL) WITHOUT ROWID",
};

constexpr char kTree[] = "tree";

// Of the work folder: where the tree with this id is made and taken apart.
std::string ScratchName(const std::string& id) {
  return fmt::format("point-{}", id);
}

std::string_view BelowExport(std::string_view path, std::string_view export_path) {
  path.remove_prefix(std::min(path.size(), export_path.size()));
  while (path.starts_with('/')) path.remove_prefix(1);
  return path;
}

// The scratch folder with all that it holds; none is fine.
absl::Status RemoveScratch(const os::Root& work, const std::string& name, std::stop_token stop) {
  absl::StatusOr<os::Fd> folder = work.OpenPath(name, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(folder.status())) return absl::OkStatus();
  RETURN_IF_ERROR(folder.status());
  RETURN_IF_ERROR(RemoveAllIn(os::Root(*std::move(folder)), std::move(stop)));
  if (unlinkat(work.fd(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("remove folder '{}'", name));
}

absl::StatusOr<os::ParentAndName> OpenPlace(const std::string& path, const std::string& export_path) {
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(export_path));
  return exported.OpenParent(BelowExport(path, export_path));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PointTrees>> PointTrees::Open(const std::string& state_dir, CommitEngine& engine,
                                                             const Clock& clock, TreeServing serving) {
  ASSIGN_OR_RETURN(
      store::Database database,
      store::Database::Open(state_dir + "/points.db", {.durability = store::Durability::kFull, .exclusive = true}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::unique_ptr<PointTrees> trees(new PointTrees(engine, clock, std::move(serving), std::move(database)));
  // What is left may be large.
  trees->finisher_ = std::jthread([raw = trees.get()](std::stop_token stop) { raw->FinishAll(std::move(stop)); });
  return trees;
}

PointTrees::~PointTrees() {
  stopping_.request_stop();
  finisher_ = {};
}

void PointTrees::FinishAll(std::stop_token stop) {
  absl::MutexLock working(&work_mutex_);
  absl::StatusOr<std::vector<Row>> rows = Query();
  if (!rows.ok()) {
    spdlog::error("trees of recovery points: {}", MessageOf(rows.status()));
    return;
  }
  for (Row& row : *rows) {
    if (stop.stop_requested()) return;
    absl::Status done;
    if (row.tree.state == PointTreeState::kMaking) done = FinishMaking(row);
    if (row.tree.state == PointTreeState::kRemoving) done = FinishRemoving(row);
    if (!done.ok()) spdlog::error("volume={} tree={} {}", row.tree.volume, row.tree.id, MessageOf(done));
  }
}

absl::StatusOr<std::vector<PointTrees::Row>> PointTrees::Query() const {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(
      store::Statement query,
      database_.Prepare("SELECT id, volume, sequence, path, export_path, writable, state,"
                        " made_at_nanoseconds, inode, btime_nanoseconds, work_inode, work_btime_nanoseconds"
                        " FROM tree ORDER BY id"));
  std::vector<Row> rows;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return rows;
    Row row;
    row.tree.id = query.String(0);
    row.tree.volume = query.String(1);
    row.tree.sequence = query.Unsigned(2);
    row.tree.path = query.String(3);
    row.export_path = query.String(4);
    row.tree.writable = query.Integer(5) != 0;
    ASSIGN_OR_RETURN(row.tree.state, model::ParsePointTreeState(query.Bytes(6)));
    row.tree.made_at = absl::FromUnixNanos(query.Integer(7));
    row.folder = {query.Unsigned(8), query.Integer(9)};
    row.work_folder = {query.Unsigned(10), query.Integer(11)};
    rows.push_back(std::move(row));
  }
}

absl::Status PointTrees::Write(const Row& row) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT OR REPLACE INTO tree VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  insert.BindText(1, row.tree.id).BindText(2, row.tree.volume).BindUnsigned(3, row.tree.sequence);
  insert.BindBlob(4, row.tree.path).BindBlob(5, row.export_path).BindInteger(6, row.tree.writable);
  insert.BindText(7, model::ToString(row.tree.state)).BindInteger(8, absl::ToUnixNanos(row.tree.made_at));
  insert.BindUnsigned(9, row.folder.inode).BindInteger(10, row.folder.btime_nanoseconds);
  insert.BindUnsigned(11, row.work_folder.inode).BindInteger(12, row.work_folder.btime_nanoseconds);
  return insert.Run();
}

absl::Status PointTrees::Forget(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM tree WHERE id = ?"));
  return remove.BindText(1, id).Run();
}

absl::StatusOr<std::vector<model::PointTree>> PointTrees::List() const {
  ASSIGN_OR_RETURN(const std::vector<Row> rows, Query());
  std::vector<model::PointTree> trees;
  for (const Row& row : rows) trees.push_back(row.tree);
  return trees;
}

std::vector<std::string> PointTrees::Paths() const {
  const absl::StatusOr<std::vector<Row>> rows = Query();
  std::vector<std::string> paths;
  if (!rows.ok()) return paths;
  for (const Row& row : *rows) paths.push_back(row.tree.path);
  return paths;
}

absl::Status PointTrees::CheckPath(const Row& row) const {
  const std::string& path = row.tree.path;
  const absl::Status valid = wire::ValidateReplicaRoot(path);
  if (!valid.ok()) return Annotate(valid, "path of the tree");
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(fmt::format("'{}' can't be the path of the tree: {}", Printable(path), why));
  };
  ASSIGN_OR_RETURN(const model::ReplicaState replica, engine_.State(row.tree.volume));
  if (replica.root == row.export_path) {
    return refuse(
        fmt::format("the replica of volume '{}' is the whole export, so nothing fits beside it", replica.volume));
  }
  if (path == row.export_path || !model::IsWithin(path, row.export_path)) {
    return refuse(
        fmt::format("it has to lie in '{}', the export that holds the replica (--path)", Printable(row.export_path)));
  }
  for (const model::ReplicaState& other : engine_.List()) {
    if (model::IsWithin(path, other.root) || model::IsWithin(other.root, path)) {
      return refuse(fmt::format("it overlaps '{}', the replica of volume '{}'", Printable(other.root), other.volume));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<Row> rows, Query());
  for (const Row& other : rows) {
    if (other.tree.id == row.tree.id) continue;
    if (model::IsWithin(path, other.tree.path) || model::IsWithin(other.tree.path, path)) {
      return refuse(
          fmt::format("it overlaps '{}', a tree of volume '{}'", Printable(other.tree.path), other.tree.volume));
    }
  }
  return absl::OkStatus();
}

// Where the tree can come to by one rename, and nothing stands.
absl::Status PointTrees::CheckPlace(const Row& row, const os::WorkFolder& work) const {
  const absl::StatusOr<os::ParentAndName> place = OpenPlace(row.tree.path, row.export_path);
  if (!place.ok()) {
    return Annotate(place.status(), fmt::format("the folder that is to hold '{}'", Printable(row.tree.path)));
  }
  ASSIGN_OR_RETURN(const os::RenameDomain domain, os::RenameDomainOf(place->folder.get()));
  if (domain != work.domain) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' lies on another filesystem or mount than the replica's export: give the tree another path "
                    "(--path)",
                    Printable(row.tree.path)));
  }
  if (!os::StatAt(place->folder.get(), place->name).ok()) return absl::OkStatus();
  return absl::AlreadyExistsError(
      fmt::format("'{}' is there already: give the tree another path (--path)", Printable(row.tree.path)));
}

// The work folder that the row's trees are made in; UNAVAILABLE: another one is there now.
absl::StatusOr<os::WorkFolder> PointTrees::OpenWork(const Row& row) {
  ASSIGN_OR_RETURN(os::WorkFolder work, os::OpenWorkFolder(row.export_path));
  ASSIGN_OR_RETURN(const os::EntryStat stat, work.folder.Stat(""));
  if (IdentityOf(stat) == row.work_folder) return work;
  return absl::UnavailableError(fmt::format("export '{}' isn't the one that the tree was made in: mount its filesystem",
                                            Printable(row.export_path)));
}

absl::StatusOr<model::PointTree> PointTrees::Make(const Wish& wish, const CloneWatcher& watcher) {
  absl::MutexLock working(&work_mutex_);
  ASSIGN_OR_RETURN(const model::ReplicaState replica, engine_.State(wish.volume));
  Row row;
  ASSIGN_OR_RETURN(row.export_path, engine_.ExportOfVolume(wish.volume));
  row.tree.path = wish.path.empty() ? fmt::format("{}.point-{}", replica.root, wish.sequence) : wish.path;
  row.tree.id = RandomId();
  row.tree.volume = wish.volume;
  row.tree.sequence = wish.sequence;
  row.tree.writable = wish.writable;
  row.tree.made_at = clock_.Now();
  RETURN_IF_ERROR(CheckPath(row));
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(row.export_path));
  RETURN_IF_ERROR(CheckPlace(row, work));
  ASSIGN_OR_RETURN(const os::EntryStat work_stat, work.folder.Stat(""));
  row.work_folder = IdentityOf(work_stat);
  RETURN_IF_ERROR(Write(row));
  // Once more: from here on no replica is made where the tree will be, but one may have been meanwhile.
  absl::Status made = CheckPath(row);
  const CloneWatcher stoppable{watcher.step, [&] { return stopping_.stop_requested() || watcher.cancelled(); }};
  if (made.ok()) made = MakeTree(row, work, stoppable);
  if (made.ok()) return row.tree;
  // What is left is thrown away now, or by the next start.
  FinishMaking(row).IgnoreError();
  return made;
}

absl::Status PointTrees::MakeTree(Row& row, const os::WorkFolder& work, const CloneWatcher& watcher) {
  const std::string scratch_name = ScratchName(row.tree.id);
  ASSIGN_OR_RETURN(os::Root scratch, os::PrivateFolder(work.folder.fd(), scratch_name));
  RETURN_IF_ERROR(engine_.ClonePoint(row.tree.volume, row.tree.sequence, std::move(scratch), watcher));
  RETURN_IF_ERROR(os::SyncFilesystem(work.folder.fd()));
  const std::string from = fmt::format("{}/{}", scratch_name, kTree);
  ASSIGN_OR_RETURN(const os::EntryStat stat, work.folder.Stat(from));
  row.folder = IdentityOf(stat);
  // Known from here on, so that the next start finds it wherever it is.
  RETURN_IF_ERROR(Write(row));
  ASSIGN_OR_RETURN(const os::ParentAndName place, OpenPlace(row.tree.path, row.export_path));
  if (renameat2(work.folder.fd(), from.c_str(), place.folder.get(), place.name.c_str(), RENAME_NOREPLACE) != 0) {
    return ErrnoStatus(errno, fmt::format("bring the tree to '{}'", Printable(row.tree.path)));
  }
  RETURN_IF_ERROR(os::SyncFile(place.folder.get()));
  return FinishMaking(row);
}

// The tree is in its place and stays, or it isn't and what there is of it goes.
absl::Status PointTrees::FinishMaking(Row& row) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, OpenWork(row));
  const absl::StatusOr<os::ParentAndName> place = OpenPlace(row.tree.path, row.export_path);
  if (!place.ok() && !absl::IsNotFound(place.status())) return place.status();
  const absl::StatusOr<os::EntryStat> stat = place.ok() ? os::StatAt(place->folder.get(), place->name) : place.status();
  if (!stat.ok() && !absl::IsNotFound(stat.status())) return stat.status();
  RETURN_IF_ERROR(RemoveScratch(work.folder, ScratchName(row.tree.id), stopping_.get_token()));
  if (!stat.ok() || row.folder.inode == 0 || IdentityOf(*stat) != row.folder) return Forget(row.tree.id);
  row.tree.state = PointTreeState::kReady;
  const absl::Status served = serving_.begin(row.tree);
  // It is wanted all the same, and `drctl exports list` shows how that stands.
  if (!served.ok()) spdlog::warn("volume={} tree={} {}", row.tree.volume, row.tree.id, MessageOf(served));
  return Write(row);
}

absl::StatusOr<model::PointTree> PointTrees::Remove(const std::string& id) {
  RETURN_IF_ERROR(model::ValidatePointTreeId(id));
  absl::MutexLock working(&work_mutex_);
  ASSIGN_OR_RETURN(std::vector<Row> rows, Query());
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& of) { return of.tree.id == id; });
  if (row == rows.end()) {
    return absl::NotFoundError(fmt::format("no tree {}: drctl points list shows what there is", id));
  }
  row->tree.state = PointTreeState::kRemoving;
  RETURN_IF_ERROR(Write(*row));
  RETURN_IF_ERROR(FinishRemoving(*row));
  return row->tree;
}

// Out of its place in one step, then apart.
absl::Status PointTrees::FinishRemoving(const Row& row) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, OpenWork(row));
  RETURN_IF_ERROR(serving_.end(row.tree));
  const absl::StatusOr<os::ParentAndName> place = OpenPlace(row.tree.path, row.export_path);
  if (!place.ok() && !absl::IsNotFound(place.status())) return place.status();
  if (place.ok()) {
    const absl::StatusOr<os::EntryStat> stat = os::StatAt(place->folder.get(), place->name);
    if (!stat.ok() && !absl::IsNotFound(stat.status())) return stat.status();
    if (stat.ok()) {
      if (IdentityOf(*stat) != row.folder) {
        return absl::FailedPreconditionError(
            fmt::format("'{}' isn't the folder of this tree (any more): move it away", Printable(row.tree.path)));
      }
      ASSIGN_OR_RETURN(const os::Root scratch, os::PrivateFolder(work.folder.fd(), ScratchName(row.tree.id)));
      if (renameat2(place->folder.get(), place->name.c_str(), scratch.fd(), kTree, RENAME_NOREPLACE) != 0) {
        return ErrnoStatus(errno, fmt::format("take away the tree '{}'", Printable(row.tree.path)));
      }
      RETURN_IF_ERROR(os::SyncFile(place->folder.get()));
    }
  }
  RETURN_IF_ERROR(RemoveScratch(work.folder, ScratchName(row.tree.id), stopping_.get_token()));
  return Forget(row.tree.id);
}

}  // namespace understudy::dr
