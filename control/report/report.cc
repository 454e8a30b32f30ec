#include "control/report/report.h"

#include "control/report/json_members.h"
#include "core/base/named.h"

namespace understudy::control {
namespace {

constexpr std::string_view kWhose = "a report";  // in messages
constexpr std::string_view kToDr = "to-dr";
constexpr std::string_view kToPrimary = "to-primary";

constexpr Named<Outcome> kOutcomes[] = {
    {Outcome::kSynced, "synced"},          {Outcome::kUnchanged, "unchanged"}, {Outcome::kFailed, "failed"},
    {Outcome::kSkipped, "skipped"},        {Outcome::kCleaned, "cleaned"},     {Outcome::kWouldSync, "would-sync"},
    {Outcome::kWouldClean, "would-clean"},
};
constexpr Named<CleaningState> kCleaningStates[] = {
    {CleaningState::kNothing, "nothing"}, {CleaningState::kDone, "done"}, {CleaningState::kPartly, "partly"},
    {CleaningState::kWould, "would"},     {CleaningState::kHeld, "held"}, {CleaningState::kOff, "off"},
};
constexpr Named<Trigger> kTriggers[] = {{Trigger::kManual, "manual"}, {Trigger::kSchedule, "schedule"}};
constexpr Named<ExitCode> kResults[] = {
    {ExitCode::kDone, "done"},       {ExitCode::kFailed, "failed"},
    {ExitCode::kPartial, "partial"}, {ExitCode::kUnreachable, "unreachable"},
    {ExitCode::kRefused, "refused"},
};

Json ToJson(const ObjectResult& object) {
  return {{"kind", std::string(model::ToString(object.key.kind))},
          {"namespace", TextOrNull(object.key.namespace_name)},
          {"name", object.key.name},
          {"outcome", std::string(ToString(object.outcome))},
          {"reason", TextOrNull(object.reason)},
          {"pair", TextOrNull(object.pair)},
          {"volume", TextOrNull(object.volume)},
          {"sequence", ValueOrNull(object.sequence)},
          {"seconds", absl::ToDoubleSeconds(object.took)},
          {"direction", std::string(object.to_primary ? kToPrimary : kToDr)}};
}

Json ToJson(const ListResult& list) {
  return {{"cluster", list.cluster},
          {"kind", std::string(model::ToString(list.kind))},
          {"namespace", TextOrNull(list.namespace_name)},
          {"served", list.served},
          {"complete", list.served && list.error.empty()},
          {"items", list.items},
          {"error", TextOrNull(list.error)}};
}

absl::StatusOr<ObjectResult> ParseObject(const Json& json) {
  JsonMembers members(json);
  ObjectResult object;
  object.key.kind = members.Known(model::ParseObjectKind(members.Text("kind")));
  object.key.namespace_name = members.Text("namespace");
  object.key.name = members.Text("name");
  object.outcome = members.Known(ParseOutcome(members.Text("outcome")));
  object.reason = members.Text("reason");
  object.pair = members.Text("pair");
  object.volume = members.Text("volume");
  if (json.contains("sequence") && !json["sequence"].is_null()) object.sequence = members.Number("sequence");
  object.took = absl::Seconds(members.Seconds("seconds"));
  // Reports from before there was another direction don't say.
  object.to_primary = json.value("direction", std::string(kToDr)) == kToPrimary;
  RETURN_IF_ERROR(members.status());
  return object;
}

absl::StatusOr<ListResult> ParseList(const Json& json) {
  JsonMembers members(json);
  ListResult list;
  list.cluster = members.Text("cluster");
  list.kind = members.Known(model::ParseObjectKind(members.Text("kind")));
  list.namespace_name = members.Text("namespace");
  list.served = members.Truth("served");
  list.items = members.Number("items");
  list.error = members.Text("error");
  RETURN_IF_ERROR(members.status());
  return list;
}

}  // namespace

std::string_view ToString(Outcome outcome) {
  return NameOf(kOutcomes, outcome);
}
absl::StatusOr<Outcome> ParseOutcome(std::string_view text) {
  return ValueOf(kOutcomes, text, kWhose);
}
std::string_view ToString(CleaningState state) {
  return NameOf(kCleaningStates, state);
}
absl::StatusOr<CleaningState> ParseCleaningState(std::string_view text) {
  return ValueOf(kCleaningStates, text, kWhose);
}
std::string_view ToString(Trigger trigger) {
  return NameOf(kTriggers, trigger);
}
absl::StatusOr<Trigger> ParseTrigger(std::string_view text) {
  return ValueOf(kTriggers, text, kWhose);
}

std::map<Outcome, size_t> CountOutcomes(const Report& report) {
  std::map<Outcome, size_t> counts;
  for (const Outcome outcome : kAllOutcomes) counts[outcome] = 0;
  for (const ObjectResult& object : report.objects) ++counts[object.outcome];
  return counts;
}

std::string_view ResultOf(const Report& report) {
  return NameOf(kResults, report.exit_code);
}

bool HasProblems(const Report& report) {
  return report.exit_code != ExitCode::kDone || !report.alerts.empty();
}

ExitCode ExitCodeOf(const Report& report, bool unreachable) {
  const std::map<Outcome, size_t> counts = CountOutcomes(report);
  const size_t good = counts.at(Outcome::kSynced) + counts.at(Outcome::kUnchanged) + counts.at(Outcome::kWouldSync) +
                      counts.at(Outcome::kCleaned) + counts.at(Outcome::kWouldClean);
  bool failed = counts.at(Outcome::kFailed) > 0 || !report.error.empty();
  for (const ListResult& list : report.lists) failed = failed || !list.error.empty();
  if (failed && good > 0) return ExitCode::kPartial;
  if (failed) return unreachable ? ExitCode::kUnreachable : ExitCode::kFailed;
  return report.cleaning.state == CleaningState::kHeld ? ExitCode::kRefused : ExitCode::kDone;
}

nlohmann::ordered_json ToJson(const Report& report) {
  Json counts = Json::object();
  for (const auto& [outcome, count] : CountOutcomes(report)) counts[std::string(ToString(outcome))] = count;
  Json lists = Json::array();
  for (const ListResult& list : report.lists) lists.push_back(ToJson(list));
  Json objects = Json::array();
  for (const ObjectResult& object : report.objects) objects.push_back(ToJson(object));
  return {{"schema_version", kReportSchemaVersion},
          {"report", "sync"},
          {"run", report.run},
          {"trigger", std::string(ToString(report.trigger))},
          {"made_up", report.made_up},
          {"dry_run", report.dry_run},
          {"started_at", TimeOrNull(report.started_at)},
          {"ended_at", TimeOrNull(report.ended_at)},
          {"seconds", absl::ToDoubleSeconds(report.ended_at - report.started_at)},
          {"result", std::string(ResultOf(report))},
          {"exit_code", static_cast<int>(report.exit_code)},
          {"error", TextOrNull(report.error)},
          {"namespaces", report.namespaces},
          {"primary_cluster", TextOrNull(report.primary_cluster)},
          {"alerts", report.alerts},
          {"counts", std::move(counts)},
          {"cleaning",
           {{"state", std::string(ToString(report.cleaning.state))},
            {"reason", TextOrNull(report.cleaning.reason)},
            {"stale", report.cleaning.stale},
            {"at_dr", report.cleaning.at_dr}}},
          {"lists", std::move(lists)},
          {"objects", std::move(objects)}};
}

absl::StatusOr<Report> ParseReport(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("a report that isn't a JSON object");
  JsonMembers members(json);
  if (members.Number("schema_version") > kReportSchemaVersion) {
    return absl::FailedPreconditionError("the report was written by a newer drctl");
  }
  Report report;
  report.run = members.Text("run");
  report.trigger = members.Known(ParseTrigger(members.Text("trigger")));
  report.made_up = members.Truth("made_up");
  report.dry_run = members.Truth("dry_run");
  report.started_at = members.Time("started_at");
  report.ended_at = members.Time("ended_at");
  report.exit_code = members.Known(ValueOf(kResults, members.Text("result"), kWhose));
  report.error = members.Text("error");
  report.namespaces = TextsOf(members.Array("namespaces"));
  report.primary_cluster = members.Text("primary_cluster");
  report.alerts = TextsOf(members.Array("alerts"));
  JsonMembers cleaning(members.Object("cleaning"));
  report.cleaning.state = cleaning.Known(ParseCleaningState(cleaning.Text("state")));
  report.cleaning.reason = cleaning.Text("reason");
  report.cleaning.stale = cleaning.Number("stale");
  report.cleaning.at_dr = cleaning.Number("at_dr");
  RETURN_IF_ERROR(cleaning.status());
  for (const Json& list : members.Array("lists")) {
    ASSIGN_OR_RETURN(ListResult parsed, ParseList(list));
    report.lists.push_back(std::move(parsed));
  }
  for (const Json& object : members.Array("objects")) {
    ASSIGN_OR_RETURN(ObjectResult parsed, ParseObject(object));
    report.objects.push_back(std::move(parsed));
  }
  RETURN_IF_ERROR(members.status());
  return report;
}

}  // namespace understudy::control
