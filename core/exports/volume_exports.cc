#include "core/exports/volume_exports.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/log.h"

namespace understudy::exports {

absl::StatusOr<ExportableVolume> VolumeExports::Find(const model::VolumeName& volume) const {
  for (const ExportableVolume& one : volumes_()) {
    if (one.name == volume) return one;
  }
  return absl::NotFoundError(fmt::format(
      "there is no volume '{}' on this host; `drctl exports list` shows those there are", Printable(volume)));
}

model::ExportState VolumeExports::NeverSet(const ExportableVolume& volume) const {
  return {.name = volume.name,
          .path = volume.path,
          .backend = exports_.BackendOf(volume.path),
          .desired = model::ExportMode::kNone,
          .actual = std::nullopt,
          .problem = "",
          .since = absl::UnixEpoch()};
}

std::vector<model::ExportState> VolumeExports::List() const {
  std::map<std::string, model::ExportState> states;
  for (const ExportableVolume& volume : volumes_()) states[volume.name] = NeverSet(volume);
  for (model::ExportState& state : exports_.List()) states[state.name] = std::move(state);
  std::vector<model::ExportState> list;
  list.reserve(states.size());
  for (auto& [name, state] : states) list.push_back(std::move(state));
  return list;
}

absl::StatusOr<model::ExportState> VolumeExports::Set(const model::VolumeName& volume, model::ExportMode mode) {
  const absl::StatusOr<ExportableVolume> known = Find(volume);
  if (!known.ok()) {
    // What a volume that is gone left behind can still be taken away.
    std::optional<model::ExportState> left = exports_.Find(volume);
    if (!left || mode != model::ExportMode::kNone) return known.status();
    RETURN_IF_ERROR(exports_.Forget(volume));
    left->desired = model::ExportMode::kNone;
    left->actual = model::ExportMode::kNone;
    left->problem.clear();
    return *std::move(left);
  }
  const auto admit = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const ExportableVolume now, Find(volume));
    if (mode != model::ExportMode::kReadWrite || now.why_never_written.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' can't be exported rw: {}", volume, now.why_never_written));
  };
  RETURN_IF_ERROR(exports_.Set(volume, known->path, mode, admit));
  return exports_.Find(volume).value_or(NeverSet(*known));
}

}  // namespace understudy::exports
