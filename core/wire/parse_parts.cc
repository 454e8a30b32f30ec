#include "core/wire/parse_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_replace.h"
#include "core/base/log.h"

namespace understudy::wire {

// The values of both enumerations are the same by design; the check catches what is none of them.
static_assert(static_cast<int>(model::FileKind::kRegular) == v1::FILE_KIND_REGULAR);
static_assert(static_cast<int>(model::FileKind::kDirectory) == v1::FILE_KIND_DIRECTORY);
static_assert(static_cast<int>(model::FileKind::kSymlink) == v1::FILE_KIND_SYMLINK);
static_assert(static_cast<int>(model::FileKind::kFifo) == v1::FILE_KIND_FIFO);
static_assert(static_cast<int>(model::FileKind::kSocket) == v1::FILE_KIND_SOCKET);
static_assert(static_cast<int>(model::FileKind::kCharacterDevice) == v1::FILE_KIND_CHARACTER_DEVICE);
static_assert(static_cast<int>(model::FileKind::kBlockDevice) == v1::FILE_KIND_BLOCK_DEVICE);

absl::StatusOr<model::FileKind> KindFrom(v1::FileKind kind) {
  if (kind < v1::FILE_KIND_REGULAR || kind > v1::FILE_KIND_BLOCK_DEVICE) {
    return absl::InvalidArgumentError(fmt::format("file kind {} isn't known", static_cast<int>(kind)));
  }
  return static_cast<model::FileKind>(kind);
}

v1::FileKind KindToProto(model::FileKind kind) {
  return static_cast<v1::FileKind>(kind);
}

static_assert(static_cast<int>(model::Consistency::kFuzzy) == v1::CONSISTENCY_FUZZY);
static_assert(static_cast<int>(model::Consistency::kCrashConsistent) == v1::CONSISTENCY_CRASH_CONSISTENT);
static_assert(static_cast<int>(model::Consistency::kQuiesced) == v1::CONSISTENCY_QUIESCED);

v1::Consistency ConsistencyToProto(model::Consistency consistency) {
  return static_cast<v1::Consistency>(consistency);
}

absl::StatusOr<model::Digest> DigestFrom(std::string_view bytes) {
  model::Digest digest;
  if (bytes.size() != digest.size()) {
    return absl::InvalidArgumentError(fmt::format("digest of {} bytes instead of {}", bytes.size(), digest.size()));
  }
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

model::Metadata MetadataFrom(const v1::Metadata& message) {
  model::Metadata metadata;
  metadata.mode = message.mode();
  metadata.uid = message.uid();
  metadata.gid = message.gid();
  metadata.mtime_seconds = message.mtime_seconds();
  metadata.mtime_nanoseconds = message.mtime_nanoseconds();
  metadata.xattrs.reserve(static_cast<size_t>(message.xattrs_size()));
  for (const v1::Xattr& xattr : message.xattrs()) metadata.xattrs.push_back({xattr.name(), xattr.value()});
  return metadata;
}

std::string ToText(std::string_view bytes, size_t limit) {
  const std::string text = Printable(bytes.substr(0, limit));
  return absl::StrReplaceAll(text, {{"\\x5c", "\\"}});
}

}  // namespace understudy::wire
