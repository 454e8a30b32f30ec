#include "control/report/deliverable.h"

#include <fmt/format.h>

#include "control/report/failover_render.h"
#include "control/report/render.h"
#include "core/base/time_text.h"

namespace understudy::control {

Deliverable DeliverableOf(const Report& report) {
  return {.run = report.run,
          .subject = SubjectOf(report),
          .text = RenderText(report),
          .html = RenderHtml(report),
          .json = DocumentText(ToJson(report)),
          .date = report.ended_at};
}

Deliverable DeliverableOf(const FailoverReport& report) {
  return {.run = report.run.spec.id,
          .subject = SubjectOf(report),
          .text = RenderText(report),
          .html = RenderHtml(report),
          .json = DocumentText(ToJson(report)),
          .date = EndOf(report)};
}

std::string DocumentText(const nlohmann::ordered_json& document) {
  return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string_view ToString(LetterKind kind) {
  switch (kind) {
    case LetterKind::kSync:
      return "sync";
    case LetterKind::kFailover:
      return "failover";
  }
  AbortOnBrokenInvariant("known LetterKind", __FILE__, __LINE__);
}

absl::StatusOr<LetterKind> ParseLetterKind(std::string_view text) {
  for (const LetterKind kind : {LetterKind::kSync, LetterKind::kFailover}) {
    if (ToString(kind) == text) return kind;
  }
  return absl::InvalidArgumentError(fmt::format("reports of kind '{}' aren't known", text));
}

Letter LetterOf(const Report& report) {
  return {LetterKind::kSync, "sync " + report.run, DocumentText(ToJson(report)), report.ended_at};
}

Letter LetterOf(const FailoverReport& report) {
  const RunRecord& run = report.run;
  const std::string end = run.ended_at ? Rfc3339(*run.ended_at) : fmt::format("after {} notes", run.notes.size());
  return {LetterKind::kFailover, fmt::format("failover {} {} {}", run.spec.id, ToString(run.state), end),
          DocumentText(ToJson(report)), report.written_at};
}

absl::StatusOr<Deliverable> DeliverableOf(const Letter& letter) {
  switch (letter.kind) {
    case LetterKind::kSync: {
      ASSIGN_OR_RETURN(const Report report, ParseReport(letter.document));
      return DeliverableOf(report);
    }
    case LetterKind::kFailover: {
      ASSIGN_OR_RETURN(const FailoverReport report, ParseFailoverReport(letter.document));
      return DeliverableOf(report);
    }
  }
  AbortOnBrokenInvariant("known LetterKind", __FILE__, __LINE__);
}

}  // namespace understudy::control
