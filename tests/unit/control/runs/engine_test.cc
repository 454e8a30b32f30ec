// A run, over a real store, in processes that are killed wherever they can be.
#include "control/runs/engine.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include "absl/strings/str_join.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// What steps bring about, in a file that outlives the process: a line for each effect.
class World {
 public:
  explicit World(std::string file) : file_(std::move(file)) {}
  [[nodiscard]] std::vector<std::string> Effects() const {
    std::ifstream file(file_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  [[nodiscard]] bool Has(const std::string& effect) const {
    const std::vector<std::string> effects = Effects();
    return std::find(effects.begin(), effects.end(), effect) != effects.end();
  }
  void Add(const std::string& effect) const {
    const int fd = open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0600);
    const std::string line = effect + "\n";
    EXPECT_EQ(write(fd, line.data(), line.size()), static_cast<ssize_t>(line.size()));
    close(fd);
  }
  void Remove(const std::string& effect) const {
    std::vector<std::string> effects = Effects();
    std::erase(effects, effect);
    std::filesystem::remove(file_);
    for (const std::string& left : effects) Add(left);
  }

 private:
  const std::string file_;
};

// Counts the moments at which a process may die, and kills it at the one that was chosen.
class Fate {
 public:
  explicit Fate(int dies_at = -1) : dies_at_(dies_at) {}
  void Pass() {
    if (passed_++ == dies_at_) raise(SIGKILL);
  }

 private:
  std::atomic<int> passed_ = 0;
  const int dies_at_;
};

struct StepOptions {
  bool tolerates = false;
  bool removes = false;
  std::vector<std::string> broken = {};                    // items that can't be done
  absl::Status failure = absl::AbortedError("is broken");  // what they fail with
  bool no_return = false;
  absl::Status cannot_tell{};  // what it answers when it is asked whether it still holds
};

class FileStep : public Step {
 public:
  FileStep(std::string name, std::vector<Item> items, const World& world, Fate& fate, StepOptions options = {})
      : name_(std::move(name)), items_(std::move(items)), world_(world), fate_(fate), options_(std::move(options)) {}

  std::string_view name() const override { return name_; }
  std::string_view purpose() const override { return "leave a line"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord&, std::stop_token) override {
    fate_.Pass();
    return items_;
  }
  absl::StatusOr<bool> Check(const Item& item, ItemContext&) override {
    fate_.Pass();
    return world_.Has(Effect(item));
  }
  absl::Status Do(const Item& item, ItemContext& context) override {
    fate_.Pass();
    if (std::find(options_.broken.begin(), options_.broken.end(), item.key) != options_.broken.end()) {
      return options_.failure;
    }
    context.Progress("leaves it");
    world_.Add(Effect(item));
    fate_.Pass();
    return absl::OkStatus();
  }
  absl::Status Confirm(const Item& item, ItemContext& context) override {
    fate_.Pass();
    context.SetFacts({{"left", Effect(item)}});
    return world_.Has(Effect(item)) ? absl::OkStatus() : absl::InternalError("it isn't there");
  }
  absl::StatusOr<bool> StillSo(const RunRecord&, std::stop_token) override {
    fate_.Pass();
    RETURN_IF_ERROR(options_.cannot_tell);
    return std::all_of(items_.begin(), items_.end(), [&](const Item& item) { return world_.Has(Effect(item)); });
  }
  bool IsPointOfNoReturn() const override { return options_.no_return; }
  bool Tolerates(const absl::Status&) const override { return options_.tolerates; }
  bool RunsAfterFailure() const override { return options_.removes; }

 private:
  [[nodiscard]] std::string Effect(const Item& item) const { return name_ + " " + item.key; }

  const std::string name_;
  const std::vector<Item> items_;
  const World& world_;
  Fate& fate_;
  const StepOptions options_;
};

// Dies, where that was chosen, on either side of everything that is recorded.
class FatefulJournal : public RunJournal {
 public:
  FatefulJournal(RunJournal& journal, Fate& fate) : journal_(journal), fate_(fate) {}
  absl::Status BeginStep(const std::string& run, const std::string& step, absl::Time at,
                         const std::vector<std::string>& keys) override {
    return Pass([&] { return journal_.BeginStep(run, step, at, keys); });
  }
  absl::Status WriteItem(const std::string& run, const std::string& step, const ItemRecord& item) override {
    return Pass([&] { return journal_.WriteItem(run, step, item); });
  }
  absl::Status EndStep(const std::string& run, const std::string& step, absl::Time at) override {
    return Pass([&] { return journal_.EndStep(run, step, at); });
  }
  absl::Status Reopen(const std::string& run, const std::vector<std::string>& steps, const std::string& why) override {
    return Pass([&] { return journal_.Reopen(run, steps, why); });
  }
  absl::Status EndRun(const std::string& run, const RunEnd& end) override {
    return Pass([&] { return journal_.EndRun(run, end); });
  }

 private:
  absl::Status Pass(const std::function<absl::Status()>& record) {
    fate_.Pass();
    const absl::Status recorded = record();
    fate_.Pass();
    return recorded;
  }

  RunJournal& journal_;
  Fate& fate_;
};

class EngineTest : public testing::Test {
 protected:
  EngineTest() { store_ = Open(); }

  std::unique_ptr<RunStore> Open() const {
    auto store = RunStore::Open(folder_.Path() + "/state");
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  Engine::Steps ThreeSteps(Fate& fate, StepOptions second = {}) const {
    Engine::Steps steps;
    steps.push_back(std::make_unique<FileStep>("look", std::vector<Item>{{"", "look", 0}}, world_, fate));
    steps.push_back(std::make_unique<FileStep>(
        "move", std::vector<Item>{{"a", "move a", 1}, {"b", "move b", 0}, {"c", "move c", 1}}, world_, fate, second));
    steps.push_back(std::make_unique<FileStep>("end", std::vector<Item>{{"", "end", 0}}, world_, fate));
    return steps;
  }

  void Begin(const Engine::Steps& steps, RunSpec spec = {.id = "r1", .plan = "shop", .started_at = absl::Now()}) {
    std::vector<std::string> names;
    for (const auto& step : steps) names.emplace_back(step->name());
    ASSERT_EQ(store_->Begin(spec, names), absl::OkStatus());
  }

  static absl::StatusOr<RunRecord> Go(RunStore& store, RunJournal& journal, const Engine::Steps& steps,
                                      EngineOptions options = {}, std::stop_token stop = {}) {
    RETURN_IF_ERROR(store.TakeUp("r1"));
    ASSIGN_OR_RETURN(RunRecord run, store.Read("r1"));
    return Engine(journal, options, Clock::System(), [](const RunEvent&) {}).Run(std::move(run), steps, stop);
  }
  absl::StatusOr<RunRecord> Go(const Engine::Steps& steps, EngineOptions options = {}, std::stop_token stop = {}) {
    return Go(*store_, *store_, steps, options, stop);
  }

  // In a process of its own that dies at `dies_at`; whether it came to its end. The steps are those of `make`.
  bool RunsToItsEnd(int dies_at, int parallelism) {
    return RunsToItsEnd(dies_at, parallelism, [&](Fate& fate) { return ThreeSteps(fate); });
  }
  bool RunsToItsEnd(int dies_at, int parallelism, const std::function<Engine::Steps(Fate&)>& make) {
    const pid_t child = fork();
    if (child == 0) {
      Fate fate(dies_at);
      const std::unique_ptr<RunStore> store = Open();
      FatefulJournal journal(*store, fate);
      const bool done = Go(*store, journal, make(fate), {.parallelism = parallelism}).ok();
      _exit(done ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
  }

  tests::TempDir folder_;
  World world_{folder_.Path() + "/world"};
  Fate unhurt_;
  std::unique_ptr<RunStore> store_;
};

TEST_F(EngineTest, StepsAreMadeInTheirOrderAndWavesInTheirs) {
  const Engine::Steps steps = ThreeSteps(unhurt_);
  Begin(steps);
  const auto run = Go(steps, {.parallelism = 1});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  EXPECT_TRUE(run->over);
  EXPECT_THAT(world_.Effects(), ElementsAre("look ", "move b", "move a", "move c", "end "));
  const auto stored = store_->Read("r1");
  ASSERT_TRUE(stored.ok()) << stored.status();
  ASSERT_THAT(stored->steps, SizeIs(3));
  ASSERT_THAT(stored->steps[1].items, SizeIs(3));
  EXPECT_EQ(stored->steps[1].items[1].state, ItemState::kDone);
  EXPECT_EQ(stored->steps[1].items[1].facts["left"], "move b");
  EXPECT_EQ(stored->state, RunState::kDone);
}

// A process that is killed at any moment, once or again and again, leaves a run that ends as if nothing had been.
TEST_F(EngineTest, WhereverItIsKilledItGoesOnToTheSameEnd) {
  for (const int parallelism : {1, 3}) {
    int deaths = 0;
    for (int dies_at = 0;; ++dies_at) {
      SCOPED_TRACE(testing::Message() << "killed at " << dies_at << ", " << parallelism << " at a time");
      std::filesystem::remove(folder_.Path() + "/world");
      std::filesystem::remove_all(folder_.Path() + "/state");
      store_ = Open();
      Begin(ThreeSteps(unhurt_));
      const bool ended = RunsToItsEnd(dies_at, parallelism);
      if (!ended) {
        ++deaths;
        const auto stopped = store_->Read("r1");
        ASSERT_TRUE(stopped.ok()) << stopped.status();
        // Unless it died after it had recorded its end.
        if (!stopped->over) {
          EXPECT_EQ(stopped->state, RunState::kInterrupted);
          RunsToItsEnd(-1, parallelism);
        }
      }
      EXPECT_THAT(world_.Effects(), UnorderedElementsAre("look ", "move a", "move b", "move c", "end "));
      const auto run = store_->Read("r1");
      ASSERT_TRUE(run.ok()) << run.status();
      EXPECT_EQ(run->state, RunState::kDone);
      EXPECT_EQ(run->error, "");
      for (const StepRecord& step : run->steps) EXPECT_EQ(step.State(), ItemState::kDone) << step.name;
      if (ended) break;
    }
    EXPECT_GT(deaths, 40);
  }
}

TEST_F(EngineTest, KilledAgainAndAgainItStillComesToItsEnd) {
  Begin(ThreeSteps(unhurt_));
  int lives = 1;
  while (!RunsToItsEnd(11, 1)) ++lives;
  EXPECT_GT(lives, 3);
  EXPECT_THAT(world_.Effects(), UnorderedElementsAre("look ", "move a", "move b", "move c", "end "));
}

TEST_F(EngineTest, AFailureStopsTheRunAfterItsWaveAndIsTriedAgain) {
  Begin(ThreeSteps(unhurt_));
  auto run = Go(ThreeSteps(unhurt_, {.broken = {"a"}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_FALSE(run->over);
  EXPECT_EQ(run->error, "move a: is broken");
  EXPECT_EQ(run->Find("move")->Find("c")->state, ItemState::kDone);
  EXPECT_FALSE(world_.Has("end "));

  run = Go(ThreeSteps(unhurt_));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  const ItemRecord& mended = *run->Find("move")->Find("a");
  EXPECT_EQ(mended.attempts, 2U);
  EXPECT_THAT(mended.warnings, ElementsAre("attempt 1: is broken"));
  EXPECT_EQ(run->Find("move")->Find("c")->attempts, 1U);
}

TEST_F(EngineTest, AStepThatToleratesFailuresMakesTheRunPartial) {
  Begin(ThreeSteps(unhurt_));
  const auto run = Go(ThreeSteps(unhurt_, {.tolerates = true, .broken = {"b"}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kPartial);
  EXPECT_TRUE(run->over);
  EXPECT_EQ(ExitCodeOf(*run), ExitCode::kPartial);
  EXPECT_EQ(run->Find("move")->Find("b")->state, ItemState::kBroken);
  EXPECT_EQ(run->Find("move")->Find("b")->message, "is broken");
  EXPECT_THAT(world_.Effects(), UnorderedElementsAre("look ", "move a", "move c", "end "));
}

// Whether the item is broken can't be known: passing over it would leave behind what is perhaps quite well.
TEST_F(EngineTest, AFailureThatIsNoVerdictIsNeverTolerated) {
  for (const absl::StatusCode code : {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
                                      absl::StatusCode::kUnauthenticated, absl::StatusCode::kPermissionDenied}) {
    SCOPED_TRACE(absl::StatusCodeToString(code));
    std::filesystem::remove(folder_.Path() + "/world");
    std::filesystem::remove_all(folder_.Path() + "/state");
    store_ = Open();
    Begin(ThreeSteps(unhurt_));
    auto run =
        Go(ThreeSteps(unhurt_, {.tolerates = true, .broken = {"b"}, .failure = absl::Status(code, "no answer")}));
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->state, RunState::kFailed);
    EXPECT_EQ(run->Find("move")->Find("b")->state, ItemState::kFailed);
    EXPECT_FALSE(world_.Has("end "));
    run = Go(ThreeSteps(unhurt_));
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->state, RunState::kDone);
  }
}

TEST_F(EngineTest, WhatWasSoBeforeIsSaidToHaveBeen) {
  world_.Add("move b");
  Begin(ThreeSteps(unhurt_));
  const auto run = Go(ThreeSteps(unhurt_));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->Find("move")->Find("b")->state, ItemState::kAlready);
  EXPECT_EQ(run->Find("move")->Find("a")->state, ItemState::kDone);
  EXPECT_THAT(world_.Effects(), UnorderedElementsAre("look ", "move a", "move b", "move c", "end "));
}

TEST_F(EngineTest, AStopLeavesARunThatCanBeResumed) {
  std::stop_source source;
  Engine::Steps steps = ThreeSteps(unhurt_, {.tolerates = true});
  Begin(steps);
  ASSERT_EQ(store_->TakeUp("r1"), absl::OkStatus());
  Engine engine(*store_, {.parallelism = 1}, Clock::System(), [&](const RunEvent& event) {
    if (event.kind == RunEvent::Kind::kItemEnded && event.item == "b") source.request_stop();
  });
  auto run = engine.Run(*store_->Read("r1"), steps, source.get_token());
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_FALSE(run->over);
  EXPECT_THAT(run->error, HasSubstr("stopped"));
  EXPECT_THAT(world_.Effects(), ElementsAre("look ", "move b"));
  run = Go(steps);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  EXPECT_THAT(world_.Effects(), SizeIs(5));
}

// A probe or a pair that the configuration lost while the run was open.
TEST_F(EngineTest, AnItemThatIsNotListedAnyMoreIsLeftOutAndTheStepEnds) {
  const auto two_steps = [&](const std::vector<Item>& items, StepOptions options = {}) {
    Engine::Steps steps;
    steps.push_back(std::make_unique<FileStep>("move", items, world_, unhurt_, std::move(options)));
    steps.push_back(std::make_unique<FileStep>("end", std::vector<Item>{{"", "end", 0}}, world_, unhurt_));
    return steps;
  };
  const std::vector<Item> three = {{"a", "move a", 0}, {"b", "move b", 0}, {"c", "move c", 1}};
  Begin(two_steps(three));
  auto run = Go(two_steps(three, {.broken = {"a"}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  run = Go(two_steps({{"b", "move b", 0}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone) << run->error;
  run = store_->Read("r1");
  ASSERT_TRUE(run.ok()) << run.status();
  const StepRecord& move = *run->Find("move");
  EXPECT_EQ(move.Find("a")->state, ItemState::kLeftOut);
  EXPECT_THAT(move.Find("a")->message, HasSubstr("it was begun before"));
  EXPECT_EQ(move.Find("b")->state, ItemState::kDone);
  EXPECT_EQ(move.Find("c")->state, ItemState::kLeftOut);
  EXPECT_EQ(move.Find("c")->message, "isn't part of the step any more");
  EXPECT_THAT(world_.Effects(), ElementsAre("move b", "end "));
}

TEST_F(EngineTest, AKeyThatIsListedTwiceIsAnErrorAndNothingOfTheStepIsBegun) {
  Engine::Steps steps;
  steps.push_back(std::make_unique<FileStep>(
      "move", std::vector<Item>{{"a", "move a", 0}, {"b", "move b", 0}, {"a", "move a", 1}}, world_, unhurt_));
  Begin(steps);
  const auto run = Go(steps);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_FALSE(run->over);
  EXPECT_THAT(run->error, HasSubstr("move: two of its items are called 'a'"));
  EXPECT_THAT(world_.Effects(), IsEmpty());
}

// Steps fence, pause, promote and end; promote can't be taken back. Each asks the world whether it still holds.
struct GuardOptions {
  StepOptions fence = {};
  StepOptions promote = {};
  StepOptions end = {};
};

class GuardTest : public EngineTest {
 protected:
  Engine::Steps FourSteps(Fate& fate, GuardOptions options) const {
    options.promote.no_return = true;
    Engine::Steps steps;
    steps.push_back(std::make_unique<FileStep>("fence", std::vector<Item>{{"a", "fence a", 0}, {"b", "fence b", 0}},
                                               world_, fate, options.fence));
    steps.push_back(std::make_unique<FileStep>("pause", std::vector<Item>{{"a", "pause a", 0}}, world_, fate));
    steps.push_back(std::make_unique<FileStep>(
        "promote", std::vector<Item>{{"a", "promote a", 0}, {"b", "promote b", 1}}, world_, fate, options.promote));
    steps.push_back(std::make_unique<FileStep>("end", std::vector<Item>{{"", "end", 0}}, world_, fate, options.end));
    return steps;
  }
  Engine::Steps FourSteps(const GuardOptions& options = {}) { return FourSteps(unhurt_, options); }

  // Stopped after the pause, before anything was promoted.
  void RunUpToThePromotion() {
    std::stop_source source;
    const Engine::Steps steps = FourSteps();
    Begin(steps);
    ASSERT_EQ(store_->TakeUp("r1"), absl::OkStatus());
    Engine engine(*store_, {}, Clock::System(), [&](const RunEvent& event) {
      if (event.kind == RunEvent::Kind::kStepEnded && event.step == "pause") source.request_stop();
    });
    const auto run = engine.Run(*store_->Read("r1"), steps, source.get_token());
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_FALSE(run->over);
    ASSERT_THAT(world_.Effects(), UnorderedElementsAre("fence a", "fence b", "pause a"));
  }
  static std::vector<std::string> All() { return {"fence a", "fence b", "pause a", "promote a", "promote b", "end "}; }
};

TEST_F(GuardTest, WhatDoesNotHoldAnyMoreIsMadeAgainWithAllThatCameAfterIt) {
  RunUpToThePromotion();
  world_.Remove("fence b");
  std::vector<std::string> reopened;
  ASSERT_EQ(store_->TakeUp("r1"), absl::OkStatus());
  const Engine::Steps steps = FourSteps();
  Engine engine(*store_, {}, Clock::System(), [&](const RunEvent& event) {
    if (event.kind == RunEvent::Kind::kStepReopened) reopened.push_back(event.step);
  });
  ASSERT_TRUE(engine.Run(*store_->Read("r1"), steps, {}).ok());
  EXPECT_THAT(reopened, ElementsAre("fence", "pause"));
  EXPECT_THAT(world_.Effects(), ::testing::UnorderedElementsAreArray(All()));
  const auto run = store_->Read("r1");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  const std::vector<std::pair<std::string, std::string>> again = {{"fence", "a"}, {"fence", "b"}, {"pause", "a"}};
  for (const auto& [step, key] : again) {
    const ItemRecord& item = *run->Find(step)->Find(key);
    EXPECT_EQ(item.state, ItemState::kDone) << step << key;
    EXPECT_EQ(item.attempts, 2U) << step << key;
    EXPECT_THAT(item.warnings, ElementsAre(HasSubstr("step fence"))) << step << key;
  }
  EXPECT_THAT(run->Find("promote")->Find("a")->warnings, IsEmpty());
}

TEST_F(GuardTest, WhatStillHoldsIsNotMadeAgain) {
  RunUpToThePromotion();
  const auto run = Go(FourSteps());
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  EXPECT_EQ(run->Find("fence")->Find("a")->attempts, 1U);
}

TEST_F(GuardTest, WhatCannotBeToldStopsTheRunBeforeAnythingIsDone) {
  RunUpToThePromotion();
  auto run = Go(FourSteps({.fence = {.cannot_tell = absl::InternalError("no answer")}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_FALSE(run->over);
  EXPECT_EQ(run->error, "fence: whether it still holds can't be told: no answer");
  EXPECT_FALSE(world_.Has("promote a"));
  run = Go(FourSteps());
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  EXPECT_EQ(run->error, "");
}

// The other side is the live one for some volume: there is no way back, whatever became of the fence.
TEST_F(GuardTest, AfterWhatCannotBeTakenBackNobodyAsksAboutWhatCameBefore) {
  Begin(FourSteps());
  auto run = Go(FourSteps({.promote = {.broken = {"a"}}}));
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->state, RunState::kFailed);
  world_.Remove("fence b");
  run = Go(FourSteps({.fence = {.cannot_tell = absl::InternalError("no answer")}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone) << run->error;
  EXPECT_FALSE(world_.Has("fence b"));
}

// What comes after it, however, is asked.
TEST_F(GuardTest, WhatLapsedAfterThePointOfNoReturnIsMadeAgainAlone) {
  Begin(FourSteps());
  auto run = Go(FourSteps({.end = {.broken = {""}}}));
  ASSERT_TRUE(run.ok()) << run.status();
  world_.Remove("promote b");
  world_.Remove("fence a");
  run = Go(FourSteps());
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone) << run->error;
  EXPECT_EQ(run->Find("promote")->Find("b")->attempts, 2U);
  EXPECT_EQ(run->Find("fence")->Find("a")->attempts, 1U);
  EXPECT_FALSE(world_.Has("fence a"));
}

TEST_F(GuardTest, KilledWhereverItMayBeWhileItLooksBackItComesToTheSameEnd) {
  const auto make = [&](Fate& fate) { return FourSteps(fate, {}); };
  int deaths = 0;
  for (int dies_at = 0;; ++dies_at) {
    SCOPED_TRACE(testing::Message() << "killed at " << dies_at);
    std::filesystem::remove(folder_.Path() + "/world");
    std::filesystem::remove_all(folder_.Path() + "/state");
    store_ = Open();
    ASSERT_NO_FATAL_FAILURE(RunUpToThePromotion());
    world_.Remove("fence b");
    const bool ended = RunsToItsEnd(dies_at, 1, make);
    if (!ended) {
      ++deaths;
      if (!store_->Read("r1")->over) {
        RunsToItsEnd(-1, 1, make);
      }
    }
    EXPECT_THAT(world_.Effects(), ::testing::UnorderedElementsAreArray(All()));
    const auto run = store_->Read("r1");
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->state, RunState::kDone) << run->error;
    EXPECT_GE(run->Find("pause")->Find("a")->attempts, 2U);
    if (ended || HasFailure()) break;
  }
  EXPECT_GT(deaths, 40);
}

class RehearsalTest : public EngineTest {
 protected:
  Engine::Steps WithRemoval(StepOptions second, StepOptions removal = {.removes = true}) {
    Engine::Steps steps = ThreeSteps(unhurt_, std::move(second));
    steps.push_back(
        std::make_unique<FileStep>("remove", std::vector<Item>{{"", "remove", 0}}, world_, unhurt_, removal));
    return steps;
  }
};

TEST_F(RehearsalTest, WhatItMadeIsRemovedAlsoAfterAFailureAndThenItIsOver) {
  Begin(WithRemoval({}));
  const auto run = Go(WithRemoval({.broken = {"a"}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_TRUE(run->over);
  EXPECT_EQ(run->error, "move a: is broken");
  EXPECT_TRUE(world_.Has("remove "));
  EXPECT_FALSE(world_.Has("end "));
}

TEST_F(RehearsalTest, ARemovalThatFailsIsNotOver) {
  Begin(WithRemoval({}));
  auto run = Go(WithRemoval({}, {.removes = true, .broken = {""}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_FALSE(run->over);
  run = Go(WithRemoval({}), {.only_removal = true});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  EXPECT_TRUE(run->over);
  EXPECT_TRUE(world_.Has("remove "));
}

TEST_F(RehearsalTest, WhatIsToBeKeptStaysUntilItIsAskedToGo) {
  Begin(WithRemoval({}), {.id = "r1", .plan = "shop", .mode = RunMode::kTest, .keep = true, .started_at = absl::Now()});
  auto run = Go(WithRemoval({}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kDone);
  EXPECT_FALSE(run->over);
  EXPECT_FALSE(world_.Has("remove "));
  run = Go(WithRemoval({}), {.only_removal = true});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->over);
  EXPECT_TRUE(world_.Has("remove "));
}

// The plan has changed since, so that nobody could say what its other steps were.
TEST_F(RehearsalTest, ItsRemovalNeedsNoneOfItsOtherSteps) {
  Begin(WithRemoval({}), {.id = "r1", .plan = "shop", .mode = RunMode::kTest, .keep = true, .started_at = absl::Now()});
  auto run = Go(WithRemoval({.broken = {"a"}}));
  ASSERT_TRUE(run.ok()) << run.status();
  Engine::Steps only_removal = WithRemoval({});
  only_removal.erase(only_removal.begin(), only_removal.end() - 1);
  run = Go(only_removal, {.only_removal = true});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->over);
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_TRUE(world_.Has("remove "));
}

TEST_F(RehearsalTest, OnceItsRemovalHasBegunItIsOnlyRemoved) {
  Begin(WithRemoval({}));
  auto run = Go(WithRemoval({.broken = {"a"}}, {.removes = true, .broken = {""}}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_FALSE(run->over);
  run = Go(WithRemoval({}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->over);
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_FALSE(world_.Has("move a"));
  EXPECT_TRUE(world_.Has("remove "));
}

TEST_F(RehearsalTest, WhatItMadeStaysWhenItCannotBeToldWhetherItStillHolds) {
  Begin(WithRemoval({}), {.id = "r1", .plan = "shop", .mode = RunMode::kTest, .started_at = absl::Now()});
  std::stop_source source;
  ASSERT_EQ(store_->TakeUp("r1"), absl::OkStatus());
  const Engine::Steps steps = WithRemoval({});
  Engine engine(*store_, {}, Clock::System(), [&](const RunEvent& event) {
    if (event.kind == RunEvent::Kind::kStepEnded && event.step == "move") source.request_stop();
  });
  ASSERT_TRUE(engine.Run(*store_->Read("r1"), steps, source.get_token()).ok());
  const auto run = Go(WithRemoval({.cannot_tell = absl::InternalError("no answer")}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->state, RunState::kFailed);
  EXPECT_FALSE(run->over);
  EXPECT_FALSE(world_.Has("remove "));
}

// Nothing is begun whose beginning can't be recorded.
TEST_F(EngineTest, WhatCannotBeRecordedIsNotDone) {
  class FullDisk : public NoJournal {
   public:
    absl::Status WriteItem(const std::string&, const std::string&, const ItemRecord&) override {
      return absl::ResourceExhaustedError("no space");
    }
  };
  FullDisk journal;
  const Engine::Steps steps = ThreeSteps(unhurt_);
  Begin(steps);
  const auto run = Go(*store_, journal, steps);
  EXPECT_TRUE(absl::IsResourceExhausted(run.status()));
  EXPECT_THAT(world_.Effects(), IsEmpty());
}

}  // namespace
}  // namespace understudy::control
