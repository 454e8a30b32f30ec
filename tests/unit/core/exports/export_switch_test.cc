// The export switch over the kernel's server: what is desired lasts, what isn't so is found and mended, and nobody
// else's exports change.
#include "core/exports/export_switch.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <thread>

#include "absl/synchronization/notification.h"
#include "core/exports/volume_exports.h"
#include "tests/unit/core/exports/switch_fixture.h"

namespace understudy::exports {
namespace {

using model::ExportMode;
using ::testing::HasSubstr;
using ::testing::Not;

class ExportSwitchTest : public SwitchFixture {};

size_t CountOf(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

TEST_F(ExportSwitchTest, SetReturnsWhenTheServerWasReadBackToBeSo) {
  Start();
  for (const auto& [mode, etab] :
       {std::pair(ExportMode::kReadOnly, "10.0.0.0/8(ro,"), std::pair(ExportMode::kReadWrite, "10.0.0.0/8(rw,"),
        std::pair(ExportMode::kReadOnly, "10.0.0.0/8(ro,")}) {
    ASSERT_TRUE(switch_->Set("web", Path("a"), mode).ok());
    EXPECT_THAT(Read("etab"), HasSubstr(Path("a") + "\t" + etab));
    const model::ExportState state = switch_->Find("web").value();
    EXPECT_EQ(state.desired, mode);
    EXPECT_EQ(state.actual, mode);
    EXPECT_EQ(state.problem, "");
    EXPECT_EQ(state.backend, "knfsd");
  }
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kNone).ok());
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a"))));
  EXPECT_TRUE(switch_->Usable().ok());
  // After each re-export the kernel forgets what it knew.
  EXPECT_EQ(CountOf(Read("calls"), "-f\n"), CountOf(Read("calls"), "-r\n"));
}

TEST_F(ExportSwitchTest, AServerThatIsAsDesiredIsLeftAlone) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  const std::string calls = Read("calls");
  switch_->Reconcile();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  EXPECT_EQ(Read("calls"), calls);
}

TEST_F(ExportSwitchTest, WhoeverExportsNothingNeverTouchesTheServer) {
  Write("etab", "this is no etab");
  Start();
  EXPECT_TRUE(switch_->Usable().ok());
  EXPECT_FALSE(std::filesystem::exists(dir_.File("calls")));
  EXPECT_FALSE(std::filesystem::exists(dir_.File("exports.d")));
}

TEST_F(ExportSwitchTest, WhatIsDesiredOutlivesTheAgentAndIsBroughtAboutAtTheStart) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  switch_.reset();
  // Somebody edited by hand meanwhile, or the host started anew.
  Write("exports.d/understudy-test.exports", Path("a") + " *(ro)\n");
  Write("etab", "");
  Start();
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadWrite);
  EXPECT_THAT(Read("etab"), HasSubstr("10.0.0.0/8(rw,"));
  EXPECT_THAT(Read("etab"), Not(HasSubstr("*(ro")));
}

TEST_F(ExportSwitchTest, WhatSomebodyChangedByHandIsMendedAtTheNextLook) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  Write("etab", Path("a") + "\t10.0.0.0/8(rw,sec=sys,rw)\n");
  switch_->Reconcile();
  EXPECT_THAT(Read("etab"), HasSubstr("10.0.0.0/8(ro,"));
  Write("exports.d/understudy-test.exports", "");
  switch_->Reconcile();
  EXPECT_THAT(OwnFile(), HasSubstr(Path("a") + " 10.0.0.0/8(ro,no_subtree_check,sec=sys)"));
}

TEST_F(ExportSwitchTest, AStrangersExportsStayAsTheyAre) {
  std::filesystem::create_directories(dir_.File("exports.d"));
  std::filesystem::create_directories(dir_.File("theirs"));
  Write("exports.d/theirs.exports",
        dir_.File("theirs") + " 192.168.1.0/24(rw)\n" + dir_.File("theirs") + " @ng(bogus)\n");
  const std::string by_hand = dir_.File("theirs") + "\t10.7.7.7(ro,fsid=9)\n";
  Write("etab", by_hand);
  Start();
  // The stranger's mistake makes exportfs end with 1, which is no failure of ours.
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  EXPECT_THAT(Read("etab"), HasSubstr("192.168.1.0/24(rw"));
  EXPECT_THAT(Read("etab"), HasSubstr(by_hand)) << "exportfs -r drops what was exported by hand";
  EXPECT_THAT(Read("exports.d/theirs.exports"), HasSubstr("@ng(bogus)"));
  ASSERT_TRUE(switch_->Forget("web").ok());
  EXPECT_THAT(Read("etab"), HasSubstr(by_hand));
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a"))));
}

TEST_F(ExportSwitchTest, AnExportfsThatFailsLeavesTheDesiredStateToBeTriedAgain) {
  Start();
  Behave("fail");
  const absl::Status failed = switch_->Set("web", Path("a"), ExportMode::kReadOnly);
  EXPECT_TRUE(absl::IsAborted(failed)) << failed;
  EXPECT_THAT(std::string(MessageOf(failed)), HasSubstr("can't do anything today"));
  EXPECT_FALSE(switch_->Usable().ok());
  EXPECT_EQ(switch_->Find("web")->desired, ExportMode::kReadOnly);
  Behave("");
  switch_->Reconcile();
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadOnly);
  EXPECT_TRUE(switch_->Usable().ok());
}

TEST_F(ExportSwitchTest, AKernelThatWasntFlushedMayGoByWhatWasBefore) {
  Start();
  Behave("flush_fails");
  const absl::Status failed = switch_->Set("web", Path("a"), ExportMode::kReadOnly);
  EXPECT_TRUE(absl::IsAborted(failed)) << failed;
  Behave("");
  switch_->Reconcile();
  EXPECT_TRUE(switch_->Usable().ok());
}

TEST_F(ExportSwitchTest, AWarningIsNoFailureAndAnExitCodeIsNoProof) {
  Start();
  Behave("warn");
  EXPECT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  // An exportfs that says 0 and did nothing.
  Behave("");
  std::filesystem::remove(dir_.File("exportfs"));
  std::filesystem::create_symlink("/bin/true", dir_.File("exportfs"));
  EXPECT_TRUE(absl::IsAborted(switch_->Set("web", Path("a"), ExportMode::kReadWrite)));
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadOnly);
}

TEST_F(ExportSwitchTest, AnExportfsThatHangsHoldsNobodyUpForLong) {
  Start(absl::Milliseconds(300));
  Behave("hang");
  absl::Notification done;
  std::thread setter([&] {
    EXPECT_TRUE(absl::IsAborted(switch_->Set("web", Path("a"), ExportMode::kReadOnly)));
    done.Notify();
  });
  // Whoever only looks doesn't wait.
  while (!done.HasBeenNotified()) (void)switch_->List();
  setter.join();
  EXPECT_THAT(switch_->Find("web")->problem, HasSubstr("was killed"));
  Behave("");
  switch_->Reconcile();
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadOnly);
}

TEST_F(ExportSwitchTest, AFolderThatIsMissingIsNoExportAlthoughEtabHasIt) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  const absl::Status missing = switch_->Set("gone", Path("gone"), ExportMode::kReadOnly);
  EXPECT_TRUE(absl::IsFailedPrecondition(missing)) << missing;
  EXPECT_THAT(std::string(MessageOf(missing)), HasSubstr("isn't there"));
  EXPECT_EQ(switch_->Find("gone")->actual, ExportMode::kNone);
  EXPECT_THAT(Read("etab"), HasSubstr(Path("gone")));
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadOnly) << "the others are done";
}

TEST_F(ExportSwitchTest, SomebodyElsesExportThatLetsClientsWriteIsTold) {
  Write("exports", dir_.File("srv") + " *(rw)\n");
  Start();
  const absl::Status status = switch_->Set("web", Path("a"), ExportMode::kReadOnly);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("clients that came by that way write"));
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadWrite);
  EXPECT_EQ(Read("exports"), dir_.File("srv") + " *(rw)\n");
}

TEST_F(ExportSwitchTest, WhatCantBeExportedIsRefusedAndChangesNothing) {
  Start();
  EXPECT_TRUE(absl::IsInvalidArgument(switch_->Set("web", Path("a\nb"), ExportMode::kReadOnly)));
  EXPECT_TRUE(absl::IsInvalidArgument(switch_->Set("web", "/elsewhere", ExportMode::kReadOnly)));
  EXPECT_TRUE(absl::IsInvalidArgument(switch_->Check("web", Path("a\nb"))));
  EXPECT_TRUE(absl::IsInvalidArgument(switch_->Check("web", "/elsewhere")));
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(switch_->Set("other", Path("a"), ExportMode::kReadOnly)));
  EXPECT_TRUE(absl::IsAlreadyExists(switch_->Set("other", Path("a/below"), ExportMode::kReadOnly)));
  EXPECT_TRUE(absl::IsAlreadyExists(switch_->Check("other", Path("a/below"))));
  EXPECT_TRUE(switch_->Check("web", Path("a")).ok());
  EXPECT_TRUE(switch_->Check("third", Path("c")).ok());
  EXPECT_EQ(switch_->List().size(), 1u);
}

TEST_F(ExportSwitchTest, WhoChangesTheStateFirstAndSetsThenHasTheLastWord) {
  Start();
  // What promotion and demotion do, while drctl asks for rw: the look at the state and the writing down are one.
  bool active = true;
  const auto only_while_active = [&active]() -> absl::Status {
    return active ? absl::OkStatus() : absl::FailedPreconditionError("a standby");
  };
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite, only_while_active).ok());
  active = false;
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(switch_->Set("web", Path("a"), ExportMode::kReadWrite, only_while_active)));
  EXPECT_EQ(switch_->Find("web")->desired, ExportMode::kReadOnly);
}

TEST_F(ExportSwitchTest, ForgettingEndsWhenTheServerLetGo) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  Behave("hang");
  Start(absl::Milliseconds(200));
  EXPECT_TRUE(absl::IsAborted(switch_->Forget("web")));
  ASSERT_TRUE(switch_->Find("web").has_value());
  // Also by an agent that was started since.
  Behave("");
  Start();
  EXPECT_FALSE(switch_->Find("web").has_value());
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a"))));
  EXPECT_TRUE(switch_->Forget("web").ok());
  EXPECT_TRUE(switch_->Forget("never").ok());
}

TEST_F(ExportSwitchTest, AnExportfsThatRemovesNothingIsntTakenForDone) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  Behave("reexport_fails");
  EXPECT_TRUE(absl::IsAborted(switch_->Set("web", Path("a"), ExportMode::kNone)));
  switch_->Reconcile();
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadWrite);
  EXPECT_TRUE(absl::IsAborted(switch_->Forget("web")));
  switch_->Reconcile();
  ASSERT_TRUE(switch_->Find("web").has_value());
  Behave("");
  switch_->Reconcile();
  EXPECT_FALSE(switch_->Find("web").has_value());
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a"))));
}

TEST_F(ExportSwitchTest, ANameThatMovesTakesItsExportAlong) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  ASSERT_TRUE(switch_->Set("web", Path("b"), ExportMode::kReadOnly).ok());
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a"))));
  EXPECT_THAT(Read("etab"), HasSubstr(Path("b") + "\t10.0.0.0/8(ro,"));
}

TEST_F(ExportSwitchTest, BackendNoneOnlyWritesDown) {
  Start(absl::Seconds(20), "none");
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  EXPECT_EQ(switch_->Find("web")->desired, ExportMode::kReadWrite);
  EXPECT_FALSE(switch_->Find("web")->actual.has_value());
  EXPECT_TRUE(switch_->Usable().ok());
  EXPECT_FALSE(std::filesystem::exists(dir_.File("calls")));
}

TEST_F(ExportSwitchTest, AnotherBackendInTheConfigurationTakesOver) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  Start(absl::Seconds(20), "none");
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a")))) << "the earlier one lets go";
  EXPECT_EQ(switch_->Find("web")->backend, "none");
  Start();
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadWrite);
}

TEST_F(ExportSwitchTest, ALostDatabaseLeavesNothingExported) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  switch_.reset();
  for (const char* const file : {"exports.db", "exports.db-wal", "exports.db-shm"})
    std::filesystem::remove(dir_.File(file));
  Start();
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("a")))) << "and it isn't taken for a stranger's";
}

// The agent ends right before or right after exportfs did its work: the next one brings about what was asked for.
TEST_F(ExportSwitchTest, AnAgentThatEndsInTheMidstOfAChangeLeavesItToTheNextOne) {
  Start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  switch_.reset();
  ExportMode mode = ExportMode::kReadOnly;
  for (const char* const behaviour : {"crash_before", "crash_after"}) {
    Behave("");
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Start();
      Behave(behaviour);
      (void)switch_->Set("web", Path("a"), mode);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << behaviour;
    Behave("");
    Start();
    EXPECT_EQ(switch_->Find("web")->desired, mode) << behaviour;
    EXPECT_EQ(switch_->Find("web")->actual, mode) << behaviour;
    EXPECT_THAT(Read("etab"), HasSubstr(mode == ExportMode::kReadOnly ? "(ro," : "(rw,"));
    mode = ExportMode::kReadWrite;
    switch_.reset();
  }
}

// An agent that begins with `start` is killed in the midst of `set`.
void SetAndDie(const std::function<void()>& start, const std::function<void()>& set) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    start();
    set();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

// exportfs -r has dropped them, and only the agent that died knew of them.
TEST_F(ExportSwitchTest, AnAgentThatEndsBeforeItPutAStrangersExportsBackLeavesThatToTheNextOne) {
  std::filesystem::create_directories(dir_.File("exports.d"));
  const std::string by_hand = dir_.File("theirs") + "\t10.7.7.7(ro,fsid=9)\n";
  const std::string kept_file = "exports.d/.understudy.by-hand";
  Write("etab", by_hand);
  const auto die = [&] {
    SetAndDie([&] { Start(); },
              [&] {
                Behave("crash_after");
                (void)switch_->Set("web", Path("a"), ExportMode::kReadOnly);
              });
    Behave("");
  };
  die();
  ASSERT_THAT(Read("etab"), Not(HasSubstr("10.7.7.7")));
  Start();
  EXPECT_THAT(Read("etab"), HasSubstr(by_hand));
  EXPECT_FALSE(std::filesystem::exists(dir_.File(kept_file)));
  EXPECT_EQ(switch_->Find("web")->actual, ExportMode::kReadOnly);

  // A start of the host brings back nothing that was exported by hand.
  ASSERT_TRUE(switch_->Forget("web").ok());
  switch_.reset();
  die();
  const std::string kept = Read(kept_file);
  ASSERT_THAT(kept, HasSubstr(by_hand));
  Write(kept_file, "# boot another" + kept.substr(kept.find('\n')));
  Start();
  EXPECT_THAT(Read("etab"), Not(HasSubstr("10.7.7.7")));
  EXPECT_FALSE(std::filesystem::exists(dir_.File(kept_file)));
}

// What that one stopped to export meanwhile isn't exported again because of an agent that died.
TEST_F(ExportSwitchTest, TheOtherAgentsExportsAreNoStrangers) {
  std::filesystem::create_directories(dir_.File("exports.d"));
  Write("exports.d/understudy-other.exports", Path("b") + " *(rw)\n");
  Write("etab", Path("b") + "\t*(rw,fsid=9)\n");
  SetAndDie([&] { Start(); },
            [&] {
              Behave("crash_after");
              (void)switch_->Set("web", Path("a"), ExportMode::kReadOnly);
            });
  Behave("");
  Write("exports.d/understudy-other.exports", "");
  Write("etab", "");
  Start();
  EXPECT_THAT(Read("etab"), Not(HasSubstr(Path("b"))));
}

TEST_F(ExportSwitchTest, AStrangersExportsArePutBackAfterAnExportfsThatHadToBeKilled) {
  Start(absl::Milliseconds(500));
  const std::string by_hand = dir_.File("theirs") + "\t10.7.7.7(ro,fsid=9)\n";
  Write("etab", by_hand);
  Behave("reexport_hangs");
  EXPECT_FALSE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  EXPECT_THAT(Read("etab"), HasSubstr(by_hand));
}

// Numbers its exports, and does what is wanted.
class NumberingBackend : public NoneBackend {
 public:
  explicit NumberingBackend(std::map<std::string, uint16_t>& ids) : ids_(ids) {}
  std::string Name() const override { return "numbering"; }
  absl::StatusOr<uint16_t> ChooseId(const std::set<uint16_t>& taken) override {
    uint16_t id = 100;
    while (taken.contains(id)) ++id;
    return id;
  }
  absl::StatusOr<Found> Reconcile(std::span<const WantedExport> wanted, const std::optional<std::string>&) override {
    Found found;
    ids_.clear();
    for (const WantedExport& one : wanted) {
      if (one.mode != ExportMode::kNone) ids_[one.path] = one.export_id;
      found[one.name] = {.actual = one.mode, .ours_settled = true, .problem = ""};
    }
    return found;
  }

 private:
  std::map<std::string, uint16_t>& ids_;
};

TEST_F(ExportSwitchTest, AnExportKeepsItsNumberForGood) {
  std::map<std::string, uint16_t> ids;
  const auto start = [&] {
    switch_.reset();
    std::vector<std::unique_ptr<ExportBackend>> backends;
    backends.push_back(std::make_unique<NumberingBackend>(ids));
    auto started = ExportSwitch::Start({.database = dir_.File("exports.db"),
                                        .places = {{dir_.File("srv"), "numbering", {}}},
                                        .interval = absl::InfiniteDuration()},
                                       std::move(backends));
    ASSERT_TRUE(started.ok()) << started.status();
    switch_ = *std::move(started);
    switch_->Reconcile();
  };
  start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadOnly).ok());
  ASSERT_TRUE(switch_->Set("db", Path("b"), ExportMode::kReadOnly).ok());
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kNone).ok());
  ASSERT_TRUE(switch_->Set("mail", Path("c"), ExportMode::kReadOnly).ok());
  start();
  ASSERT_TRUE(switch_->Set("web", Path("a"), ExportMode::kReadWrite).ok());
  EXPECT_EQ(ids, (std::map<std::string, uint16_t>{{Path("a"), 100}, {Path("b"), 101}, {Path("c"), 102}}));
  // Handles of the earlier folder must not mean the new one.
  ASSERT_TRUE(switch_->Set("web", Path("d"), ExportMode::kReadWrite).ok());
  EXPECT_EQ(ids.at(Path("d")), 103);
}

TEST_F(ExportSwitchTest, VolumesThatNobodyMayWriteToAreNeverExportedSo) {
  Start();
  std::string why = "promote it first";
  VolumeExports exports(*switch_, [&] {
    return std::vector<ExportableVolume>{{.name = "web", .path = Path("a"), .why_never_written = why}};
  });
  ASSERT_EQ(exports.List().size(), 1u);
  EXPECT_EQ(exports.List()[0].backend, "knfsd");
  EXPECT_TRUE(absl::IsFailedPrecondition(exports.Set("web", ExportMode::kReadWrite).status()));
  EXPECT_FALSE(switch_->Find("web").has_value());
  EXPECT_TRUE(exports.Set("web", ExportMode::kReadOnly).ok());
  why = "";
  EXPECT_EQ(exports.Set("web", ExportMode::kReadWrite)->actual, ExportMode::kReadWrite);
  EXPECT_TRUE(absl::IsNotFound(exports.Set("nobody", ExportMode::kReadOnly).status()));
  // What a volume left behind that is gone can be taken away, and nothing else done with it.
  ASSERT_TRUE(switch_->Set("gone", Path("b"), ExportMode::kReadWrite).ok());
  EXPECT_EQ(exports.List().size(), 2u);
  EXPECT_TRUE(absl::IsNotFound(exports.Set("gone", ExportMode::kReadOnly).status()));
  EXPECT_TRUE(exports.Set("gone", ExportMode::kNone).ok());
  EXPECT_EQ(exports.List().size(), 1u);
}

}  // namespace
}  // namespace understudy::exports
