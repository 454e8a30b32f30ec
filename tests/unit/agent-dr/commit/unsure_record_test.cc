// A commit whose record was written, but whose sync failed: nobody knows whether it is durable, so nothing that it
// needs may be thrown away. The disk's failure is simulated at fdatasync and fsync of SQLite's log.
#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <string_view>

#include "core/delta/content_digest.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

std::atomic<bool> log_fails = false;

bool Fails(int fd) {
  if (!log_fails) return false;
  std::array<char, 4096> path{};
  const ssize_t size = readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path.data(), path.size());
  return size > 0 && std::string_view(path.data(), static_cast<size_t>(size)).ends_with("replica.db-wal");
}

int SyncOrFail(const char* name, int fd) {
  if (Fails(fd)) {
    errno = EIO;
    return -1;
  }
  return reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, name))(fd);
}

}  // namespace
}  // namespace understudy::tests

// In the place of the C library's, for every library of this program.
extern "C" int SimulatedFdatasync(int fd) asm("fdatasync");
extern "C" int SimulatedFdatasync(int fd) {
  return understudy::tests::SyncOrFail("fdatasync", fd);
}
extern "C" int SimulatedFsync(int fd) asm("fsync");
extern "C" int SimulatedFsync(int fd) {
  return understudy::tests::SyncOrFail("fsync", fd);
}

namespace understudy::tests {
namespace {

constexpr model::Sequence kBefore = 1;
const std::string kOld(300'000, 'o');
const std::string kNew(300'000, 'n');

absl::Status SubmitContent(dr::Session& session, const std::string& content) {
  RETURN_IF_ERROR(session.StageBegin(0, "f", content.size(), ""));
  RETURN_IF_ERROR(session.StageData(0, 0, content));
  RETURN_IF_ERROR(session.StageEnd(0));
  return session.SubmitDurable(NextCommit(session.State(), {StagedPut("f", content, 0)}));
}

class UnsureRecordTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto engine = host_.Start();
    auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_EQ(SubmitContent(*session, kOld), absl::OkStatus());
    ASSERT_EQ(session->Publish(), absl::OkStatus());
    before_ = Show(*engine, "vol");
  }
  // Opens the volume, and submits a commit whose record can't be synced. False: something else came of it.
  bool SubmitUnsure(dr::CommitEngine& engine) {
    auto session = engine.Open({"vol", host_.RootOf("vol"), 0});
    if (!session.ok()) return false;
    log_fails = true;
    const bool refused = !SubmitContent(*session, kNew).ok();
    log_fails = false;
    return refused;
  }
  // Whichever it is, it is whole.
  void ExpectBeforeOrAfter() {
    const auto engine = host_.Start();
    EXPECT_TRUE(engine->Problems().empty()) << engine->Problems().front();
    auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
    ASSERT_TRUE(session.ok()) << session.status();
    const bool after = session->State().sequence != kBefore;
    EXPECT_EQ(Show(*engine, "vol") == before_, !after);
    EXPECT_EQ(SubmitContent(*session, kOld), absl::OkStatus()) << "and it goes on";
    EXPECT_EQ(session->Publish(), absl::OkStatus());
    EXPECT_EQ(Show(*engine, "vol"), before_);
  }

  DrHost host_;
  std::string before_;
};

TEST_F(UnsureRecordTest, TheProcessEndsAfterIt) {
  ASSERT_EQ(InProcess([this] {
              const auto engine = host_.Start();
              if (!SubmitUnsure(*engine)) return false;
              _exit(kCrashed);  // SQLite's log stays as it is
            }),
            kCrashed);
  {
    // That the record can be there for good is the point of it.
    const auto engine = host_.Start();
    EXPECT_EQ(engine->State("vol")->sequence, kBefore + 1);
  }
  ExpectBeforeOrAfter();
}

TEST_F(UnsureRecordTest, TheVolumeIsOpenedAgain) {
  ASSERT_EQ(InProcess([this] {
              const auto engine = host_.Start();
              if (!SubmitUnsure(*engine)) return false;
              auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
              if (!session.ok() || !SubmitContent(*session, kNew).ok()) return false;
              _exit(kCrashed);
            }),
            kCrashed);
  const auto engine = host_.Start();
  EXPECT_TRUE(engine->Problems().empty()) << engine->Problems().front();
  EXPECT_NE(Show(*engine, "vol"), before_);
}

}  // namespace
}  // namespace understudy::tests
