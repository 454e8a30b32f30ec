// verify_fixture.h: one volume at a DR host, with hands on the disk under it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent-dr/verify/damage_keeper.h"
#include "agent-dr/verify/replica_verifier.h"
#include "agent-dr/verify/scrubber.h"
#include "core/delta/content_digest.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {

inline constexpr uint64_t kLargeBytes = 9 * 1024 * 1024;  // three segments

// Flips a bit as a disk would: no time, size or inode tells.
inline void FlipBit(const std::string& path, off_t offset) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0) << path;
  struct stat before {};
  ASSERT_EQ(fstat(fd, &before), 0);
  char byte = 0;
  ASSERT_EQ(pread(fd, &byte, 1, offset), 1);
  byte = static_cast<char>(byte ^ 1);
  ASSERT_EQ(pwrite(fd, &byte, 1, offset), 1);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(futimens(fd, times), 0);
  close(fd);
}

inline std::string LargeContent() {
  std::string content(kLargeBytes, '\0');
  uint64_t state = 88172645463325252;
  for (char& byte : content) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<char>(state);
  }
  return content;
}

class VerifyTest : public testing::Test {
 protected:
  struct TestClock : Clock {
    std::atomic<int64_t> seconds{1'000'000};
    [[nodiscard]] absl::Time Now() const override { return absl::FromUnixSeconds(seconds); }
    [[nodiscard]] absl::Duration Monotonic() const override { return absl::Seconds(seconds.load()); }
  };

  void SetUp() override { Start(); }
  void TearDown() override { Stop(); }

  void Start() {
    engine_ = host_.Start(dr::FaultPoints::None(), points_);
    damage_.emplace(*engine_, clock_, probe_);
    damage_->Load();
    scrubber_.emplace(*engine_, *damage_, settings_, clock_, probe_);
    auto session = engine_->Open({"vol", host_.RootOf("vol"), 0});
    if (session.ok()) Listen(*std::move(session));
  }
  void Stop() {
    if (session_.has_value()) session_->ListenToDamage(nullptr);
    session_.reset();
    scrubber_.reset();
    damage_.reset();
    engine_.reset();
  }
  void Listen(dr::Session session) {
    session_ = std::move(session);
    session_->ListenToDamage([this](const model::DamagedFile& file) {
      absl::MutexLock lock(&mutex_);
      told_.push_back(file);
    });
  }

  [[nodiscard]] std::string File(const std::string& path) const { return host_.RootOf("vol") + "/" + path; }
  dr::Replica& replica() { return **engine_->FindReplica("vol"); }

  absl::Status Commit(std::vector<model::Operation> operations) {
    RETURN_IF_ERROR(session_->SubmitDurable(NextCommit(session_->State(), std::move(operations))));
    return session_->Publish();
  }
  model::Put LargePut(const std::string& path, const std::string& content, model::Slot slot) {
    EXPECT_TRUE(session_->StageBegin(slot, path, content.size(), "").ok());
    for (size_t at = 0; at < content.size(); at += 1024 * 1024) {
      EXPECT_TRUE(session_->StageData(slot, at, std::string_view(content).substr(at, 1024 * 1024)).ok());
    }
    EXPECT_TRUE(session_->StageEnd(slot).ok());
    return StagedPut(path, content, slot);
  }
  // `content` is the whole file's after it.
  model::Patch LargePatch(const std::string& path, const std::string& content, uint64_t offset, size_t length,
                          model::Slot slot) {
    EXPECT_TRUE(session_->StageBegin(slot, path, content.size(), path).ok());
    EXPECT_TRUE(session_->StageData(slot, offset, std::string_view(content).substr(offset, length)).ok());
    EXPECT_TRUE(session_->StageEnd(slot).ok());
    return {path, Meta(0600), content.size(), delta::DigestOfContent(content), slot};
  }

  void Scrub() {
    clock_.seconds += 8 * 24 * 3600;
    const absl::StatusOr<bool> scrubbed = scrubber_->ScrubNext({});
    ASSERT_TRUE(scrubbed.ok()) << scrubbed.status();
    EXPECT_TRUE(*scrubbed);
  }
  void Tend() {
    clock_.seconds += 2;
    const absl::Status tended = damage_->Tend({});
    ASSERT_TRUE(tended.ok()) << tended;
  }
  std::vector<std::string> Damaged() const {
    std::vector<std::string> paths;
    for (const dr::VolumeDamage& of_volume : damage_->List()) {
      for (const dr::Damage& damage : of_volume.files) paths.push_back(damage.file.path);
    }
    return paths;
  }
  std::vector<model::DamagedFile> TakeTold() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(told_, {});
  }

  struct Verified {
    model::VerifyCounts counts;
    std::vector<model::Difference> differences;
  };
  Verified Verify(model::VerifyDepth depth) {
    Verified verified;
    auto counts = dr::VerifyReplica(
        *engine_, *damage_, "vol", depth,
        {.on_progress = [](const model::VerifyCounts&) { return absl::OkStatus(); },
         .on_difference =
             [&](model::Difference difference) { verified.differences.push_back(std::move(difference)); }});
    EXPECT_TRUE(counts.ok()) << counts.status();
    if (counts.ok()) verified.counts = *counts;
    return verified;
  }

  DrHost host_;
  TestClock clock_;
  dr::PointBounds points_{absl::Hours(24), uint64_t{1} << 30};
  dr::ScrubProbe probe_;
  dr::ScrubSettings settings_{.interval = absl::Hours(7 * 24), .bytes_per_second = uint64_t{1} << 40};
  std::unique_ptr<dr::CommitEngine> engine_;
  std::optional<dr::DamageKeeper> damage_;
  std::optional<dr::Scrubber> scrubber_;
  std::optional<dr::Session> session_;
  absl::Mutex mutex_;
  std::vector<model::DamagedFile> told_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
