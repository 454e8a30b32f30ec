// extents_fixture.h: a volume with large files on a real filesystem, replicated into memory.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"
#include "tests/support/loop_mount.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {

inline constexpr uint64_t kMebibyte = 1024 * 1024;
inline constexpr uint64_t kBlock = delta::kBlockBytes;

// Holds each commit to its digests, which DR itself takes on trust when a file is patched.
class CheckingSink : public tests::MemorySink {
 public:
  explicit CheckingSink(tests::MemoryReplicas& replicas) : MemorySink(replicas), replicas_(replicas) {}
  absl::Status StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                         std::string_view data) override {
    bytes_ += data.size();
    staged_at.insert(offset);
    if (on_data) std::exchange(on_data, nullptr)();
    return MemorySink::StageData(volume, slot, offset, data);
  }
  absl::Status StageDelta(const model::VolumeName& volume, model::Slot slot,
                          const model::SegmentDelta& delta) override {
    bytes_ += delta.delta.size();
    return MemorySink::StageDelta(volume, slot, delta);
  }
  absl::StatusOr<std::vector<model::SegmentDigest>> StageResume(const model::VolumeName& volume, model::Slot slot,
                                                                const std::string& path, uint64_t size,
                                                                const std::string& base_path) override {
    if (held.empty()) return MemorySink::StageResume(volume, slot, path, size, base_path);
    RETURN_IF_ERROR(MemorySink::StageBegin(volume, slot, path, size, base_path));
    return std::exchange(held, {});
  }
  absl::StatusOr<std::string> SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                               uint64_t number) override {
    ++asked_;
    return MemorySink::SegmentSignature(volume, path, number);
  }
  absl::Status Submit(const model::Commit& commit) override {
    RETURN_IF_ERROR(MemorySink::Submit(commit));
    last_was_whole = commit.completes_capture;
    labels.push_back(commit.consistency);
    const tests::MemoryReplicas::Tree tree = replicas_.TreeOf(commit.volume);
    for (const model::Operation& operation : commit.operations) {
      const auto check = [&](const std::string& path, const model::Digest& digest) {
        const auto found = tree.find(model::Key(path));
        // A later operation of the commit may have given the name to another file.
        if (found == tree.end()) return;
        EXPECT_EQ(delta::DigestOfContent(found->second.content), digest) << path;
      };
      if (const auto* put = std::get_if<model::Put>(&operation)) check(put->path, put->digest);
      if (const auto* patch = std::get_if<model::Patch>(&operation)) check(patch->path, patch->digest);
    }
    return absl::OkStatus();
  }
  std::function<void()> on_data{};           // called once, before the next data is taken
  std::set<uint64_t> staged_at{};            // offsets of data
  std::vector<model::SegmentDigest> held{};  // what the next StageResume tells, though nothing is staged
  bool last_was_whole = false;
  std::vector<model::Consistency> labels{};                  // of all commits
  uint64_t TakeBytes() { return std::exchange(bytes_, 0); }  // of data and deltas
  uint64_t TakeAsked() { return std::exchange(asked_, 0); }  // signatures

 private:
  tests::MemoryReplicas& replicas_;
  uint64_t bytes_ = 0;
  uint64_t asked_ = 0;
};

// Stands still but for what a test adds, and for `step` at each look.
struct SteppingClock : Clock {
  [[nodiscard]] absl::Time Now() const override { return absl::Now(); }
  [[nodiscard]] absl::Duration Monotonic() const override {
    return absl::Nanoseconds(nanoseconds.fetch_add(absl::ToInt64Nanoseconds(step)));
  }
  void Advance(absl::Duration by) { nanoseconds += absl::ToInt64Nanoseconds(by); }
  mutable std::atomic<int64_t> nanoseconds{int64_t{1'000'000'000'000}};
  absl::Duration step;
};

// One volume in an export on a filesystem of its own.
class ExtentsFixture : public ::testing::Test {
 protected:
  void SetUpOn(const char* filesystem, uint64_t megabytes = 600) {
    auto disk = tests::LoopMount::Make(filesystem, megabytes);
    if (absl::IsUnimplemented(disk.status())) GTEST_SKIP() << disk.status();
    ASSERT_TRUE(disk.ok()) << disk.status();
    disk_ = *std::move(disk);
    std::filesystem::create_directories(At(""));
    Start();
  }

  std::string At(const std::string& path) const { return disk_->Path() + "/export/web/" + path; }
  std::string BasesFolder() const { return disk_->Path() + "/.understudy/bases-web"; }
  size_t CountClones() const {
    if (!std::filesystem::exists(BasesFolder())) return 0;
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(BasesFolder()), {}));
  }
  // Also what a new process does.
  void Start() {
    replicator_.reset();
    replicator_ =
        VolumeReplicator::Open("web", disk_->Path() + "/export/web", "/dr/web", state_.File("web.db"),
                               {.times = {absl::ZeroDuration(), absl::ZeroDuration()},
                                .export_path = export_path_.empty() ? disk_->Path() + "/export" : export_path_,
                                .least_frozen_bytes = kMebibyte},
                               *clock_)
            .value();
  }
  absl::Status Sync() { return ScanToBarrier(*replicator_, sink_, /*published=*/false); }
  std::string Rung() const { return replicator_->Status().strategy; }

  os::Fd OpenFile(const std::string& path) const { return os::Fd(open(At(path).c_str(), O_RDWR | O_CREAT, 0600)); }
  std::string Noise(size_t length) {
    std::string bytes(length, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  void MakeImage(const std::string& path, uint64_t bytes) {
    const os::Fd file = OpenFile(path);
    for (uint64_t at = 0; at < bytes; at += kMebibyte) {
      const auto length = static_cast<size_t>(std::min(kMebibyte, bytes - at));
      ASSERT_TRUE(os::WriteAt(file.get(), at, Noise(length)).ok());
    }
  }
  // Leaves less room than clones are made with.
  void FillUp() {
    const os::Fd ballast(open((disk_->Path() + "/ballast").c_str(), O_RDWR | O_CREAT, 0600));
    const uint64_t whole = std::filesystem::space(disk_->Path()).capacity;
    off_t taken = 0;
    for (uint64_t free = whole; free >= whole / 22; free = std::filesystem::space(disk_->Path()).available) {
      const auto more = static_cast<off_t>(std::clamp<uint64_t>(free / 2, kMebibyte, free));
      ASSERT_EQ(fallocate(ballast.get(), 0, taken, more), 0) << errno;
      taken += more;
      ASSERT_EQ(syncfs(ballast.get()), 0);
    }
  }
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  void ExpectEqual() {
    std::set<std::string> here;
    const std::string root = At("");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      here.insert(std::filesystem::relative(entry.path(), root).string());
    }
    std::set<std::string> there;
    for (const auto& [key, entry] : replicas_.TreeOf("web")) {
      const std::string path = model::PathOfKey(key);
      if (path.empty()) continue;
      there.insert(path);
      if (!here.contains(path) || entry.kind != model::FileKind::kRegular) continue;
      const os::Fd file(open(At(path).c_str(), O_RDONLY));
      const auto size = static_cast<size_t>(std::filesystem::file_size(At(path)));
      ASSERT_EQ(entry.content.size(), size) << path;
      EXPECT_TRUE(entry.content == os::ReadAt(file.get(), 0, size).value()) << path << " has other content";
    }
    EXPECT_EQ(here, there);
  }

  std::unique_ptr<tests::LoopMount> disk_;
  SteppingClock stepping_;
  Clock* clock_ = &Clock::System();
  std::string export_path_;  // ""; the folder above the volume's
  const tests::TempDir state_;
  tests::MemoryReplicas replicas_{"/dr"};
  CheckingSink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
  std::mt19937_64 random_{20261130};
};

}  // namespace understudy::primary
