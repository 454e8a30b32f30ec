#include "agent-primary/index/staged_changes.h"

#include <cstring>
#include <type_traits>
#include <utility>

#include "agent-primary/index/index_schema.h"

namespace understudy::primary {
namespace {

using store::Statement;

// Rows hold about so many bytes of changes.
constexpr size_t kRowBytes = 256 * 1024;

// A change is its index in IndexChange (one byte) and its fields in their order: numbers as they are in memory (the
// file never leaves its host), texts with their length before them.
class Writer {
 public:
  explicit Writer(std::string& bytes) : bytes_(bytes) {}

  void operator()(const RemoveRow& op) { Add(op.path); }
  void operator()(const DetachRows& op) { Add(op.path, op.slot); }
  void operator()(const AttachRows& op) { Add(op.slot, op.path); }
  void operator()(const CopySegments& op) { Add(op.from_inode, op.to_inode); }
  void operator()(const PutRow& op) {
    const IndexRow& row = op.row;
    Add(op.path, row.kind, row.inode, row.size, row.mtime_nanoseconds, row.ctime_nanoseconds, row.mode, row.uid,
        row.gid, row.device, row.xattrs, row.content, row.file);
  }
  void operator()(const PutSegment& op) { Add(op.inode, op.segment.number, op.segment.digest, op.segment.blocks); }
  void operator()(const RemoveSegment& op) { Add(op.inode, op.number); }
  void operator()(const TruncateSegments& op) { Add(op.inode, op.from_number); }
  void operator()(const UnsettleRow& op) { Add(op.path); }
  void operator()(const PutBase& op) {
    const BaseRecord& base = op.base;
    Add(op.inode, base.clone, base.size, base.content, base.clone_inode, base.clone_ctime_nanoseconds);
  }
  void operator()(const DropBase& op) { Add(op.inode); }

  template <typename... Fields>
  void Add(const Fields&... fields) {
    (AddField(fields), ...);
  }

 private:
  void AddField(const std::string& text) {
    AddField(static_cast<uint64_t>(text.size()));
    bytes_ += text;
  }
  template <typename Number>
  void AddField(const Number& number) {
    static_assert(std::is_trivially_copyable_v<Number>);
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }

  std::string& bytes_;
};

// What a Writer wrote. Past its end everything is zeros and not ok().
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool more() const { return ok_ && !bytes_.empty(); }

  IndexChange Next() {
    switch (Take<uint8_t>()) {
      case 0:
        return Into<RemoveRow>(&RemoveRow::path);
      case 1:
        return Into<DetachRows>(&DetachRows::path, &DetachRows::slot);
      case 2:
        return Into<AttachRows>(&AttachRows::slot, &AttachRows::path);
      case 3:
        return Into<CopySegments>(&CopySegments::from_inode, &CopySegments::to_inode);
      case 4: {
        PutRow op;
        IndexRow& row = op.row;
        Fill(op.path, row.kind, row.inode, row.size, row.mtime_nanoseconds, row.ctime_nanoseconds, row.mode, row.uid,
             row.gid, row.device, row.xattrs, row.content, row.file);
        return op;
      }
      case 5: {
        PutSegment op;
        Fill(op.inode, op.segment.number, op.segment.digest, op.segment.blocks);
        return op;
      }
      case 6:
        return Into<RemoveSegment>(&RemoveSegment::inode, &RemoveSegment::number);
      case 7:
        return Into<TruncateSegments>(&TruncateSegments::inode, &TruncateSegments::from_number);
      case 8:
        return Into<UnsettleRow>(&UnsettleRow::path);
      case 9: {
        PutBase op;
        BaseRecord& base = op.base;
        Fill(op.inode, base.clone, base.size, base.content, base.clone_inode, base.clone_ctime_nanoseconds);
        return op;
      }
      case 10:
        return Into<DropBase>(&DropBase::inode);
      default:
        ok_ = false;
        return {};
    }
  }

 private:
  template <typename Change, typename... Members>
  Change Into(Members... members) {
    Change change;
    Fill(change.*members...);
    return change;
  }
  template <typename... Fields>
  void Fill(Fields&... fields) {
    (FillField(fields), ...);
  }
  void FillField(std::string& text) {
    const auto length = Take<uint64_t>();
    ok_ = ok_ && length <= bytes_.size();
    if (!ok_) return;
    text = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
  }
  template <typename Number>
  void FillField(Number& number) {
    number = Take<Number>();
  }
  template <typename Number>
  Number Take() {
    static_assert(std::is_trivially_copyable_v<Number>);
    Number number{};
    ok_ = ok_ && bytes_.size() >= sizeof(number);
    if (!ok_) return number;
    std::memcpy(&number, bytes_.data(), sizeof(number));
    bytes_.remove_prefix(sizeof(number));
    return number;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace

absl::Status StoreStaged(store::Database& database, std::span<const IndexChange> changes) {
  RETURN_IF_ERROR(ClearStaged(database));
  ASSIGN_OR_RETURN(Statement insert, database.Prepare("INSERT INTO staged (changes) VALUES (?1)"));
  std::string bytes;
  for (size_t i = 0; i < changes.size(); ++i) {
    Writer writer(bytes);
    writer.Add(static_cast<uint8_t>(changes[i].index()));
    std::visit(writer, changes[i]);
    if (bytes.size() < kRowBytes && i + 1 < changes.size()) continue;
    RETURN_IF_ERROR(insert.BindBlob(1, bytes).Run());
    bytes.clear();
  }
  return absl::OkStatus();
}

absl::Status VisitStaged(store::Database& database, const std::function<absl::Status(const IndexChange&)>& visit) {
  ASSIGN_OR_RETURN(Statement staged, database.Prepare("SELECT changes FROM staged ORDER BY n"));
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, staged.Step());
    if (!found) return absl::OkStatus();
    const std::string bytes = staged.String(0);
    Reader reader(bytes);
    while (reader.more()) {
      const IndexChange change = reader.Next();
      if (!reader.ok()) {
        return absl::DataLossError("the index " + database.path() + " is damaged: remove the file");
      }
      RETURN_IF_ERROR(visit(change));
    }
  }
}

absl::Status ClearStaged(store::Database& database) {
  return database.Execute("DELETE FROM staged");
}

}  // namespace understudy::primary
