#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/commands/agents_client.h"
#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// As wide for every time.
constexpr char kTimeOfTable[] = "%Y-%m-%dT%H:%M:%E3S%Ez";

Document OrNull(const std::string& text) {
  return text.empty() ? Document(nullptr) : Document(Printable(text));
}

Document ToDocument(const std::string& pair, const EventView& event) {
  return {{"event_id", Printable(event.event_id)},
          {"pair", pair},
          {"observed_at", Rfc3339(event.observed_at)},
          {"type", Printable(event.type)},
          {"kind", Printable(event.kind)},
          {"namespace", OrNull(event.namespace_name)},
          {"name", Printable(event.name)},
          {"source", Printable(event.source)},
          {"rule", OrNull(event.rule)},
          {"outcome", Printable(event.outcome)},
          {"detail", OrNull(event.detail)},
          {"forwarding", OrNull(event.forwarding)},
          {"forwarding_detail", OrNull(event.forwarding_detail)}};
}

std::string ObjectText(const EventView& event) {
  if (event.namespace_name.empty()) return Printable(fmt::format("{} {}", event.kind, event.name));
  return Printable(fmt::format("{} {}/{}", event.kind, event.namespace_name, event.name));
}

std::string OutcomeText(const EventView& event) {
  std::string text = event.detail.empty() ? event.outcome : fmt::format("{}: {}", event.outcome, event.detail);
  if (!event.forwarding.empty()) text += fmt::format("; forwarding {}", event.forwarding);
  if (!event.forwarding_detail.empty()) text += fmt::format(": {}", event.forwarding_detail);
  return Printable(text);
}

std::vector<std::string> RowOf(const std::string& pair, const EventView& event) {
  return {absl::FormatTime(kTimeOfTable, event.observed_at, absl::UTCTimeZone()),
          pair,
          Printable(event.type),
          ObjectText(event),
          Printable(event.source),
          event.rule.empty() ? "-" : Printable(event.rule),
          OutcomeText(event)};
}

const std::vector<std::string> kHeader = {"TIME", "PAIR", "TYPE", "OBJECT", "SOURCE", "RULE", "OUTCOME"};

struct PairEvents {
  const config::PairConfig* pair;
  std::vector<EventView> events;
  absl::Status status;
};

absl::Status Ask(const config::ControlConfig& config, const config::PairConfig& pair, const EventsTailOptions& options,
                 const std::function<void(const EventView&)>& on_event) {
  ASSIGN_OR_RETURN(const PrimaryClient client,
                   PrimaryClient::Create(pair.primary, {config.tls.ca, config.tls.cert, config.tls.key}));
  return client.ListEvents(options.limit, options.follow, on_event);
}

absl::Status Worst(const Console& console, const std::vector<PairEvents>& all) {
  absl::Status first;
  for (const PairEvents& of_pair : all) {
    if (of_pair.status.ok()) continue;
    PrintError(console, Annotate(of_pair.status, fmt::format("pair {}", of_pair.pair->name)));
    first.Update(of_pair.status);
  }
  return first;
}

// Asks all primaries at once, each on a thread of its own.
std::vector<PairEvents> AskAll(const config::ControlConfig& config, const EventsTailOptions& options,
                               const std::function<void(PairEvents&, const EventView&)>& on_event) {
  std::vector<PairEvents> all;
  for (const config::PairConfig& pair : config.pairs) all.push_back({.pair = &pair, .events = {}, .status = {}});
  std::vector<std::jthread> threads;
  for (PairEvents& of_pair : all) {
    threads.emplace_back([&] {
      of_pair.status = Ask(config, *of_pair.pair, options, [&](const EventView& event) { on_event(of_pair, event); });
    });
  }
  threads.clear();
  return all;
}

ExitCode ListOnce(const Console& console, OutputFormat format, const config::ControlConfig& config,
                  const EventsTailOptions& options) {
  const std::vector<PairEvents> all =
      AskAll(config, options, [](PairEvents& of_pair, const EventView& event) { of_pair.events.push_back(event); });
  std::vector<std::pair<const config::PairConfig*, const EventView*>> merged;
  for (const PairEvents& of_pair : all) {
    for (const EventView& event : of_pair.events) merged.emplace_back(of_pair.pair, &event);
  }
  // One pair's stay in the order in which they came in.
  if (all.size() > 1) {
    std::stable_sort(merged.begin(), merged.end(),
                     [](const auto& a, const auto& b) { return a.second->observed_at < b.second->observed_at; });
  }
  Table table(kHeader);
  Document events = Document::array();
  for (const auto& [pair, event] : merged) {
    table.Add(RowOf(pair->name, *event));
    events.push_back(ToDocument(pair->name, *event));
  }
  Print(console, format, {{"events", std::move(events)}}, table.Text());
  return ExitCodeFor(Worst(console, all));
}

// A line, or a document, for each event as it comes. Thread-safe.
class Follower {
 public:
  Follower(const Console& console, OutputFormat format) : console_(console), format_(format) {
    if (format == OutputFormat::kTable) console_.out << Line(kHeader) << std::flush;
  }

  void Show(const std::string& pair, const EventView& event) {
    const absl::MutexLock lock(&mutex_);
    switch (format_) {
      case OutputFormat::kTable:
        console_.out << Line(RowOf(pair, event));
        break;
      case OutputFormat::kJson:
        console_.out << ToDocument(pair, event).dump(-1, ' ', false, Document::error_handler_t::replace) << "\n";
        break;
      case OutputFormat::kYaml:
        console_.out << "---\n" << ToYaml(ToDocument(pair, event));
        break;
    }
    console_.out.flush();
  }

 private:
  // What comes later isn't known yet, so the columns have a usual width.
  static std::string Line(const std::vector<std::string>& cells) {
    return fmt::format("{:<30}{:<10}{:<10}{:<44}{:<9}{:<20}{}\n", cells[0], cells[1], cells[2], cells[3], cells[4],
                       cells[5], cells[6]);
  }

  const Console& console_;
  const OutputFormat format_;
  absl::Mutex mutex_;
};

ExitCode Follow(const Console& console, OutputFormat format, const config::ControlConfig& config,
                const EventsTailOptions& options) {
  Follower follower(console, format);
  const std::vector<PairEvents> all = AskAll(
      config, options, [&](PairEvents& of_pair, const EventView& event) { follower.Show(of_pair.pair->name, event); });
  const absl::Status worst = Worst(console, all);
  if (!worst.ok()) return ExitCodeFor(worst);
  return Fail(console, absl::UnavailableError("the primary ended the call: its agent was stopped"));
}

}  // namespace

ExitCode RunEventsTail(const Console& console, OutputFormat format, const config::ControlConfig& config,
                       const EventsTailOptions& options) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  return options.follow ? Follow(console, format, *narrowed, options) : ListOnce(console, format, *narrowed, options);
}

}  // namespace understudy::control
