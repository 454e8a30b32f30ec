#include "control/report/render.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_join.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

int RankOf(const ObjectResult& object) {
  switch (object.outcome) {
    case Outcome::kFailed:
      return 0;
    case Outcome::kCleaned:
    case Outcome::kWouldClean:
      return 1;
    case Outcome::kSkipped:
      return 2;
    case Outcome::kSynced:
    case Outcome::kWouldSync:
      return 3;
    case Outcome::kUnchanged:
      return 4;
  }
  AbortOnBrokenInvariant("known Outcome", __FILE__, __LINE__);
}

// What is shown, the most important first; `left_out` says how many aren't.
std::vector<const ObjectResult*> Shown(const Report& report, size_t& left_out) {
  std::vector<const ObjectResult*> objects;
  for (const ObjectResult& object : report.objects) objects.push_back(&object);
  std::stable_sort(objects.begin(), objects.end(),
                   [](const ObjectResult* a, const ObjectResult* b) { return RankOf(*a) < RankOf(*b); });
  left_out = objects.size() > kMaxRenderedObjects ? objects.size() - kMaxRenderedObjects : 0;
  objects.resize(objects.size() - left_out);
  return objects;
}

std::string Headline(const Report& report) {
  const std::map<Outcome, size_t> counts = CountOutcomes(report);
  std::vector<std::string> parts;
  for (const Outcome outcome : kAllOutcomes) {
    if (counts.at(outcome) > 0) parts.push_back(fmt::format("{} {}", counts.at(outcome), ToString(outcome)));
  }
  return parts.empty() ? "no objects" : absl::StrJoin(parts, ", ");
}

std::string KindOfRun(const Report& report) {
  return fmt::format("{}{}{}", ToString(report.trigger), report.made_up ? ", made up for a missed run" : "",
                     report.dry_run ? ", dry run: nothing was changed" : "");
}

std::string ScopeOf(const Report& report) {
  return report.namespaces.empty() ? "all" : absl::StrJoin(report.namespaces, ", ");
}

std::string CleaningText(const Report& report) {
  const Cleaning& cleaning = report.cleaning;
  std::string text = fmt::format("{} ({} of {} objects at DR exist only there)", ToString(cleaning.state),
                                 cleaning.stale, cleaning.at_dr);
  if (!cleaning.reason.empty()) text += ": " + cleaning.reason;
  return text;
}

std::string ListText(const ListResult& list) {
  return fmt::format("{} of the {} cluster{}: {}", model::ToString(list.kind), list.cluster,
                     list.namespace_name.empty() ? "" : ", namespace " + list.namespace_name, list.error);
}

std::string NameText(const model::ObjectKey& key) {
  return key.namespace_name.empty() ? key.name : key.namespace_name + "/" + key.name;
}

constexpr std::string_view kStyle =
    "body{font:14px/1.4 sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
    "td,th{text-align:left;padding:.2em .8em;border-bottom:1px solid #ddd;vertical-align:top}"
    ".failed,.alert{color:#b00020}.cleaned,.would-clean{color:#8a5a00}.unchanged,.skipped{color:#666}";

std::string Row(std::string_view name, const std::string& value) {
  return fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", name, EscapeHtml(value));
}

std::string NameAndWay(const ObjectResult& object) {
  return NameText(object.key) + (object.to_primary ? " (to the primary)" : "");
}

std::string HtmlOf(const ObjectResult& object) {
  return fmt::format("<tr class=\"{0}\"><td>{0}</td><td>{1}</td><td>{2}</td><td>{3}</td><td>{4}</td></tr>\n",
                     ToString(object.outcome), model::ToString(object.key.kind), EscapeHtml(NameAndWay(object)),
                     EscapeHtml(object.pair), EscapeHtml(object.reason));
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string escaped;
  for (const char c : Printable(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string SubjectOf(const Report& report) {
  return fmt::format("[understudy] sync {}: {}{}", ResultOf(report), Headline(report),
                     report.alerts.empty() ? "" : fmt::format(", {} alerts", report.alerts.size()));
}

std::string RenderText(const Report& report) {
  std::string text = fmt::format(
      "Understudy: sync {}\n{}\n\nrun         {} ({})\nstarted     {}\ntook        {:.1f} s\nnamespaces  {}\n"
      "cleaning    {}\n",
      ResultOf(report), Headline(report), Printable(report.run), KindOfRun(report), TimeText(report.started_at),
      absl::ToDoubleSeconds(report.ended_at - report.started_at), Printable(ScopeOf(report)),
      Printable(CleaningText(report)));
  if (!report.error.empty()) text += fmt::format("error       {}\n", Printable(report.error));
  for (const std::string& alert : report.alerts) text += fmt::format("ALERT       {}\n", Printable(alert));
  for (const ListResult& list : report.lists) {
    if (!list.error.empty()) text += fmt::format("not listed  {}\n", Printable(ListText(list)));
  }
  size_t left_out = 0;
  const std::vector<const ObjectResult*> objects = Shown(report, left_out);
  if (!objects.empty()) text += "\n";
  for (const ObjectResult* const object : objects) {
    text += fmt::format("{:<11} {} {}{}\n", ToString(object->outcome), model::ToString(object->key.kind),
                        Printable(NameAndWay(*object)), object->reason.empty() ? "" : ": " + Printable(object->reason));
  }
  if (left_out > 0) text += fmt::format("… and {} more: drctl sync report {} --format json\n", left_out, report.run);
  return text;
}

std::string RenderHtml(const Report& report) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{1}</style></head>\n"
      "<body><h1>{0}</h1>\n<table>\n",
      EscapeHtml(SubjectOf(report)), kStyle);
  html += Row("run", fmt::format("{} ({})", report.run, KindOfRun(report)));
  html += Row("started", TimeText(report.started_at));
  html += Row("took", fmt::format("{:.1f} s", absl::ToDoubleSeconds(report.ended_at - report.started_at)));
  html += Row("namespaces", ScopeOf(report));
  html += Row("cleaning", CleaningText(report));
  if (!report.error.empty()) html += Row("error", report.error);
  html += "</table>\n";
  for (const std::string& alert : report.alerts) {
    html += fmt::format("<p class=\"alert\"><b>Alert:</b> {}</p>\n", EscapeHtml(alert));
  }
  for (const ListResult& list : report.lists) {
    if (!list.error.empty()) {
      html += fmt::format("<p class=\"alert\"><b>Not listed:</b> {}</p>\n", EscapeHtml(ListText(list)));
    }
  }
  size_t left_out = 0;
  const std::vector<const ObjectResult*> objects = Shown(report, left_out);
  html += "<table>\n<tr><th>outcome</th><th>kind</th><th>name</th><th>pair</th><th>reason</th></tr>\n";
  for (const ObjectResult* const object : objects) html += HtmlOf(*object);
  html += "</table>\n";
  if (left_out > 0) {
    html += fmt::format("<p>… and {} more: <code>drctl sync report {} --format json</code></p>\n", left_out,
                        EscapeHtml(report.run));
  }
  return html + "</body></html>\n";
}

}  // namespace understudy::control
