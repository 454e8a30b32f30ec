#include "agent-primary/index/index_row.h"

#include "core/delta/content_digest.h"

namespace understudy::primary {
namespace {

int64_t MtimeNanoseconds(const model::Metadata& metadata) {
  return metadata.mtime_seconds * 1'000'000'000 + metadata.mtime_nanoseconds;
}

}  // namespace

bool IsUnchanged(const IndexRow& row, const os::EntryStat& stat) {
  // Adding to a folder changes its size in ways that mean nothing elsewhere; its times tell.
  const bool same_size = stat.kind == model::FileKind::kDirectory || row.size == stat.size;
  return row.kind == stat.kind && row.inode == stat.inode && same_size &&
         row.ctime_nanoseconds == stat.ctime_nanoseconds && row.mtime_nanoseconds == stat.mtime_nanoseconds &&
         row.mode == stat.mode && row.uid == stat.uid && row.gid == stat.gid && row.device == stat.device;
}

bool AreSameFile(const IndexRow& a, const IndexRow& b) {
  return a.file != 0 && a.file == b.file;
}

bool HasMetadata(const IndexRow& row, const model::Metadata& metadata) {
  return row.mode == metadata.mode && row.uid == metadata.uid && row.gid == metadata.gid &&
         row.mtime_nanoseconds == MtimeNanoseconds(metadata) && row.xattrs == DigestOfXattrs(metadata.xattrs);
}

model::Digest DigestOfXattrs(const std::vector<model::Xattr>& xattrs) {
  if (xattrs.empty()) return {};
  std::string joined;
  for (const model::Xattr& xattr : xattrs) {
    // Names end in NUL; values are preceded by their length, so that no two lists join to the same bytes.
    joined.append(xattr.name).push_back('\0');
    for (int shift = 0; shift < 64; shift += 8) joined.push_back(static_cast<char>(xattr.value.size() >> shift));
    joined.append(xattr.value);
  }
  return delta::DigestOf(joined);
}

IndexRow MakeRow(const os::EntryStat& stat, const std::vector<model::Xattr>& xattrs, const model::Digest& content) {
  IndexRow row;
  row.kind = stat.kind;
  row.inode = stat.inode;
  row.size = stat.kind == model::FileKind::kDirectory ? 0 : stat.size;
  row.mtime_nanoseconds = stat.mtime_nanoseconds;
  row.ctime_nanoseconds = stat.ctime_nanoseconds;
  row.mode = stat.mode;
  row.uid = stat.uid;
  row.gid = stat.gid;
  row.device = stat.device;
  row.xattrs = DigestOfXattrs(xattrs);
  row.content = content;
  return row;
}

}  // namespace understudy::primary
