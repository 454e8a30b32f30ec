// Which way a volume goes, for each pair of copies that a failover and the way back come by.
#include "control/sync/direction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "control/sync/run.h"

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;
using ::testing::ElementsAre;

CopyState Standby(uint64_t epoch) {
  return {.standby = true, .epoch = epoch};
}
CopyState Active(uint64_t epoch) {
  return {.standby = false, .epoch = epoch};
}
CopyState Adopting(uint64_t epoch) {
  return {.standby = false, .adopting = true, .epoch = epoch};
}
CopyState Reprotected(uint64_t epoch) {
  return {.standby = false, .reprotected = true, .epoch = epoch};
}

TEST(DirectionTest, IsKnownAtEachStepOfTheWayThereAndBackAndThereAgain) {
  const struct {
    const char* when;
    Copies copies;
    bool live_at_dr;
    bool reversed;
    Direction direction;
  } steps[] = {
      {"nothing is at DR yet", {}, false, false, Direction::kToDr},
      {"replicated", {.at_dr = Standby(1)}, false, false, Direction::kToDr},
      {"failed over", {.at_dr = Active(2)}, true, false, Direction::kNone},
      {"let go", {.at_dr = Reprotected(2)}, true, true, Direction::kNone},
      {"being turned round", {Reprotected(2), Adopting(2)}, true, true, Direction::kNone},
      {"turned round", {Reprotected(2), Standby(2)}, true, true, Direction::kToPrimary},
      {"failed back", {Reprotected(2), Active(3)}, false, true, Direction::kNone},
      {"let go again", {Reprotected(2), Reprotected(3)}, false, false, Direction::kNone},
      {"being turned round again", {Adopting(3), Reprotected(3)}, false, false, Direction::kNone},
      {"turned round again", {Standby(3), Reprotected(3)}, false, false, Direction::kToDr},
      {"failed over again", {Active(4), Reprotected(3)}, true, false, Direction::kNone},
      {"made at DR", {std::nullopt, Standby(1)}, true, true, Direction::kToPrimary},
      {"made at DR and failed back", {std::nullopt, Active(2)}, false, true, Direction::kNone},
      {"made at DR, and turned round after that", {Standby(2), Reprotected(2)}, false, false, Direction::kToDr},
  };
  for (const auto& step : steps) {
    const VolumeWay way = WayOf(step.copies);
    EXPECT_EQ(way.live_at_dr, step.live_at_dr) << step.when;
    EXPECT_EQ(way.reversed, step.reversed) << step.when;
    EXPECT_EQ(ToString(way.direction), ToString(step.direction)) << step.when;
  }
}

ObjectKey Claim(const std::string& namespace_name, const std::string& name) {
  return {ObjectKind::kPersistentVolumeClaim, namespace_name, name};
}

TEST(DirectionTest, ToThePrimaryGoWhatIsCarriedThereAndWhatIsNewBesideItAndNothingElse) {
  Listing dr;
  const auto add = [&](const std::string& namespace_name, const std::string& name) {
    dr.objects[Claim(namespace_name, name)] = {{"spec", {{"volumeName", "pv-" + name}}}};
  };
  add("shop", "turned");
  add("shop", "new");
  add("shop", "replica");  // of a volume that is live at the primary
  add("other", "new-elsewhere");
  add("other", "replica-elsewhere");
  LiveVolumes live;
  live.direction = Direction::kToPrimary;
  live.carried = {{"east", "pv-turned"}};
  live.states = {{{"east", "pv-replica"}, "live at the primary"},
                 {{"east", "pv-replica-elsewhere"}, "live at the primary"}};
  EXPECT_THAT(TasksToPrimary(dr, live), ElementsAre(Claim("shop", "new"), Claim("shop", "turned")));
}

}  // namespace
}  // namespace understudy::control
