#include "agent-primary/index/volume_index.h"

#include <map>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "agent-primary/index/guard_table.h"
#include "agent-primary/index/index_schema.h"
#include "agent-primary/index/staged_changes.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

using store::Statement;

IndexState WithoutStaged(IndexState state) {
  state.staged_sequence.reset();
  state.staged_commit_id.clear();
  state.staged_complete = false;
  return state;
}

}  // namespace

// A transaction; without Commit the count of entries goes back with it.
class VolumeIndex::Change {
 public:
  static absl::StatusOr<Change> Begin(VolumeIndex& index) {
    ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(index.database_));
    return Change(index, std::move(transaction));
  }
  Change(Change&& other) noexcept
      : index_(std::exchange(other.index_, nullptr)),
        transaction_(std::move(other.transaction_)),
        entries_before_(other.entries_before_) {}
  Change& operator=(Change&&) = delete;
  ~Change() {
    if (index_ != nullptr) index_->rows_->RestoreCount(entries_before_);
  }

  absl::Status Commit() {
    RETURN_IF_ERROR(transaction_.Commit());
    index_ = nullptr;
    return absl::OkStatus();
  }
  // With `state` as the index's own.
  absl::Status Commit(IndexState state) {
    VolumeIndex& index = *index_;
    RETURN_IF_ERROR(index.SaveState(state));
    RETURN_IF_ERROR(Commit());
    index.state_ = std::move(state);
    return absl::OkStatus();
  }

 private:
  Change(VolumeIndex& index, store::Transaction transaction)
      : index_(&index), transaction_(std::move(transaction)), entries_before_(index.rows_->count()) {}

  VolumeIndex* index_;  // nullptr once committed
  store::Transaction transaction_;
  uint64_t entries_before_;
};

VolumeIndex::VolumeIndex(store::Database database) : database_(std::move(database)) {}

absl::StatusOr<std::unique_ptr<VolumeIndex>> VolumeIndex::Open(const std::string& file) {
  ASSIGN_OR_RETURN(store::Database database,
                   store::Database::Open(file, {.durability = store::Durability::kNormal, .exclusive = true}));
  RETURN_IF_ERROR(database.Migrate(IndexSchema()));
  std::unique_ptr<VolumeIndex> index(new VolumeIndex(std::move(database)));
  ASSIGN_OR_RETURN(index->rows_, EntryTable::Open(index->database_));
  ASSIGN_OR_RETURN(index->segments_, SegmentTable::Open(index->database_));
  index->bases_.emplace(index->database_);
  RETURN_IF_ERROR(index->LoadState());
  ASSIGN_OR_RETURN(index->guard_, LoadGuard(index->database_));
  return index;
}

absl::Status VolumeIndex::LoadState() {
  ASSIGN_OR_RETURN(Statement load, database_.Prepare("SELECT replica_id, epoch, sequence, complete, staged_sequence, "
                                                     "staged_complete, commit_id, staged_commit_id FROM state"));
  ASSIGN_OR_RETURN(const bool found, load.Step());
  if (!found) return absl::DataLossError("the index " + database_.path() + " has no state: remove the file");
  state_.replica_id = load.String(0);
  state_.epoch = load.Unsigned(1);
  state_.sequence = load.Unsigned(2);
  state_.complete = load.Integer(3) != 0;
  state_.staged_sequence = load.IsNull(4) ? std::nullopt : std::optional(load.Unsigned(4));
  state_.staged_complete = load.Integer(5) != 0;
  state_.commit_id = load.String(6);
  state_.staged_commit_id = load.String(7);
  return absl::OkStatus();
}

absl::Status VolumeIndex::SaveState(const IndexState& state) {
  ASSIGN_OR_RETURN(
      Statement save,
      database_.Prepare("UPDATE state SET replica_id = ?1, epoch = ?2, sequence = ?3, complete = ?4, "
                        "staged_sequence = ?5, staged_complete = ?6, commit_id = ?7, staged_commit_id = ?8"));
  save.BindText(1, state.replica_id)
      .BindUnsigned(2, state.epoch)
      .BindUnsigned(3, state.sequence)
      .BindInteger(4, state.complete ? 1 : 0)
      .BindInteger(6, state.staged_complete ? 1 : 0)
      .BindText(7, state.commit_id)
      .BindText(8, state.staged_commit_id);
  if (state.staged_sequence.has_value()) {
    save.BindUnsigned(5, *state.staged_sequence);
  } else {
    save.BindNull(5);
  }
  return save.Run();
}

absl::Status VolumeIndex::SaveGuard(const GuardRecord& record, store::Durability durability) {
  if (record == guard_) return absl::OkStatus();
  RETURN_IF_ERROR(database_.SetDurability(durability));
  const absl::Cleanup restore = [this] { (void)database_.SetDurability(store::Durability::kNormal); };
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(StoreGuard(database_, guard_, record));
  RETURN_IF_ERROR(transaction.Commit());
  guard_ = record;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<IndexRow>> VolumeIndex::Find(std::string_view path) {
  return rows_->Find(model::Key(path));
}

absl::Status VolumeIndex::ForgetIdentities() {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(segments_->Clear());
  RETURN_IF_ERROR(bases_->Clear());
  RETURN_IF_ERROR(rows_->ForgetIdentities());
  return transaction.Commit();
}

absl::StatusOr<bool> VolumeIndex::DropSegmentsOfKey(std::string_view key, uint64_t unless_inode) {
  ASSIGN_OR_RETURN(const auto row, rows_->FindKind(key));
  if (!row.has_value() || row->kind != model::FileKind::kRegular || row->inode == unless_inode) return row.has_value();
  ASSIGN_OR_RETURN(const uint64_t names, rows_->CountNames(row->inode));
  if (names > 1) return true;  // another hard link has that content still
  RETURN_IF_ERROR(segments_->Drop(row->inode));
  return true;
}

absl::Status VolumeIndex::RemoveKey(std::string_view key) {
  ASSIGN_OR_RETURN(const bool there, DropSegmentsOfKey(key, 0));
  return there ? rows_->Remove(key) : absl::OkStatus();
}

absl::Status VolumeIndex::Apply(const IndexChange& change) {
  struct Visitor {
    VolumeIndex& index;
    EntryTable& rows;
    SegmentTable& segments;
    BaseTable& bases;

    absl::Status operator()(const RemoveRow& op) const {
      const std::string key = model::Key(op.path);
      RETURN_IF_ERROR(index.RemoveKey(key));
      RETURN_IF_ERROR(segments.DropBelow(key));
      return rows.RemoveBelow(key);
    }
    absl::Status operator()(const DetachRows& op) const { return rows.Move(model::Key(op.path), DetachedKey(op.slot)); }
    absl::Status operator()(const AttachRows& op) const {
      // A file that was there is replaced by the rename.
      const std::string key = model::Key(op.path);
      RETURN_IF_ERROR(index.RemoveKey(key));
      return rows.Move(DetachedKey(op.slot), key);
    }
    absl::Status operator()(const CopySegments& op) const { return segments.Copy(op.from_inode, op.to_inode); }
    absl::Status operator()(const PutRow& op) const {
      const std::string key = model::Key(op.path);
      ASSIGN_OR_RETURN(const bool there, index.DropSegmentsOfKey(key, op.row.inode));
      return there ? rows.Replace(key, op.row) : rows.Insert(key, op.row);
    }
    absl::Status operator()(const PutSegment& op) const { return segments.Put(op.inode, op.segment); }
    absl::Status operator()(const RemoveSegment& op) const { return segments.Remove(op.inode, op.number); }
    absl::Status operator()(const UnsettleRow& op) const { return rows.Unsettle(model::Key(op.path)); }
    absl::Status operator()(const TruncateSegments& op) const { return segments.Truncate(op.inode, op.from_number); }
    absl::Status operator()(const PutBase& op) const { return bases.Put(op.inode, op.base); }
    absl::Status operator()(const DropBase& op) const { return bases.Drop(op.inode); }
  };
  return std::visit(Visitor{*this, *rows_, *segments_, *bases_}, change);
}

absl::StatusOr<std::set<std::string>> VolumeIndex::CollectBases() {
  RETURN_IF_ERROR(bases_->DropOrphans());
  return bases_->ListClones();
}

absl::StatusOr<model::Digest> VolumeIndex::DoubtSegments(const IndexRow& row, const model::DamagedFile& damaged) {
  ASSIGN_OR_RETURN(const std::vector<model::SegmentDigest> known, segments_->ListDigests(row.inode));
  std::map<uint64_t, model::Digest> here;
  for (const model::SegmentDigest& segment : known) here[segment.number] = segment.digest;
  const auto digest_of = [&] {
    delta::ContentDigest digest;
    for (const auto& [number, segment] : here) digest.Add(segment);
    return digest.Finish(row.size);
  };
  const bool told = damaged.segments.has_value() && damaged.size == row.size && !here.empty();
  std::set<uint64_t> doubtful;
  if (told && digest_of() == row.content) {
    std::map<uint64_t, model::Digest> there;
    for (const model::SegmentDigest& segment : *damaged.segments) there[segment.number] = segment.digest;
    for (const auto& [number, digest] : here) {
      const auto found = there.find(number);
      if (found == there.end() || found->second != digest) doubtful.insert(number);
    }
    for (const auto& [number, digest] : there) {
      if (!here.contains(number)) doubtful.insert(number);
    }
  }
  // Also when DR has what this says, and its own record is wrong: sent as a whole, it gets a new one.
  if (doubtful.empty()) {
    RETURN_IF_ERROR(segments_->Drop(row.inode));
    return model::Digest{};
  }
  for (const uint64_t number : doubtful) {
    here[number] = {};
    RETURN_IF_ERROR(segments_->Put(row.inode, {number, {}, {}}));
  }
  return digest_of();
}

absl::StatusOr<std::vector<std::string>> VolumeIndex::Doubt(const model::DamagedFile& damaged) {
  ASSIGN_OR_RETURN(const std::optional<IndexRow> row, Find(damaged.path));
  std::vector<std::string> paths;
  if (!row.has_value() || row->kind != model::FileKind::kRegular) return paths;
  std::map<std::string, IndexRow> names = {{damaged.path, *row}};
  std::vector<IndexEntry> others;
  if (row->inode != 0) {
    ASSIGN_OR_RETURN(others, rows_->ListByInode(row->inode));
  }
  if (row->file != 0) {
    ASSIGN_OR_RETURN(std::vector<IndexEntry> of_file, rows_->ListByFile(row->file));
    others.insert(others.end(), of_file.begin(), of_file.end());
  }
  bool alike = row->inode != 0;
  for (IndexEntry& other : others) {
    if (other.row.kind != model::FileKind::kRegular) continue;
    alike = alike && other.row.content == row->content && other.row.inode == row->inode;
    names.emplace(std::move(other.path), other.row);
  }
  ASSIGN_OR_RETURN(Change transaction, Change::Begin(*this));
  // It tells what changed here, not what did there.
  if (row->inode != 0) RETURN_IF_ERROR(bases_->Drop(row->inode));
  model::Digest content{};
  if (alike) {
    ASSIGN_OR_RETURN(content, DoubtSegments(*row, damaged));
  } else if (row->inode != 0) {
    RETURN_IF_ERROR(segments_->Drop(row->inode));
  }
  for (auto& [path, of_name] : names) {
    of_name.content = content;
    of_name.ctime_nanoseconds = kUnsettledCtime;
    RETURN_IF_ERROR(rows_->Replace(model::Key(path), of_name));
    paths.push_back(path);
  }
  RETURN_IF_ERROR(transaction.Commit());
  return paths;
}

absl::Status VolumeIndex::Refresh(std::span<const IndexChange> changes) {
  if (changes.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Change transaction, Change::Begin(*this));
  for (const IndexChange& change : changes) RETURN_IF_ERROR(Apply(change));
  return transaction.Commit();
}

absl::Status VolumeIndex::Stage(model::Sequence sequence, bool completes_capture, std::span<const IndexChange> changes,
                                std::string commit_id) {
  ASSIGN_OR_RETURN(Change transaction, Change::Begin(*this));
  RETURN_IF_ERROR(StoreStaged(database_, changes));
  IndexState next = state_;
  next.staged_sequence = sequence;
  next.staged_commit_id = std::move(commit_id);
  next.staged_complete = completes_capture;
  return transaction.Commit(std::move(next));
}

absl::Status VolumeIndex::Acknowledge() {
  UNDERSTUDY_CHECK(state_.staged_sequence.has_value());
  ASSIGN_OR_RETURN(Change transaction, Change::Begin(*this));
  RETURN_IF_ERROR(VisitStaged(database_, [&](const IndexChange& change) { return Apply(change); }));
  RETURN_IF_ERROR(ClearStaged(database_));
  IndexState next = WithoutStaged(state_);
  next.sequence = *state_.staged_sequence;
  next.commit_id = state_.staged_commit_id;
  next.complete = state_.complete || state_.staged_complete;
  return transaction.Commit(std::move(next));
}

absl::Status VolumeIndex::DropStaged() {
  if (!state_.staged_sequence.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Change transaction, Change::Begin(*this));
  RETURN_IF_ERROR(ClearStaged(database_));
  return transaction.Commit(WithoutStaged(state_));
}

absl::Status VolumeIndex::Rebuild(const IndexState& state, const std::function<absl::Status(VolumeIndex&)>& fill) {
  ASSIGN_OR_RETURN(Change transaction, Change::Begin(*this));
  RETURN_IF_ERROR(ClearStaged(database_));
  RETURN_IF_ERROR(rows_->Clear());
  RETURN_IF_ERROR(segments_->Clear());
  RETURN_IF_ERROR(bases_->Clear());
  next_inventoried_ = kFirstInventoriedInode;
  RETURN_IF_ERROR(fill(*this));
  return transaction.Commit(WithoutStaged(state));
}

absl::Status VolumeIndex::PutRebuilt(const std::string& path, IndexRow row,
                                     std::span<const model::SegmentDigest> segments) {
  // Names of one file at DR may be several files here by now: which of them has the records couldn't be told.
  if (!segments.empty() && row.file == 0) {
    row.inode = next_inventoried_++;
    for (const model::SegmentDigest& segment : segments) {
      RETURN_IF_ERROR(segments_->Put(row.inode, {segment.number, segment.digest, {}}));
    }
  }
  return Apply(PutRow{path, row});
}

}  // namespace understudy::primary
