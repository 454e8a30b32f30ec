// Deleted volumes are purged when their time is over, and nothing else is.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <stop_token>
#include <string>

#include "tests/unit/agent-dr/commit/trash_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

TEST_F(TrashTest, WhatHasExpiredIsPurgedAndNothingElse) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  clock_.Advance(absl::Hours(24) - absl::Seconds(1));
  engine->trash().Work({});
  auto entries = List(*engine);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_TRUE(entries[0].measured);
  EXPECT_EQ(entries[0].size_bytes, 1u);
  EXPECT_EQ(entries[0].entry_count, 2u);
  EXPECT_EQ(engine->trash().Sum()->size_bytes, 1u);
  MakeVolume(*engine, "kept");
  clock_.Advance(absl::Seconds(1));
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(host_.File(".understudy/trash/" + id)));
  EXPECT_FALSE(fs::exists(host_.File(".understudy/replica-" + id)));
  EXPECT_FALSE(fs::exists(host_.State() + "/trash/" + id));
  EXPECT_EQ(engine->probe().trash_purged, 1u);
  EXPECT_EQ(engine->trash().Sum()->volumes, 0u);
  EXPECT_EQ(Show(*engine, "vol").empty(), false);
  EXPECT_EQ(Read(Root() + "/d/f"), "kept");
}

// Days count by the clock that nobody sets, and only while an agent counts them.
TEST_F(TrashTest, NoClockThatJumpsEndsTheRetentionEarly) {
  auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  clock_.Set(-absl::Hours(24 * 365));  // deleted while the clock was a year behind
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  clock_.Set(absl::Hours(24 * 365));
  const auto still_there = [&] {
    engine->trash().Work({});
    return List(*engine).size() == 1 && List(*engine)[0].state == model::TrashState::kTrashed;
  };
  EXPECT_TRUE(still_there());
  clock_.Advance(absl::Hours(12));
  EXPECT_TRUE(still_there());
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(12));
  clock_.Set(absl::Hours(24 * 365 * 20));
  engine.reset();
  engine = Start();
  EXPECT_TRUE(still_there());
  clock_.Advance(absl::Hours(11));
  EXPECT_TRUE(still_there());
  clock_.Set(-absl::Hours(24 * 365 * 40));
  EXPECT_TRUE(still_there());
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(1));
  clock_.Advance(absl::Hours(1));
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(DataOf(id)));
}

TEST_F(TrashTest, WhatComesBetweenTwoRoundsIsKeptAsLong) {
  const auto engine = Start();
  MakeVolume(*engine);
  clock_.Advance(absl::Hours(23));
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(24));
  clock_.Advance(absl::Hours(23));
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(1));
  engine->trash().Work({});
  EXPECT_EQ(List(*engine).size(), 1u);
}

TEST_F(TrashTest, OneRoundPurgesAllThatExpiredWhateverCannotBe) {
  const auto engine = Start();
  constexpr size_t kVolumes = 70;
  std::string stuck;
  for (size_t i = 0; i < kVolumes; ++i) {
    const std::string name = "v" + std::to_string(i);
    ASSERT_TRUE(engine->Open({name, host_.RootOf(name), 0}).ok());
    ASSERT_TRUE(Discard(*engine, name, host_.RootOf(name)).ok());
  }
  stuck = List(*engine).front().id;
  EXPECT_EQ(engine->trash().Sum()->volumes, kVolumes);
  fs::rename(host_.File(".understudy/trash/" + stuck), host_.File("aside"));
  clock_.Advance(absl::Hours(24));
  engine->trash().Work({});
  ASSERT_EQ(List(*engine).size(), 1u);
  EXPECT_EQ(List(*engine)[0].id, stuck);
  EXPECT_EQ(engine->probe().trash_purged, kVolumes - 1);
}

TEST_F(TrashTest, APurgeThatIsStoppedGoesOnLater) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  engine->trash().WaitForWork({}, absl::InfiniteDuration());  // there is something to count
  std::stop_source stopped;
  stopped.request_stop();
  engine->trash().WaitForWork(stopped.get_token(), absl::InfiniteDuration());
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  engine->trash().Work(stopped.get_token());
  EXPECT_EQ(Read(DataOf(id) + "/d/f"), "A");
  engine->trash().WaitForWork({}, absl::InfiniteDuration());  // there is something to purge
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, WhatIsMountedInsideIsNeverRemoved) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  const std::string other = host_.File("other");
  const std::string inside = DataOf(id) + "/d";
  fs::create_directory(other);
  std::ofstream(other + "/theirs") << "T";
  if (mount(other.c_str(), inside.c_str(), nullptr, MS_BIND, nullptr) != 0)
    GTEST_SKIP() << "nothing can be mounted here";
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  engine->trash().Work({});
  EXPECT_EQ(Read(other + "/theirs"), "T");
  EXPECT_EQ(List(*engine).size(), 1u);
  ASSERT_EQ(umount2(inside.c_str(), MNT_DETACH), 0);
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, WhatIsBeingPurgedCannotBeRestored) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  EXPECT_TRUE(engine->trash().Purge(id).ok()) << "asked again";
  EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(fs::exists(Root()));
}

TEST_F(TrashTest, NothingCountsAsPurgedWhileItsFilesystemIsAway) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  const std::string work = host_.File(".understudy");
  fs::rename(work, host_.File("aside"));
  engine->trash().Work({});
  EXPECT_EQ(List(*engine).size(), 1u);
  fs::remove_all(work);
  fs::rename(host_.File("aside"), work);
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(host_.File(".understudy/trash/" + id)));
}

// Counting and restoring look at the work folder before the purge does: what they make must not pass for the entry.
TEST_F(TrashTest, NeitherCountingNorRestoringMakesAFolderWhileTheFilesystemIsAway) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  const std::string work = host_.File(".understudy");
  fs::rename(work, host_.File("aside"));
  engine->trash().Work({});
  EXPECT_FALSE(List(*engine).at(0).measured);
  EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  engine->trash().Work({});
  EXPECT_EQ(List(*engine).size(), 1u);
  EXPECT_TRUE(fs::exists(host_.State() + "/trash/" + id));
  EXPECT_FALSE(fs::exists(work + "/trash/" + id));
}

}  // namespace
}  // namespace understudy::tests
