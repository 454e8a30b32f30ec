#include "tests/unit/agent-primary/ship/links_fixture.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <utility>

#include "core/base/clock.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/tree_walk.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

using Tree = tests::MemoryReplicas::Tree;

// What is replicated, in words that both sides have: for each path its kind, its content or target, and the first of
// its names.
std::map<std::string, std::string> Describe(const Tree& tree) {
  std::map<std::string, std::string> described;
  std::map<uint64_t, std::string> first_names;
  for (const auto& [key, entry] : tree) {
    const std::string path = model::PathOfKey(key);
    const std::string first = entry.link_id == 0 ? path : first_names.try_emplace(entry.link_id, path).first->second;
    const std::string content =
        entry.kind == model::FileKind::kDirectory ? "" : std::to_string(std::hash<std::string>()(entry.content));
    described[path] =
        fmt::format("kind {} size {} content {} target {} mode {:o} mtime {}.{} file {}", static_cast<int>(entry.kind),
                    entry.content.size(), content, entry.target, entry.metadata.mode, entry.metadata.mtime_seconds,
                    entry.metadata.mtime_nanoseconds, first);
  }
  return described;
}

// The same of a folder on disk, whose inode numbers stand for link ids.
Tree TreeOnDisk(const std::string& folder) {
  const os::Root root = os::Root::Open(folder).value();
  Tree tree;
  tree[""] = {.kind = model::FileKind::kDirectory, .metadata = os::MetadataOf(root.Stat("").value())};
  os::TreeWalk walk = os::TreeWalk::Begin(root, "").value();
  for (auto entry = walk.Next().value(); entry.has_value(); entry = walk.Next().value()) {
    tests::MemoryReplicas::Entry& described = tree[model::Key(entry->path)];
    described.kind = entry->stat.kind;
    described.metadata = os::MetadataOf(entry->stat);
    if (entry->stat.kind != model::FileKind::kDirectory) described.link_id = entry->stat.inode;
    if (entry->stat.kind == model::FileKind::kSymlink) {
      described.target = os::ReadLinkAt(entry->folder_fd, entry->name).value();
    }
    if (entry->stat.kind != model::FileKind::kRegular) continue;
    const os::Fd file = root.OpenPath(entry->path, O_RDONLY).value();
    described.content = os::ReadAt(file.get(), 0, entry->stat.size).value();
  }
  return tree;
}

}  // namespace

void LinksTest::SetUp() {
  std::filesystem::create_directories(Volume());
  StartReplicator();
}

void LinksTest::Write(const std::string& path, const std::string& content) const {
  std::ofstream(At(path)) << content;
}

void LinksTest::Link(const std::string& target, const std::string& path) const {
  std::filesystem::create_hard_link(At(target), At(path));
}

void LinksTest::StartReplicator() {
  replicator_.reset();
  auto replicator = VolumeReplicator::Open("web", Volume(), "/dr/web", dir_.File("web.db"),
                                           {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System());
  ASSERT_TRUE(replicator.ok()) << replicator.status();
  replicator_ = *std::move(replicator);
}

void LinksTest::RunBarrier() {
  const absl::Status status = RunToBarrier(*replicator_, sink_, /*published=*/true);
  ASSERT_TRUE(status.ok()) << status;
}

void LinksTest::ExpectEqual(const std::string& when) const {
  const auto wanted = Describe(TreeOnDisk(Volume()));
  const auto found = Describe(replicas_.TreeOf("web"));
  for (const auto& [path, what] : wanted) {
    ASSERT_TRUE(found.contains(path)) << when << ": no '" << path << "'";
    ASSERT_EQ(found.at(path), what) << when << ": '" << path << "'";
  }
  ASSERT_EQ(found.size(), wanted.size()) << when;
}

void LinksTest::ScanAndExpectEqual(const std::string& when) {
  replicator_->OnOverflow();
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual(when);
}

}  // namespace understudy::primary
