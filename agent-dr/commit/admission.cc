#include "agent-dr/commit/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>
#include <vector>

#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/wire/validate.h"

namespace understudy::dr {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kBytesOfKeptName = 32;  // in an undo folder, with what the filesystem's index of it takes

// Whether nothing new is placed by it.
bool BringsNothing(const model::Commit& commit) {
  return std::all_of(commit.operations.begin(), commit.operations.end(), [](const model::Operation& operation) {
    return std::holds_alternative<model::Remove>(operation) || std::holds_alternative<model::Detach>(operation) ||
           std::holds_alternative<model::Attach>(operation) || std::holds_alternative<model::SetMetadata>(operation);
  });
}

// Whose entries an operation changes, and whose it uses.
std::vector<std::string_view> PathsOf(const model::Operation& operation) {
  std::vector<std::string_view> paths = {
      std::visit([](const auto& op) -> std::string_view { return op.path; }, operation)};
  if (const auto* link = std::get_if<model::Link>(&operation)) paths.emplace_back(link->target);
  return paths;
}

}  // namespace

absl::Status CheckNoWorkFolder(std::string_view path, bool holds_work_folder) {
  if (!holds_work_folder || !model::IsWithin(path, os::kWorkFolderName)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}' is the work folder of understudy-dr, no part of the volume", Printable(path)));
}

absl::Status CheckAdmission(const model::Commit& commit, const model::ReplicaState& state, bool holds_work_folder) {
  RETURN_IF_ERROR(wire::ValidateCommit(commit));
  if (commit.volume != state.volume) {
    return absl::InvalidArgumentError(
        fmt::format("a commit of volume '{}' for volume '{}'", commit.volume, state.volume));
  }
  if (commit.epoch != state.epoch) {
    return absl::FailedPreconditionError(
        fmt::format("commit of epoch {} for volume '{}' at epoch {}", commit.epoch, state.volume, state.epoch));
  }
  if (commit.base_sequence != state.sequence) {
    return absl::FailedPreconditionError(
        fmt::format("commit on top of {} for volume '{}' at {}", commit.base_sequence, state.volume, state.sequence));
  }
  for (const model::Operation& operation : commit.operations) {
    for (const std::string_view path : PathsOf(operation)) {
      RETURN_IF_ERROR(CheckNoWorkFolder(path, holds_work_folder));
    }
  }
  return absl::OkStatus();
}

namespace {

// It has its room already.
bool IsStagedAhead(const model::Operation& operation, const StagedFiles& staged) {
  if (const auto* folder = std::get_if<model::MakeDirectory>(&operation)) {
    return staged.FindFolder(folder->path) != nullptr;
  }
  const auto* put = std::get_if<model::Put>(&operation);
  const auto* slot = put == nullptr ? nullptr : std::get_if<model::Slot>(&put->content);
  return slot != nullptr && staged.Find(*slot) != nullptr;
}

}  // namespace

SpaceNeed SpaceNeedOf(const model::Commit& commit, const StagedFiles& staged) {
  if (BringsNothing(commit)) {
    // A folder with a name for each operation.
    return {2 * kBlockBytes + kBytesOfKeptName * commit.operations.size(), 1, /*for_undo_alone=*/true};
  }
  SpaceNeed need;
  for (const model::Operation& operation : commit.operations) {
    if (!PlacesStagedEntry(operation) || IsStagedAhead(operation, staged)) continue;
    ++need.entries;
    need.bytes += kBlockBytes;  // of the entry
    const auto* put = std::get_if<model::Put>(&operation);
    if (put == nullptr || !std::holds_alternative<std::string>(put->content)) continue;
    need.bytes += (put->size + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  }
  return need;
}

}  // namespace understudy::dr
