#include "control/commands/failover_view.h"

#include <fmt/format.h>

#include <ostream>

#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

std::string NameOf(const RunEvent& event) {
  return event.item.empty() ? event.step : fmt::format("{} {}", event.step, Printable(event.item));
}

Document TimeOrNull(const std::optional<absl::Time>& time) {
  return time ? Document(Rfc3339Seconds(*time)) : Document(nullptr);
}

}  // namespace

void RunProgressPrinter::Line(const std::string& text) {
  End();
  console_.err << text << std::endl;
}

void RunProgressPrinter::End() {
  if (console_.err_is_terminal) console_.err << "\r\033[K" << std::flush;
}

void RunProgressPrinter::ShowNow(const RunEvent& event) {
  if (console_.err_is_terminal) {
    console_.err << "\r\033[K" << NameOf(event) << ": " << Printable(event.text) << std::flush;
    return;
  }
  std::string& told = told_[NameOf(event)];
  if (told == event.text) return;
  told = event.text;
  console_.err << fmt::format("    {}: {}", NameOf(event), Printable(event.text)) << std::endl;
}

void RunProgressPrinter::operator()(const RunEvent& event) {
  switch (event.kind) {
    case RunEvent::Kind::kStepReopened:
      Line(fmt::format("{}: {}", event.step, Printable(event.text)));
      break;
    case RunEvent::Kind::kStepBegun:
      Line(fmt::format("{}: {}{}", event.step, event.text,
                       event.total > 1 ? fmt::format(" ({})", event.total) : std::string()));
      break;
    case RunEvent::Kind::kItemBegun:
      if (!event.item.empty()) Line(fmt::format("  {}: begun", NameOf(event)));
      break;
    case RunEvent::Kind::kItemProgress:
      ShowNow(event);
      break;
    case RunEvent::Kind::kItemEnded:
      told_.erase(NameOf(event));
      Line(fmt::format("  {}: {}{}", NameOf(event), ToString(event.state),
                       event.text.empty() ? "" : ": " + Printable(event.text)));
      break;
    case RunEvent::Kind::kStepEnded:
      Line(fmt::format("{}: {}", event.step, ToString(event.state)));
      break;
  }
}

Document RunsDocument(const std::vector<RunRecord>& runs) {
  Document documents = Document::array();
  for (const RunRecord& run : runs) {
    documents.push_back({{"run", run.spec.id},
                         {"plan", run.spec.plan},
                         {"mode", std::string(ToString(run.spec.mode))},
                         {"state", std::string(ToString(run.state))},
                         {"over", run.over},
                         {"started_by", Printable(run.spec.started_by)},
                         {"started_at", Rfc3339Seconds(run.spec.started_at)},
                         {"ended_at", TimeOrNull(run.ended_at)},
                         {"error", run.error.empty() ? Document(nullptr) : Document(Printable(run.error))}});
  }
  return {{"runs", std::move(documents)}};
}

std::string RunsTable(const std::vector<RunRecord>& runs) {
  Table table({"RUN", "PLAN", "MODE", "STATE", "STARTED", "BY"});
  for (const RunRecord& run : runs) {
    const bool open = !run.over && run.state != RunState::kRunning;
    table.Add({run.spec.id, run.spec.plan, std::string(ToString(run.spec.mode)),
               fmt::format("{}{}", ToString(run.state), open ? " (open)" : ""), Rfc3339Seconds(run.spec.started_at),
               Printable(run.spec.started_by)});
  }
  return table.Text();
}

Document PlanDocument(const RunSpec& spec, const std::vector<PlannedStep>& steps) {
  Document documents = Document::array();
  for (const PlannedStep& step : steps) {
    Document items = Document::array();
    for (const PlannedItem& item : step.items) {
      items.push_back({{"what", Printable(item.what)}, {"now", Printable(item.now)}, {"ok", item.ok}});
    }
    documents.push_back(
        {{"step", step.name}, {"purpose", step.purpose}, {"made", step.made}, {"items", std::move(items)}});
  }
  return {{"plan", spec.plan},
          {"mode", std::string(ToString(spec.mode))},
          {"dry_run", true},
          {"steps", std::move(documents)}};
}

std::string PlanText(const RunSpec& spec, const std::vector<PlannedStep>& steps) {
  std::string text = fmt::format("plan {}, {}: what a run would do\n", spec.plan, ToString(spec.mode));
  for (const PlannedStep& step : steps) {
    text += fmt::format("{}: {}{}\n", step.name, step.purpose, step.made ? " (looked at now)" : "");
    for (const PlannedItem& item : step.items) {
      text += fmt::format("  {}{}\n", Printable(item.what),
                          item.now.empty() ? "" : fmt::format(" ({})", Printable(item.now)));
    }
  }
  return text;
}

}  // namespace understudy::control
