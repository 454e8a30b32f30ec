// deliverable.h: a report of either kind as it goes out: what a mail and a webhook need of it. Pure.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "control/report/failover_report.h"
#include "control/report/report.h"

namespace understudy::control {

struct Deliverable {
  std::string run;      // whose report it is
  std::string subject;  // one line of printable ASCII
  std::string text;
  std::string html;
  std::string json;  // the document
  absl::Time date;
};

[[nodiscard]] Deliverable DeliverableOf(const Report& report);
[[nodiscard]] Deliverable DeliverableOf(const FailoverReport& report);

// A document on one line. Text of it that isn't UTF-8 has U+FFFD where it isn't.
[[nodiscard]] std::string DocumentText(const nlohmann::ordered_json& document);

// A report that is kept until it is delivered: its document, from which the rest is made again.
enum class LetterKind { kSync, kFailover };
// "sync", "failover".
[[nodiscard]] std::string_view ToString(LetterKind kind);
[[nodiscard]] absl::StatusOr<LetterKind> ParseLetterKind(std::string_view text);

struct Letter {
  LetterKind kind = LetterKind::kSync;
  // Names what is told; a second letter with the key of an earlier one is the same one, and isn't sent again.
  std::string key;
  std::string document;
  absl::Time written_at;
};

[[nodiscard]] Letter LetterOf(const Report& report);
// One for each end of the run: a run that failed, was resumed and is done is told twice.
[[nodiscard]] Letter LetterOf(const FailoverReport& report);
// Errors as of ParseReport and ParseFailoverReport.
[[nodiscard]] absl::StatusOr<Deliverable> DeliverableOf(const Letter& letter);

}  // namespace understudy::control
