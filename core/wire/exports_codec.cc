#include "core/wire/exports_codec.h"

#include <utility>

#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/validate.h"
#include "understudy/v1/exports.pb.h"

namespace understudy::wire {

absl::StatusOr<std::string> Parse(const v1::ListExportsRequest& message) {
  if (!message.after_volume().empty()) RETURN_IF_ERROR(model::ValidateVolumeName(message.after_volume()));
  return message.after_volume();
}

absl::StatusOr<model::ExportState> Parse(const v1::Export& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateReplicaRoot(message.path()));
  RETURN_IF_ERROR(ValidateText("backend", message.backend(), kMaxExportBackendBytes));
  RETURN_IF_ERROR(ValidateText("problem", message.problem(), kMaxErrorMessageBytes));
  model::ExportState state;
  state.name = message.volume();
  state.path = message.path();
  state.backend = message.backend();
  ASSIGN_OR_RETURN(state.desired, model::ParseExportMode(message.desired()));
  if (!message.actual().empty()) {
    ASSIGN_OR_RETURN(state.actual, model::ParseExportMode(message.actual()));
  }
  state.problem = message.problem();
  state.since = absl::FromUnixNanos(message.since_nanoseconds());
  return state;
}

absl::StatusOr<ExportsPage> Parse(const v1::ListExportsResponse& message) {
  if (static_cast<size_t>(message.exports_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError("a page of exports with too many entries");
  }
  ExportsPage page;
  page.more = message.more();
  for (const v1::Export& one : message.exports()) {
    ASSIGN_OR_RETURN(model::ExportState parsed, Parse(one));
    // Else the caller would ask for the same page for ever.
    if (!page.exports.empty() && parsed.name <= page.exports.back().name) {
      return absl::InvalidArgumentError("a page of exports whose names don't ascend");
    }
    page.exports.push_back(std::move(parsed));
  }
  if (page.more && page.exports.empty()) return absl::InvalidArgumentError("an empty page of exports with more");
  return page;
}

absl::StatusOr<ExportOrder> Parse(const v1::SetExportRequest& message) {
  ExportOrder order;
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  order.volume = message.volume();
  ASSIGN_OR_RETURN(order.mode, model::ParseExportMode(message.mode()));
  return order;
}

absl::StatusOr<model::ExportState> Parse(const v1::SetExportResponse& message) {
  return Parse(message.export_());
}

v1::Export ToProto(const model::ExportState& state) {
  v1::Export message;
  message.set_volume(state.name);
  message.set_path(state.path);
  message.set_backend(state.backend);
  message.set_desired(std::string(model::ToString(state.desired)));
  if (state.actual) message.set_actual(std::string(model::ToString(*state.actual)));
  message.set_problem(ToText(state.problem, kMaxErrorMessageBytes));
  message.set_since_nanoseconds(absl::ToUnixNanos(state.since));
  return message;
}

v1::ListExportsResponse ToProto(const std::vector<model::ExportState>& states, const std::string& after_volume) {
  v1::ListExportsResponse page;
  for (const model::ExportState& state : states) {
    if (state.name <= after_volume) continue;
    if (static_cast<size_t>(page.exports_size()) == kMaxPageEntries) {
      page.set_more(true);
      break;
    }
    *page.add_exports() = ToProto(state);
  }
  return page;
}

}  // namespace understudy::wire
