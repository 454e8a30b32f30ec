// Whole runs over memory: what each mode does and in which order; what stops it and what doesn't; and that whatever
// call fails, before or after its effect, a resumed run comes to the same end and does nothing twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "control/failover/plan_steps.h"
#include "control/failover/storage.h"
#include "control/runs/dry_run.h"
#include "tests/support/memory_machines.h"
#include "tests/support/memory_restores.h"
#include "tests/support/memory_sites.h"
#include "tests/support/memory_sync.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using tests::Trouble;

// A cluster whose binder is quick: a claim is bound as soon as its volume is there.
class BindingCluster : public tests::MemoryCluster {
 public:
  explicit BindingCluster(Trouble& trouble) : trouble_(trouble) {}
  absl::StatusOr<json> Get(const model::ObjectKey& key) const override {
    ASSIGN_OR_RETURN(json object, tests::MemoryCluster::Get(key));
    if (key.kind != model::ObjectKind::kPersistentVolumeClaim) return object;
    const std::string volume = object["spec"]["volumeName"];
    const bool bound = Has({model::ObjectKind::kPersistentVolume, "", volume});
    object["status"]["phase"] = bound ? "Bound" : "Pending";
    return object;
  }
  // What Apply answers from now on.
  void SetApplyError(const absl::Status& error) { apply_error_ = error; }
  absl::Status Apply(const json& manifest) override {
    if (!apply_error_.ok()) return apply_error_;
    return trouble_.Pass([&] { return tests::MemoryCluster::Apply(manifest); });
  }

 private:
  Trouble& trouble_;
  absl::Status apply_error_;
};

class MemoryScratch : public ScratchObjects {
 public:
  explicit MemoryScratch(BindingCluster& cluster, Trouble& trouble) : cluster_(cluster), trouble_(trouble) {}
  absl::Status EnsureNamespace(const std::string& run, const std::string& name) override {
    return trouble_.Pass([&]() -> absl::Status {
      const absl::MutexLock lock(&mutex_);
      const auto [found, is_new] = namespaces_.emplace(name, run);
      return is_new || found->second == run ? absl::OkStatus() : absl::FailedPreconditionError(name + " is foreign");
    });
  }
  absl::StatusOr<bool> HasNamespace(const std::string& name) override {
    const absl::MutexLock lock(&mutex_);
    return namespaces_.contains(name);
  }
  absl::Status Put(const std::string&, const json& manifest) override {
    return trouble_.Pass([&] {
      const absl::MutexLock lock(&mutex_);
      const json& metadata = manifest["metadata"];
      keys_.insert({*model::ParseObjectKind(manifest["kind"].get<std::string>()), metadata.value("namespace", ""),
                    metadata["name"]});
      return cluster_.tests::MemoryCluster::Apply(manifest);
    });
  }
  absl::StatusOr<size_t> Remove(const std::string& run, std::stop_token) override {
    return trouble_.Pass([&]() -> absl::StatusOr<size_t> {
      const absl::MutexLock lock(&mutex_);
      for (const model::ObjectKey& key : keys_) cluster_.Remove(key);
      keys_.clear();
      std::erase_if(namespaces_, [&](const auto& each) { return each.second == run; });
      return 0;
    });
  }
  // Whoever else makes one; empty: somebody without a label.
  void AddNamespace(const std::string& name, const std::string& run) {
    const absl::MutexLock lock(&mutex_);
    namespaces_[name] = run;
  }
  void RemoveNamespace(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    namespaces_.erase(name);
  }
  [[nodiscard]] size_t Count() const {
    const absl::MutexLock lock(&mutex_);
    return keys_.size() + namespaces_.size();
  }

 private:
  BindingCluster& cluster_;
  Trouble& trouble_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::string> namespaces_ ABSL_GUARDED_BY(mutex_);  // and whose run's
  std::set<model::ObjectKey> keys_ ABSL_GUARDED_BY(mutex_);
};

class TroubledMachines : public tests::MemoryMachines {
 public:
  explicit TroubledMachines(Trouble& trouble) : trouble_(trouble) {}
  absl::StatusOr<StopRecord> Stop(const VmKey& key) override {
    return trouble_.Pass([&] { return tests::MemoryMachines::Stop(key); });
  }
  absl::Status Start(const VmKey& key, const std::string& run_strategy) override {
    return trouble_.Pass([&] { return tests::MemoryMachines::Start(key, run_strategy); });
  }

 private:
  Trouble& trouble_;
};

class TroubledRestores : public tests::MemoryRestores {
 public:
  explicit TroubledRestores(Trouble& trouble) : trouble_(trouble) {}
  absl::Status Create(const RestoreSpec& spec) override {
    return trouble_.Pass([&] { return tests::MemoryRestores::Create(spec); });
  }

 private:
  Trouble& trouble_;
};

// Two sites with volumes pv-a and pv-b, which the claims shop/a and shop/b have, and machines shop/m0 to shop/m9.
struct World {
  World() {
    for (const std::string name : {"a", "b"}) {
      sites.Add("pv-" + name);
      AddClaim("pv-" + name, "pv-" + name, name);
    }
    BackupObjects objects;
    for (int i = 0; i < 10; ++i) {
      const std::string name = "m" + std::to_string(i);
      source.Add({"shop", name}, kRunAlways);
      objects.machines.push_back(
          {{"metadata", {{"namespace", "shop"}, {"name", name}}}, {"spec", {{"runStrategy", kRunAlways}}}});
    }
    backups.Add("nightly", objects);
    restores.AddBackup("nightly");
    restores.OnCreate([this](const RestoreSpec& spec) {
      ++restored;
      const auto mapped = spec.namespace_mapping.find("shop");
      for (int i = 0; i < 10; ++i) {
        const VmKey key{mapped == spec.namespace_mapping.end() ? "shop" : mapped->second, "m" + std::to_string(i)};
        target.Add(key);
        if (i == broken) target.Break(key, "CrashLoopBackOff");
        if (i == 0 && slow_first) target.SetPace(key, /*starts_after=*/-1, 0);
      }
    });
  }

  // A claim, with a PersistentVolume of its own, on what the replica `volume` holds.
  void AddClaim(const std::string& volume, const std::string& pv_name, const std::string& name) {
    const json pv = {{"apiVersion", "v1"},
                     {"kind", "PersistentVolume"},
                     {"metadata", {{"name", pv_name}, {"uid", "uid-" + pv_name}}},
                     {"spec",
                      {{"nfs", {{"server", "nfs1"}, {"path", "/srv/a/" + volume}}},
                       {"capacity", {{"storage", "1Gi"}}},
                       {"accessModes", {"ReadWriteMany"}},
                       {"storageClassName", "nfs"},
                       {"claimRef", {{"namespace", "shop"}, {"name", name}}}}}};
    const json claim = {{"apiVersion", "v1"},
                        {"kind", "PersistentVolumeClaim"},
                        {"metadata", {{"namespace", "shop"}, {"name", name}, {"uid", "uid-" + name}}},
                        {"spec",
                         {{"volumeName", pv_name},
                          {"accessModes", {"ReadWriteMany"}},
                          {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                          {"storageClassName", "nfs"}}},
                        {"status", {{"phase", "Bound"}}}};
    sites.AddToCatalog(Entry({model::ObjectKind::kPersistentVolume, "", pv_name}, pv, volume));
    sites.AddToCatalog(Entry({model::ObjectKind::kPersistentVolumeClaim, "shop", name}, claim, volume));
  }
  // The claim "shop/NAME", bound to "pv-NAME".
  static void PutClaim(tests::MemoryCluster& where, const std::string& name) {
    where.Put({model::ObjectKind::kPersistentVolumeClaim, "shop", name}, {{"spec", {{"volumeName", "pv-" + name}}}});
    where.Put({model::ObjectKind::kPersistentVolume, "", "pv-" + name}, {{"spec", nlohmann::json::object()}});
  }
  // The claims a and b are at both clusters, and what DR is asked to bring is there.
  void GoBack() {
    goes_back = true;
    for (const char* const name : {"a", "b"}) {
      PutClaim(source_cluster, name);
      PutClaim(cluster, name);
    }
    bring_objects = [](ItemContext&) { return Report(); };
  }
  [[nodiscard]] SiteObjects Objects() const {
    return goes_back ? SiteObjects{.dr = &source_cluster, .primary = &cluster} : SiteObjects{};
  }
  void AddClaimOn(const std::string& volume, const std::string& name) { AddClaim(volume, "pv-" + name, name); }

  static model::CatalogEntry Entry(model::ObjectKey key, const json& object, const std::string& volume) {
    return {.key = std::move(key),
            .uid = object["metadata"]["uid"],
            .resource = object.dump(),
            .volume = volume,
            .replica_path = "/srv/b/" + volume,
            .server = "nfs1",
            .observed_at = absl::UnixEpoch()};
  }

  FailoverParts Parts() {
    return {.agents = sites,
            .source_machines = &source,
            .target_machines = &target,
            .backups = &backups,
            .restores = &restores,
            .applier = &cluster,
            .target_objects = &cluster,
            .scratch = &scratch,
            .bring_objects = bring_objects,
            .reach_source = [this]() -> absl::StatusOr<std::string> {
              if (!source_answers) return absl::UnavailableError("no route to the source cluster");
              return "v1";
            },
            .reach_target = [] { return "v1"; },
            .transform =
                [](const std::string& pair) {
                  return TransformOptions{
                      .pair = pair, .dr_server = "nfs2", .storage_class_map = {}, .snapshot_class_map = {}};
                },
            .work_folder = folder.Path(),
            .remove_work_folder =
                [this] {
                  std::filesystem::remove(folder.File("archive"));
                  return absl::OkStatus();
                },
            .vm_wait = {.poll_interval = absl::Milliseconds(1), .bad_after = absl::Milliseconds(50)}};
  }

  Trouble trouble;
  tests::TempDir folder;
  tests::MemorySites sites{trouble};
  TroubledMachines source{trouble};
  TroubledMachines target{trouble};
  tests::MemoryBackups backups{trouble};
  TroubledRestores restores{trouble};
  BindingCluster cluster{trouble};
  MemoryScratch scratch{cluster, trouble};
  // Of the way back, from the source to the target.
  bool goes_back = false;
  tests::MemoryCluster source_cluster;
  std::function<absl::StatusOr<Report>(ItemContext&)> bring_objects;
  int broken = -1;  // the machine that doesn't get well
  int restored = 0;
  bool source_answers = true;
  bool slow_first = false;  // m0 never comes up
};

config::FailoverPlanConfig Plan() {
  config::FailoverPlanConfig plan;
  plan.name = "shop";
  plan.namespaces = {"shop"};
  plan.boot = {{.vms = {"shop/m9"}, .timeout = absl::Seconds(1)}};
  plan.timeouts.boot = absl::Seconds(1);
  return plan;
}

// One run, which can be gone on with.
class Runner {
 public:
  Runner(World& world, config::FailoverPlanConfig plan, RunMode mode) : world_(world), plan_(std::move(plan)) {
    record_.spec = {.id = "r1", .plan = "shop", .mode = mode, .namespaces = {"shop"}, .primary_is_down = true};
    const Attempt attempt(*this);
    for (const std::string& name : NamesOf(attempt.steps)) record_.steps.push_back({.name = name});
  }
  // To its end, or to where it fails.
  RunRecord& Go(
      EngineOptions options = {}, const Engine::OnEvent& on_event = [](const RunEvent&) {}) {
    const Attempt attempt(*this);
    NoJournal journal;
    auto made = Engine(journal, options, Clock::System(), on_event).Run(record_, attempt.steps, {});
    EXPECT_TRUE(made.ok()) << made.status();
    record_ = *std::move(made);
    return record_;
  }
  std::vector<PlannedStep> Dry() {
    const Attempt attempt(*this);
    return DryRun(record_, attempt.steps, {});
  }
  // What the step says when the run is taken up.
  bool StillSo(std::string_view step) {
    const Attempt attempt(*this);
    for (const std::unique_ptr<Step>& each : attempt.steps) {
      if (each->name() != step) continue;
      const absl::StatusOr<bool> still = each->StillSo(record_, {});
      EXPECT_TRUE(still.ok()) << still.status();
      return still.ok() && *still;
    }
    ADD_FAILURE() << "no step " << step;
    return false;
  }
  [[nodiscard]] std::vector<std::string> PointsOfNoReturn() {
    const Attempt attempt(*this);
    std::vector<std::string> names;
    for (const std::unique_ptr<Step>& each : attempt.steps) {
      if (each->IsPointOfNoReturn()) names.emplace_back(each->name());
    }
    return names;
  }
  RunRecord& record() { return record_; }

 private:
  // What a process has of its own.
  struct Attempt {
    explicit Attempt(Runner& runner)
        : parts(runner.world_.Parts()),
          storage(parts.agents, parts.backups, parts.work_folder, runner.world_.Objects()),
          steps(StepsOf(runner.plan_, runner.record_.spec.mode, parts, storage)) {}
    FailoverParts parts;
    RunStorage storage;
    Engine::Steps steps;
  };

  World& world_;
  const config::FailoverPlanConfig plan_;
  RunRecord record_;
};

std::vector<std::string> NamesOf(const RunRecord& run) {
  std::vector<std::string> names;
  for (const StepRecord& step : run.steps) names.push_back(step.name);
  return names;
}

void ExpectTakenOver(World& world) {
  for (const std::string volume : {"pv-a", "pv-b"}) {
    EXPECT_EQ(world.sites.PromotionsOf(volume), 1) << volume;
    EXPECT_EQ(world.sites.ReplicaOf(volume).state, model::VolumeState::kActive);
    EXPECT_TRUE(world.cluster.Has({model::ObjectKind::kPersistentVolume, "", volume}));
  }
  EXPECT_EQ(world.restored, 1);
  EXPECT_THAT(world.target.Started(), SizeIs(10));
}

TEST(WholeRun, PlannedBringsEverythingOverInOrder) {
  World world;
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go({.parallelism = 1});
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(NamesOf(run),
              ElementsAre("preflight", "backup", "inventory", "pre-sync", "stop-vms", "vms-down", "fence", "final-sync",
                          "verify", "pause", "promote", "storage-objects", "restore", "boot", "probe", "clean-up"));
  ExpectTakenOver(world);
  EXPECT_THAT(world.source.Stopped(), SizeIs(10));
  EXPECT_EQ(world.sites.SourceOf("pv-a").exported, model::ExportMode::kReadOnly);
  EXPECT_TRUE(world.sites.SourceOf("pv-a").paused);
  EXPECT_EQ(world.target.Started().front(), (VmKey{"shop", "m9"})) << "its group comes first";
  EXPECT_EQ(run.Find("promote")->Find("east/pv-a")->facts["data_age_seconds"], 0.0);
  EXPECT_EQ(run.Find("stop-vms")->Find("shop/m3")->facts["previous_run_strategy"], kRunAlways);
  EXPECT_FALSE(std::filesystem::exists(world.folder.File("archive")));
}

TEST(WholeRun, UnplannedNeedsNothingOfThePrimary) {
  World world;
  world.sites.LosePrimary();
  Runner runner(world, Plan(), RunMode::kUnplanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  ExpectTakenOver(world);
  EXPECT_THAT(world.source.Stopped(), IsEmpty());
}

TEST(WholeRun, TheDataOfAnIdleVolumeIsAsOldAsTheLastWordOfItsPrimary) {
  World world;
  const absl::Time now = absl::Now();
  for (const std::string volume : {"pv-a", "pv-b"}) {
    world.sites.Edit(volume, [&](ReplicaView& replica) { replica.captured_at = now - absl::Hours(24); });
  }
  world.sites.ConfirmAt("pv-a", now - absl::Minutes(1));
  Runner runner(world, Plan(), RunMode::kUnplanned);
  const RunRecord& run = runner.Go();
  const auto age = [&](const char* volume) {
    return run.Find("promote")->Find(volume)->facts["data_age_seconds"].get<double>();
  };
  EXPECT_NEAR(age("east/pv-a"), 60, 30);
  EXPECT_EQ(run.Find("promote")->Find("east/pv-a")->facts["data_age_by"], "confirmation");
  EXPECT_NEAR(age("east/pv-b"), 86'400, 30) << "nothing else is known";
  EXPECT_EQ(run.Find("promote")->Find("east/pv-b")->facts["data_age_by"], "newest-commit");
}

TEST(WholeRun, OneBrokenMachineOfTenLeavesNineRunningAndARunThatIsPartial) {
  World world;
  world.broken = 4;
  Runner runner(world, Plan(), RunMode::kUnplanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kPartial);
  EXPECT_EQ(ExitCodeOf(run), ExitCode::kPartial);
  int well = 0;
  for (const ItemRecord& item : run.Find("boot")->items) {
    if (item.state == ItemState::kDone) ++well;
    if (item.state == ItemState::kBroken) {
      EXPECT_EQ(item.key, "shop/m4");
    }
  }
  EXPECT_EQ(well, 9);
}

TEST(WholeRun, ABackupThatCannotBeReadStopsItBeforeAnythingIsChanged) {
  World world;
  world.backups.FailRead(absl::DataLossError("backup nightly is truncated: choose another one"));
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kFailed);
  EXPECT_THAT(run.error, HasSubstr("truncated"));
  EXPECT_THAT(world.source.Stopped(), IsEmpty());
  EXPECT_EQ(world.sites.SourceOf("pv-a").exported, model::ExportMode::kReadWrite);
  EXPECT_THAT(world.cluster.Applied(), IsEmpty());
}

TEST(WholeRun, ADifferenceStopsItBeforeAnythingIsPromoted) {
  World world;
  world.sites.SetDifferences("pv-b", 2);
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kFailed);
  EXPECT_THAT(run.error, HasSubstr("2 differences"));
  EXPECT_EQ(world.sites.PromotionsOf("pv-a"), 0);
  EXPECT_EQ(world.restored, 0);
}

TEST(WholeRun, ARunThatFailedSaysWhatIsNotSoAnyMore) {
  World world;
  world.sites.SetDifferences("pv-b", 2);
  Runner runner(world, Plan(), RunMode::kPlanned);
  runner.Go();
  EXPECT_THAT(runner.PointsOfNoReturn(), ElementsAre("promote"));
  for (const std::string step : {"stop-vms", "fence", "final-sync"}) EXPECT_TRUE(runner.StillSo(step)) << step;
  ASSERT_TRUE(world.sites.SetSourceExport("east", "pv-a", model::ExportMode::kReadWrite).ok());
  EXPECT_FALSE(runner.StillSo("fence"));
  ASSERT_TRUE(world.sites.Sync("east", "pv-a", {}, {}, {}).ok());
  EXPECT_FALSE(runner.StillSo("final-sync"));
  ASSERT_TRUE(world.source.Start({"shop", "m3"}, kRunAlways).ok());
  EXPECT_FALSE(runner.StillSo("stop-vms"));
}

TEST(WholeRun, APauseThatWasTakenAwayIsNotSoAnyMore) {
  World world;
  Runner runner(world, Plan(), RunMode::kPlanned);
  runner.Go();
  EXPECT_TRUE(runner.StillSo("pause"));
  ASSERT_TRUE(world.sites.Resume("east", "pv-b").ok());
  EXPECT_FALSE(runner.StillSo("pause"));
}

TEST(WholeRun, WhereNothingEnforcesTheFenceNobodySaysThatNothingIsLost) {
  World world;
  world.sites.TakeServerAway("pv-b");
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_EQ(run.Find("fence")->Find("east/pv-a")->facts["fenced"], true);
  EXPECT_EQ(run.Find("fence")->Find("east/pv-b")->facts["fenced"], false);
  EXPECT_EQ(run.Find("promote")->Find("east/pv-a")->facts["data_age_seconds"], 0.0);
  const ItemRecord& promoted = *run.Find("promote")->Find("east/pv-b");
  EXPECT_FALSE(promoted.facts.contains("data_age_seconds"));
  EXPECT_THAT(promoted.warnings, ElementsAre(HasSubstr("can't be told")));
}

TEST(WholeRun, HooksThatRanAreAFence) {
  World world;
  world.sites.AddHooks();
  world.sites.TakeServerAway("pv-b");
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.Find("promote")->Find("east/pv-b")->facts["data_age_seconds"], 0.0);
}

TEST(WholeRun, AFenceWhoseHooksDidNotComeToTheirEndRunsThemAgain) {
  World world;
  // Both fences are switched; then nobody hears any more of the hooks of the second.
  world.sites.OnHook(model::HookPhase::kPostFence, absl::UnavailableError("the link is down"));
  Runner runner(world, Plan(), RunMode::kPlanned);
  EXPECT_THAT(runner.Go().error, HasSubstr("the link is down"));
  EXPECT_EQ(world.sites.SourceOf("pv-a").exported, model::ExportMode::kReadOnly);
  const size_t before = world.sites.HookRuns(model::HookPhase::kPostFence, "pv-a");
  world.sites.OnHook(model::HookPhase::kPostFence, absl::OkStatus());
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_EQ(world.sites.HookRuns(model::HookPhase::kPostFence, "pv-a"), before + 1);
  EXPECT_EQ(run.Find("fence")->Find("east/pv-a")->facts["hooks_run"], true);
}

TEST(WholeRun, WhatCouldNotBeCheckedStopsAPlannedRunOnly) {
  World world;
  world.sites.SetUnchecked("pv-a", 3);
  Runner planned(world, Plan(), RunMode::kPlanned);
  EXPECT_THAT(planned.Go().error, HasSubstr("3 entries couldn't be checked"));
  EXPECT_EQ(world.sites.PromotionsOf("pv-b"), 0);
  Runner unplanned(world, Plan(), RunMode::kUnplanned);
  EXPECT_EQ(unplanned.Go().state, RunState::kDone);
  EXPECT_THAT(unplanned.record().Find("verify")->Find("east/pv-a")->warnings, SizeIs(1));
}

TEST(WholeRun, AMachineThatWasOffOnPurposeStaysOff) {
  World world;
  world.source.Add({"shop", "halted"}, kRunHalted);
  world.source.Add({"shop", "manual"}, kRunManual);
  world.source.Rest({"shop", "manual"});
  for (const std::string name : {"halted", "manual"}) world.target.Add({"shop", name});
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(world.target.Started(), SizeIs(10));
  EXPECT_EQ(run.Find("boot")->Find("shop/manual"), nullptr);
}

TEST(WholeRun, AMachineOfABackupThatWasOffOnPurposeStaysOff) {
  World world;
  BackupObjects objects;
  for (const std::string strategy : {kRunManual, kRunRerunOnFailure}) {
    for (const std::string status : {"Stopped", "Running"}) {
      objects.machines.push_back({{"metadata", {{"namespace", "shop"}, {"name", strategy + status}}},
                                  {"spec", {{"runStrategy", strategy}}},
                                  {"status", {{"printableStatus", status}, {"created", status == "Running"}}}});
    }
  }
  const std::vector<RunMachine> machines = MachinesOf(objects);
  ASSERT_THAT(machines, SizeIs(4));
  for (const RunMachine& machine : machines) EXPECT_EQ(machine.IsToRun(), machine.name.ends_with("Running"));
}

TEST(WholeRun, AMachineThatAnEarlierRunHadStoppedIsStartedAndNamed) {
  World world;
  ASSERT_TRUE(world.source.Stop({"shop", "m3"}).ok());
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(world.target.Started(), SizeIs(10));
  EXPECT_THAT(run.Find("inventory")->Find("")->warnings, ElementsAre(HasSubstr("shop/m3 is off")));
}

TEST(WholeRun, AClaimThatIsDeletedMeanwhileAndABackupThatIsAwayStopNoRunThatHasPromoted) {
  World world;
  world.cluster.SetApplyError(absl::FailedPreconditionError("not now"));
  Runner runner(world, Plan(), RunMode::kPlanned);
  EXPECT_THAT(runner.Go().error, HasSubstr("not now"));
  world.cluster.SetApplyError(absl::OkStatus());
  world.sites.ClearCatalog();
  world.backups.FailRead(absl::UnavailableError("the bucket can't be reached"));
  EXPECT_EQ(runner.Go().state, RunState::kDone) << runner.record().error;
  ExpectTakenOver(world);
}

TEST(WholeRun, TwoClaimsOnOneVolumeAreOneVolume) {
  World world;
  world.AddClaimOn("pv-a", "c");
  for (const RunMode mode : {RunMode::kTest, RunMode::kUnplanned}) {
    Runner runner(world, Plan(), mode);
    const RunRecord& run = runner.Go();
    EXPECT_EQ(run.state, RunState::kDone) << run.error;
    EXPECT_THAT(run.Find("inventory")->Find("")->facts["volumes"], SizeIs(3));
    EXPECT_THAT(run.Find(mode == RunMode::kTest ? "points" : "promote")->items, SizeIs(2));
  }
}

TEST(WholeRun, AnUnplannedOneIsRefusedWhileThePrimaryAnswers) {
  World world;
  Runner refused(world, Plan(), RunMode::kUnplanned);
  refused.record().spec.primary_is_down = false;
  EXPECT_THAT(refused.Go().error, HasSubstr("--primary-is-down"));
  EXPECT_EQ(world.sites.PromotionsOf("pv-a"), 0);
  world.sites.LosePrimary();
  Runner half(world, Plan(), RunMode::kUnplanned);
  half.record().spec.primary_is_down = false;
  EXPECT_THAT(half.Go().error, HasSubstr("cluster that goes down answers"));
  world.source_answers = false;
  Runner gone(world, Plan(), RunMode::kUnplanned);
  gone.record().spec.primary_is_down = false;
  EXPECT_EQ(gone.Go().state, RunState::kDone) << gone.record().error;
}

TEST(WholeRun, APairThatIsNotNeededMayBeAway) {
  World world;
  world.sites.AddDeadPair("west");
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(run.Find("preflight")->Find("DR agent of pair west")->warnings, SizeIs(1));
  EXPECT_THAT(run.Find("inventory")->Find("")->warnings, ElementsAre(HasSubstr("pair west can't be reached")));
}

TEST(WholeRun, OfVolumesListedByHandOnlyTheirPairsAreAsked) {
  World world;
  world.sites.AddDeadPair("west");
  Runner runner(world, Plan(), RunMode::kPlanned);
  runner.record().spec.namespaces.clear();
  runner.record().spec.volumes = {"east/pv-a"};
  runner.Go();
  EXPECT_EQ(runner.record().Find("preflight")->Find("DR agent of pair west"), nullptr);
  EXPECT_EQ(world.sites.PromotionsOf("pv-a"), 1);
  Runner needed(world, Plan(), RunMode::kPlanned);
  needed.record().spec.volumes = {"west/pv-a"};
  EXPECT_THAT(needed.Go().error, HasSubstr("west"));
  EXPECT_FALSE(needed.record().Find("preflight")->ended_at);
}

TEST(WholeRun, AnInstanceWithoutAMachineIsToldOf) {
  World world;
  world.source.AddStray({"shop", "stray"});
  world.source.AddStray({"elsewhere", "stray"});
  Runner runner(world, Plan(), RunMode::kPlanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(run.Find("inventory")->Find("")->warnings, ElementsAre(HasSubstr("shop/stray")));
}

TEST(WholeRun, ASourceThatIsNotReadyIsRefusedBeforeAnythingIsStopped) {
  for (const std::string state : {"connecting", "scanning"}) {
    World world;
    world.sites.SetSourceState("pv-b", state);
    Runner runner(world, Plan(), RunMode::kPlanned);
    EXPECT_THAT(runner.Go().error, HasSubstr("can't be brought up to date")) << state;
    EXPECT_THAT(world.source.Stopped(), IsEmpty());
  }
}

TEST(WholeRun, ADeadLinkIsFoundBeforeAnythingIsStopped) {
  World world;
  world.sites.FailSync(absl::DeadlineExceededError("DR doesn't get on"));
  Runner runner(world, Plan(), RunMode::kPlanned);
  EXPECT_THAT(runner.Go().error, HasSubstr("pre-sync"));
  EXPECT_THAT(world.source.Stopped(), IsEmpty());
}

TEST(WholeRun, AllMachinesAreAskedToStopBeforeAnyIsWaitedFor) {
  World world;
  world.source.SetPace({"shop", "m0"}, 0, /*stops_after=*/-1);  // for ever
  config::FailoverPlanConfig plan = Plan();
  plan.timeouts.stop_vms = absl::Milliseconds(20);
  Runner runner(world, plan, RunMode::kPlanned);
  const RunRecord& run = runner.Go({.parallelism = 1});
  EXPECT_EQ(run.state, RunState::kFailed);
  EXPECT_THAT(run.error, HasSubstr("vms-down"));
  EXPECT_THAT(run.error, HasSubstr("shop/m0"));
  EXPECT_THAT(world.source.Stopped(), SizeIs(10));
  EXPECT_EQ(world.sites.SourceOf("pv-a").exported, model::ExportMode::kReadWrite);
}

TEST(WholeRun, AllMachinesOfAGroupAreAskedToStartBeforeAnyIsWaitedFor) {
  World world;
  world.slow_first = true;
  Runner runner(world, Plan(), RunMode::kUnplanned);
  size_t asked = 0;
  runner.Go({.parallelism = 1}, [&](const RunEvent& event) {
    if (event.kind == RunEvent::Kind::kItemEnded && event.item == "shop/m0") asked = world.target.Started().size();
  });
  EXPECT_EQ(runner.record().state, RunState::kPartial);
  EXPECT_EQ(asked, 10U) << "when the wait for m0 was over";
  EXPECT_EQ(runner.record().Find("boot")->Find("shop/m1")->state, ItemState::kDone) << "the run started it";
}

TEST(WholeRun, APauseAfterAGroupIsMadeOnce) {
  World world;
  config::FailoverPlanConfig plan = Plan();
  plan.boot[0].pause_after = absl::Milliseconds(1);
  int pauses = 0;
  Runner runner(world, plan, RunMode::kUnplanned);
  runner.Go({.parallelism = 1}, [&](const RunEvent& event) {
    if (event.text == "pausing after the group before") ++pauses;
  });
  EXPECT_EQ(pauses, 1) << "nine machines come after it";
}

TEST(WholeRun, AnIncompleteReplicaIsTakenOnlyWhenThatWasAskedFor) {
  World world;
  world.sites.Edit("pv-a", [](ReplicaView& replica) { replica.complete = false; });
  Runner refused(world, Plan(), RunMode::kUnplanned);
  EXPECT_THAT(refused.Go().error, HasSubstr("--incomplete"));
  EXPECT_EQ(world.sites.PromotionsOf("pv-b"), 0);
  Runner taken(world, Plan(), RunMode::kUnplanned);
  taken.record().spec.allow_incomplete = true;
  EXPECT_EQ(taken.Go().state, RunState::kDone);
}

// Half of a capture was on its way when the primary died.
TEST(WholeRun, AnUnplannedOnePromotesTheNewestStateThatThePrimaryHad) {
  World world;
  world.sites.LosePrimary();
  const absl::Time whole = absl::Now() - absl::Minutes(7);
  world.sites.Edit("pv-a", [&](ReplicaView& replica) { replica.captured_at = whole + absl::Minutes(5); });
  world.sites.LeaveInMidstOfCapture("pv-a", 3, whole);
  Runner runner(world, Plan(), RunMode::kUnplanned);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_EQ(world.sites.RewindsOf("pv-a"), 1);
  EXPECT_EQ(world.sites.RewindsOf("pv-b"), 0);
  EXPECT_GE(run.Find("promote")->Find("east/pv-a")->facts["data_age_seconds"], 7 * 60);
  EXPECT_THAT(run.Find("verify")->Find("east/pv-a")->warnings, ElementsAre(HasSubstr("taken back to commit 3")))
      << "before it is verified";
  EXPECT_EQ(run.Find("verify")->Find("east/pv-a")->facts.value("taken_back", 0), 3);
}

TEST(WholeRun, WhatIsTakenBackRightBeforeItsPromotionIsKnown) {
  World world;
  world.sites.LosePrimary();
  world.sites.SetDifferences("pv-a", 1);
  Runner runner(world, Plan(), RunMode::kUnplanned);
  world.sites.LeaveInMidstOfCapture("pv-a", 3, absl::UnixEpoch());
  EXPECT_EQ(runner.Go().state, RunState::kFailed);
  EXPECT_EQ(runner.record().Find("verify")->Find("east/pv-a")->facts.value("taken_back", 0), 3)
      << "whatever the verdict was";
  world.sites.SetDifferences("pv-a", 0);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_EQ(run.Find("verify")->Find("east/pv-a")->facts.value("taken_back", 0), 3);
  EXPECT_TRUE(run.Find("promote")->Find("east/pv-a")->facts.contains("sequence"));
}

TEST(WholeRun, TheMidstOfACaptureIsTakenOnlyWhenThatWasAskedFor) {
  World world;
  world.sites.LosePrimary();
  world.sites.LeaveInMidstOfCapture("pv-a", 0, absl::UnixEpoch());
  Runner refused(world, Plan(), RunMode::kUnplanned);
  EXPECT_THAT(refused.Go().error, HasSubstr("no earlier one is kept that it had"));
  EXPECT_EQ(world.sites.PromotionsOf("pv-b"), 0);
  world.sites.LeaveInMidstOfCapture("pv-a", 3, absl::UnixEpoch());
  Runner taken(world, Plan(), RunMode::kUnplanned);
  taken.record().spec.allow_incomplete = true;
  EXPECT_EQ(taken.Go().state, RunState::kDone);
  EXPECT_EQ(world.sites.RewindsOf("pv-a"), 0);
}

TEST(WholeRun, UnknownStorageStopsOrPassesAsThePlanSays) {
  World world;
  BackupObjects objects;
  objects.volumes.push_back({{"metadata", {{"name", "pv-block"}}}, {"spec", {{"storageClassName", "ceph"}}}});
  objects.claims.push_back({{"metadata", {{"namespace", "shop"}, {"name", "block"}}},
                            {"spec", {{"volumeName", "pv-block"}, {"storageClassName", "ceph"}}}});
  world.backups.Add("nightly", objects);
  Runner stopped(world, Plan(), RunMode::kUnplanned);
  EXPECT_THAT(stopped.Go().error, HasSubstr("unknown_storage: pass"));
  EXPECT_EQ(world.sites.PromotionsOf("pv-a"), 0);
  config::FailoverPlanConfig plan = Plan();
  plan.unknown_storage = config::UnknownStorage::kPass;
  Runner passed(world, plan, RunMode::kUnplanned);
  const RunRecord& run = passed.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(run.Find("inventory")->items[0].warnings, ElementsAre(HasSubstr("shop/block")));
}

TEST(WholeRun, ARestoreThatFailedIsMadeAnewUnderAnotherName) {
  World world;
  world.restores.SetStory({{.phase = "FailedValidation", .validation_errors = {"no such location"}}});
  Runner runner(world, Plan(), RunMode::kUnplanned);
  EXPECT_THAT(runner.Go().error, HasSubstr("no such location"));
  world.restores.SetStory({{.phase = "Completed"}});
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_TRUE(world.restores.Specs().contains("understudy-r1-2"));
}

TEST(WholeRun, APartRestoredMakesThatARunThatIsPartial) {
  World world;
  world.restores.SetStory({{.phase = "PartiallyFailed", .errors = 1}});
  Runner runner(world, Plan(), RunMode::kUnplanned);
  EXPECT_EQ(runner.Go().state, RunState::kPartial);
  EXPECT_THAT(world.target.Started(), SizeIs(10));
}

TEST(WholeRun, WarningsOfARestoreStopNothingAndAreTold) {
  World world;
  world.restores.SetStory({{.phase = "Completed", .warnings = 2}});
  Runner runner(world, Plan(), RunMode::kUnplanned);
  EXPECT_EQ(runner.Go().state, RunState::kDone) << runner.record().error;
  EXPECT_THAT(runner.record().Find("restore")->Find("")->warnings,
              ElementsAre(::testing::AllOf(HasSubstr("2 warnings"), HasSubstr("velero restore describe"))));
}

TEST(WholeRun, ADryRunChangesNothing) {
  World world;
  Runner runner(world, Plan(), RunMode::kPlanned);
  const std::vector<PlannedStep> steps = runner.Dry();
  EXPECT_TRUE(WouldGo(steps));
  ASSERT_THAT(steps, SizeIs(16));
  EXPECT_EQ(steps[4].name, "stop-vms");
  EXPECT_THAT(steps[4].items, SizeIs(10));
  EXPECT_THAT(world.source.Stopped(), IsEmpty());
  EXPECT_EQ(world.sites.PromotionsOf("pv-a"), 0);
  EXPECT_EQ(world.restored, 0);
  EXPECT_THAT(world.cluster.Applied(), IsEmpty());
}

TEST(WholeRun, ARehearsalTouchesNothingRealAndLeavesNothing) {
  World world;
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.keep = true;
  EXPECT_EQ(runner.Go().state, RunState::kDone) << runner.record().error;
  EXPECT_FALSE(runner.record().over);
  EXPECT_THAT(*world.sites.Trees("east"), SizeIs(2));
  EXPECT_THAT(world.target.Started(), SizeIs(10));
  EXPECT_EQ(world.target.Started()[0].namespace_name, "shop-drtest");
  const RestoreSpec spec = world.restores.Specs().at("understudy-r1");
  EXPECT_TRUE(spec.clear_mac_address);
  EXPECT_TRUE(spec.new_firmware_uuid);
  const json volume = *world.cluster.Get({model::ObjectKind::kPersistentVolume, "", "pv-a-r1"});
  EXPECT_EQ(volume["spec"]["nfs"]["path"], "/srv/b/pv-a.drtest-r1");
  EXPECT_THAT(world.cluster.Applied(),
              ::testing::Each(::testing::Field(&model::ObjectKey::name, ::testing::Not(::testing::StrEq("pv-a")))));
  EXPECT_EQ(world.sites.PromotionsOf("pv-a"), 0);
  EXPECT_THAT(world.source.Stopped(), IsEmpty());

  EXPECT_TRUE(runner.Go({.only_removal = true}).over);
  EXPECT_THAT(*world.sites.Trees("east"), IsEmpty());
  EXPECT_EQ(world.sites.Labels(), 0U);
  EXPECT_EQ(world.scratch.Count(), 0U);
  EXPECT_THAT(world.restores.Specs(), IsEmpty());
}

TEST(WholeRun, ARehearsalOfAStateThatHasALabelLeavesThatAsItWas) {
  World world;
  world.sites.AddLabel("pv-a", "before-upgrade", /*pinned=*/false);
  world.sites.AddLabel("pv-b", "release", /*pinned=*/true);
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.keep = true;
  EXPECT_EQ(runner.Go().state, RunState::kDone) << runner.record().error;
  EXPECT_THAT(*world.sites.Trees("east"), SizeIs(2));
  EXPECT_EQ(world.sites.LabelOf("pv-a"), "before-upgrade pinned") << "while the rehearsal needs it";
  EXPECT_TRUE(runner.Go({.only_removal = true}).over);
  EXPECT_EQ(world.sites.LabelOf("pv-a"), "before-upgrade");
  EXPECT_EQ(world.sites.LabelOf("pv-b"), "release pinned");
}

TEST(WholeRun, ALabelThatSomebodyTookAwayDuringTheRehearsalStaysAway) {
  World world;
  world.sites.AddLabel("pv-a", "before-upgrade", /*pinned=*/false);
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.keep = true;
  runner.Go();
  ASSERT_TRUE(world.sites.Unlabel("east", "pv-a", world.sites.ReplicaOf("pv-a").sequence).ok());
  EXPECT_TRUE(runner.Go({.only_removal = true}).over);
  EXPECT_EQ(world.sites.LabelOf("pv-a"), "");
}

TEST(WholeRun, AReprotectStopsWhatRunsAtTheOldSiteAndTurnsEveryVolume) {
  World world;
  for (const std::string volume : {"pv-a", "pv-b"}) {
    world.sites.Edit(volume, [](ReplicaView& replica) { replica.state = model::VolumeState::kActive; });
  }
  Runner runner(world, Plan(), RunMode::kReprotect);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(NamesOf(run), ElementsAre("preflight", "inventory", "stop-vms", "vms-down", "turn"));
  EXPECT_THAT(world.source.Stopped(), SizeIs(10));
  EXPECT_EQ(run.Find("turn")->Find("east/pv-b")->facts["live_at"], "dr");
}

TEST(WholeRun, AFailbackBringsObjectsFirstAndAsksTheAgentsOfBothHosts) {
  World world;
  world.GoBack();
  world.sites.AddDeadPair("west");
  Runner runner(world, Plan(), RunMode::kFailback);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  EXPECT_THAT(NamesOf(run), ElementsAre("preflight", "bring-objects", "backup", "inventory", "pre-sync", "stop-vms",
                                        "vms-down", "fence", "final-sync", "verify", "pause", "promote",
                                        "storage-objects", "restore", "boot", "probe", "clean-up"));
  const StepRecord& preflight = *run.Find("preflight");
  const ItemRecord* const dead = preflight.Find("agents of both hosts of pair west");
  EXPECT_NE(preflight.Find("agents of both hosts of pair east"), nullptr);
  ASSERT_NE(dead, nullptr);
  EXPECT_THAT(dead->warnings, SizeIs(1));
}

// The catalogs still have what is long gone; the backup has machines that are.
TEST(WholeRun, AFailbackTakesWhatDrHasAndNothingElse) {
  World world;
  world.GoBack();
  for (const std::string name : {"deleted", "home"}) {
    world.sites.Add("pv-" + name);
    world.AddClaim("pv-" + name, "pv-" + name, name);
    world.sites.BringHome("pv-" + name);
  }
  World::PutClaim(world.source_cluster, "home");
  BackupObjects objects;
  for (const std::string name : {"m0", "deleted"}) {
    objects.machines.push_back(
        {{"metadata", {{"namespace", "shop"}, {"name", name}}}, {"spec", {{"runStrategy", kRunAlways}}}});
  }
  world.backups.Add("nightly", objects);
  config::FailoverPlanConfig plan = Plan();
  plan.timeouts.bind = absl::Seconds(1);
  Runner runner(world, plan, RunMode::kFailback);
  const RunRecord& run = runner.Go();
  EXPECT_EQ(run.state, RunState::kDone) << run.error;
  ExpectTakenOver(world);
  EXPECT_THAT(run.Find("promote")->items, SizeIs(2));
  EXPECT_THAT(run.Find("inventory")->Find("")->warnings, ElementsAre(HasSubstr("claim shop/home is left out")));
  EXPECT_EQ(run.Find("boot")->Find("shop/deleted"), nullptr);
}

TEST(WholeRun, AFailbackGoesOnOnlyWithAllThatGoesBackBrought) {
  const ObjectResult skipped{.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "old"}, .reason = "no data"};
  const ObjectResult failed{.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "disk"},
                            .outcome = Outcome::kFailed,
                            .reason = "a guard holds it back"};
  const struct {
    ExitCode exit_code;
    std::vector<ObjectResult> objects;
    std::string report_error;
    std::string error;  // of the run; empty: it goes on
  } cases[] = {{ExitCode::kDone, {skipped}, "", ""},
               {ExitCode::kRefused, {}, "", ""},
               {ExitCode::kPartial, {failed}, "", "a guard holds it back"},
               {ExitCode::kPartial, {}, "pair west is away", "pair west is away"},
               {ExitCode::kUnreachable, {}, "pair west is away", "pair west is away"},
               {ExitCode::kFailed, {}, "", "drctl sync report"}};
  for (const auto& each : cases) {
    World world;
    world.GoBack();
    world.bring_objects = [&](ItemContext&) {
      Report report;
      report.exit_code = each.exit_code;
      report.objects = each.objects;
      report.error = each.report_error;
      return report;
    };
    Runner runner(world, Plan(), RunMode::kFailback);
    const RunRecord& run = runner.Go();
    EXPECT_EQ(run.state == RunState::kDone, each.error.empty()) << run.error;
    EXPECT_THAT(run.error, HasSubstr(each.error));
    if (each.error.empty()) {
      EXPECT_THAT(run.Find("bring-objects")->Find("")->warnings, SizeIs(each.objects.size()));
    } else {
      EXPECT_THAT(world.source.Stopped(), IsEmpty());
    }
  }
}

TEST(WholeRun, WhatIsNotPromotedIsNotTurned) {
  World world;
  world.sites.Edit("pv-a", [](ReplicaView& replica) { replica.state = model::VolumeState::kActive; });
  Runner runner(world, Plan(), RunMode::kReprotect);
  EXPECT_THAT(runner.Go().error, HasSubstr("east/pv-b isn't promoted"));
  EXPECT_THAT(world.source.Stopped(), IsEmpty());
}

TEST(WholeRun, ARehearsalWhoseNamespaceIsTakenMakesNothing) {
  World world;
  world.scratch.AddNamespace("shop-drtest", "");
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.keep = true;
  const RunRecord& run = runner.Go();
  EXPECT_THAT(run.error, HasSubstr("namespaces shop-drtest: shop-drtest is foreign"));
  EXPECT_EQ(world.sites.Labels(), 0U);
  EXPECT_THAT(*world.sites.Trees("east"), IsEmpty());
  EXPECT_THAT(world.restores.Specs(), IsEmpty());
  EXPECT_TRUE(runner.Go({.only_removal = true}).over) << "what isn't the run's doesn't hold it up";
  EXPECT_EQ(world.scratch.Count(), 1U);
}

TEST(WholeRun, ANamespaceWithoutClaimsIsTheRehearsalsToo) {
  World world;
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.namespaces.emplace_back("shop-front");
  runner.record().spec.keep = true;
  EXPECT_EQ(runner.Go().state, RunState::kDone) << runner.record().error;
  EXPECT_TRUE(*world.scratch.HasNamespace("shop-front-drtest"));
}

TEST(WholeRun, ARehearsalNeverBringsWhatIsThereToTheBackup) {
  World world;
  config::FailoverPlanConfig plan = Plan();
  plan.existing_at_dr = config::ExistingAtDr::kUpdate;
  Runner runner(world, plan, RunMode::kTest);
  runner.record().spec.keep = true;
  runner.Go();
  EXPECT_EQ(world.restores.Specs().at("understudy-r1").existing_resources, ExistingResources::kNone);
}

TEST(WholeRun, WhatWouldMeetProductionIsLeftOutOfRehearsalsOnly) {
  config::FailoverPlanConfig plan = Plan();
  plan.excluded_resources = {"events"};
  plan.test_excluded_resources = {"services"};
  World world;
  Runner rehearsal(world, plan, RunMode::kTest);
  rehearsal.record().spec.keep = true;
  rehearsal.Go();
  EXPECT_THAT(world.restores.Specs().at("understudy-r1").excluded_resources, ElementsAre("events", "services"));
  World real;
  Runner failover(real, plan, RunMode::kUnplanned);
  failover.Go();
  EXPECT_THAT(real.restores.Specs().at("understudy-r1").excluded_resources, ElementsAre("events"));
}

TEST(WholeRun, ARemovalLetsTheRestoreEndFirst) {
  World world;
  world.restores.SetStory({{.phase = "InProgress"}});
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.keep = true;
  EXPECT_EQ(runner.Go().state, RunState::kFailed) << "the restore doesn't end in its time";
  world.restores.SetStory({{.phase = "InProgress"}, {.phase = "InProgress"}, {.phase = "Completed"}});
  EXPECT_TRUE(runner.Go({.only_removal = true}).over);
  EXPECT_THAT(world.restores.DeletedUnderWay(), IsEmpty());
}

TEST(WholeRun, ANamespaceThatCameBackDuringTheRemovalIsNamed) {
  World world;
  Runner runner(world, Plan(), RunMode::kTest);
  runner.record().spec.keep = true;
  runner.Go();
  world.scratch.AddNamespace("shop-drtest", "");
  EXPECT_FALSE(runner.Go({.only_removal = true}).over);
  EXPECT_THAT(runner.record().error, HasSubstr("shop-drtest is there again"));
  world.scratch.RemoveNamespace("shop-drtest");
  EXPECT_TRUE(runner.Go({.only_removal = true}).over);
}

// Every call that changes something fails once: before its effect, and after it, when only the answer is lost.
class EachCallFails : public ::testing::TestWithParam<std::tuple<RunMode, Trouble::When>> {};

TEST_P(EachCallFails, AndTheResumedRunComesToTheSameEnd) {
  const auto [mode, when] = GetParam();
  int failed_runs = 0;
  for (int call = 0;; ++call) {
    SCOPED_TRACE(::testing::Message() << "call " << call);
    World world;
    if (mode == RunMode::kTest) world.sites.AddLabel("pv-b", "release", /*pinned=*/false);
    if (mode == RunMode::kUnplanned) world.sites.LeaveInMidstOfCapture("pv-b", 3, absl::UnixEpoch());
    Runner runner(world, Plan(), mode);
    world.trouble.FailAt(call, when);
    runner.Go({.parallelism = 1});
    if (world.trouble.Calls() <= call) break;  // there are no more calls
    if (!runner.record().over) {
      EXPECT_EQ(runner.record().state, RunState::kFailed);
      ++failed_runs;
      runner.Go({.parallelism = 1, .only_removal = mode == RunMode::kTest});
    }
    if (mode == RunMode::kTest) {
      EXPECT_TRUE(runner.record().over);
      EXPECT_THAT(*world.sites.Trees("east"), IsEmpty());
      EXPECT_EQ(world.sites.LabelOf("pv-a"), "");
      EXPECT_EQ(world.sites.LabelOf("pv-b"), "release") << "as it was before";
      EXPECT_EQ(world.scratch.Count(), 0U);
      EXPECT_THAT(world.restores.Specs(), IsEmpty());
    } else {
      EXPECT_EQ(runner.record().state, RunState::kDone) << runner.record().error;
      ExpectTakenOver(world);
      EXPECT_EQ(world.sites.RewindsOf("pv-b"), mode == RunMode::kUnplanned ? 1 : 0);
      if (mode == RunMode::kPlanned) {
        EXPECT_THAT(world.source.Stopped(), SizeIs(10));
      }
    }
    if (::testing::Test::HasFailure()) return;
  }
  if (mode != RunMode::kTest) {
    EXPECT_GT(failed_runs, 3);
  }
}
INSTANTIATE_TEST_SUITE_P(Modes, EachCallFails,
                         ::testing::Combine(::testing::Values(RunMode::kPlanned, RunMode::kUnplanned, RunMode::kTest),
                                            ::testing::Values(Trouble::When::kBefore, Trouble::When::kAfter)));

}  // namespace
}  // namespace understudy::control
