#include <fmt/format.h>

#include "control/report/failover_report.h"
#include "control/report/json_members.h"

namespace understudy::control {
namespace {

std::optional<absl::Duration> Between(const std::optional<absl::Time>& begin, const std::optional<absl::Time>& end) {
  if (!begin || !end) return std::nullopt;
  return *end - *begin;
}

Json StateOrNull(const std::optional<ItemState>& state) {
  return state ? Json(std::string(ToString(*state))) : Json(nullptr);
}

Json ToJson(const ItemRecord& item) {
  return {{"key", item.key},
          {"state", std::string(ToString(item.state))},
          {"begun_at", TimeOrNull(item.begun_at)},
          {"ended_at", TimeOrNull(item.ended_at)},
          {"seconds", SecondsOrNull(Between(item.begun_at, item.ended_at))},
          {"attempts", item.attempts},
          {"message", TextOrNull(item.message)},
          {"warnings", item.warnings},
          {"facts", item.facts}};
}

Json ToJson(const StepRecord& step) {
  Json items = Json::array();
  for (const ItemRecord& item : step.items) items.push_back(ToJson(item));
  return {{"name", step.name},
          {"state", std::string(ToString(step.State()))},
          {"begun_at", TimeOrNull(step.begun_at)},
          {"ended_at", TimeOrNull(step.ended_at)},
          {"seconds", SecondsOrNull(Between(step.begun_at, step.ended_at))},
          {"items", std::move(items)}};
}

Json ToJson(const RunGap& gap) {
  return {{"begin", TimeOrNull(gap.begin)},         {"end", TimeOrNull(gap.end)},
          {"seconds", SecondsOrNull(gap.Length())}, {"after", TextOrNull(gap.after)},
          {"before", TextOrNull(gap.before)},       {"reason", TextOrNull(gap.reason)}};
}

Json ToJson(const VolumeOutcome& volume) {
  return {{"pair", volume.pair},
          {"volume", volume.volume},
          {"claim", TextOrNull(volume.claim)},
          {"storage_class", TextOrNull(volume.storage_class)},
          {"replica_path", TextOrNull(volume.replica_path)},
          {"promotion", StateOrNull(volume.promotion)},
          {"message", TextOrNull(volume.message)},
          {"active_at", TimeOrNull(volume.active_at)},
          {"epoch", ValueOrNull(volume.epoch)},
          {"sequence", ValueOrNull(volume.sequence)},
          {"captured_at", TimeOrNull(volume.captured_at)},
          {"consistency", TextOrNull(volume.consistency)},
          {"data_age_seconds", SecondsOrNull(volume.data_age)},
          {"data_age_by", TextOrNull(volume.data_age_by)},
          {"confirmed_at", TimeOrNull(volume.confirmed_at)},
          {"complete", ValueOrNull(volume.complete)},
          {"rpo_seconds", SecondsOrNull(volume.recovery_point)},
          {"verification", StateOrNull(volume.verification)},
          {"verified_depth", TextOrNull(volume.verified_depth)},
          {"differences", ValueOrNull(volume.differences)}};
}

Json ToJson(const MachineOutcome& machine) {
  Json probes = Json::array();
  for (const ProbeOutcome& probe : machine.probes) {
    probes.push_back({{"probe", TextOrNull(probe.probe)},
                      {"state", std::string(ToString(probe.state))},
                      {"result", TextOrNull(probe.result)}});
  }
  return {{"namespace", machine.namespace_name},
          {"name", machine.name},
          {"run_strategy", TextOrNull(machine.run_strategy)},
          {"stop", StateOrNull(machine.stop)},
          {"boot", StateOrNull(machine.boot)},
          {"outcome", TextOrNull(machine.outcome)},
          {"message", TextOrNull(machine.message)},
          {"started_at", TimeOrNull(machine.started_at)},
          {"well_at", TimeOrNull(machine.well_at)},
          {"probes", std::move(probes)}};
}

Json ToJson(const RunWarning& warning) {
  return {{"step", warning.step}, {"item", TextOrNull(warning.item)}, {"text", warning.text}};
}

Json ToJson(const Advice& advice) {
  return {{"text", advice.text}, {"command", TextOrNull(advice.command)}};
}

Json ToJson(const RunNote& note) {
  return {{"at", TimeOrNull(note.at)}, {"text", note.text}};
}

template <class Value>
Json List(const std::vector<Value>& values) {
  Json list = Json::array();
  for (const Value& value : values) list.push_back(ToJson(value));
  return list;
}

Json ToJson(const RecoveryTime& time) {
  return {{"seconds", SecondsOrNull(time.took)},
          {"basis", TextOrNull(std::string(ToString(time.basis)))},
          {"of", time.of},
          {"reached", time.reached},
          {"last_at", TimeOrNull(time.last_at)}};
}

Json ToJson(const RecoveryPoint& point) {
  return {{"seconds", SecondsOrNull(point.worst)}, {"volumes", point.volumes}, {"unknown", point.unknown}};
}

absl::StatusOr<ItemRecord> ParseItem(const Json& json) {
  JsonMembers members(json);
  ItemRecord item;
  item.key = members.Text("key");
  item.state = members.Known(ParseItemState(members.Text("state")));
  item.begun_at = members.OptionalTime("begun_at");
  item.ended_at = members.OptionalTime("ended_at");
  item.attempts = static_cast<uint32_t>(members.Number("attempts"));
  item.message = members.Text("message");
  item.warnings = TextsOf(members.Array("warnings"));
  item.facts = members.Any("facts");
  RETURN_IF_ERROR(members.status());
  return item;
}

absl::StatusOr<StepRecord> ParseStep(const Json& json) {
  JsonMembers members(json);
  StepRecord step;
  step.name = members.Text("name");
  step.begun_at = members.OptionalTime("begun_at");
  step.ended_at = members.OptionalTime("ended_at");
  for (const Json& item : members.Array("items")) {
    ASSIGN_OR_RETURN(ItemRecord parsed, ParseItem(item));
    step.items.push_back(std::move(parsed));
  }
  RETURN_IF_ERROR(members.status());
  return step;
}

absl::StatusOr<RunSpec> ParseSpec(const Json& json) {
  JsonMembers members(json);
  JsonMembers asked(members.Object("asked"));
  RunSpec spec;
  spec.id = members.Text("run");
  spec.plan = members.Text("plan");
  spec.mode = members.Known(ParseRunMode(members.Text("mode")));
  spec.started_by = members.Text("started_by");
  spec.started_at = members.Time("started_at");
  spec.namespaces = TextsOf(asked.Array("namespaces"));
  spec.volumes = TextsOf(asked.Array("volumes"));
  spec.backup = asked.Text("backup");
  spec.allow_incomplete = asked.Truth("allow_incomplete");
  spec.keep = asked.Truth("keep");
  RETURN_IF_ERROR(members.status());
  RETURN_IF_ERROR(asked.status());
  return spec;
}

}  // namespace

Json ToJson(const FailoverReport& report) {
  const RunSpec& spec = report.run.spec;
  return {{"schema_version", kFailoverReportSchemaVersion},
          {"report", "failover"},
          {"run", spec.id},
          {"plan", spec.plan},
          {"mode", std::string(ToString(spec.mode))},
          {"started_by", spec.started_by},
          {"started_at", TimeOrNull(spec.started_at)},
          {"ended_at", TimeOrNull(report.run.ended_at)},
          {"written_at", TimeOrNull(report.written_at)},
          {"seconds", SecondsOrNull(EndOf(report) - spec.started_at)},
          {"waited_seconds", SecondsOrNull(WaitedIn(report))},
          {"result", std::string(ToString(report.run.state))},
          {"exit_code", static_cast<int>(ExitCodeOf(report.run))},
          {"over", report.run.over},
          {"error", TextOrNull(report.run.error)},
          {"rto", ToJson(report.recovery_time)},
          {"rpo", ToJson(report.recovery_point)},
          {"next", List(report.next)},
          {"stays", List(report.stays)},
          {"warnings", List(report.warnings)},
          {"notes", List(report.run.notes)},
          {"gaps", List(report.gaps)},
          {"volumes", List(report.volumes)},
          {"machines", List(report.machines)},
          {"asked",
           {{"namespaces", spec.namespaces},
            {"volumes", spec.volumes},
            {"backup", TextOrNull(spec.backup)},
            {"allow_incomplete", spec.allow_incomplete},
            {"keep", spec.keep}}},
          {"steps", List(report.run.steps)}};
}

absl::StatusOr<FailoverReport> ParseFailoverReport(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("a failover report that isn't a JSON object");
  JsonMembers members(json);
  if (members.Number("schema_version") > kFailoverReportSchemaVersion) {
    return absl::FailedPreconditionError("the failover report was written by a newer drctl");
  }
  RunRecord run;
  ASSIGN_OR_RETURN(run.spec, ParseSpec(json));
  run.state = members.Known(ParseRunState(members.Text("result")));
  run.ended_at = members.OptionalTime("ended_at");
  run.over = members.Truth("over");
  run.error = members.Text("error");
  for (const Json& step : members.Array("steps")) {
    ASSIGN_OR_RETURN(StepRecord parsed, ParseStep(step));
    run.steps.push_back(std::move(parsed));
  }
  for (const Json& note : members.Array("notes")) {
    JsonMembers of_note(note);
    run.notes.push_back({of_note.Time("at"), of_note.Text("text")});
    RETURN_IF_ERROR(of_note.status());
  }
  const absl::Time written_at = members.Time("written_at");
  RETURN_IF_ERROR(members.status());
  return BuildFailoverReport(run, written_at);
}

}  // namespace understudy::control
