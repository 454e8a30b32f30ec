#include "control/failover/opening_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_join.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kTargetCluster[] = "cluster that takes over";
constexpr char kSourceCluster[] = "cluster that goes down";
constexpr char kDrAgent[] = "DR agent of pair ";
constexpr char kPrimaryAgent[] = "primary agent of pair ";

bool NeedsSource(RunMode mode) {
  return mode == RunMode::kPlanned || mode == RunMode::kFailback;
}

constexpr char kAllAgents[] = "agents of both hosts of pair ";

// An unplanned run asks whether the primary is really gone, unless somebody has said that it is.
bool AsksSource(const RunSpec& spec) {
  return NeedsSource(spec.mode) || (spec.mode == RunMode::kUnplanned && !spec.primary_is_down);
}

// Whether a volume that was listed by hand is the pair's.
bool IsNamed(const std::string& pair, const RunSpec& spec) {
  return std::any_of(spec.volumes.begin(), spec.volumes.end(),
                     [&](const std::string& volume) { return volume.starts_with(pair + "/"); });
}

// Whether the run may not need the pair, which can't be reached: the inventory finds out whether its claims are
// elsewhere.
bool MayDoWithout(const std::string& pair, const absl::Status& reached, const RunSpec& spec) {
  return IsUnreachable(reached) && !spec.namespaces.empty() && !IsNamed(pair, spec);
}

absl::Status Unreached(const Item& item, const absl::Status& reached, ItemContext& context) {
  context.Warn(fmt::format("the {} can't be reached; the run goes on only if it isn't needed: {}", item.key,
                           MessageOf(reached)));
  return absl::OkStatus();
}

// Why a source can't be brought up to date; empty: it can.
std::string WhyNotReady(const std::string& pair, const SourceView& source) {
  if (source.paused) {
    return fmt::format("its replication is paused: `drctl volumes resume {} --pair {}`", source.volume, pair);
  }
  if (source.state == "connecting") {
    return "it isn't connected to DR: `drctl doctor` says what is wrong with the link";
  }
  if (source.state == "scanning") {
    return fmt::format("it is being scanned: wait until that is done (`drctl volumes sync {}`)", source.volume);
  }
  if (source.state == "guarded" || source.state == "error" || source.state == "promoted") {
    return fmt::format("it is {}: {}", source.state, source.problem);
  }
  return "";
}

// What the source says of a machine is newer than what the backup says: `known`, which is empty when the backup hasn't
// got it. But one that is off although the backup has it running may have been stopped by a run that was given up.
void TakeFromSource(RunMachine source, RunMachine& known, ItemContext& context) {
  if (!source.IsToRun() && !known.name.empty() && known.IsToRun()) {
    context.Warn(fmt::format(
        "virtual machine {} is off at the source, but ran ({}) when the backup was made: it is started at DR. "
        "If it is to stay off, stop it there",
        Printable(source.Key()), known.run_strategy));
    source.run_strategy = known.run_strategy;
    source.was_running = true;
  }
  known = std::move(source);
}

absl::Status WarnOfStrays(VirtualMachines& source, ItemContext& context) {
  for (const std::string& namespace_name : context.run.spec.namespaces) {
    const absl::StatusOr<std::vector<VmKey>> strays = source.ListStrays(namespace_name, context.stop);
    if (absl::IsNotFound(strays.status())) continue;
    RETURN_IF_ERROR(strays.status());
    for (const VmKey& stray : *strays) {
      context.Warn(fmt::format(
          "instance {} runs at the source without a VirtualMachine: it is neither shut down there nor started "
          "where it is taken over. From the fence on it can't write to volumes that go over; delete it, or "
          "make a VirtualMachine of it",
          Printable(ToString(stray))));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Item>> PreflightStep::Items(const RunRecord& run, std::stop_token) {
  std::vector<Item> items;
  const auto add = [&](const std::string& key) { items.push_back({key, fmt::format("ask the {}", key)}); };
  const bool asks_source = AsksSource(run.spec);
  if (parts_.reach_source && (asks_source || mode_ == RunMode::kReprotect)) add(kSourceCluster);
  if (parts_.reach_target) add(kTargetCluster);
  for (const std::string& pair : parts_.agents.Pairs()) {
    if (run.spec.namespaces.empty() && !IsNamed(pair, run.spec)) continue;
    if (mode_ == RunMode::kReprotect || mode_ == RunMode::kFailback) {
      add(kAllAgents + pair);
      continue;
    }
    add(kDrAgent + pair);
    if (asks_source) add(kPrimaryAgent + pair);
  }
  return items;
}

absl::Status PreflightStep::Do(const Item& item, ItemContext& context) {
  if (item.key == kTargetCluster) return parts_.reach_target().status();
  if (item.key == kSourceCluster) return JudgeSource(parts_.reach_source().status(), item, context);
  if (item.key.starts_with(kPrimaryAgent)) {
    const std::string pair = item.key.substr(std::string_view(kPrimaryAgent).size());
    return JudgeSource(parts_.agents.Sources(pair).status(), item, context);
  }
  if (item.key.starts_with(kAllAgents)) {
    const std::string pair = item.key.substr(std::string_view(kAllAgents).size());
    const absl::Status reached = parts_.agents.LiveVolumes(pair).status();
    const bool may_do_without = mode_ == RunMode::kFailback && MayDoWithout(pair, reached, context.run.spec);
    return may_do_without ? Unreached(item, reached, context) : reached;
  }
  const std::string pair = item.key.substr(std::string_view(kDrAgent).size());
  const absl::Status reached = parts_.agents.Replicas(pair).status();
  return MayDoWithout(pair, reached, context.run.spec) ? Unreached(item, reached, context) : reached;
}

absl::Status PreflightStep::JudgeSource(const absl::Status& reached, const Item& item, ItemContext& context) const {
  if (mode_ == RunMode::kUnplanned) {
    if (IsUnreachable(reached)) return absl::OkStatus();
    return absl::FailedPreconditionError(
        fmt::format("the {} answers: use a planned run, which loses nothing, or, when nobody writes there any more, "
                    "--unplanned --primary-is-down. `drctl failover abort {}` gives this run up; nothing was done yet",
                    item.key, context.run.spec.id));
  }
  if (reached.ok()) return reached;
  if (item.key.starts_with(kPrimaryAgent)) {
    const std::string pair = item.key.substr(std::string_view(kPrimaryAgent).size());
    if (MayDoWithout(pair, reached, context.run.spec)) return Unreached(item, reached, context);
  }
  const std::string advice = NeedsSource(mode_) ? "; if the primary site is gone, use --unplanned" : "";
  return absl::Status(reached.code(), fmt::format("{}{}", MessageOf(reached), advice));
}

absl::StatusOr<std::vector<Item>> BackupStep::Items(const RunRecord& run, std::stop_token) {
  return std::vector<Item>{
      {"", run.spec.backup.empty() ? "fetch the latest backup" : fmt::format("fetch backup {}", run.spec.backup)}};
}

absl::Status BackupStep::Do(const Item&, ItemContext& context) {
  // An attempt that found one before keeps to it: a newer one may have come meanwhile.
  std::string name = context.run.spec.backup;
  if (context.before.facts.is_object()) name = context.before.facts.value("name", name);
  ASSIGN_OR_RETURN(const BackupView backup,
                   storage_.backups()->Fetch(name, context.run.spec.namespaces, storage_.folder(), context.stop));
  for (const std::string& warning : backup.warnings) context.Warn(warning);
  const absl::Duration age = clock_.Now() - backup.started_at;
  if (age > warn_age_) {
    context.Warn(fmt::format("backup {} is {} old: what was changed since isn't in it", backup.name,
                             absl::FormatDuration(absl::Trunc(age, absl::Minutes(1)))));
  }
  return context.RecordFacts({{"name", backup.name},
                              {"phase", backup.phase},
                              {"started_at", Rfc3339Seconds(backup.started_at)},
                              {"age_seconds", absl::ToDoubleSeconds(age)},
                              {"archive_bytes", backup.archive_bytes}});
}

absl::Status BackupStep::Confirm(const Item&, ItemContext& context) {
  const std::string name = context.facts().at("name");
  ASSIGN_OR_RETURN(const BackupObjects objects,
                   storage_.backups()->Read(name, context.run.spec.namespaces, storage_.folder(), context.stop));
  for (const std::string& warning : objects.warnings) context.Warn(warning);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Item>> InventoryStep::Items(const RunRecord&, std::stop_token) {
  return std::vector<Item>{{"", "find what goes over"}};
}

absl::Status InventoryStep::Do(const Item&, ItemContext& context) {
  const RunSpec& spec = context.run.spec;
  Inventory inventory;
  if (!spec.namespaces.empty()) {
    ASSIGN_OR_RETURN(const auto found, storage_.Get(context.run, context.stop));
    for (const ClaimDefinition& claim : found->storage.claims) {
      inventory.volumes.push_back(claim.volume);
      if (claim.from_backup) {
        context.Warn(fmt::format("claim {}: its definition is the backup's, for DR's catalog hasn't got it",
                                 claim.volume.claim));
      }
    }
    for (const std::string& warning : found->storage.warnings) context.Warn(warning);
    inventory.other = found->storage.other;
    RETURN_IF_ERROR(storage_.Keep(*found));
    RETURN_IF_ERROR(AddMachines(found->backup, context, inventory));
  }
  RETURN_IF_ERROR(AddListedVolumes(spec, inventory));
  std::sort(inventory.volumes.begin(), inventory.volumes.end(),
            [](const RunVolume& a, const RunVolume& b) { return a.Key() < b.Key(); });
  if (inventory.volumes.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "there is nothing to bring over: no replica at DR belongs to {}. `drctl volumes list` shows what there is",
        spec.namespaces.empty() ? "the plan's volumes"
                                : "a claim of namespace " + absl::StrJoin(spec.namespaces, ", ")));
  }
  context.SetFacts(ToJson(inventory));
  return absl::OkStatus();
}

absl::Status InventoryStep::AddListedVolumes(const RunSpec& spec, Inventory& inventory) const {
  std::map<std::string, std::vector<ReplicaView>> replicas;
  for (const std::string& listed : spec.volumes) {
    const RunVolume wanted = VolumeOfKey(listed);
    const std::string& pair = wanted.pair;
    if (!replicas.contains(pair)) {
      const std::vector<std::string> pairs = parts_.agents.Pairs();
      if (std::find(pairs.begin(), pairs.end(), pair) == pairs.end()) {
        return absl::InvalidArgumentError(fmt::format("{}: the configuration has no pair {}", Printable(listed), pair));
      }
      ASSIGN_OR_RETURN(replicas[pair], parts_.agents.Replicas(pair));
    }
    const auto found = std::find_if(replicas[pair].begin(), replicas[pair].end(),
                                    [&](const ReplicaView& replica) { return replica.volume == wanted.volume; });
    if (found == replicas[pair].end()) {
      return absl::NotFoundError(fmt::format("{}: DR has no replica of it", Printable(listed)));
    }
    const bool known = std::any_of(inventory.volumes.begin(), inventory.volumes.end(),
                                   [&](const RunVolume& other) { return other.Key() == listed; });
    if (!known) {
      inventory.volumes.push_back({.pair = pair, .volume = wanted.volume, .replica_path = Printable(found->root)});
    }
  }
  return absl::OkStatus();
}

absl::Status InventoryStep::AddMachines(const BackupObjects& backup, ItemContext& context, Inventory& inventory) const {
  const RunSpec& spec = context.run.spec;
  std::map<std::string, RunMachine> machines;
  for (RunMachine& machine : MachinesOf(backup)) machines.emplace(machine.Key(), machine);
  const auto add = [&](VirtualMachines& cluster, bool at_source) -> absl::Status {
    for (const std::string& namespace_name : spec.namespaces) {
      const absl::StatusOr<std::vector<VmStatus>> listed = cluster.List(namespace_name, context.stop);
      if (absl::IsNotFound(listed.status())) continue;  // no virtual machines are known there
      RETURN_IF_ERROR(listed.status());
      for (const VmStatus& status : *listed) {
        RunMachine machine{.namespace_name = status.key.namespace_name,
                           .name = status.key.name,
                           .run_strategy = status.run_strategy,
                           .at_source = at_source,
                           .was_running = at_source ? status.wants_running : true};
        if (at_source) {
          TakeFromSource(machine, machines[machine.Key()], context);
        } else if (machines.emplace(machine.Key(), machine).second && status.run_strategy == kRunHalted) {
          machines[machine.Key()].run_strategy = kRunAlways;  // it stands by
        }
      }
    }
    return absl::OkStatus();
  };
  if (NeedsSource(spec.mode) && parts_.source_machines != nullptr) {
    RETURN_IF_ERROR(add(*parts_.source_machines, /*at_source=*/true));
    RETURN_IF_ERROR(WarnOfStrays(*parts_.source_machines, context));
  }
  // A backup may still have what was deleted at DR since.
  if (spec.mode == RunMode::kFailback)
    std::erase_if(machines, [](const auto& known) { return !known.second.at_source; });
  // What goes back is what DR has; what is at the primary only was deleted at DR.
  const bool stands_by =
      storage_.backups() == nullptr && spec.mode != RunMode::kTest && spec.mode != RunMode::kFailback;
  if (stands_by && parts_.target_machines != nullptr) {
    RETURN_IF_ERROR(add(*parts_.target_machines, /*at_source=*/false));
  }
  for (auto& [key, machine] : machines) inventory.machines.push_back(std::move(machine));
  return absl::OkStatus();
}

absl::Status InventoryStep::Confirm(const Item&, ItemContext& context) {
  ASSIGN_OR_RETURN(const Inventory inventory, ParseInventory(context.facts()));
  for (const OtherStorage& other : inventory.other) {
    const std::string text = fmt::format("claim {} (PersistentVolume {}, storage class {}): {}", Printable(other.claim),
                                         Printable(other.persistent_volume), Printable(other.storage_class), other.why);
    if (unknown_ == config::UnknownStorage::kStop) {
      return absl::FailedPreconditionError(
          text + ". With `unknown_storage: pass` in the plan the run goes on without such storage");
    }
    context.Warn(text + "; it isn't brought over");
  }
  RETURN_IF_ERROR(CheckReplicas(inventory, context));
  return NeedsSource(context.run.spec.mode) ? CheckSources(inventory) : absl::OkStatus();
}

absl::Status InventoryStep::CheckReplicas(const Inventory& inventory, ItemContext& context) const {
  std::map<std::string, ReplicaView> replicas;
  for (const std::string& pair : PairsOf(inventory)) {
    ASSIGN_OR_RETURN(const std::vector<ReplicaView> listed, parts_.agents.Replicas(pair));
    for (const ReplicaView& replica : listed) replicas[pair + "/" + replica.volume] = replica;
  }
  const RunMode mode = context.run.spec.mode;
  const bool rehearsal = mode == RunMode::kTest;
  for (const RunVolume& volume : inventory.volumes) {
    const ReplicaView& replica = replicas[volume.Key()];
    const bool standby = replica.state == model::VolumeState::kStandby;
    if (replica.state == model::VolumeState::kDemoting) {
      return absl::FailedPreconditionError(
          fmt::format("volume {} is being demoted: `drctl volumes demote {} --pair {}` finishes that", volume.Key(),
                      volume.volume, volume.pair));
    }
    if (rehearsal && !standby) {
      return absl::FailedPreconditionError(fmt::format("volume {} is {}: it is rehearsed with replicas only",
                                                       volume.Key(), model::ToString(replica.state)));
    }
    if (standby && !replica.complete && !context.run.spec.allow_incomplete) {
      return absl::FailedPreconditionError(fmt::format(
          "volume {} was never at DR as a whole: wait for its first sync (`drctl volumes sync {} --pair {}`), or take "
          "what there is with --incomplete",
          volume.Key(), volume.volume, volume.pair));
    }
    const bool no_way_back = replica.midst_of_capture && replica.whole_sequence == 0;
    if (mode == RunMode::kUnplanned && standby && no_way_back && !context.run.spec.allow_incomplete) {
      return absl::FailedPreconditionError(
          fmt::format("volume {} is in the midst of a capture at DR, a state that the primary never had, and no "
                      "earlier one is kept that it had: take what there is with --incomplete",
                      volume.Key()));
    }
    if (replica.held) {
      context.Warn(
          fmt::format("volume {} was taken back to an earlier state on purpose; that is what goes over", volume.Key()));
    }
  }
  return absl::OkStatus();
}

absl::Status InventoryStep::CheckSources(const Inventory& inventory) const {
  std::set<std::string> wanted;
  for (const RunVolume& volume : inventory.volumes) wanted.insert(volume.Key());
  for (const std::string& pair : PairsOf(inventory)) {
    ASSIGN_OR_RETURN(const std::vector<SourceView> sources, parts_.agents.Sources(pair));
    for (const SourceView& source : sources) {
      if (wanted.erase(pair + "/" + source.volume) == 0) continue;
      const std::string why_not = WhyNotReady(pair, source);
      if (why_not.empty()) continue;
      return absl::FailedPreconditionError(
          fmt::format("volume {}/{} can't be brought up to date: {}", pair, source.volume, why_not));
    }
  }
  if (wanted.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("the primary doesn't replicate volume {}: it can't be brought up to date", *wanted.begin()));
}

absl::StatusOr<std::vector<Item>> CleanUpStep::Items(const RunRecord&, std::stop_token) {
  return std::vector<Item>{{"", "remove what was fetched"}};
}

}  // namespace understudy::control
