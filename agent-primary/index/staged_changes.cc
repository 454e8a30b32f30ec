#include "agent-primary/index/staged_changes.h"

#include <fmt/format.h>

#include "agent-primary/index/index_schema.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

using store::Statement;

// What `staged.change` says; the index in IndexChange.
enum StagedChange : int {
  kRemove,
  kDetach,
  kAttach,
  kCopySegments,
  kPut,
  kPutSegment,
  kRemoveSegment,
  kTruncateSegments,
  kUnsettle,
  kPutBase,
  kDropBase
};

// Before the row's columns. Of CopySegments `number` is the inode that the records come from; of PutSegment `extra` is
// its blocks, of PutBase the clone's name.
constexpr std::string_view kOwnColumns = "change, key, slot, number, digest, extra";
constexpr int kOwnColumnCount = 6;
// Of the row's: changes of segments use the first alone, PutBase all of them.
constexpr int kInodeColumn = 7;
constexpr int kCtimeColumn = 10;
constexpr int kDeviceColumn = 14;

// Binds what one kind of change has; the parameters are the columns, counted from 1.
struct Binder {
  Statement& insert;

  void operator()(const UnsettleRow& op) const { insert.BindBlob(2, model::Key(op.path)); }
  void operator()(const RemoveRow& op) const { insert.BindBlob(2, model::Key(op.path)); }
  void operator()(const DetachRows& op) const { insert.BindBlob(2, model::Key(op.path)).BindInteger(3, op.slot); }
  void operator()(const AttachRows& op) const { insert.BindBlob(2, model::Key(op.path)).BindInteger(3, op.slot); }
  void operator()(const CopySegments& op) const { BindSegments(op.from_inode, op.to_inode); }
  void operator()(const PutRow& op) const {
    insert.BindBlob(2, model::Key(op.path));
    BindRow(insert, kOwnColumnCount + 1, op.row);
  }
  void operator()(const PutSegment& op) const {
    BindSegments(op.segment.number, op.inode);
    insert.BindBlob(5, BytesOf(op.segment.digest)).BindBlob(6, op.segment.blocks);
  }
  void operator()(const RemoveSegment& op) const { BindSegments(op.number, op.inode); }
  void operator()(const TruncateSegments& op) const { BindSegments(op.from_number, op.inode); }
  void operator()(const PutBase& op) const {
    BindSegments(op.base.size, op.inode);
    insert.BindBlob(5, BytesOf(op.base.content)).BindBlob(6, op.base.clone);
    insert.BindInteger(kCtimeColumn + 1, op.base.clone_ctime_nanoseconds);
    insert.BindUnsigned(kDeviceColumn + 1, op.base.clone_inode);
  }
  void operator()(const DropBase& op) const { BindSegments(0, op.inode); }

  void BindSegments(uint64_t number, uint64_t inode) const {
    insert.BindUnsigned(4, number).BindUnsigned(kInodeColumn + 1, inode);
  }
};

IndexChange ReadChange(const Statement& staged) {
  const std::string path = model::PathOfKey(staged.Bytes(1));
  const auto slot = static_cast<model::Slot>(staged.Integer(2));
  const uint64_t number = staged.Unsigned(3);
  const uint64_t inode = staged.Unsigned(kInodeColumn);
  switch (static_cast<StagedChange>(staged.Integer(0))) {
    case kRemove:
      return RemoveRow{path};
    case kDetach:
      return DetachRows{path, slot};
    case kAttach:
      return AttachRows{slot, path};
    case kCopySegments:
      return CopySegments{number, inode};
    case kPut:
      return PutRow{path, ReadRow(staged, kOwnColumnCount)};
    case kPutSegment:
      return PutSegment{inode, {number, DigestFrom(staged.Bytes(4)), staged.String(5)}};
    case kRemoveSegment:
      return RemoveSegment{inode, number};
    case kTruncateSegments:
      return TruncateSegments{inode, number};
    case kUnsettle:
      return UnsettleRow{path};
    case kPutBase:
      return PutBase{inode,
                     {staged.String(5), number, DigestFrom(staged.Bytes(4)), staged.Unsigned(kDeviceColumn),
                      staged.Integer(kCtimeColumn)}};
    case kDropBase:
      return DropBase{inode};
  }
  return {};
}

}  // namespace

absl::Status StoreStaged(store::Database& database, std::span<const IndexChange> changes) {
  RETURN_IF_ERROR(ClearStaged(database));
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare(fmt::format("INSERT INTO staged ({}, {}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
                                                "?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
                                                kOwnColumns, kRowColumns)));
  for (const IndexChange& change : changes) {
    for (int i = 1; i <= kOwnColumnCount + kRowColumnCount; ++i) insert.BindNull(i);
    insert.BindInteger(1, static_cast<int64_t>(change.index()));
    std::visit(Binder{insert}, change);
    RETURN_IF_ERROR(insert.Run());
  }
  return absl::OkStatus();
}

absl::Status VisitStaged(store::Database& database, const std::function<absl::Status(const IndexChange&)>& visit) {
  ASSIGN_OR_RETURN(Statement staged,
                   database.Prepare(fmt::format("SELECT {}, {} FROM staged ORDER BY n", kOwnColumns, kRowColumns)));
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, staged.Step());
    if (!found) return absl::OkStatus();
    RETURN_IF_ERROR(visit(ReadChange(staged)));
  }
}

absl::Status ClearStaged(store::Database& database) {
  return database.Execute("DELETE FROM staged");
}

}  // namespace understudy::primary
