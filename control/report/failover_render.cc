#include "control/report/failover_render.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_split.h"
#include "control/report/failover_words.h"
#include "control/report/run_facts.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

bool BeginsCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
}

// Where the first `columns` characters of `text`, which is printable UTF-8, end; its size when it has no more.
size_t EndOfColumns(std::string_view text, size_t columns) {
  size_t seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (BeginsCharacter(text[i]) && ++seen > columns) return i;
  }
  return text.size();
}

// Lines that fit; those after the first begin with `indent` blanks. Breaks at blanks, else within a word.
void AppendWrapped(std::string& out, std::string line, size_t indent) {
  while (true) {
    const size_t end = EndOfColumns(line, kTextColumns);
    if (end == line.size()) break;
    // A blank right at the end is fine, too: it is where the next line begins.
    const size_t blank = line.rfind(' ', end);
    const bool at_blank = blank != std::string::npos && line.find_first_not_of(' ') < blank && blank > indent;
    const size_t cut = at_blank ? blank : end;
    const std::string head = line.substr(0, cut);
    out += head.substr(0, head.find_last_not_of(' ') + 1) + "\n";
    const size_t next = line.find_first_not_of(' ', cut);
    if (next == std::string::npos) return;
    line = std::string(indent, ' ') + line.substr(next);
  }
  out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

// `text` may be of several lines and hold anything; each line is made printable and wrapped.
void Append(std::string& out, std::string_view prefix, std::string_view text, size_t indent) {
  bool first = true;
  for (const absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    if (!first && part.empty()) continue;
    const std::string start = first ? std::string(prefix) : std::string(indent, ' ');
    AppendWrapped(out, start + Printable({part.data(), part.size()}), indent);
    first = false;
  }
}

void AppendHeading(std::string& out, std::string_view heading) {
  out += fmt::format("\n{}\n", heading);
}

// Where the rest of `all` is, when only kMaxRenderedRows of them were shown.
void AppendRest(std::string& out, size_t all, const FailoverReport& report) {
  if (all <= kMaxRenderedRows) return;
  Append(out, "  ",
         fmt::format("… and {} more: drctl failover report {} -o json", all - kMaxRenderedRows, report.run.spec.id), 6);
}

void AppendAdvice(std::string& out, std::string_view heading, const std::vector<Advice>& advice,
                  const FailoverReport& report) {
  if (advice.empty()) return;
  AppendHeading(out, heading);
  size_t number = 0;
  for (const Advice& one : advice) {
    if (++number > kMaxRenderedRows) break;
    Append(out, fmt::format("  {}. ", number), Shortened(one.text), 5);
    // A command is for copying, so it is never wrapped.
    if (!one.command.empty()) out += "       " + Printable(one.command) + "\n";
  }
  AppendRest(out, advice.size(), report);
}

void AppendWarnings(std::string& out, const FailoverReport& report) {
  if (report.warnings.empty()) return;
  AppendHeading(out, fmt::format("WARNINGS ({})", report.warnings.size()));
  size_t shown = 0;
  for (const RunWarning& warning : report.warnings) {
    if (++shown > kMaxRenderedRows) break;
    Append(
        out, "  ",
        fmt::format("{}{}{}: {}", warning.step, warning.item.empty() ? "" : " ", warning.item, Shortened(warning.text)),
        4);
  }
  AppendRest(out, report.warnings.size(), report);
}

void AppendSteps(std::string& out, const FailoverReport& report) {
  AppendHeading(out, "STEPS");
  out += fmt::format("  {:<16} {:<12} {:<19} {:<13} {}\n", "step", "state", "began", "took", "items");
  for (const StepRecord& step : report.run.steps) {
    const std::optional<absl::Time> end = EndOfStep(report, step);
    AppendWrapped(out,
                  fmt::format("  {:<16} {:<12} {:<19} {:<13} {}", Printable(step.name), StateOfStep(report, step),
                              ClockText(report, step.begun_at),
                              step.begun_at ? DurationText(*end - *step.begun_at) : "-", CountsOf(step)),
                  31);
  }
  if (report.gaps.empty()) return;
  AppendHeading(out, "GAPS");
  for (const RunGap& gap : report.gaps) Append(out, "  ", GapText(report, gap), 4);
}

void AppendVolumes(std::string& out, const FailoverReport& report) {
  if (report.volumes.empty()) return;
  AppendHeading(out, "VOLUMES");
  size_t shown = 0;
  for (const VolumeOutcome& volume : report.volumes) {
    if (++shown > kMaxRenderedRows) break;
    Append(out, "  ",
           fmt::format("{}/{}: {}RPO {}", volume.pair, volume.volume,
                       volume.promotion ? fmt::format("promotion {}, ", StateText(volume.promotion)) : "",
                       DurationText(volume.recovery_point)),
           4);
    if (const std::string copy = CopyText(report, volume); !copy.empty()) Append(out, "      ", copy, 6);
    if (volume.verification) Append(out, "      verification ", VerificationText(volume), 6);
    if (!volume.claim.empty()) Append(out, "      claim ", volume.claim, 6);
    if (!volume.message.empty()) Append(out, "      ", Shortened(volume.message), 6);
  }
  AppendRest(out, report.volumes.size(), report);
}

void AppendMachines(std::string& out, const FailoverReport& report) {
  if (report.machines.empty()) return;
  AppendHeading(out, "VIRTUAL MACHINES");
  size_t shown = 0;
  for (const MachineOutcome& machine : report.machines) {
    if (++shown > kMaxRenderedRows) break;
    Append(out, "  ", fmt::format("{}/{}: start {}", machine.namespace_name, machine.name, BootText(report, machine)),
           4);
    if (!machine.message.empty()) Append(out, "      ", Shortened(machine.message), 6);
    for (const ProbeOutcome& probe : machine.probes) Append(out, "      ", Shortened(ProbeText(probe)), 6);
  }
  AppendRest(out, report.machines.size(), report);
}

void AppendHooks(std::string& out, const ItemRecord& item) {
  for (const auto& hook : ListFact(item.facts, "hooks")) {
    Append(out, "        ",
           fmt::format("hook {} {}: {}{} {}", TextFact(hook, "phase"), TextFact(hook, "name"),
                       TruthFact(hook, "ok") == true ? "ok" : "failed",
                       TruthFact(hook, "optional") == true ? " (optional)" : "", Shortened(TextFact(hook, "error"))),
           10);
    if (const std::string output = TextFact(hook, "output"); !output.empty()) {
      Append(out, "          ", Shortened(output), 10);
    }
  }
}

void AppendItems(std::string& out, const FailoverReport& report) {
  AppendHeading(out, "ALL ITEMS");
  for (const StepRecord& step : report.run.steps) {
    for (const ItemRecord* const item : ShownItems(step)) {
      Append(out, "  ",
             fmt::format("{}{}{}: {}, {} to {}{}", step.name, item->key.empty() ? "" : " ", item->key,
                         ToString(item->state), ClockText(report, item->begun_at), ClockText(report, item->ended_at),
                         item->attempts > 1 ? fmt::format(", {} attempts", item->attempts) : ""),
             4);
      if (!item->message.empty()) Append(out, "      ", Shortened(item->message), 6);
      if (const std::string facts = FactsText(item->facts); !facts.empty()) Append(out, "      ", Shortened(facts), 6);
      AppendHooks(out, *item);
    }
    AppendRest(out, step.items.size(), report);
  }
}

// Blanks and ASCII that can be seen, for a header of a mail.
std::string Ascii(std::string_view text) {
  std::string ascii = Printable(text);
  std::replace_if(
      ascii.begin(), ascii.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return ascii;
}

}  // namespace

std::string SubjectOf(const FailoverReport& report) {
  std::string subject = fmt::format("[understudy] {} {}", TitleOf(report), ToString(report.run.state));
  if (report.recovery_time.took) subject += ", RTO " + DurationText(*report.recovery_time.took);
  if (report.recovery_point.worst) subject += ", RPO " + DurationText(*report.recovery_point.worst);
  if (const size_t count = report.warnings.size(); count > 0) {
    subject += fmt::format(", {} warning{}", count, count == 1 ? "" : "s");
  }
  return Ascii(subject);
}

std::string RenderText(const FailoverReport& report) {
  std::string text;
  Append(text, "Understudy: ", fmt::format("{}: {}", TitleOf(report), ToString(report.run.state)), 2);
  for (const std::string& sentence : SummaryOf(report)) Append(text, "", Shortened(sentence), 2);
  AppendAdvice(text, "WHAT TO DO NEXT", report.next, report);
  AppendAdvice(text, "WHAT THE RUN DID STAYS, UNTIL IT IS TAKEN BACK", report.stays, report);
  AppendHeading(text, "THE RUN");
  for (const auto& [label, value] : HeadOf(report)) Append(text, fmt::format("  {:<18}", label), value, 20);
  AppendWarnings(text, report);
  AppendSteps(text, report);
  AppendVolumes(text, report);
  AppendMachines(text, report);
  if (const auto left_out = LeftOutOf(report); !left_out.empty()) {
    AppendHeading(text, "LEFT OUT");
    const size_t shown = std::min(left_out.size(), kMaxRenderedRows);
    for (size_t i = 0; i < shown; ++i) {
      Append(text, "  ", left_out[i].first + ": " + Shortened(left_out[i].second), 4);
    }
    AppendRest(text, left_out.size(), report);
  }
  if (!report.run.notes.empty()) {
    AppendHeading(text, "HISTORY");
    for (const RunNote& note : report.run.notes) Append(text, "  " + DayText(note.at) + "  ", note.text, 27);
  }
  AppendItems(text, report);
  return text;
}

}  // namespace understudy::control
