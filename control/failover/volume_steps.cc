#include "control/failover/volume_steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

// Of a fence: whether its hooks have run to their end, whether anything keeps clients from writing, and whether the NFS
// server does.
// Of the fact `data_age_by`.
constexpr char kByConfirmation[] = "confirmation";
constexpr char kByNewestCommit[] = "newest-commit";
constexpr char kHooksRunFact[] = "hooks_run";
constexpr char kFencedFact[] = "fenced";
constexpr char kServerFact[] = "fenced_by_server";
// Of what was taken back to a whole state: its sequence.
constexpr char kTakenBackFact[] = "taken_back";

Json ToJson(const model::HookResult& hook) {
  return {{"phase", std::string(model::ToString(hook.phase))},
          {"name", Printable(hook.name)},
          {"ok", hook.ok()},
          {"optional", hook.optional},
          {"error", hook.ok() ? Json(nullptr) : Json(Printable(hook.problem))},
          {"output", Printable(hook.output)},
          {"seconds", absl::ToDoubleSeconds(hook.took)}};
}

// Shows steps and hooks of a promotion as they come, and keeps the hooks for the report.
class HookNotes {
 public:
  explicit HookNotes(ItemContext& context) : context_(context) {}

  [[nodiscard]] PromotionWatch Watch() {
    return {.on_step = [this](const std::string& step) { context_.Progress(Printable(step)); },
            .on_hook =
                [this](const model::HookResult& hook) {
                  hooks_.push_back(ToJson(hook));
                  if (!hook.ok() && hook.optional) {
                    context_.Warn(fmt::format("optional hook {}/{}: {}", model::ToString(hook.phase),
                                              Printable(hook.name), Printable(hook.problem)));
                  }
                }};
  }
  [[nodiscard]] const Json& hooks() const { return hooks_; }

 private:
  ItemContext& context_;
  Json hooks_ = Json::array();
};

// `facts` with `key` set, whatever else an earlier attempt left in them.
Json With(Json facts, const char* key, Json value) {
  if (!facts.is_object()) facts = Json::object();
  facts[key] = std::move(value);
  return facts;
}

bool IsFact(const Json& facts, const char* key) {
  return facts.is_object() && facts.contains(key) && facts[key].is_boolean() && facts[key].get<bool>();
}

bool AnyHookWentWell(const Json& facts) {
  if (!facts.is_object() || !facts.contains("hooks")) return false;
  const Json& hooks = facts["hooks"];
  return std::any_of(hooks.begin(), hooks.end(), [](const Json& hook) { return IsFact(hook, "ok"); });
}

// Whether nothing of the volume was written at the primary after what DR has of it. Without a fence that is enforced,
// nobody can tell.
enum class Loss { kNone, kUnknown, kAsOld };
Loss LossOf(const RunRecord& run, const std::string& key) {
  const StepRecord* const synced = run.Find("final-sync");
  if (synced == nullptr || !synced->ended_at) return Loss::kAsOld;
  const StepRecord* const fences = run.Find("fence");
  const ItemRecord* const fence = fences == nullptr ? nullptr : fences->Find(key);
  return fence != nullptr && IsFact(fence->facts, kFencedFact) ? Loss::kNone : Loss::kUnknown;
}

// How old the data is: by the last moment at which DR was known to have everything, else by its newest commit. An agent
// that can't tell the former leaves the latter.
void AddDataAge(const ReplicaView& replica, const absl::StatusOr<std::optional<absl::Time>>& confirmed_at,
                absl::Time now, Json& facts) {
  const std::optional<absl::Time> confirmed = confirmed_at.ok() ? *confirmed_at : std::nullopt;
  const bool by_word = confirmed && (!replica.captured_at || *confirmed > *replica.captured_at);
  const std::optional<absl::Time> as_of = by_word ? confirmed : replica.captured_at;
  if (!as_of) return;
  facts["data_age_seconds"] = std::max(0.0, absl::ToDoubleSeconds(now - *as_of));
  facts["data_age_by"] = by_word ? kByConfirmation : kByNewestCommit;
  if (by_word) facts["confirmed_at"] = Rfc3339Seconds(*confirmed);
}

}  // namespace

absl::StatusOr<std::vector<Item>> VolumeStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  std::vector<Item> items;
  for (const RunVolume& volume : inventory.volumes) {
    if (!items.empty() && items.back().key == volume.Key()) continue;  // another claim on it
    items.push_back({volume.Key(), fmt::format("{} volume {} of pair {}", Verb(), volume.volume, volume.pair)});
  }
  return items;
}

RunVolume VolumeStep::VolumeOf(const Item& item) {
  return VolumeOfKey(item.key);
}

absl::StatusOr<SourceView> VolumeStep::Source(const RunVolume& volume) const {
  ASSIGN_OR_RETURN(const std::vector<SourceView> sources, agents_.Sources(volume.pair));
  for (const SourceView& source : sources) {
    if (source.volume == volume.volume) return source;
  }
  return absl::NotFoundError(fmt::format("the primary of pair {} doesn't know the volume", volume.pair));
}

absl::StatusOr<ReplicaView> VolumeStep::Replica(const RunVolume& volume) const {
  ASSIGN_OR_RETURN(const std::vector<ReplicaView> replicas, agents_.Replicas(volume.pair));
  for (const ReplicaView& replica : replicas) {
    if (replica.volume == volume.volume) return replica;
  }
  return absl::NotFoundError(fmt::format("DR of pair {} has no replica of the volume", volume.pair));
}

absl::Status VolumeStep::TakeBackToWhole(const RunVolume& volume, ItemContext& context) {
  if (context.run.spec.mode != RunMode::kUnplanned || context.run.spec.allow_incomplete) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(volume));
  const bool standby = replica.state == model::VolumeState::kStandby;
  // Without a way back, the promotion says why it is refused.
  if (!standby || !replica.midst_of_capture || replica.whole_sequence == 0) return absl::OkStatus();
  context.Warn(fmt::format(
      "volume {} was in the midst of a capture at commit {}, a state that the primary never had: it is taken back to "
      "commit {}, the newest one that it had. Until it is promoted, what came after that stays a recovery point, and "
      "`drctl volumes resume {} --pair {}` lets its primary go on",
      volume.Key(), replica.sequence, replica.whole_sequence, volume.volume, volume.pair));
  // Known before it is so: from then on its primary is refused until somebody resumes it.
  RETURN_IF_ERROR(context.RecordFacts(With(context.facts(), kTakenBackFact, replica.whole_sequence)));
  RETURN_IF_ERROR(agents_.Rewind(volume.pair, volume.volume, replica.whole_sequence,
                                 [&](const std::string& progress) { context.Progress(progress); }));
  return absl::OkStatus();
}

absl::StatusOr<bool> VolumeStep::HoldsForAll(
    const RunRecord& run, const std::function<absl::StatusOr<bool>(const ItemRecord&, const RunVolume&)>& holds) const {
  const StepRecord* const step = run.Find(name());
  if (step == nullptr) return false;
  for (const ItemRecord& item : step->items) {
    ASSIGN_OR_RETURN(const bool still, holds(item, VolumeOf({.key = item.key, .what = ""})));
    if (!still) return false;
  }
  return true;
}

absl::StatusOr<bool> FenceStep::StillSo(const RunRecord& run, std::stop_token) {
  return HoldsForAll(run, [this](const ItemRecord& item, const RunVolume& volume) -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const SourceView source, Source(volume));
    return source.exported == model::ExportMode::kReadOnly && (source.fenced || !IsFact(item.facts, kServerFact));
  });
}

absl::StatusOr<bool> FenceStep::Check(const Item& item, ItemContext& context) {
  // Hooks may be all that keeps clients from writing: without them an export that is read-only isn't a fence.
  if (!IsFact(context.facts(), kHooksRunFact)) return false;
  ASSIGN_OR_RETURN(const SourceView source, Source(VolumeOf(item)));
  return source.fenced && source.exported == model::ExportMode::kReadOnly;
}

absl::Status FenceStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  const std::string& run = context.run.spec.id;
  ASSIGN_OR_RETURN(const SourceView source, Source(volume));
  Json facts = With(context.facts(), kHooksRunFact, false);
  // How it was before, for who takes the fence away.
  if (!facts.contains("exported_before")) facts["exported_before"] = std::string(model::ToString(source.exported));
  RETURN_IF_ERROR(context.RecordFacts(std::move(facts)));
  HookNotes notes(context);
  RETURN_IF_ERROR(agents().RunHooks(volume.pair, model::HookPhase::kPreFence, volume.volume, run, notes.Watch()));
  context.Progress("switching the primary's export to read-only");
  RETURN_IF_ERROR(agents().SetSourceExport(volume.pair, volume.volume, model::ExportMode::kReadOnly));
  RETURN_IF_ERROR(agents().RunHooks(volume.pair, model::HookPhase::kPostFence, volume.volume, run, notes.Watch()));
  return context.RecordFacts(With(With(context.facts(), "hooks", notes.hooks()), kHooksRunFact, true));
}

absl::Status FenceStep::Confirm(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const SourceView source, Source(VolumeOf(item)));
  if (source.exported != model::ExportMode::kReadOnly) {
    return absl::AbortedError("the primary's export isn't read-only: somebody switched it meanwhile");
  }
  const bool by_hooks = AnyHookWentWell(context.facts());
  context.SetFacts(With(With(context.facts(), kServerFact, source.fenced), kFencedFact, source.fenced || by_hooks));
  if (!source.fenced && by_hooks) {
    context.Warn("the primary's export has `backend: none`: that its clients can't write is up to the fence hooks");
  } else if (!source.fenced) {
    context.Warn(
        "the primary's export has `backend: none`, and no fence hook ran: nothing keeps its clients from writing");
  }
  return absl::OkStatus();
}

absl::Status PreSyncStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  ASSIGN_OR_RETURN(const model::Sequence sequence,
                   agents().Sync(
                       volume.pair, volume.volume, timeout_,
                       [&](const std::string& progress) { context.Progress(progress); }, context.stop));
  context.SetFacts({{"sequence", sequence}});
  return absl::OkStatus();
}

absl::Status FinalSyncStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  // A volume that is paused wasn't taken in by the inventory: it is this run's own pause, and the run had to come back.
  ASSIGN_OR_RETURN(const SourceView source, Source(volume));
  if (source.paused && context.before.attempts > 0) RETURN_IF_ERROR(agents().Resume(volume.pair, volume.volume));
  ASSIGN_OR_RETURN(const model::Sequence sequence,
                   agents().Sync(
                       volume.pair, volume.volume, timeout_,
                       [&](const std::string& progress) { context.Progress(progress); }, context.stop));
  context.SetFacts({{"sequence", sequence}});
  return absl::OkStatus();
}

absl::Status FinalSyncStep::Confirm(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(VolumeOf(item)));
  const uint64_t acknowledged = context.facts().value("sequence", uint64_t{0});
  if (replica.sequence >= acknowledged) return absl::OkStatus();
  return absl::InternalError(
      fmt::format("DR is at commit {}, though the primary had commit {} acknowledged", replica.sequence, acknowledged));
}

absl::StatusOr<bool> FinalSyncStep::StillSo(const RunRecord& run, std::stop_token) {
  return HoldsForAll(run, [this](const ItemRecord& item, const RunVolume& volume) -> absl::StatusOr<bool> {
    if (!item.facts.is_object() || !item.facts.contains("sequence")) return false;
    const auto acknowledged = item.facts["sequence"].get<model::Sequence>();
    ASSIGN_OR_RETURN(const SourceView source, Source(volume));
    ASSIGN_OR_RETURN(const ReplicaView replica, Replica(volume));
    return source.sequence == acknowledged && replica.sequence == acknowledged;
  });
}

absl::StatusOr<bool> PauseStep::StillSo(const RunRecord& run, std::stop_token) {
  return HoldsForAll(run, [this](const ItemRecord&, const RunVolume& volume) -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const SourceView source, Source(volume));
    return source.paused;
  });
}

absl::StatusOr<bool> PauseStep::Check(const Item& item, ItemContext&) {
  ASSIGN_OR_RETURN(const SourceView source, Source(VolumeOf(item)));
  return source.paused;
}

absl::Status PauseStep::Do(const Item& item, ItemContext&) {
  const RunVolume volume = VolumeOf(item);
  return agents().Pause(volume.pair, volume.volume);
}

absl::Status PauseStep::Confirm(const Item& item, ItemContext&) {
  ASSIGN_OR_RETURN(const SourceView source, Source(VolumeOf(item)));
  return source.paused ? absl::OkStatus() : absl::AbortedError("it isn't paused: somebody resumed it meanwhile");
}

absl::StatusOr<bool> VerifyStep::Check(const Item& item, ItemContext&) {
  // What is promoted was verified before; its clients write to it.
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(VolumeOf(item)));
  return replica.state != model::VolumeState::kStandby;
}

absl::Status VerifyStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  RETURN_IF_ERROR(TakeBackToWhole(volume, context));
  ASSIGN_OR_RETURN(const Findings findings,
                   agents().Verify(volume.pair, volume.volume, depth_, [&](const model::VerifyCounts& counts) {
                     context.Progress(fmt::format("{} entries, {} MiB read", counts.entries, counts.bytes_read >> 20));
                   }));
  Json differences = Json::array();
  constexpr size_t kReported = 20;
  for (size_t i = 0; i < std::min(findings.differences.size(), kReported); ++i) {
    const model::Difference& difference = findings.differences[i];
    differences.push_back({{"path", Printable(difference.path)},
                           {"kind", std::string(model::ToString(difference.kind))},
                           {"detail", Printable(difference.detail)}});
  }
  const model::VerifyCounts& counts = findings.counts;
  Json facts = {{"depth", std::string(model::ToString(depth_))},
                {"entries", counts.entries},
                {"bytes_read", counts.bytes_read},
                {"unchecked", counts.unchecked},
                {"differences", counts.differences},
                {"first_differences", differences}};
  const Json& before = context.facts();
  if (before.is_object() && before.contains(kTakenBackFact)) facts[kTakenBackFact] = before[kTakenBackFact];
  context.SetFacts(std::move(facts));
  if (counts.differences == 0) {
    if (counts.unchecked == 0) return absl::OkStatus();
    const std::string unchecked = fmt::format("{} entries couldn't be checked", counts.unchecked);
    if (context.run.spec.mode != RunMode::kUnplanned && depth_ != model::VerifyDepth::kExists) {
      return absl::FailedPreconditionError(
          unchecked +
          ", for they were changing all the time: something writes behind the fence (on the NFS host itself, "
          "or a client that it doesn't keep out). Stop that, then `drctl failover resume`");
    }
    context.Warn(unchecked);
    return absl::OkStatus();
  }
  const std::string first = findings.differences.empty()
                                ? ""
                                : fmt::format(", the first at {} ({})", Printable(findings.differences[0].path),
                                              model::ToString(findings.differences[0].kind));
  return absl::DataLossError(fmt::format(
      "{} differences{}: see `drctl volumes verify {} --pair {} --depth {}`. Nothing was promoted yet: go "
      "back to a recovery point (`drctl points list {} --pair {}`), or choose another depth in the plan",
      counts.differences, first, volume.volume, volume.pair, model::ToString(depth_), volume.volume, volume.pair));
}

absl::StatusOr<bool> PromoteStep::Check(const Item& item, ItemContext&) {
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(VolumeOf(item)));
  return replica.state == model::VolumeState::kActive && !replica.hooks_due;
}

absl::Status PromoteStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  // A primary that still runs may have begun another capture since it was verified.
  RETURN_IF_ERROR(TakeBackToWhole(volume, context));
  ASSIGN_OR_RETURN(const ReplicaView before, Replica(volume));
  const bool is_known = context.before.facts.is_object() && context.before.facts.contains("sequence");
  if (!is_known && before.state == model::VolumeState::kStandby) {
    Json facts = With(With(context.facts(), "sequence", before.sequence), "complete",
                      before.complete && !before.midst_of_capture);
    const Loss loss = LossOf(context.run, item.key);
    if (before.captured_at) facts["captured_at"] = Rfc3339Seconds(*before.captured_at);
    if (before.consistency != model::Consistency::kUnknown)
      facts["consistency"] = std::string(model::ToString(before.consistency));
    if (loss == Loss::kNone) {
      facts["data_age_seconds"] = 0.0;
    } else if (loss == Loss::kUnknown) {
      context.Warn("nothing kept the primary's clients from writing: how much is lost can't be told");
    } else {
      AddDataAge(before, agents().ConfirmedAt(volume.pair, before), clock_.Now(), facts);
    }
    RETURN_IF_ERROR(context.RecordFacts(std::move(facts)));
  }
  HookNotes notes(context);
  const absl::StatusOr<ReplicaView> promoted = agents().Promote(volume.pair, volume.volume, context.run.spec.id,
                                                                context.run.spec.allow_incomplete, notes.Watch());
  if (!notes.hooks().empty()) context.SetFacts(With(context.facts(), "hooks", notes.hooks()));
  return promoted.status();
}

absl::Status PromoteStep::Confirm(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(VolumeOf(item)));
  if (replica.state != model::VolumeState::kActive) {
    return absl::AbortedError(
        fmt::format("the volume is {}: somebody demoted it meanwhile", model::ToString(replica.state)));
  }
  context.SetFacts(With(context.facts(), "epoch", replica.epoch));
  return absl::OkStatus();
}

}  // namespace understudy::control
