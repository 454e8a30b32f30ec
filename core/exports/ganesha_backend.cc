#include "core/exports/ganesha_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/base/log.h"
#include "core/exports/ganesha_file.h"
#include "core/exports/own_file.h"
#include "core/model/path.h"

namespace understudy::exports {
namespace {

using model::ExportMode;

// Ganesha's own: the root of the tree that NFSv4 clients see.
constexpr uint16_t kPseudoRootId = 0;

bool AllHave(const std::vector<GaneshaClient>& clients, ExportMode mode) {
  return !clients.empty() &&
         std::all_of(clients.begin(), clients.end(), [&](const GaneshaClient& one) { return one.mode == mode; });
}

FoundExport Judge(const std::vector<GaneshaClient>& clients, const WantedExport& wanted) {
  FoundExport found{.actual = ExportMode::kNone, .ours_settled = AllHave(clients, wanted.mode), .problem = ""};
  for (const GaneshaClient& client : clients) found.actual = std::max(*found.actual, client.mode);
  if (!found.ours_settled) {
    if (wanted.mode == ExportMode::kReadWrite) found.actual = std::min(*found.actual, ExportMode::kReadOnly);
    found.problem = fmt::format("NFS-Ganesha took the export of '{}' and still doesn't have it {}", wanted.path,
                                model::ToString(wanted.mode));
  }
  return found;
}

}  // namespace

GaneshaBackend::GaneshaBackend(GaneshaOptions options)
    : options_(std::move(options)), file_(fmt::format("{}/{}.conf", options_.config_dir, options_.program)) {}

absl::Status GaneshaBackend::CheckPath(const std::string& path) const {
  return CheckGaneshaPath(path);
}

absl::StatusOr<uint16_t> GaneshaBackend::ChooseId(const std::set<uint16_t>& taken) {
  // One that somebody else uses in spite of the range is passed over; when Ganesha can't be asked, Reconcile will tell.
  Shown shown;
  if (absl::StatusOr<std::unique_ptr<GaneshaManager>> manager = options_.connect(); manager.ok()) {
    if (absl::StatusOr<Shown> asked = (*manager)->Show(); asked.ok()) shown = *std::move(asked);
  }
  for (uint32_t id = options_.first_id; id < uint32_t{options_.first_id} + options_.ids; ++id) {
    const auto candidate = static_cast<uint16_t>(id);
    if (!taken.contains(candidate) && !shown.contains(candidate)) return candidate;
  }
  return absl::ResourceExhaustedError(
      fmt::format("all {} export ids from {} on are taken: raise ganesha.export_ids", options_.ids, options_.first_id));
}

absl::StatusOr<FoundExport> GaneshaBackend::Export(GaneshaManager& manager, bool there, const WantedExport& wanted) {
  if (there) {
    ASSIGN_OR_RETURN(const std::vector<GaneshaClient> before, manager.Clients(wanted.export_id));
    if (taken_up_.contains(wanted.export_id) && AllHave(before, wanted.mode)) return Judge(before, wanted);
  }
  taken_up_.erase(wanted.export_id);
  const absl::Status taken = there ? manager.Update(file_, wanted.export_id) : manager.Add(file_, wanted.export_id);
  if (absl::IsUnavailable(taken)) return taken;
  FoundExport found{.actual = ExportMode::kNone, .ours_settled = false, .problem = ""};
  if (taken.ok() || there) {
    ASSIGN_OR_RETURN(const std::vector<GaneshaClient> after, manager.Clients(wanted.export_id));
    found = Judge(after, wanted);
  }
  if (taken.ok()) {
    taken_up_.insert(wanted.export_id);
  } else {
    found.ours_settled = false;
    found.problem =
        fmt::format("{}: see Ganesha's log, and whether the folder '{}' is there", MessageOf(taken), wanted.path);
  }
  return found;
}

absl::StatusOr<FoundExport> GaneshaBackend::ReconcileOne(GaneshaManager& manager, const Shown& shown,
                                                         const WantedExport& wanted) {
  const auto same_id = shown.find(wanted.export_id);
  const bool there = same_id != shown.end() && same_id->second == wanted.path;
  if (wanted.mode == ExportMode::kNone) {
    taken_up_.erase(wanted.export_id);
    if (!there) return FoundExport{.actual = ExportMode::kNone, .ours_settled = true, .problem = ""};
    RETURN_IF_ERROR(manager.Remove(wanted.export_id));
    ASSIGN_OR_RETURN(const Shown left, manager.Show());
    if (!left.contains(wanted.export_id)) return FoundExport{ExportMode::kNone, true, ""};
    return FoundExport{std::nullopt, false,
                       fmt::format("NFS-Ganesha removed the export of '{}' and still shows it", wanted.path)};
  }
  if (same_id != shown.end() && !there) {
    return FoundExport{ExportMode::kNone, false,
                       fmt::format("Export_Id {} is the one of '{}', which isn't this agent's: give that another id, "
                                   "or this agent another range (ganesha.first_export_id)",
                                   wanted.export_id, Printable(same_id->second))};
  }
  ASSIGN_OR_RETURN(FoundExport found, Export(manager, there, wanted));
  if (!found.problem.empty()) return found;
  for (const auto& [id, path] : shown) {
    if (id == wanted.export_id || id == kPseudoRootId || !model::IsWithin(wanted.path, path)) continue;
    // What its clients may do can't be told when its block has no CLIENT blocks.
    found.problem = fmt::format(
        "'{}' is exported, too (Export_Id {}): what clients that come by that way may do isn't this agent's to see",
        Printable(path), id);
  }
  return found;
}

absl::StatusOr<ExportBackend::Found> GaneshaBackend::Reconcile(std::span<const WantedExport> wanted,
                                                               const std::optional<std::string>& only) {
  ASSIGN_OR_RETURN(const std::optional<std::string> present, ReadServerFile(file_));
  // Whoever has nothing to do with Ganesha leaves it alone.
  if (!present && wanted.empty() && !options_.configured) return Found();
  const std::string content = RenderGaneshaFile(options_.program, wanted);
  if (present != content) {
    RETURN_IF_ERROR(MakeServerFolder(options_.config_dir));
    RETURN_IF_ERROR(ReplaceOwnFile(file_, content));
  }
  Found found;
  if (wanted.empty()) return found;
  ASSIGN_OR_RETURN(const std::unique_ptr<GaneshaManager> manager, options_.connect());
  ASSIGN_OR_RETURN(const Shown shown, manager->Show());
  for (const WantedExport& one : wanted) {
    if (only && one.name != *only) continue;
    absl::StatusOr<FoundExport> result = ReconcileOne(*manager, shown, one);
    if (absl::IsUnavailable(result.status())) return result.status();
    if (!result.ok()) result = FoundExport{std::nullopt, false, std::string(MessageOf(result.status()))};
    found[one.name] = *std::move(result);
  }
  return found;
}

}  // namespace understudy::exports
