// What volume_store.h declares of undo records (docs/formats/undo.md).
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "agent-dr/commit/volume_store.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/wire/replication_codec.h"

namespace understudy::dr {
namespace {

// Over everything that running or merging the record acts on.
std::string DigestOfUndo(const UndoRecord& undo, std::string_view operations) {
  const UndoAbout& about = undo.about;
  std::string bytes = fmt::format("{},{},{};", about.sequence, about.from, about.point.sequence);
  bytes += operations;
  for (const auto& [kept, ranges] : undo.kept_content) bytes += fmt::format(";{},", kept) + SerializeRanges(ranges);
  if (!undo.about.knows_several_names) return std::string(delta::BytesOf(delta::DigestOf(bytes)));
  for (const std::set<std::string>* const names : {&undo.several_names, &undo.kept_several_names}) {
    bytes += fmt::format(";{};", names->size());
    for (const std::string& path : *names) bytes += fmt::format("{},", path.size()) + path;
  }
  return std::string(delta::BytesOf(delta::DigestOf(bytes)));
}

// Columns sequence, from_point, point, committed, captured, completes_capture, complete, superseded, held_bytes,
// measured, knows_several_names, consistency.
constexpr std::string_view kAboutColumns =
    "sequence, from_point, point, committed_nanoseconds, captured_nanoseconds, completes_capture, complete,"
    " superseded_nanoseconds, held_bytes, measured, knows_several_names, consistency";
UndoAbout AboutOf(const store::Statement& row) {
  UndoAbout about;
  about.sequence = row.Unsigned(0);
  about.from = row.Unsigned(1);
  about.point = {row.Unsigned(2),     row.Integer(3),      row.Integer(4),
                 row.Integer(5) != 0, row.Integer(6) != 0, row.Unsigned(8)};
  about.superseded_at_nanoseconds = row.Integer(7);
  about.measured = row.Integer(9) != 0;
  about.knows_several_names = row.Integer(10) != 0;
  about.point.consistency = model::ConsistencyOf(row.Integer(11));
  return about;
}

// Of contents as they were before another definition of the content digest: they aren't known.
void ForgetDigests(std::vector<model::Operation>& operations) {
  for (model::Operation& operation : operations) {
    if (auto* const patch = std::get_if<model::Patch>(&operation)) patch->digest = {};
  }
}

}  // namespace

absl::Status VolumeStore::ChangeUndo(const CommitRecord& record, UndoChanges& undo) {
  if (record.runs != 0) RETURN_IF_ERROR(DeleteUndo({&record.runs, 1}));
  RETURN_IF_ERROR(DeleteUndo(undo.dropped));
  if (!undo.measured.empty()) {
    ASSIGN_OR_RETURN(store::Statement update,
                     database_.Prepare("UPDATE undo SET held_bytes = ?, measured = 1 WHERE sequence = ?"));
    for (const UndoAbout& about : undo.measured) {
      RETURN_IF_ERROR(update.BindUnsigned(1, about.point.held_bytes).BindUnsigned(2, about.sequence).Run());
    }
  }
  return undo.left.has_value() ? InsertUndo(*undo.left) : absl::OkStatus();
}

absl::Status VolumeStore::InsertUndo(UndoRecord& undo) {
  model::Commit reverse;
  reverse.operations = std::move(undo.operations);
  const std::string operations = wire::SerializeCommit(reverse);
  undo.operations = std::move(reverse.operations);
  UndoAbout& about = undo.about;
  about.point.held_bytes = operations.size();
  ASSIGN_OR_RETURN(store::Statement content, database_.Prepare("INSERT INTO undo_content VALUES(?, ?, ?)"));
  for (const auto& [kept, ranges] : undo.kept_content) {
    const std::string bytes = SerializeRanges(ranges);
    about.point.held_bytes += bytes.size();
    RETURN_IF_ERROR(content.BindUnsigned(1, about.sequence).BindUnsigned(2, kept).BindBlob(3, bytes).Run());
  }
  ASSIGN_OR_RETURN(store::Statement name, database_.Prepare("INSERT INTO undo_several_names VALUES(?, ?, ?)"));
  for (const bool kept : {false, true}) {
    for (const std::string& path : kept ? undo.kept_several_names : undo.several_names) {
      about.point.held_bytes += path.size();
      RETURN_IF_ERROR(name.BindUnsigned(1, about.sequence).BindInteger(2, kept).BindBlob(3, path).Run());
    }
  }
  ASSIGN_OR_RETURN(store::Statement does, database_.Prepare("INSERT INTO undo_operations VALUES(?, ?, ?)"));
  does.BindUnsigned(1, about.sequence).BindBlob(2, operations);
  RETURN_IF_ERROR(does.BindBlob(3, DigestOfUndo(undo, operations)).Run());
  ASSIGN_OR_RETURN(
      store::Statement insert,
      database_.Prepare(fmt::format("INSERT INTO undo({}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", kAboutColumns)));
  insert.BindUnsigned(1, about.sequence).BindUnsigned(2, about.from).BindUnsigned(3, about.point.sequence);
  insert.BindInteger(4, about.point.committed_at_nanoseconds).BindInteger(5, about.point.captured_at_nanoseconds);
  insert.BindInteger(6, about.point.completes_capture).BindInteger(7, about.point.complete);
  insert.BindInteger(8, about.superseded_at_nanoseconds).BindUnsigned(9, about.point.held_bytes);
  insert.BindInteger(10, about.measured).BindInteger(11, about.knows_several_names);
  return insert.BindInteger(12, static_cast<int64_t>(about.point.consistency)).Run();
}

absl::Status VolumeStore::DeleteUndo(std::span<const model::Sequence> sequences) {
  if (sequences.empty()) return absl::OkStatus();
  for (const char* sql :
       {"DELETE FROM undo WHERE sequence = ?", "DELETE FROM undo_operations WHERE sequence = ?",
        "DELETE FROM undo_content WHERE sequence = ?", "DELETE FROM undo_several_names WHERE sequence = ?"}) {
    ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare(sql));
    for (const model::Sequence sequence : sequences) RETURN_IF_ERROR(remove.BindUnsigned(1, sequence).Run());
  }
  return absl::OkStatus();
}

absl::Status VolumeStore::DropUndo(std::span<const model::Sequence> sequences) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(DeleteUndo(sequences));
  return transaction.Commit();
}

absl::StatusOr<std::vector<UndoAbout>> VolumeStore::ListUndo() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare(fmt::format("SELECT {} FROM undo ORDER BY sequence", kAboutColumns)));
  std::vector<UndoAbout> records;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return records;
    records.push_back(AboutOf(query));
  }
}

absl::StatusOr<UndoRecord> VolumeStore::LoadUndo(model::Sequence sequence) {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare(
                       fmt::format("SELECT {}, operations, digest, sequence <= (SELECT max(digests_after) FROM replica)"
                                   " FROM undo JOIN undo_operations USING(sequence) WHERE sequence = ?",
                                   kAboutColumns)));
  query.BindUnsigned(1, sequence);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return absl::NotFoundError(fmt::format("no undo record of commit {}", sequence));
  UndoRecord undo;
  undo.about = AboutOf(query);
  const std::string operations = query.String(12);
  const std::string digest = query.String(13);
  const bool old_digests = query.Integer(14) != 0;
  RETURN_IF_ERROR(LoadSeveralNames(undo));
  ASSIGN_OR_RETURN(store::Statement content,
                   database_.Prepare("SELECT kept, ranges FROM undo_content WHERE sequence = ? ORDER BY kept"));
  content.BindUnsigned(1, sequence);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, content.Step());
    if (!more) break;
    ASSIGN_OR_RETURN(undo.kept_content[content.Unsigned(0)], ParseRanges(content.Bytes(1)));
  }
  if (digest != DigestOfUndo(undo, operations)) {
    return absl::DataLossError(
        fmt::format("undo record {} in '{}' is damaged: no state on its other side can be reached", sequence,
                    Printable(database_.path())));
  }
  ASSIGN_OR_RETURN(model::Commit reverse, wire::DeserializeCommit(operations));
  undo.operations = std::move(reverse.operations);
  if (old_digests) ForgetDigests(undo.operations);
  return undo;
}

absl::Status VolumeStore::LoadSeveralNames(UndoRecord& undo) {
  ASSIGN_OR_RETURN(store::Statement names,
                   database_.Prepare("SELECT kept, path FROM undo_several_names WHERE sequence = ?"));
  names.BindUnsigned(1, undo.about.sequence);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, names.Step());
    if (!more) return absl::OkStatus();
    (names.Integer(0) != 0 ? undo.kept_several_names : undo.several_names).insert(names.String(1));
  }
}

absl::Status VolumeStore::MergeUndo(UndoRecord& merged, std::span<const model::Sequence> replaces,
                                    std::span<const KeptMove> moves) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(DeleteUndo(replaces));
  RETURN_IF_ERROR(InsertUndo(merged));
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT INTO undo_move VALUES(?, ?, ?, ?)"));
  for (const KeptMove& move : moves) {
    insert.BindUnsigned(1, move.from.sequence).BindUnsigned(2, move.from.entry);
    RETURN_IF_ERROR(insert.BindUnsigned(3, merged.about.sequence).BindUnsigned(4, move.to).Run());
  }
  return transaction.Commit();
}

absl::StatusOr<VolumeStore::DueMoves> VolumeStore::LoadMoves() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT sequence, entry, into_sequence, into_entry FROM undo_move"));
  DueMoves due;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return due;
    due.into = query.Unsigned(2);
    due.moves.push_back({{query.Unsigned(0), query.Unsigned(1)}, query.Unsigned(3)});
  }
}

absl::Status VolumeStore::ForgetMoves() {
  return database_.Execute("DELETE FROM undo_move");
}

}  // namespace understudy::dr
