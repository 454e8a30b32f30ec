// What a disk damages in a replica is found, told and remembered, and no commit is taken for damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/ioprio.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <filesystem>
#include <fstream>
#include <stop_token>
#include <thread>

#include "core/delta/rsync_segment.h"
#include "core/store/database.h"
#include "tests/unit/agent-dr/verify/verify_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using model::VerifyDepth;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST_F(VerifyTest, ASoundReplicaPasses) {
  ASSERT_TRUE(Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/f", "f"), InlinePut("empty", ""),
                      LargePut("large", LargeContent(), 1)})
                  .ok());
  Scrub();
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_TRUE(damage_->Alert().ok());
  EXPECT_EQ(probe_.passes, 1u);
  EXPECT_EQ(probe_.files, 3u);
  EXPECT_EQ(probe_.bytes, kLargeBytes + 1);
  const Verified kept = Verify(VerifyDepth::kKept);
  EXPECT_THAT(kept.differences, IsEmpty());
  EXPECT_EQ(kept.counts.files_read, 3u);
  EXPECT_EQ(kept.counts.learned, 0u);
  // Not due again before the interval is over.
  EXPECT_FALSE(*scrubber_->ScrubNext({}));
}

TEST_F(VerifyTest, AFlippedBitIsFoundToldAndRightAgainOnceTheFileWasSentAgain) {
  const std::string content = LargeContent();
  ASSERT_TRUE(Commit({LargePut("large", content, 1), InlinePut("small", "small")}).ok());
  FlipBit(File("large"), 5'000'000);
  FlipBit(File("small"), 2);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("large", "small"));
  EXPECT_TRUE(absl::IsDataLoss(damage_->Alert()));
  EXPECT_THAT(std::string(damage_->Alert().message()), HasSubstr("large"));
  const std::vector<model::DamagedFile> told = TakeTold();
  ASSERT_EQ(told.size(), 2u);
  ASSERT_TRUE(told[0].segments.has_value());
  // Which segment it is shows in the digests.
  ASSERT_EQ(told[0].segments->size(), 3u);
  EXPECT_EQ((*told[0].segments)[0].digest,
            delta::DigestOfSegment(0, std::string_view(content).substr(0, delta::kSegmentBytes)));
  EXPECT_NE((*told[0].segments)[1].digest,
            delta::DigestOfSegment(1, std::string_view(content).substr(delta::kSegmentBytes, delta::kSegmentBytes)));
  Tend();
  EXPECT_THAT(Damaged(), ElementsAre("large", "small"));
  // One is patched in place, the other replaced.
  ASSERT_TRUE(
      Commit({InlinePut("small", "small"), LargePatch("large", content, delta::kSegmentBytes, 1024 * 1024, 1)}).ok());
  Tend();
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_TRUE(damage_->Alert().ok());
  EXPECT_EQ(probe_.healed, 2u);
  EXPECT_THAT(Verify(VerifyDepth::kKept).differences, IsEmpty());
}

TEST_F(VerifyTest, VerifyingFindsItWithoutAnyPrimary) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa"), InlinePut("b", "bbbb")}).ok());
  session_->ListenToDamage(nullptr);
  FlipBit(File("b"), 1);
  const Verified kept = Verify(VerifyDepth::kKept);
  EXPECT_THAT(kept.differences, ElementsAre(Field(&model::Difference::path, "b")));
  EXPECT_EQ(kept.differences[0].kind, model::DifferenceKind::kContent);
  EXPECT_THAT(Damaged(), ElementsAre("b"));
}

TEST_F(VerifyTest, TheAlertOutlivesTheAgentAndIsToldToTheNextSession) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa")}).ok());
  FlipBit(File("a"), 1);
  Scrub();
  Stop();
  TakeTold();
  Start();
  EXPECT_THAT(Damaged(), ElementsAre("a"));
  EXPECT_THAT(TakeTold(), ElementsAre(Field(&model::DamagedFile::path, "a")));
  Tend();
  EXPECT_THAT(Damaged(), ElementsAre("a"));
}

TEST_F(VerifyTest, ItIsToldAgainAfterAWhile) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa")}).ok());
  FlipBit(File("a"), 1);
  Scrub();
  EXPECT_EQ(TakeTold().size(), 1u);
  Tend();
  EXPECT_THAT(TakeTold(), IsEmpty());
  clock_.seconds += 600;
  Tend();
  EXPECT_EQ(TakeTold().size(), 1u);
}

TEST_F(VerifyTest, ADamagedFileIsFollowedToItsNewNameAndForgottenWhenItGoes) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa"), InlinePut("b", "bbbb")}).ok());
  FlipBit(File("a"), 1);
  FlipBit(File("b"), 1);
  Scrub();
  TakeTold();
  // Another file comes to the old name of one.
  ASSERT_TRUE(Commit({model::Remove{"b", FileKind::kRegular}, model::Detach{"a", 1}, InlinePut("a", "new"),
                      model::Attach{1, "c"}})
                  .ok());
  Tend();
  EXPECT_THAT(Damaged(), ElementsAre("c"));
  EXPECT_THAT(TakeTold(), ElementsAre(Field(&model::DamagedFile::path, "c")));
}

TEST_F(VerifyTest, APatchElsewhereInADamagedFileDoesNotHideTheDamage) {
  std::string content = LargeContent();
  ASSERT_TRUE(Commit({LargePut("large", content, 1)}).ok());
  FlipBit(File("large"), 5'000'000);
  content[100] = static_cast<char>(content[100] + 1);
  ASSERT_TRUE(Commit({LargePatch("large", content, 0, 4096, 1)}).ok());
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("large"));
  Tend();
  EXPECT_THAT(Damaged(), ElementsAre("large"));
}

TEST_F(VerifyTest, ADeltaIsNeverAppliedToADamagedRange) {
  std::string content = LargeContent();
  ASSERT_TRUE(Commit({LargePut("large", content, 1)}).ok());
  const auto signature = delta::MakeSignature(std::string_view(content).substr(0, delta::kSegmentBytes));
  FlipBit(File("large"), 3'000'000);
  content[100] = static_cast<char>(content[100] + 1);
  const std::string_view segment = std::string_view(content).substr(0, delta::kSegmentBytes);
  ASSERT_TRUE(session_->StageBegin(1, "large", content.size(), "large").ok());
  absl::Status staged = session_->StageDelta(1, {0, segment.size(), *delta::MakeDelta(*signature, segment),
                                                 delta::DigestOfSegment(0, segment), 0, delta::kSegmentBytes});
  EXPECT_TRUE(absl::IsDataLoss(staged)) << staged;
}

TEST_F(VerifyTest, WhereAPassWasIsRememberedOverARestart) {
  std::vector<model::Operation> operations;
  for (int i = 100; i < 400; ++i) operations.emplace_back(InlinePut("f" + std::to_string(i), "x"));
  ASSERT_TRUE(Commit(std::move(operations)).ok());
  // Ends in the middle: the 256th file is written down, and a stop is asked for after it.
  struct StoppingClock : Clock {
    mutable std::atomic<int> calls{0};
    mutable std::stop_source stop;
    [[nodiscard]] absl::Time Now() const override { return absl::FromUnixSeconds(5'000'000); }
    [[nodiscard]] absl::Duration Monotonic() const override {
      if (++calls == 700) stop.request_stop();
      return absl::Seconds(1);
    }
  } stopping;
  dr::Scrubber first(*engine_, *damage_, settings_, stopping, probe_);
  EXPECT_TRUE(absl::IsCancelled(first.ScrubNext(stopping.stop.get_token()).status()));
  const uint64_t read = probe_.files;
  EXPECT_GT(read, 100u);
  EXPECT_LT(read, 300u);
  Stop();
  FlipBit(File("f100"), 0);  // was passed before
  FlipBit(File("f399"), 0);
  Start();
  Scrub();
  EXPECT_EQ(probe_.files, 300u);
  EXPECT_THAT(Damaged(), ElementsAre("f399"));
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("f100", "f399"));
}

TEST_F(VerifyTest, WhatNobodyToldIsLearnedOnceAndCountedApart) {
  ASSERT_TRUE(Commit({InlinePut("told", "told")}).ok());
  std::ofstream(File("seeded")) << "seeded";
  const Verified kept = Verify(VerifyDepth::kKept);
  EXPECT_THAT(kept.differences, IsEmpty());
  EXPECT_EQ(kept.counts.learned, 1u);
  EXPECT_EQ(Verify(VerifyDepth::kKept).counts.learned, 0u);
  FlipBit(File("seeded"), 0);
  EXPECT_EQ(Verify(VerifyDepth::kKept).differences.size(), 1u);
}

TEST_F(VerifyTest, NamesOfOneFileAreReadOnce) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa"), model::Link{"b", "a"}, model::Link{"c", "a"}}).ok());
  Scrub();
  EXPECT_EQ(probe_.files, 1u);
  FlipBit(File("a"), 1);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("a", "b", "c"));
}

TEST_F(VerifyTest, NamesOfOneFileThatWasSentAgainRaiseNoSecondAlarm) {
  ASSERT_TRUE(Commit({InlinePut("b", "aaaa"), model::Link{"a", "b"}, model::Link{"c", "b"}}).ok());
  FlipBit(File("a"), 1);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("a", "b", "c"));
  TakeTold();
  ASSERT_TRUE(Commit({LargePatch("b", "aaaa", 0, 4, 1)}).ok());
  Tend();
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_THAT(TakeTold(), IsEmpty());
}

TEST_F(VerifyTest, ANameThatGoesLeavesNoAlarmAtAnotherOneThatIsRight) {
  ASSERT_TRUE(Commit({InlinePut("b", "aaaa"), model::Link{"a", "b"}}).ok());
  FlipBit(File("a"), 1);
  Scrub();
  ASSERT_TRUE(Commit({LargePatch("b", "aaaa", 0, 4, 1)}).ok());
  ASSERT_TRUE(Commit({model::Remove{"b", FileKind::kRegular}}).ok());
  TakeTold();
  Tend();
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_THAT(TakeTold(), IsEmpty());
}

TEST_F(VerifyTest, WantOfDescriptorsIsNoDamage) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa")}).ok());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto check = dr::CheckContent(replica(), "a", [](uint64_t) { return absl::OkStatus(); });
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(absl::IsUnavailable(check.status())) << check.status();
  EXPECT_THAT(std::string(check.status().message()), HasSubstr("open 'a'"));
}

TEST_F(VerifyTest, WhatIsDamagedIsKnownWhenTheExportIsMountedLater) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa")}).ok());
  FlipBit(File("a"), 1);
  Scrub();
  Stop();
  std::filesystem::rename(host_.RootOf("vol"), host_.RootOf("vol") + ".away");
  Start();
  Tend();
  EXPECT_THAT(Damaged(), IsEmpty()) << "nobody can say";
  std::filesystem::rename(host_.RootOf("vol") + ".away", host_.RootOf("vol"));
  auto session = engine_->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  Tend();
  EXPECT_THAT(Damaged(), ElementsAre("a"));
  EXPECT_TRUE(absl::IsDataLoss(damage_->Alert()));
}

// Commits wait for whoever has the lock.
TEST_F(VerifyTest, NobodyHoldsCommitsUpAtIdlePriority) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa")}).ok());
  const auto io_class = [] { return IOPRIO_PRIO_CLASS(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0)); };
  std::thread([&] {
    ASSERT_EQ(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)), 0);
    auto inside = io_class();
    EXPECT_TRUE(replica()
                    .WithPublished([&](const dr::Replica::Published&) {
                      inside = io_class();
                      return absl::OkStatus();
                    })
                    .ok());
    EXPECT_NE(inside, IOPRIO_CLASS_IDLE);
    EXPECT_EQ(io_class(), IOPRIO_CLASS_IDLE);
  }).join();
}

TEST_F(VerifyTest, WithoutAScrubWhatIsGoneIsForgottenAllTheSame) {
  settings_.interval = absl::ZeroDuration();
  points_ = {.max_bytes = 0};
  Stop();
  Start();
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa"), InlinePut("b", "bbbb")}).ok());
  ASSERT_TRUE(Commit({model::Remove{"a", FileKind::kRegular}}).ok());
  FlipBit(File("b"), 1);
  for (int pass = 0; pass < 3; ++pass) Scrub();
  uint64_t known = 0;
  ASSERT_TRUE(replica()
                  .WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
                    dr::ContentTable contents = published.contents;
                    ASSIGN_OR_RETURN(known, contents.Count());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(known, 1u);
  EXPECT_EQ(probe_.files, 0u) << "nothing was read";
  EXPECT_EQ(probe_.passes, 0u);
  EXPECT_THAT(Damaged(), IsEmpty());
  settings_.interval = absl::Hours(7 * 24);
  Stop();
  Start();
  EXPECT_TRUE(*scrubber_->ScrubNext({})) << "due at once";
  EXPECT_THAT(Damaged(), ElementsAre("b"));
}

TEST_F(VerifyTest, SegmentsAreRememberedWhereTheyAreAskedForOnly) {
  ASSERT_TRUE(Commit({LargePut("large", LargeContent(), 1)}).ok());
  const os::Fd file(open(File("large").c_str(), O_RDONLY | O_CLOEXEC));
  const dr::OnBytes on_bytes = [](uint64_t) { return absl::OkStatus(); };
  const auto without = dr::ReadFromDisk(file.get(), on_bytes);
  const auto with = dr::ReadFromDisk(file.get(), on_bytes, /*with_segments=*/true);
  ASSERT_TRUE(without.ok() && with.ok());
  EXPECT_FALSE(without->segments.has_value());
  ASSERT_TRUE(with->segments.has_value());
  EXPECT_EQ(with->segments->size(), 3u);
  EXPECT_EQ(with->digest, without->digest);
}

TEST_F(VerifyTest, WhatOnlyAnUndoRecordKeepsStaysKnownThroughPasses) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa"), InlinePut("b", "b")}).ok());
  ASSERT_TRUE(Commit({model::Remove{"a", FileKind::kRegular}}).ok());
  for (int pass = 0; pass < 4; ++pass) Scrub();
  ASSERT_TRUE(engine_->Rewind("vol", 1).ok());
  const Verified kept = Verify(VerifyDepth::kKept);
  EXPECT_EQ(kept.counts.files_read, 2u);
  EXPECT_EQ(kept.counts.learned, 0u);
}

TEST_F(VerifyTest, WhatClientsWriteToIsNeitherScrubbedNorLearnedNorNoted) {
  ASSERT_TRUE(Commit({InlinePut("a", "aaaa")}).ok());
  Stop();
  {
    auto database = store::Database::Open(host_.State() + "/volumes/vol/replica.db", {.exclusive = true});
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(database->Execute("UPDATE replica SET state = 'active'").ok());
  }
  Start();
  FlipBit(File("a"), 1);
  std::ofstream(File("new")) << "new";
  clock_.seconds += 8 * 24 * 3600;
  EXPECT_FALSE(*scrubber_->ScrubNext({}));
  for (int i = 0; i < 2; ++i) {
    const Verified kept = Verify(VerifyDepth::kKept);
    EXPECT_EQ(kept.differences.size(), 1u);
    EXPECT_EQ(kept.counts.learned, 1u);  // and forgotten
  }
  EXPECT_THAT(Damaged(), IsEmpty());
}

TEST_F(VerifyTest, CommitsMeanwhileAreNoDamage) {
  std::string content = LargeContent();
  ASSERT_TRUE(Commit({LargePut("large", content, 1), InlinePut("small", "0")}).ok());
  std::jthread writer([&](std::stop_token stop) {
    for (int i = 1; !stop.stop_requested(); ++i) {
      const size_t at = (static_cast<size_t>(i) * 777'777) % (kLargeBytes - 100);
      content[at] = static_cast<char>(content[at] + 1);
      const absl::Status done = Commit({InlinePut("small", std::to_string(i)), LargePatch("large", content, at, 1, 1)});
      ASSERT_TRUE(done.ok()) << done;
    }
  });
  for (int i = 0; i < 20; ++i) {
    Scrub();
    EXPECT_THAT(Verify(VerifyDepth::kKept).differences, IsEmpty());
  }
  writer = {};
  EXPECT_EQ(probe_.damaged, 0u);
  FlipBit(File("large"), 1);
  Scrub();
  EXPECT_THAT(Damaged(), ElementsAre("large"));
}

// A replica.db of an agent whose content digests were others.
TEST_F(VerifyTest, DigestsOfAnotherDefinitionAreNoDamageAndNoRewindBringsThemBack) {
  std::string content = LargeContent();
  ASSERT_TRUE(Commit({LargePut("large", content, 1), InlinePut("small", "small")}).ok());
  const model::Sequence first = session_->State().sequence;
  content[100] = static_cast<char>(content[100] + 1);
  ASSERT_TRUE(Commit({LargePatch("large", content, 0, 4096, 1)}).ok());
  Stop();
  {
    store::Database old = *store::Database::Open(host_.State() + "/volumes/vol/replica.db", {.exclusive = true});
    ASSERT_TRUE(old.Execute("UPDATE content SET digest = randomblob(16);"
                            "INSERT INTO content_damage VALUES(x'61', 1, 1, 1, 1, 1, 'of old', NULL);"
                            "ALTER TABLE replica DROP COLUMN digests_after;"
                            "ALTER TABLE replica DROP COLUMN point_consistency;"
                            "ALTER TABLE undo DROP COLUMN consistency; PRAGMA user_version = 8;")
                    .ok());
  }
  Start();
  EXPECT_THAT(Damaged(), IsEmpty());
  Scrub();
  EXPECT_THAT(Damaged(), IsEmpty());
  Stop();
  Start();
  ASSERT_TRUE(engine_->Rewind("vol", first).ok());
  const auto kept = [&] {
    std::optional<dr::KeptContent> found;
    EXPECT_TRUE(replica()
                    .WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
                      ASSIGN_OR_RETURN(const os::EntryStat stat, published.root.Stat("large"));
                      dr::ContentTable contents = published.contents;
                      ASSIGN_OR_RETURN(found, contents.Find(dr::IdentityOf(stat)));
                      return absl::OkStatus();
                    })
                    .ok());
    return found;
  };
  ASSERT_TRUE(kept().has_value());
  EXPECT_FALSE(kept()->digest.has_value());
  EXPECT_THAT(Verify(VerifyDepth::kKept).differences, IsEmpty());
  EXPECT_TRUE(kept()->learned);
}

TEST_F(VerifyTest, WhatAFailoverNeedsAtLeast) {
  model::Commit part = NextCommit(session_->State(), {InlinePut("a", "a")});
  part.completes_capture = false;
  ASSERT_TRUE(session_->SubmitDurable(part).ok());
  ASSERT_TRUE(session_->Publish().ok());
  ASSERT_EQ(Verify(VerifyDepth::kExists).differences.size(), 1u);
  EXPECT_EQ(Verify(VerifyDepth::kExists).differences[0].kind, model::DifferenceKind::kIncomplete);
  ASSERT_TRUE(Commit({InlinePut("b", "b")}).ok());
  EXPECT_THAT(Verify(VerifyDepth::kExists).differences, IsEmpty());
  std::filesystem::remove(File("a"));
  EXPECT_THAT(Verify(VerifyDepth::kExists).differences, IsEmpty());
  std::filesystem::remove(File("b"));
  ASSERT_EQ(Verify(VerifyDepth::kExists).differences.size(), 1u);
  EXPECT_EQ(Verify(VerifyDepth::kExists).differences[0].kind, model::DifferenceKind::kEmpty);
  std::ofstream(File("b")) << "b";
  EXPECT_THAT(Verify(VerifyDepth::kExists).differences, IsEmpty());
  std::filesystem::rename(host_.RootOf("vol"), host_.RootOf("vol") + ".away");
  ASSERT_EQ(Verify(VerifyDepth::kExists).differences.size(), 1u);
  EXPECT_EQ(Verify(VerifyDepth::kExists).differences[0].kind, model::DifferenceKind::kFolder);
  // An empty folder in its place isn't the replica's.
  std::filesystem::create_directory(host_.RootOf("vol"));
  ASSERT_EQ(Verify(VerifyDepth::kExists).differences.size(), 1u);
  EXPECT_EQ(Verify(VerifyDepth::kExists).differences[0].kind, model::DifferenceKind::kFolder);
}

TEST_F(VerifyTest, AFolderThatTheCommitsEmptiedMayBeEmpty) {
  ASSERT_TRUE(Commit({InlinePut("a", "a")}).ok());
  ASSERT_TRUE(Commit({model::Remove{"a", FileKind::kRegular}}).ok());
  EXPECT_THAT(Verify(VerifyDepth::kExists).differences, IsEmpty());
}

TEST_F(VerifyTest, AVolumeThatIsntHereIsNotFound) {
  const auto counts = dr::VerifyReplica(*engine_, *damage_, "other", VerifyDepth::kExists,
                                        {.on_progress = [](const model::VerifyCounts&) { return absl::OkStatus(); },
                                         .on_difference = [](const model::Difference&) {}});
  EXPECT_TRUE(absl::IsNotFound(counts.status()));
}

}  // namespace
}  // namespace understudy::tests
