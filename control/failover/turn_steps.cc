#include "control/failover/turn_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kPollInterval = absl::Milliseconds(500);

// The live volumes of every pair, by "pair/volume".
absl::StatusOr<std::map<std::string, LiveView>> AllLive(SiteAgents& agents) {
  std::map<std::string, LiveView> live;
  for (const std::string& pair : agents.Pairs()) {
    ASSIGN_OR_RETURN(const std::vector<LiveView> volumes, agents.LiveVolumes(pair));
    for (const LiveView& volume : volumes) live[pair + "/" + volume.volume] = volume;
  }
  return live;
}

}  // namespace

absl::StatusOr<std::vector<Item>> LiveInventoryStep::Items(const RunRecord&, std::stop_token) {
  return std::vector<Item>{{"", "find what is live"}};
}

absl::Status LiveInventoryStep::Do(const Item&, ItemContext& context) {
  const RunSpec& spec = context.run.spec;
  ASSIGN_OR_RETURN(const auto live, AllLive(parts_.agents));
  Inventory inventory;
  if (!spec.namespaces.empty()) {
    ASSIGN_OR_RETURN(const auto found, storage_.Get(context.run, context.stop));
    for (const ClaimDefinition& claim : found->storage.claims) inventory.volumes.push_back(claim.volume);
  }
  for (const std::string& listed : spec.volumes) {
    const bool known = std::any_of(inventory.volumes.begin(), inventory.volumes.end(),
                                   [&](const RunVolume& volume) { return volume.Key() == listed; });
    if (!known) inventory.volumes.push_back(VolumeOfKey(listed));
  }
  std::sort(inventory.volumes.begin(), inventory.volumes.end(),
            [](const RunVolume& a, const RunVolume& b) { return a.Key() < b.Key(); });
  if (inventory.volumes.empty()) {
    return absl::FailedPreconditionError("there is nothing to turn round: DR has no volume of the plan");
  }
  for (RunVolume& volume : inventory.volumes) {
    const auto known = live.find(volume.Key());
    if (known == live.end()) {
      return absl::FailedPreconditionError(
          fmt::format("volume {} isn't promoted, so there is nothing to turn round: fail over first", volume.Key()));
    }
    // What is live at the site that is to be stopped there must not be.
    if (known->second.at_primary == !parts_.source_is_dr) {
      return absl::FailedPreconditionError(
          fmt::format("volume {} is live at the {}, others of the plan aren't: turn it round by itself (`drctl volumes "
                      "reprotect {} --pair {}`)",
                      volume.Key(), known->second.at_primary ? "primary" : "DR site", volume.volume, volume.pair));
    }
    volume.replica_path = Printable(known->second.root);
  }
  if (parts_.source_machines != nullptr) {
    for (const std::string& namespace_name : spec.namespaces) {
      const auto listed = parts_.source_machines->List(namespace_name, context.stop);
      if (absl::IsNotFound(listed.status())) continue;
      RETURN_IF_ERROR(listed.status());
      for (const VmStatus& status : *listed) {
        inventory.machines.push_back({.namespace_name = status.key.namespace_name,
                                      .name = status.key.name,
                                      .run_strategy = status.run_strategy,
                                      .at_source = true});
      }
    }
  }
  Json facts = ToJson(inventory);
  facts["live_at"] = parts_.source_is_dr ? "primary" : "dr";
  context.SetFacts(std::move(facts));
  return absl::OkStatus();
}

absl::Status TurnStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  RETURN_IF_ERROR(agents().Turn(volume.pair, volume.volume, context.run.spec.id,
                                {.on_step = [&](const std::string& step) { context.Progress(Printable(step)); },
                                 .on_hook = [](const model::HookResult&) {}}));
  context.Progress("sending what differs");
  ASSIGN_OR_RETURN(const model::Sequence sequence,
                   agents().SyncTurned(
                       volume.pair, volume.volume, timeout_,
                       [&](const std::string& progress) { context.Progress(progress); }, context.stop));
  context.SetFacts({{"sequence", sequence}});
  return absl::OkStatus();
}

absl::Status TurnStep::Confirm(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  ASSIGN_OR_RETURN(const std::vector<LiveView> live, agents().LiveVolumes(volume.pair));
  for (const LiveView& view : live) {
    if (view.volume != volume.volume) continue;
    if (!view.turned)
      return absl::AbortedError("it isn't replicated to the other host: somebody changed that meanwhile");
    Json facts = context.facts();
    facts["live_at"] = view.at_primary ? "primary" : "dr";
    facts["epoch"] = view.epoch;
    context.SetFacts(std::move(facts));
    return absl::OkStatus();
  }
  return absl::AbortedError("it isn't live any more: somebody demoted it meanwhile");
}

absl::StatusOr<std::vector<Item>> BringObjectsStep::Items(const RunRecord&, std::stop_token) {
  return std::vector<Item>{{"", "bring the claims across that were made at DR"}};
}

absl::Status BringObjectsStep::Do(const Item&, ItemContext& context) {
  ASSIGN_OR_RETURN(const Report report, parts_.bring_objects(context));
  for (const std::string& alert : report.alerts) context.Warn(alert);
  for (const ObjectResult& object : report.objects) {
    const bool is_claim = object.key.kind == model::ObjectKind::kPersistentVolumeClaim;
    if (!is_claim || object.outcome != Outcome::kSkipped) continue;
    context.Warn(fmt::format("{} isn't brought: {}", Printable(ToString(object.key)), object.reason));
  }
  if (report.exit_code == ExitCode::kDone || report.exit_code == ExitCode::kRefused) {
    context.SetFacts({{"sync_run", report.run}, {"objects", report.objects.size()}});
    return absl::OkStatus();
  }
  const std::string more = fmt::format("`drctl sync report {}` says more", report.run);
  for (const ObjectResult& object : report.objects) {
    if (object.outcome != Outcome::kFailed) continue;
    return absl::AbortedError(fmt::format("{}: {} ({})", Printable(ToString(object.key)), object.reason, more));
  }
  return absl::AbortedError(report.error.empty() ? more : fmt::format("{} ({})", report.error, more));
}

absl::StatusOr<std::vector<Item>> ClaimsStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  std::vector<Item> items;
  for (const RunVolume& volume : inventory.volumes) {
    if (!volume.claim.empty()) items.push_back({volume.claim, fmt::format("see that claim {} is bound", volume.claim)});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.key < b.key; });
  return items;
}

absl::StatusOr<bool> ClaimsStep::Check(const Item& item, ItemContext&) {
  const auto [namespace_name, name] = SplitKey(item.key);
  const auto claim = parts_.target_objects->Get({model::ObjectKind::kPersistentVolumeClaim, namespace_name, name});
  if (absl::IsNotFound(claim.status())) return false;
  RETURN_IF_ERROR(claim.status());
  return kube::PhaseOf(*claim) == "Bound";
}

absl::Status ClaimsStep::Do(const Item& item, ItemContext& context) {
  const absl::Duration deadline = parts_.clock.Monotonic() + timeout_;
  while (parts_.clock.Monotonic() < deadline) {
    ASSIGN_OR_RETURN(const bool bound, Check(item, context));
    if (bound) return absl::OkStatus();
    context.Progress("the claim isn't bound yet");
    if (!WaitUnlessStopped(context.stop, kPollInterval)) return absl::CancelledError("stopped");
  }
  return absl::FailedPreconditionError(
      fmt::format("claim {} isn't bound at the cluster that takes over: make it and its PersistentVolume again "
                  "(DR's are `kubectl get pvc,pv -o yaml`), then resume",
                  Printable(item.key)));
}

}  // namespace understudy::control
