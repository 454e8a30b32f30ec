#include "tests/contract/replica_sink_contract.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/delta/rsync_segment.h"
#include "core/wire/limits.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using model::Metadata;

std::string LineOf(const model::InventoryEntry& entry) {
  std::string line = Printable(entry.path);
  const Metadata& meta = entry.metadata;
  const auto add = [&](std::string_view kind, uint32_t mode) {
    line += fmt::format(" {} {:o} {}:{} {}.{:09}", kind, mode, meta.uid, meta.gid, meta.mtime_seconds,
                        meta.mtime_nanoseconds);
  };
  switch (entry.kind) {
    case FileKind::kRegular:
      add("file", meta.mode);
      line += fmt::format(" {} {}", entry.size, entry.digest.has_value() ? DigestText(*entry.digest) : "-");
      break;
    case FileKind::kDirectory:
      add("folder", meta.mode);
      break;
    case FileKind::kSymlink:
      add("symlink", 0777);  // a symlink's mode means nothing
      line += " -> " + Printable(entry.symlink_target);
      break;
    default:
      add(fmt::format("node{}", static_cast<int>(entry.kind)), meta.mode);
      line += fmt::format(" {}", entry.device);
  }
  for (const model::Xattr& xattr : meta.xattrs) line += fmt::format(" {}={}", xattr.name, Printable(xattr.value));
  return line + "\n";
}

}  // namespace

Metadata Meta(uint32_t mode, int64_t mtime, uint32_t nanoseconds) {
  Metadata metadata;
  metadata.mode = mode;
  metadata.uid = 1000;
  metadata.gid = 1001;
  metadata.mtime_seconds = mtime;
  metadata.mtime_nanoseconds = nanoseconds;
  return metadata;
}

model::Put InlinePut(const std::string& path, const std::string& content, uint32_t mode) {
  return {path, Meta(mode), content.size(), delta::DigestOfContent(content), content};
}

model::Put StagedPut(const std::string& path, const std::string& content, model::Slot slot) {
  return {path, Meta(0600), content.size(), delta::DigestOfContent(content), slot};
}

std::string DigestText(const model::Digest& digest) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string FileLine(const std::string& path, const std::string& content, uint32_t mode) {
  return fmt::format("{} file {:o} 1000:1001 1700000000.123456789 {} {}\n", path, mode, content.size(),
                     DigestText(delta::DigestOfContent(content)));
}

std::string FolderLine(const std::string& path, uint32_t mode) {
  return fmt::format("{} folder {:o} 1000:1001 1700000000.123456789\n", path, mode);
}

std::string Pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

model::Commit ReplicaSinkContract::Begin() {
  const auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  EXPECT_TRUE(state.ok()) << state.status();
  model::Commit commit;
  if (!state.ok()) return commit;
  commit.volume = kVolume;
  commit.epoch = state->epoch;
  commit.base_sequence = state->sequence;
  commit.sequence = state->sequence + 1;
  return commit;
}

void ReplicaSinkContract::MustSubmit(const model::Commit& commit) {
  const absl::Status submitted = sink_->Submit(commit);
  ASSERT_TRUE(submitted.ok()) << submitted;
  const absl::Status published = WaitFor("the commit to be published", absl::Seconds(30),
                                         [&] { return sink_->Published(kVolume) >= commit.sequence; });
  ASSERT_TRUE(published.ok()) << published;
}

std::string ReplicaSinkContract::Listing() {
  std::string listing;
  std::map<uint64_t, std::string> first_names;
  const absl::Status listed = sink_->Inventory(kVolume, true, [&](model::InventoryEntry entry) {
    std::string line = LineOf(entry);
    if (entry.link_id != 0) {
      const auto [first, is_first] = first_names.emplace(entry.link_id, Printable(entry.path));
      if (!is_first)
        line.insert(line.size() - 1, " = " + first->second);
      else
        line.insert(line.size() - 1, " with other names");
    }
    listing += line;
    return absl::OkStatus();
  });
  EXPECT_TRUE(listed.ok()) << listed;
  return listing;
}

void ReplicaSinkContract::StageWhole(model::Slot slot, const std::string& content) {
  ASSERT_TRUE(sink_->StageBegin(kVolume, slot, "staged", content.size(), "").ok());
  for (size_t at = 0; at < content.size(); at += wire::kMaxStageBytes) {
    ASSERT_TRUE(sink_->StageData(kVolume, slot, at, std::string_view(content).substr(at, wire::kMaxStageBytes)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, slot).ok());
}

void DeltaContract::PutBase(const std::string& path) {
  base_ = Pattern(5 * 1024 * 1024, 3);
  model::Commit commit = Begin();
  ASSERT_NO_FATAL_FAILURE(StageWhole(0, base_));
  commit.operations = {StagedPut(path, base_, 0)};
  MustSubmit(commit);
}

model::SegmentDelta DeltaContract::DeltaOf(std::string_view base, std::string_view next, uint64_t offset) {
  const auto signature = delta::MakeSignature(base.substr(offset, delta::kSegmentBytes));
  EXPECT_TRUE(signature.ok()) << signature.status();
  const std::string_view segment = next.substr(offset, delta::kSegmentBytes);
  const auto made = delta::MakeDelta(*signature, segment);
  EXPECT_TRUE(made.ok()) << made.status();
  return {offset, segment.size(), *made, delta::DigestOfBlocks(offset, segment), offset, delta::kSegmentBytes};
}

}  // namespace understudy::tests
