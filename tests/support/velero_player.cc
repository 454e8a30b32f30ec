#include "tests/support/velero_player.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "absl/time/clock.h"
#include "core/base/random_id.h"
#include "core/base/wait.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
constexpr char kRunStrategyLabel[] = "velero.kubevirt.io/restore-run-strategy";
constexpr char kClearMacLabel[] = "velero.kubevirt.io/clear-mac-address";
constexpr char kNewUuidLabel[] = "velero.kubevirt.io/generate-new-firmware-uuid";

std::string Now() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
}

absl::Status IgnoreExisting(const absl::Status& status) {
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

json NamespaceObject(const std::string& name) {
  return {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}};
}

std::set<std::string> TextsAt(const json& spec, const char* key) {
  const json list = spec.value(key, json::array());
  return list.is_array() ? list.get<std::set<std::string>>() : std::set<std::string>();
}

// As Velero resets metadata before it creates an object.
json Reset(const json& item) {
  json metadata = {{"name", item.at("metadata").at("name")}};
  for (const char* kept : {"labels", "annotations", "namespace"}) {
    if (item.at("metadata").contains(kept)) metadata[kept] = item.at("metadata").at(kept);
  }
  json result = item;
  result["metadata"] = std::move(metadata);
  result.erase("status");
  return result;
}

std::string NewUuid() {
  const std::string hex = RandomId();
  return fmt::format("{}-{}-4{}-8{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(13, 3), hex.substr(17, 3),
                     hex.substr(20, 12));
}

// What KubeVirt's plugin makes of a VirtualMachine.
void ApplyPlugin(const json& labels, json& machine) {
  json& spec = machine["spec"];
  if (labels.contains(kRunStrategyLabel)) {
    spec["runStrategy"] = labels.at(kRunStrategyLabel);
    spec.erase("running");
  }
  json& domain = spec["template"]["spec"]["domain"];
  if (labels.contains(kClearMacLabel) && domain.contains("devices")) {
    for (json& interface : domain["devices"]["interfaces"]) interface.erase("macAddress");
  }
  if (labels.contains(kNewUuidLabel)) domain["firmware"]["uuid"] = NewUuid();
}

absl::StatusOr<json> ReadItem(const fs::path& file) {
  std::ifstream stream(file);
  json item = json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (item.is_object() && item.contains("metadata") && item.contains("kind")) return item;
  return absl::InternalError(file.native() + " is no object");
}

// What the API server serves an item as; the views point into `item` and `plural`.
kube::Resource ResourceOf(const std::string& api_version, const std::string& kind, const std::string& plural) {
  const size_t slash = api_version.find('/');
  const std::string_view text = api_version;
  const bool has_group = slash != std::string::npos;
  return {.group = has_group ? text.substr(0, slash) : std::string_view(),
          .version = has_group ? text.substr(slash + 1) : text,
          .plural = plural,
          .kind = kind,
          .namespaced = true};
}

// Whether everything that was backed up is so in the cluster, too; what the cluster adds is of no account.
bool Contains(const json& present, const json& wanted) {
  if (!wanted.is_object()) return present == wanted;
  for (const auto& [key, value] : wanted.items()) {
    if (!present.contains(key) || !Contains(present.at(key), value)) return false;
  }
  return true;
}

std::vector<fs::path> EntriesOf(const fs::path& folder) {
  std::vector<fs::path> entries;
  if (!fs::is_directory(folder)) return entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

struct VeleroPlayer::Restore {
  std::string name;
  json spec;
  json labels;
  json status;
  std::vector<std::pair<fs::path, std::string>> items;  // file and the namespace that it was backed up from
  int errors = 0;
  int warnings = 0;

  [[nodiscard]] std::string TargetOf(const std::string& source) const {
    return spec.value("namespaceMapping", json::object()).value(source, source);
  }
};

absl::StatusOr<std::unique_ptr<VeleroPlayer>> VeleroPlayer::Start(const kube::ClusterAccess& access,
                                                                  std::string namespace_name, ArchiveOf archive_of) {
  std::unique_ptr<VeleroPlayer> player(new VeleroPlayer(access, std::move(namespace_name), std::move(archive_of)));
  RETURN_IF_ERROR(player->Prepare());
  player->thread_ = std::jthread([raw = player.get()](const std::stop_token& stop) { raw->Run(stop); });
  return player;
}

VeleroPlayer::~VeleroPlayer() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void VeleroPlayer::Hold(bool held) {
  const absl::MutexLock lock(&mutex_);
  held_ = held;
}

absl::Status VeleroPlayer::Health() const {
  const absl::MutexLock lock(&mutex_);
  return health_;
}

absl::Status VeleroPlayer::Prepare() {
  RETURN_IF_ERROR(IgnoreExisting(client_.Create(kube::kNamespaces, "", NamespaceObject(namespace_)).status()));
  const json wanted = {
      {"apiVersion", "velero.io/v1"},
      {"kind", "BackupStorageLocation"},
      {"metadata", {{"name", "default"}}},
      {"spec", {{"provider", "aws"}, {"objectStorage", {{"bucket", "backups"}, {"prefix", "velero"}}}}}};
  absl::StatusOr<json> location = client_.Create(kube::kBackupStorageLocations, namespace_, wanted);
  if (absl::IsAlreadyExists(location.status())) return absl::OkStatus();
  RETURN_IF_ERROR(location.status());
  (*location)["status"] = {{"phase", "Available"}, {"lastSyncedTime", Now()}};
  return client_.Put(kube::kBackupStorageLocations, namespace_, "default", "status", *location);
}

absl::Status VeleroPlayer::SyncBackup(const std::string& name, const std::string& phase) {
  const json wanted = {{"apiVersion", "velero.io/v1"},
                       {"kind", "Backup"},
                       {"metadata", {{"name", name}, {"labels", {{"velero.io/storage-location", "default"}}}}},
                       {"spec", {{"storageLocation", "default"}}}};
  ASSIGN_OR_RETURN(json backup, client_.Create(kube::kBackups, namespace_, wanted));
  backup["status"] = {{"phase", phase}, {"startTimestamp", Now()}, {"completionTimestamp", Now()}};
  return client_.Put(kube::kBackups, namespace_, name, "status", backup);
}

void VeleroPlayer::Run(const std::stop_token& stop) {
  do {
    bool held = false;
    {
      const absl::MutexLock lock(&mutex_);
      held = held_;
    }
    const absl::Status looked = held ? absl::OkStatus() : LookAtAll(stop);
    const bool passes = looked.ok() || absl::IsAborted(looked) || absl::IsNotFound(looked) ||
                        absl::IsUnavailable(looked) || absl::IsCancelled(looked);
    if (passes) continue;
    const absl::MutexLock lock(&mutex_);
    if (health_.ok()) health_ = looked;
  } while (WaitUnlessStopped(stop, kLookInterval));
}

absl::Status VeleroPlayer::LookAtAll(const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const kube::ListResult restores, client_.List(kube::kRestores, namespace_, stop));
  for (const json& restore : restores.items) {
    const std::string phase = restore.value("status", json::object()).value("phase", "");
    if (phase.empty() || phase == "New") RETURN_IF_ERROR(Process(restore));
  }
  return absl::OkStatus();
}

absl::Status VeleroPlayer::Process(const json& object) {
  Restore restore{.name = object.at("metadata").at("name"),
                  .spec = object.at("spec"),
                  .labels = object.at("metadata").value("labels", json::object()),
                  .status = json::object(),
                  .items = {}};
  const std::string backup = restore.spec.value("backupName", "");
  if (!client_.Get(kube::kBackups, namespace_, backup).ok()) {
    const std::string error = fmt::format("Error retrieving backup: backups.velero.io \"{}\" not found", backup);
    return Update(restore, {{"phase", "FailedValidation"}, {"validationErrors", {error}}});
  }
  RETURN_IF_ERROR(Update(restore, {{"phase", "InProgress"}, {"startTimestamp", Now()}}));
  const absl::Status restored = RestoreAll(restore);
  json end = restore.status;
  end["completionTimestamp"] = Now();
  if (restore.errors > 0) end["errors"] = restore.errors;
  if (restore.warnings > 0) end["warnings"] = restore.warnings;
  end["phase"] = restore.errors > 0 ? "PartiallyFailed" : "Completed";
  if (!restored.ok()) {
    end["phase"] = "Failed";
    end["failureReason"] = std::string(MessageOf(restored));
  }
  return Update(restore, end);
}

absl::Status VeleroPlayer::RestoreAll(Restore& restore) {
  ASSIGN_OR_RETURN(const std::string archive, archive_of_(restore.spec.at("backupName")));
  const TempDir folder;
  std::ofstream(folder.File("backup.tar.gz"), std::ios::binary) << archive;
  ASSIGN_OR_RETURN(
      const ProcessResult unpacked,
      RunProcess({.program = "tar", .arguments = {"-xzf", "backup.tar.gz"}, .working_directory = folder.Path()}));
  if (unpacked.exit_code != 0) return absl::InternalError("error unpacking the backup: " + unpacked.err);
  const std::set<std::string> excluded = TextsAt(restore.spec, "excludedResources");
  const std::set<std::string> included = TextsAt(restore.spec, "includedNamespaces");
  // Velero's own plugin, and KubeVirt's, leave these out.
  const std::set<std::string> never = {"pods", "virtualmachineinstances.kubevirt.io", "events", "nodes"};
  for (const fs::path& resource : EntriesOf(fs::path(folder.Path()) / "resources")) {
    if (excluded.contains(resource.filename()) || never.contains(resource.filename())) continue;
    for (const fs::path& source : EntriesOf(resource / "namespaces")) {
      if (!included.empty() && !included.contains(source.filename())) continue;
      const json target = NamespaceObject(restore.TargetOf(source.filename()));
      RETURN_IF_ERROR(IgnoreExisting(client_.Create(kube::kNamespaces, "", target).status()));
      for (const fs::path& file : EntriesOf(source)) restore.items.emplace_back(file, source.filename());
    }
  }
  for (size_t i = 0; i < restore.items.size(); ++i) {
    RestoreItem(restore, restore.items[i].first, restore.items[i].second);
    json status = restore.status;
    status["progress"] = {{"totalItems", restore.items.size()}, {"itemsRestored", i + 1}};
    RETURN_IF_ERROR(Update(restore, status));
  }
  return absl::OkStatus();
}

void VeleroPlayer::RestoreItem(Restore& restore, const fs::path& file, const std::string& source_namespace) {
  const std::string folder = file.parent_path().parent_path().parent_path().filename();
  const std::string plural = folder.substr(0, folder.find('.'));
  const absl::StatusOr<json> item = ReadItem(file);
  if (!item.ok()) {
    ++restore.errors;
    return;
  }
  json wanted = Reset(*item);
  const std::string target = restore.TargetOf(source_namespace);
  wanted["metadata"]["namespace"] = target;
  if (folder == "virtualmachines.kubevirt.io") ApplyPlugin(restore.labels, wanted);
  json labelled = wanted;
  labelled["metadata"]["labels"]["velero.io/backup-name"] = restore.spec.at("backupName");
  labelled["metadata"]["labels"]["velero.io/restore-name"] = restore.name;
  const std::string api_version = item->value("apiVersion", "v1");
  const std::string kind = item->at("kind");
  const std::string name = item->at("metadata").at("name");
  const kube::Resource resource = ResourceOf(api_version, kind, plural);
  const absl::Status created = client_.Create(resource, target, labelled).status();
  if (absl::IsAlreadyExists(created)) {
    const absl::StatusOr<json> present = client_.Get(resource, target, name);
    if (present.ok() && Contains(*present, wanted)) return;
    const bool updated = restore.spec.value("existingResourcePolicy", "none") == "update" &&
                         client_.Patch(resource, target, name, kube::PatchType::kMerge, labelled).ok();
    if (!updated) ++restore.warnings;
    return;
  }
  if (!created.ok()) ++restore.errors;
}

absl::Status VeleroPlayer::Update(Restore& restore, json status) {
  ASSIGN_OR_RETURN(json object, client_.Get(kube::kRestores, namespace_, restore.name));
  object["status"] = status;
  restore.status = std::move(status);
  return client_.Put(kube::kRestores, namespace_, restore.name, "status", object);
}

}  // namespace understudy::tests
