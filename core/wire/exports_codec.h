// exports_codec.h: the messages of exports.proto to values and back, as in replication_codec.h. Pure; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/exports.h"

namespace understudy::v1 {
class Export;
class ListExportsRequest;
class ListExportsResponse;
class SetExportRequest;
class SetExportResponse;
}  // namespace understudy::v1

namespace understudy::wire {

struct ExportsPage {
  std::vector<model::ExportState> exports;
  bool more = false;
};

struct ExportOrder {
  model::VolumeName volume;
  model::ExportMode mode = model::ExportMode::kNone;
};

[[nodiscard]] absl::StatusOr<std::string> Parse(
    const v1::ListExportsRequest& message);  // after this volume; empty: all
[[nodiscard]] absl::StatusOr<ExportsPage> Parse(const v1::ListExportsResponse& message);
[[nodiscard]] absl::StatusOr<ExportOrder> Parse(const v1::SetExportRequest& message);
[[nodiscard]] absl::StatusOr<model::ExportState> Parse(const v1::SetExportResponse& message);
[[nodiscard]] absl::StatusOr<model::ExportState> Parse(const v1::Export& message);

[[nodiscard]] v1::Export ToProto(const model::ExportState& state);
// The page of `states` (ascending by name) that comes after `after_volume`.
[[nodiscard]] v1::ListExportsResponse ToProto(const std::vector<model::ExportState>& states,
                                              const std::string& after_volume);

}  // namespace understudy::wire
