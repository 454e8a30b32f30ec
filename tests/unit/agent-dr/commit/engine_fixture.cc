#include "tests/unit/agent-dr/commit/engine_fixture.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"

namespace understudy::tests {

DrHost::DrHost() {
  mkdir(State().c_str(), 0700);
  mkdir(Export().c_str(), 0755);
}

std::unique_ptr<dr::CommitEngine> DrHost::Start(dr::FaultPoints& faults, const dr::PointBounds& points) {
  auto engine = dr::CommitEngine::Start(
      {.state_dir = State(), .exports = {Export()}, .faults = &faults, .points = points, .clock = &clock_});
  if (!engine.ok()) {
    ADD_FAILURE() << engine.status();
    std::abort();
  }
  return *std::move(engine);
}

std::vector<std::string> DrHost::LeftInWorkFolder() const {
  std::vector<std::string> left;
  const std::filesystem::path work = folder_.File(".understudy");
  if (!std::filesystem::exists(work)) return left;
  for (auto entry = std::filesystem::recursive_directory_iterator(work);
       entry != std::filesystem::recursive_directory_iterator(); ++entry) {
    // replica-<id>/{staging,detached,removed} are the folders at rest; undo records are there to stay.
    if (entry.depth() == 1 && entry->path().filename() == "undo") entry.disable_recursion_pending();
    if (entry.depth() >= 2) left.push_back(entry->path().string());
  }
  return left;
}

std::vector<std::string> DrHost::KeptForUndo() const {
  std::vector<std::string> kept;
  for (const auto& replica : std::filesystem::directory_iterator(folder_.File(".understudy"))) {
    for (const auto& entry : std::filesystem::directory_iterator(replica.path() / "undo")) {
      kept.push_back(entry.path().filename().string());
    }
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

int InProcess(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : kFailed);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

model::Metadata Meta(uint32_t mode, int64_t mtime) {
  model::Metadata metadata;
  metadata.mode = mode;
  metadata.uid = 1000;
  metadata.gid = 1001;
  metadata.mtime_seconds = mtime;
  metadata.mtime_nanoseconds = 5;
  return metadata;
}

model::Put InlinePut(const std::string& path, const std::string& content) {
  return {path, Meta(0644), content.size(), delta::DigestOfContent(content), content};
}

model::Put StagedPut(const std::string& path, const std::string& content, model::Slot slot) {
  return {path, Meta(0600), content.size(), delta::DigestOfContent(content), slot};
}

model::StagedFile SmallFile(const std::string& path, const std::string& content, model::Slot slot) {
  return {slot, path, Meta(0600), delta::DigestOfContent(content), content};
}

std::string Show(dr::CommitEngine& engine, const std::string& volume) {
  std::string shown;
  std::map<uint64_t, std::string> first_names;
  const absl::Status listed = engine.Inventory(volume, true, [&](model::InventoryEntry entry) {
    const std::string digest =
        entry.digest.has_value()
            ? absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(entry.digest->data()), 16))
            : std::string();
    const model::Metadata& meta = entry.metadata;
    shown += fmt::format("{} kind{} {:o} {}:{} {}.{} {} {} {} {}", Printable(entry.path), static_cast<int>(entry.kind),
                         meta.mode, meta.uid, meta.gid, meta.mtime_seconds, meta.mtime_nanoseconds, entry.size,
                         entry.device, entry.symlink_target, digest);
    for (const model::Xattr& xattr : meta.xattrs) shown += fmt::format(" {}={}", xattr.name, Printable(xattr.value));
    if (entry.link_id != 0) {
      const auto [first, is_first] = first_names.emplace(entry.link_id, entry.path);
      shown += is_first ? " has other names" : fmt::format(" is {}", Printable(first->second));
    }
    shown += "\n";
    return absl::OkStatus();
  });
  EXPECT_TRUE(listed.ok()) << listed;
  return shown;
}

model::Commit NextCommit(const model::ReplicaState& state, std::vector<model::Operation> operations) {
  model::Commit commit;
  commit.volume = state.volume;
  commit.epoch = state.epoch;
  commit.base_sequence = state.sequence;
  commit.sequence = state.sequence + 1;
  commit.operations = std::move(operations);
  return commit;
}

}  // namespace understudy::tests
