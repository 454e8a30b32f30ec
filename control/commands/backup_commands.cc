#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "control/commands/commands.h"
#include "control/oadp/backup_archive.h"
#include "control/oadp/backup_store.h"
#include "control/oadp/backup_view.h"
#include "control/oadp/scratch_folder.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/time_text.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

// Damage that a verification between the sites would find has a code of its own; a damaged archive is a failure.
ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return absl::IsDataLoss(status) ? ExitCode::kFailed : ExitCodeFor(status);
}

absl::StatusOr<std::unique_ptr<BackupStore>> OpenStore(const config::ControlConfig& config) {
  if (!config.oadp) {
    return absl::InvalidArgumentError("oadp isn't configured: write where the backups are (docs/reference/control.md)");
  }
  return OpenBackupStore(*config.oadp);
}

std::string CellOf(const std::optional<absl::Time>& time) {
  return time ? Rfc3339(*time) : "-";
}
Document MemberOf(const std::optional<absl::Time>& time) {
  return time ? Document(Rfc3339(*time)) : Document(nullptr);
}
std::optional<absl::Time> StartOf(const BackupSummary& backup) {
  if (backup.started_at == absl::InfinitePast()) return std::nullopt;
  return backup.started_at;
}

Document Names(const std::vector<std::string>& names) {
  Document list = Document::array();
  for (const std::string& name : names) list.push_back(Printable(name));
  return list;
}

// "all", "shop, bank", "all but kube-system".
std::string NamespacesText(const BackupSummary& backup) {
  const bool all = backup.included_namespaces.empty() ||
                   std::find(backup.included_namespaces.begin(), backup.included_namespaces.end(), "*") !=
                       backup.included_namespaces.end();
  std::string text = all ? "all" : Printable(fmt::format("{}", fmt::join(backup.included_namespaces, ", ")));
  if (!backup.excluded_namespaces.empty()) {
    text += Printable(fmt::format(" but {}", fmt::join(backup.excluded_namespaces, ", ")));
  }
  return text;
}

Document ToDocument(const BackupSummary& backup) {
  return {{"name", backup.name},
          {"phase", backup.phase.empty() ? Document(nullptr) : Document(Printable(backup.phase))},
          {"started_at", MemberOf(StartOf(backup))},
          {"completed_at", MemberOf(backup.completed_at)},
          {"expires_at", MemberOf(backup.expires_at)},
          {"included_namespaces", Names(backup.included_namespaces)},
          {"excluded_namespaces", Names(backup.excluded_namespaces)},
          {"items", backup.items},
          {"errors", backup.errors},
          {"warnings", backup.warnings}};
}

BackupChoice ChoiceOf(const config::ControlConfig& config, const std::vector<std::string>& namespaces,
                      bool accept_partially_failed) {
  return {.name = std::nullopt,
          .must_include_namespaces = namespaces.empty() ? config.namespaces : namespaces,
          .accept_partially_failed = accept_partially_failed || config.oadp->accept_partially_failed};
}

// All that is known of one backup.
struct ShownBackup {
  FetchedBackup fetched;
  BackupContents contents;
  std::vector<std::string> warnings;
};

absl::StatusOr<ShownBackup> Gather(BackupStore& store, const BackupChoice& choice, uint64_t max_archive_bytes) {
  ASSIGN_OR_RETURN(const BackupSummary backup, store.Find(choice, {}));
  ASSIGN_OR_RETURN(const ScratchFolder folder, ScratchFolder::Create());
  ShownBackup shown;
  ASSIGN_OR_RETURN(shown.fetched, store.Fetch(backup, folder.path(), {}));
  ArchiveRequest request{.backup = backup.name, .namespaces = choice.must_include_namespaces};
  request.limits.archive_bytes = max_archive_bytes;
  ASSIGN_OR_RETURN(shown.contents, ReadBackupArchive(shown.fetched.archive, request));
  shown.warnings = backup.notes;
  const std::vector<std::string> gaps = FindGaps(shown.contents);
  shown.warnings.insert(shown.warnings.end(), gaps.begin(), gaps.end());
  return shown;
}

Document StorageDocument(const BackupContents& contents) {
  Document storage = Document::array();
  for (const auto& [name, of_class] : StorageByClass(contents)) {
    Document claims = Document::array();
    for (const NamespacedName& claim : of_class.claims) {
      claims.push_back({{"namespace", claim.namespace_name}, {"name", claim.name}});
    }
    storage.push_back({{"storage_class", name.empty() ? Document(nullptr) : Document(Printable(name))},
                       {"claims", claims},
                       {"volumes", Names(of_class.volumes)}});
  }
  return storage;
}

Document MachinesDocument(const BackupContents& contents) {
  Document machines = Document::array();
  for (const nlohmann::json& machine : contents.virtual_machines) {
    machines.push_back({{"namespace", kube::NamespaceOf(machine)},
                        {"name", kube::NameOf(machine)},
                        {"claims", Names(ClaimsOfMachine(machine))}});
  }
  return machines;
}

Document ToDocument(const ShownBackup& shown) {
  Document counts = Document::object();
  for (const auto& [resource, count] : shown.contents.counts) counts[Printable(resource)] = count;
  Document data_volumes = Document::array();
  for (const NamespacedName& name : shown.contents.data_volumes) {
    data_volumes.push_back({{"namespace", name.namespace_name}, {"name", name.name}});
  }
  Document warnings = Document::array();
  for (const std::string& warning : shown.warnings) warnings.push_back(warning);
  return {{"backup", ToDocument(shown.fetched.summary)},
          {"archive_bytes", shown.fetched.archive_bytes},
          {"format_version", shown.contents.format_version},
          {"namespaces", std::vector<std::string>(shown.contents.namespaces.begin(), shown.contents.namespaces.end())},
          {"counts", counts},
          {"storage", StorageDocument(shown.contents)},
          {"virtual_machines", MachinesDocument(shown.contents)},
          {"data_volumes", data_volumes},
          {"warnings", warnings}};
}

std::string ToText(const ShownBackup& shown) {
  const BackupSummary& backup = shown.fetched.summary;
  std::string text = fmt::format("backup {}: {}, started {}, expires {}, namespaces: {}; archive {} bytes\n\n",
                                 backup.name, Printable(backup.phase), CellOf(StartOf(backup)),
                                 CellOf(backup.expires_at), NamespacesText(backup), shown.fetched.archive_bytes);
  Table counts({"RESOURCE", "OBJECTS"});
  for (const auto& [resource, count] : shown.contents.counts)
    counts.Add({Printable(resource), fmt::format("{}", count)});
  Table storage({"STORAGE CLASS", "CLAIMS", "VOLUMES"});
  for (const auto& [name, of_class] : StorageByClass(shown.contents)) {
    storage.Add({name.empty() ? "-" : Printable(name), fmt::format("{}", of_class.claims.size()),
                 fmt::format("{}", of_class.volumes.size())});
  }
  Table machines({"NAMESPACE", "VIRTUAL MACHINE", "CLAIMS"});
  for (const nlohmann::json& machine : shown.contents.virtual_machines) {
    machines.Add({kube::NamespaceOf(machine), kube::NameOf(machine),
                  Printable(fmt::format("{}", fmt::join(ClaimsOfMachine(machine), ", ")))});
  }
  for (const Table* const table : {&counts, &storage, &machines}) {
    if (const std::string part = table->Text(); !part.empty()) text += part + "\n";
  }
  for (const std::string& warning : shown.warnings) text += fmt::format("warning: {}\n", warning);
  return text;
}

}  // namespace

ExitCode RunFailoverBackupList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                               const BackupListOptions& options) {
  const absl::StatusOr<std::unique_ptr<BackupStore>> store = OpenStore(config);
  if (!store.ok()) return Fail(console, store.status());
  const absl::StatusOr<std::vector<BackupSummary>> backups = (*store)->List({});
  if (!backups.ok()) return Fail(console, backups.status());
  const BackupChoice choice = ChoiceOf(config, options.namespaces, options.accept_partially_failed);
  const absl::Time now = Clock::System().Now();
  Document documents = Document::array();
  Table table({"NAME", "PHASE", "STARTED", "EXPIRES", "NAMESPACES", "ERRORS", "WARNINGS", "USABLE"});
  for (const BackupSummary& backup : *backups) {
    const absl::Status usable = CheckUsable(backup, choice, now);
    Document document = ToDocument(backup);
    document["usable"] = usable.ok();
    document["problem"] = usable.ok() ? Document(nullptr) : Document(MessageOf(usable));
    documents.push_back(std::move(document));
    const bool read = backup.problem.empty();
    table.Add({backup.name, read ? Printable(backup.phase) : "-", CellOf(StartOf(backup)), CellOf(backup.expires_at),
               read ? NamespacesText(backup) : "-", fmt::format("{}", backup.errors),
               fmt::format("{}", backup.warnings), usable.ok() ? "yes" : "no"});
    if (!read) PrintError(console, usable);
  }
  Print(console, format, {{"backups", documents}}, table.Text());
  return ExitCode::kDone;
}

ExitCode RunFailoverBackupShow(const Console& console, OutputFormat format, const config::ControlConfig& config,
                               const BackupShowOptions& options) {
  const absl::StatusOr<std::unique_ptr<BackupStore>> store = OpenStore(config);
  if (!store.ok()) return Fail(console, store.status());
  BackupChoice choice = ChoiceOf(config, options.namespaces, options.accept_partially_failed);
  if (!options.name.empty()) choice.name = options.name;
  const absl::StatusOr<ShownBackup> shown = Gather(**store, choice, config.oadp->max_archive_bytes);
  if (!shown.ok()) return Fail(console, shown.status());
  Print(console, format, ToDocument(*shown), ToText(*shown));
  return ExitCode::kDone;
}

}  // namespace understudy::control
