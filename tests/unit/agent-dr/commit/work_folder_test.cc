// A replica that is a whole export, with the work folder inside it: nothing that a peer sends reaches that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "agent-dr/verify/replica_verifier.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;

class WorkFolderInsideTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounting a small filesystem needs root";
    if (mount("tmpfs", host_.Export().c_str(), "tmpfs", 0, "size=8m,mode=755") != 0) {
      GTEST_SKIP() << "no tmpfs can be mounted here";
    }
    mounted_ = true;
    engine_ = host_.Start();
    Open();
    for (const char* const content : {"the old content", "the new content"}) {
      ASSERT_TRUE(session_.SubmitDurable(NextCommit(session_.State(), {InlinePut("a", content)})).ok());
      ASSERT_TRUE(session_.Publish().ok());
    }
    kept_ = ".understudy/replica-" + session_.State().replica_id + "/undo/2/0";
    ASSERT_EQ(Content(kept_), "the old content");
  }
  void TearDown() override {
    engine_.reset();
    if (!mounted_) return;
    EXPECT_EQ(umount2(host_.Export().c_str(), MNT_DETACH), 0);
  }

  // What ended the session before is no reason for what comes next.
  void Open() {
    auto session = engine_->Open({"all", host_.Export(), 0});
    ASSERT_TRUE(session.ok()) << session.status();
    session_ = *std::move(session);
  }
  void ExpectRefused(const absl::Status& refused) {
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("is the work folder of understudy-dr"));
    Open();
  }
  [[nodiscard]] std::string Content(const std::string& path) const {
    std::ifstream file(host_.Export() + "/" + path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  DrHost host_;
  std::unique_ptr<dr::CommitEngine> engine_;
  dr::Session session_;
  std::string kept_;

 private:
  bool mounted_ = false;
};

TEST_F(WorkFolderInsideTest, NoOperationChangesIt) {
  for (const std::string& path : {kept_, std::string(".understudy/new")}) {
    ExpectRefused(session_.SubmitDurable(NextCommit(session_.State(), {InlinePut(path, "ours")})));
  }
  ExpectRefused(session_.SubmitDurable(NextCommit(session_.State(), {model::Detach{kept_, 1}, model::Attach{1, "b"}})));
  EXPECT_EQ(Content(kept_), "the old content");
}

// By another name of what is kept there, a later patch would change it.
TEST_F(WorkFolderInsideTest, NoLinkGivesAnotherNameToWhatItHolds) {
  ExpectRefused(session_.SubmitDurable(NextCommit(session_.State(), {model::Link{"stolen", kept_}})));
  EXPECT_FALSE(std::filesystem::exists(host_.Export() + "/stolen"));
}

TEST_F(WorkFolderInsideTest, NothingIsStagedOverWhatItHolds) {
  const uint64_t size = Content(kept_).size();
  ExpectRefused(session_.StageBegin(1, "b", size, kept_));
  ExpectRefused(session_.StageBegin(1, kept_, size, ""));
  ExpectRefused(session_.StageResume(1, "b", size, kept_).status());
  ExpectRefused(session_.StageResume(1, kept_, size, "").status());
}

TEST_F(WorkFolderInsideTest, NothingIsToldOfWhatItHolds) {
  ExpectRefused(engine_->SegmentSignature("all", kept_, 0).status());
  ExpectRefused(engine_->Stat("all", kept_).status());
  const auto list = [&](const std::string& path) {
    return dr::ListEntries(
        *engine_, {"all", /*with_digests=*/true, {path}}, [](const model::ListedEntry&) { return absl::OkStatus(); },
        [] { return absl::OkStatus(); });
  };
  ExpectRefused(list(kept_));
  EXPECT_TRUE(list("a").ok());
  EXPECT_TRUE(engine_->SegmentSignature("all", "a", 0).ok());
  EXPECT_TRUE(engine_->Stat("all", "a").ok());
}

}  // namespace
}  // namespace understudy::tests
