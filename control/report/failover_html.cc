#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_split.h"
#include "control/report/failover_render.h"
#include "control/report/failover_timeline.h"
#include "control/report/failover_words.h"
#include "control/report/render.h"
#include "control/report/run_facts.h"

namespace understudy::control {
namespace {

constexpr std::string_view kStyle =
    "body{font:14px/1.45 sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}"
    "h1{font-size:1.5em}h2{font-size:1.15em;margin:1.6em 0 .4em}h3{font-size:1em;margin:1.2em 0 .3em}"
    "table{border-collapse:collapse;width:100%}caption{text-align:left;color:#666}"
    "td,th{text-align:left;padding:.2em .7em .2em 0;border-bottom:1px solid #ddd;vertical-align:top;"
    "overflow-wrap:anywhere}th{white-space:nowrap}"
    ".failed,.broken,.interrupted{color:#b00020}.partial,.running{color:#8a5a00}.left-out,.pending,.small{color:#666}"
    ".badge{border:1px solid;border-radius:.3em;padding:0 .4em}"
    "code{background:#f2f2f2;padding:.1em .3em;overflow-wrap:anywhere}figure{margin:1em 0}"
    "@media print{body{margin:0;max-width:none;font-size:11px}a{color:inherit}tr,figure,li{break-inside:avoid}"
    "h2,h3{break-after:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

// Each line of `text`, escaped and shortened.
std::string Html(std::string_view text) {
  std::string html;
  for (const absl::string_view line : absl::StrSplit(Shortened(text), '\n')) {
    if (!html.empty()) html += "<br/>";
    html += EscapeHtml({line.data(), line.size()});
  }
  return html;
}

class Page {
 public:
  explicit Page(const FailoverReport& report) : report_(report) {}

  std::string Write() {
    Begin();
    WriteAdvice("What to do next", report_.next);
    WriteAdvice("What the run did stays, until it is taken back", report_.stays);
    WriteTimeline();
    WriteHead();
    WriteWarnings();
    WriteVolumes();
    WriteMachines();
    WriteSteps();
    WriteLeftOut();
    WriteHistory();
    return std::move(html_) + fmt::format(
                                  "<p class=\"small\">Written by drctl at {}. The same as JSON: <code>drctl "
                                  "failover report {} -o json</code></p>\n</body></html>\n",
                                  DayText(report_.written_at), EscapeHtml(report_.run.spec.id));
  }

 private:
  void Begin() {
    const std::string state(ToString(report_.run.state));
    html_ = fmt::format(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\"><head><meta charset=\"utf-8\"/>"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"
        "<title>{0}: {1}</title><style>{2}</style></head>\n"
        "<body><h1>{0} <span class=\"badge {1}\">{1}</span></h1>\n",
        EscapeHtml(TitleOf(report_)), state, kStyle);
    for (const std::string& sentence : SummaryOf(report_)) html_ += "<p>" + Html(sentence) + "</p>\n";
  }

  void Heading(std::string_view text) { html_ += fmt::format("<h2>{}</h2>\n", text); }
  void BeginTable(std::initializer_list<std::string_view> columns) {
    html_ += "<table><thead><tr>";
    for (const std::string_view column : columns) html_ += fmt::format("<th scope=\"col\">{}</th>", column);
    html_ += "</tr></thead><tbody>\n";
  }
  // Cells that are HTML already; `kind` is one of the classes above, or empty.
  void Row(std::string_view kind, std::initializer_list<std::string> cells) {
    html_ += kind.empty() ? std::string("<tr>") : fmt::format("<tr class=\"{}\">", kind);
    for (const std::string& cell : cells) html_ += "<td>" + cell + "</td>";
    html_ += "</tr>\n";
  }
  void EndTable(size_t rows) {
    html_ += "</tbody></table>\n";
    if (rows > kMaxRenderedRows) html_ += fmt::format("<p>… and {} more, in the JSON</p>\n", rows - kMaxRenderedRows);
  }

  void WriteAdvice(std::string_view heading, const std::vector<Advice>& advice) {
    if (advice.empty()) return;
    Heading(heading);
    html_ += "<ol>\n";
    for (size_t i = 0; i < std::min(advice.size(), kMaxRenderedRows); ++i) {
      html_ += "<li>" + Html(advice[i].text);
      if (!advice[i].command.empty()) html_ += ": <code>" + EscapeHtml(advice[i].command) + "</code>";
      html_ += "</li>\n";
    }
    html_ += "</ol>\n";
    if (advice.size() > kMaxRenderedRows) {
      html_ += fmt::format("<p>… and {} more, in the JSON</p>\n", advice.size() - kMaxRenderedRows);
    }
  }

  void WriteTimeline() {
    Heading("Timeline");
    html_ += "<figure>\n" + RenderTimeline(report_) + "</figure>\n";
    if (report_.gaps.empty()) return;
    BeginTable({"gap", "from", "to", "after", "before", "why"});
    for (const RunGap& gap : report_.gaps) {
      Row("", {DurationText(gap.Length()), ClockText(report_, gap.begin), ClockText(report_, gap.end),
               EscapeHtml(gap.after), EscapeHtml(gap.before),
               gap.reason.empty() ? "nothing is recorded" : Html(gap.reason)});
    }
    EndTable(0);
  }

  void WriteHead() {
    Heading("The run");
    html_ += "<table><tbody>\n";
    for (const auto& [label, value] : HeadOf(report_)) {
      html_ += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", EscapeHtml(label), Html(value));
    }
    html_ += "</tbody></table>\n";
  }

  void WriteWarnings() {
    if (report_.warnings.empty()) return;
    Heading(fmt::format("Warnings ({})", report_.warnings.size()));
    BeginTable({"step", "item", "warning"});
    for (size_t i = 0; i < std::min(report_.warnings.size(), kMaxRenderedRows); ++i) {
      const RunWarning& warning = report_.warnings[i];
      Row("", {EscapeHtml(warning.step), EscapeHtml(warning.item), Html(warning.text)});
    }
    EndTable(report_.warnings.size());
  }

  void WriteVolumes() {
    if (report_.volumes.empty()) return;
    Heading("Volumes");
    BeginTable({"volume", "claim", "promotion", "active at", "RPO", "data", "verification", "replica"});
    for (size_t i = 0; i < std::min(report_.volumes.size(), kMaxRenderedRows); ++i) {
      const VolumeOutcome& volume = report_.volumes[i];
      const std::string state = StateText(volume.promotion);
      Row(state == "-" ? "" : state,
          {EscapeHtml(volume.pair + "/" + volume.volume), EscapeHtml(volume.claim),
           volume.message.empty() ? state : state + ": " + Html(volume.message), ClockText(report_, volume.active_at),
           DurationText(volume.recovery_point), EscapeHtml(CopyText(report_, volume)),
           EscapeHtml(VerificationText(volume)), EscapeHtml(volume.replica_path)});
    }
    EndTable(report_.volumes.size());
  }

  void WriteMachines() {
    if (report_.machines.empty()) return;
    Heading("Virtual machines");
    const RunEnds ends = EndsOf(report_.run);
    BeginTable({"virtual machine", fmt::format("stopped at {}", ends.source), fmt::format("start at {}", ends.target),
                "began", "probes", "message"});
    for (size_t i = 0; i < std::min(report_.machines.size(), kMaxRenderedRows); ++i) {
      const MachineOutcome& machine = report_.machines[i];
      const std::string state = StateText(machine.boot);
      std::string probes;
      for (const ProbeOutcome& probe : machine.probes) {
        if (!probes.empty()) probes += "<br/>";
        probes += Html(ProbeText(probe));
      }
      Row(state == "-" ? "" : state, {EscapeHtml(machine.namespace_name + "/" + machine.name), StateText(machine.stop),
                                      EscapeHtml(BootText(report_, machine)), ClockText(report_, machine.started_at),
                                      probes, Html(machine.message)});
    }
    EndTable(report_.machines.size());
  }

  void WriteSteps() {
    Heading("Steps");
    for (const StepRecord& step : report_.run.steps) {
      const std::string took = step.begun_at ? fmt::format(", {} to {} ({})", ClockText(report_, step.begun_at),
                                                           ClockText(report_, step.ended_at),
                                                           DurationText(*EndOfStep(report_, step) - *step.begun_at))
                                             : "";
      html_ += fmt::format("<h3 class=\"{}\">{}: {}{}</h3>\n", ToString(step.State()), EscapeHtml(step.name),
                           StateOfStep(report_, step), took);
      if (!step.items.empty()) WriteItems(step);
    }
  }

  void WriteItems(const StepRecord& step) {
    BeginTable({"item", "state", "began", "ended", "attempts", "what is known", "message and warnings"});
    for (const ItemRecord* const item : ShownItems(step)) {
      std::string message = Html(item->message);
      for (const std::string& warning : item->warnings) {
        message += (message.empty() ? "" : "<br/>") + std::string("warning: ") + Html(warning);
      }
      const std::string state(ToString(item->state));
      Row(state, {EscapeHtml(item->key), state, ClockText(report_, item->begun_at), ClockText(report_, item->ended_at),
                  std::to_string(item->attempts), Html(FactsText(item->facts)) + HooksOf(*item), message});
    }
    EndTable(step.items.size());
  }

  static std::string HooksOf(const ItemRecord& item) {
    std::string html;
    for (const auto& hook : ListFact(item.facts, "hooks")) {
      const bool ok = TruthFact(hook, "ok") == true;
      html += fmt::format("<br/><span{}>hook {} {}: {}{}, {}</span>", ok ? "" : " class=\"failed\"",
                          EscapeHtml(TextFact(hook, "phase")), EscapeHtml(TextFact(hook, "name")), ok ? "ok" : "failed",
                          TruthFact(hook, "optional") == true ? " (optional)" : "",
                          DurationText(DurationFact(hook, "seconds")));
      for (const char* const part : {"error", "output"}) {
        if (const std::string text = TextFact(hook, part); !text.empty()) html += "<br/>" + Html(text);
      }
    }
    return html;
  }

  void WriteLeftOut() {
    const auto left_out = LeftOutOf(report_);
    if (left_out.empty()) return;
    Heading("Left out");
    BeginTable({"what", "why"});
    for (size_t i = 0; i < std::min(left_out.size(), kMaxRenderedRows); ++i) {
      Row("", {EscapeHtml(left_out[i].first), Html(left_out[i].second)});
    }
    EndTable(left_out.size());
  }

  void WriteHistory() {
    if (report_.run.notes.empty()) return;
    Heading("History");
    BeginTable({"when", "what"});
    for (const RunNote& note : report_.run.notes) Row("", {DayText(note.at), Html(note.text)});
    EndTable(0);
  }

  const FailoverReport& report_;
  std::string html_;
};

}  // namespace

std::string RenderHtml(const FailoverReport& report) {
  return Page(report).Write();
}

}  // namespace understudy::control
