#include "control/oadp/backup_summary.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "core/base/log.h"
#include "nlohmann/json.hpp"

namespace understudy::control {
namespace {

using nlohmann::json;

constexpr size_t kReasonsShown = 3;
constexpr std::string_view kCompleted = "Completed";
constexpr std::string_view kPartiallyFailed = "PartiallyFailed";
constexpr std::string_view kDeleting = "Deleting";
// That a failover has of its own, or that have a note of their own.
constexpr BackupKind kKindsNotRestored[] = {BackupKind::kVirtualMachine, BackupKind::kClaim, BackupKind::kVolume};

// The object at `key`; an empty one where it is missing or null. nullptr: it is something else.
const json* ObjectAt(const json& parent, const char* key) {
  static const json kNone = json::object();
  const auto it = parent.find(key);
  if (it == parent.end() || it->is_null()) return &kNone;
  return it->is_object() ? &*it : nullptr;
}

// Reads members, and remembers the first that isn't what it should be.
class Members {
 public:
  explicit Members(const json& object) : object_(object) {}

  std::string Text(const char* key) {
    const json* const value = Find(key);
    if (value == nullptr) return "";
    if (value->is_string()) return value->get<std::string>();
    Complain(key);
    return "";
  }
  uint64_t Count(const char* key) {
    const json* const value = Find(key);
    if (value == nullptr) return 0;
    if (value->is_number_unsigned()) return value->get<uint64_t>();
    Complain(key);
    return 0;
  }
  std::optional<absl::Time> Time(const char* key) {
    const std::string text = Text(key);
    if (text.empty()) return std::nullopt;
    absl::Time time;
    std::string error;
    if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return time;
    Complain(key);
    return std::nullopt;
  }
  std::optional<bool> Truth(const char* key) {
    const json* const value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_boolean()) return value->get<bool>();
    Complain(key);
    return std::nullopt;
  }
  std::vector<std::string> TextList(const char* key) {
    const json* const value = Find(key);
    std::vector<std::string> list;
    if (value == nullptr) return list;
    if (!value->is_array()) Complain(key);
    for (const json& element : *value) {
      if (element.is_string()) {
        list.push_back(element.get<std::string>());
      } else {
        Complain(key);
      }
    }
    return list;
  }
  // The key of the first; empty: none.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }

 private:
  const json* Find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  void Complain(const char* key) {
    if (complaint_.empty()) complaint_ = key;
  }

  const json& object_;
  std::string complaint_;
};

bool MatchesAny(const std::vector<std::string>& patterns, const std::string& text) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return pattern == text || fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
  });
}

// A pattern such as "*" or "shop-*" isn't a namespace's name.
std::string ListText(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& name : list) text += fmt::format("{}{}", text.empty() ? "" : ", ", Printable(name));
  return text;
}

// As Velero lets a kind be named: plural, singular and short, each with or without the group.
struct KindNames {
  std::vector<std::string_view> names;
  std::string_view group;  // empty: the core group
  std::string_view title;
};

const KindNames& NamesOf(BackupKind kind) {
  static const KindNames kMachines{
      {"virtualmachines", "virtualmachine", "vm", "vms"}, "kubevirt.io", "virtual machines"};
  static const KindNames kClaims{
      {"persistentvolumeclaims", "persistentvolumeclaim", "pvc"}, "", "PersistentVolumeClaims"};
  static const KindNames kVolumes{{"persistentvolumes", "persistentvolume", "pv"}, "", "PersistentVolumes"};
  switch (kind) {
    case BackupKind::kVirtualMachine:
      return kMachines;
    case BackupKind::kClaim:
      return kClaims;
    case BackupKind::kVolume:
      return kVolumes;
  }
  AbortOnBrokenInvariant("known BackupKind", __FILE__, __LINE__);
}

bool Names(const std::vector<std::string>& resources, const KindNames& kind) {
  return std::any_of(resources.begin(), resources.end(), [&](const std::string& resource) {
    const std::string lower = absl::AsciiStrToLower(resource);
    if (lower == "*") return true;
    return std::any_of(kind.names.begin(), kind.names.end(), [&](std::string_view name) {
      return lower == name || (!kind.group.empty() && lower == fmt::format("{}.{}", name, kind.group));
    });
  });
}

// "made of configmaps, secrets without services"
std::string ResourcesText(const BackupSummary& backup) {
  std::vector<std::string> included = backup.included_resources;
  included.insert(included.end(), backup.included_cluster_resources.begin(), backup.included_cluster_resources.end());
  std::vector<std::string> excluded = backup.excluded_resources;
  excluded.insert(excluded.end(), backup.excluded_cluster_resources.begin(), backup.excluded_cluster_resources.end());
  return fmt::format("made of {}{}", included.empty() ? "all kinds" : ListText(included),
                     excluded.empty() ? "" : fmt::format(" without {}", ListText(excluded)));
}

bool IsExpired(const BackupSummary& backup, absl::Time now) {
  return backup.expires_at && *backup.expires_at <= now;
}

// What speaks against using a backup ("is …"), and what to do about it; both empty: nothing.
struct Objection {
  std::string reason;
  std::string advice = "choose another one with --backup";
};

Objection ObjectionToPhase(const BackupSummary& backup, bool accept_partially_failed) {
  if (backup.phase == kCompleted) return {.reason = ""};
  if (backup.phase == kPartiallyFailed) {
    if (accept_partially_failed) return {.reason = ""};
    return {.reason = fmt::format("is PartiallyFailed ({} errors)", backup.errors),
            .advice = "choose another one with --backup, or take it with --accept-partially-failed"};
  }
  if (backup.phase == kDeleting) return {.reason = "is being deleted"};
  return {.reason = fmt::format("is {}, not Completed", backup.phase.empty() ? "new" : Printable(backup.phase))};
}

Objection ObjectionToNamespaces(const BackupSummary& backup, const std::vector<std::string>& needed) {
  std::vector<std::string> missing;
  for (const std::string& name : needed) {
    if (!IncludesNamespace(backup, name)) missing.push_back(name);
  }
  if (missing.empty()) return {.reason = ""};
  return {.reason = fmt::format("doesn't hold namespace {} (it was made of {}{})", ListText(missing),
                                backup.included_namespaces.empty() ? "all" : ListText(backup.included_namespaces),
                                backup.excluded_namespaces.empty()
                                    ? ""
                                    : fmt::format(" without {}", ListText(backup.excluded_namespaces)))};
}

// One that was named is taken: who named it may know that there is nothing to be missed.
Objection ObjectionToKinds(const BackupSummary& backup, bool is_named) {
  if (is_named || IncludesKind(backup, BackupKind::kVirtualMachine)) return {.reason = ""};
  return {.reason = fmt::format("holds no virtual machines (it was {})", ResourcesText(backup)),
          .advice = "choose another one, or take it nevertheless, with --backup"};
}

Objection ObjectionTo(const BackupSummary& backup, const BackupChoice& choice, absl::Time now) {
  if (!backup.problem.empty()) return {.reason = fmt::format("can't be used: {}", backup.problem)};
  if (Objection phase = ObjectionToPhase(backup, choice.accept_partially_failed); !phase.reason.empty()) return phase;
  // One that was named is taken while it lasts: in a disaster, an old one may be what is left.
  if (!choice.name && IsExpired(backup, now)) return {.reason = "has expired"};
  if (Objection kinds = ObjectionToKinds(backup, choice.name.has_value()); !kinds.reason.empty()) return kinds;
  return ObjectionToNamespaces(backup, choice.must_include_namespaces);
}

// What isn't in it on purpose isn't restored, and nobody else would say so.
void AddNotesOnFilters(const BackupSummary& backup, std::vector<std::string>& notes) {
  if (backup.by_labels) {
    notes.push_back(
        fmt::format("backup {} holds only what its label selector matches: nothing else of the namespaces is restored",
                    backup.name));
  }
  for (const BackupKind kind : {BackupKind::kVirtualMachine, BackupKind::kClaim, BackupKind::kVolume}) {
    if (IncludesKind(backup, kind)) continue;
    notes.push_back(fmt::format(
        "backup {} holds no {} (it was {}): {}", backup.name, NamesOf(kind).title, ResourcesText(backup),
        kind == BackupKind::kVirtualMachine ? "none is restored" : "those that DR's catalog lacks aren't known"));
  }
  // Storage isn't restored from it in any case.
  std::vector<std::string> missed;
  for (const std::string& excluded : backup.excluded_resources) {
    const bool is_known = std::any_of(std::begin(kKindsNotRestored), std::end(kKindsNotRestored),
                                      [&](BackupKind kind) { return Names({excluded}, NamesOf(kind)); });
    if (!is_known) missed.push_back(excluded);
  }
  const bool all = backup.included_resources.empty() || MatchesAny(backup.included_resources, "*");
  if (!all) {
    notes.push_back(fmt::format("backup {} was made of some kinds only ({}): no others are restored", backup.name,
                                ListText(backup.included_resources)));
  }
  if (!missed.empty()) {
    notes.push_back(
        fmt::format("backup {} was made without {}: none of these is restored", backup.name, ListText(missed)));
  }
}

// Of one that may be used: what isn't as one would wish.
std::vector<std::string> NotesOf(const BackupSummary& backup, absl::Time now) {
  std::vector<std::string> notes;
  if (backup.phase == kPartiallyFailed) {
    notes.push_back(fmt::format("backup {} is PartiallyFailed: {} errors, {} warnings; something may be missing in it",
                                backup.name, backup.errors, backup.warnings));
  }
  if (IsExpired(backup, now)) {
    notes.push_back(fmt::format("backup {} has expired: Velero may delete it at any moment", backup.name));
  }
  AddNotesOnFilters(backup, notes);
  return notes;
}

// "b3 is Failed, not Completed; b2 has expired; and 4 more"
std::string PassedOver(const std::vector<BackupSummary>& backups, const BackupChoice& choice, absl::Time now) {
  std::string text;
  for (size_t i = 0; i < std::min(backups.size(), kReasonsShown); ++i) {
    text +=
        fmt::format("{}{} {}", text.empty() ? "" : "; ", backups[i].name, ObjectionTo(backups[i], choice, now).reason);
  }
  if (backups.size() > kReasonsShown) text += fmt::format("; and {} more", backups.size() - kReasonsShown);
  return text;
}

absl::StatusOr<BackupSummary> ChooseByName(const std::vector<BackupSummary>& backups, const BackupChoice& choice,
                                           absl::Time now) {
  const auto it = std::find_if(backups.begin(), backups.end(),
                               [&](const BackupSummary& backup) { return backup.name == *choice.name; });
  if (it == backups.end()) {
    return absl::NotFoundError(
        fmt::format("there is no backup {} in the bucket: drctl failover backup list shows those "
                    "that there are",
                    Printable(*choice.name)));
  }
  BackupSummary chosen = *it;
  RETURN_IF_ERROR(CheckUsable(chosen, choice, now));
  chosen.notes = NotesOf(chosen, now);
  return chosen;
}

bool Selects(const json& selector) {
  return selector.is_object() && std::any_of(selector.begin(), selector.end(), [](const json& member) {
           return member.is_structured() && !member.empty();
         });
}

void ReadFilters(const json& spec, Members& of_spec, BackupSummary& backup) {
  const auto add = [&](const char* key, std::vector<std::string>& list) {
    std::vector<std::string> named = of_spec.TextList(key);
    list.insert(list.end(), std::make_move_iterator(named.begin()), std::make_move_iterator(named.end()));
  };
  add("includedResources", backup.included_resources);
  add("includedNamespaceScopedResources", backup.included_resources);
  add("excludedResources", backup.excluded_resources);
  add("excludedNamespaceScopedResources", backup.excluded_resources);
  add("includedClusterScopedResources", backup.included_cluster_resources);
  add("excludedClusterScopedResources", backup.excluded_cluster_resources);
  backup.include_cluster_resources = of_spec.Truth("includeClusterResources");
  const auto one = spec.find("labelSelector");
  const auto several = spec.find("orLabelSelectors");
  backup.by_labels = (one != spec.end() && Selects(*one)) || (several != spec.end() && several->is_array() &&
                                                              std::any_of(several->begin(), several->end(), Selects));
}

}  // namespace

absl::StatusOr<BackupSummary> ParseBackupSummary(std::string_view name, std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object()) {
    return absl::InvalidArgumentError("velero-backup.json isn't a JSON object");
  }
  const json* const metadata = ObjectAt(document, "metadata");
  const json* const spec = ObjectAt(document, "spec");
  const json* const status = ObjectAt(document, "status");
  if (metadata == nullptr || spec == nullptr || status == nullptr) {
    return absl::InvalidArgumentError("velero-backup.json isn't a Backup: metadata, spec or status is no object");
  }
  Members top(document);
  Members of_metadata(*metadata);
  Members of_spec(*spec);
  Members of_status(*status);
  if (top.Text("kind") != "Backup" || of_metadata.Text("name") != name) {
    return absl::InvalidArgumentError(fmt::format("velero-backup.json describes {} {}, not this backup",
                                                  Printable(top.Text("kind")), Printable(of_metadata.Text("name"))));
  }
  BackupSummary backup;
  backup.name = name;
  backup.phase = of_status.Text("phase");
  backup.started_at = of_status.Time("startTimestamp").value_or(absl::InfinitePast());
  backup.completed_at = of_status.Time("completionTimestamp");
  backup.expires_at = of_status.Time("expiration");
  backup.errors = of_status.Count("errors");
  backup.warnings = of_status.Count("warnings");
  backup.included_namespaces = of_spec.TextList("includedNamespaces");
  backup.excluded_namespaces = of_spec.TextList("excludedNamespaces");
  ReadFilters(*spec, of_spec, backup);
  if (const json* const progress = ObjectAt(*status, "progress"); progress != nullptr) {
    backup.items = Members(*progress).Count("itemsBackedUp");
  }
  for (const Members* members : {&of_spec, &of_status}) {
    if (members->complaint().empty()) continue;
    return absl::InvalidArgumentError(
        fmt::format("velero-backup.json: {} isn't what a Backup has there", members->complaint()));
  }
  return backup;
}

bool IncludesKind(const BackupSummary& backup, BackupKind kind) {
  const KindNames& names = NamesOf(kind);
  if (Names(backup.excluded_resources, names)) return false;
  if (kind == BackupKind::kVolume) {
    if (Names(backup.excluded_cluster_resources, names) || backup.include_cluster_resources == false) return false;
    if (Names(backup.included_cluster_resources, names)) return true;
    // Velero takes the volume of each claim along, unless the kinds are listed without it.
  }
  return backup.included_resources.empty() || Names(backup.included_resources, names);
}

bool IncludesNamespace(const BackupSummary& backup, const std::string& namespace_name) {
  if (MatchesAny(backup.excluded_namespaces, namespace_name)) return false;
  return backup.included_namespaces.empty() || MatchesAny(backup.included_namespaces, namespace_name);
}

absl::Status CheckUsable(const BackupSummary& backup, const BackupChoice& choice, absl::Time now) {
  const Objection objection = ObjectionTo(backup, choice, now);
  if (objection.reason.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("backup {} {}: {}", backup.name, objection.reason, objection.advice));
}

absl::StatusOr<BackupSummary> ChooseBackup(std::vector<BackupSummary> backups, const BackupChoice& choice,
                                           absl::Time now) {
  if (choice.name) return ChooseByName(backups, choice, now);
  if (backups.empty()) return absl::NotFoundError("there is no backup in the bucket: check oadp.s3.bucket and prefix");
  SortNewestFirst(backups);
  const auto chosen = std::find_if(backups.begin(), backups.end(), [&](const BackupSummary& backup) {
    return ObjectionTo(backup, choice, now).reason.empty();
  });
  const std::string passed_over = PassedOver({backups.begin(), chosen}, choice, now);
  if (chosen == backups.end()) {
    return absl::FailedPreconditionError(
        fmt::format("none of {} backups can be used: {}; name one with --backup", backups.size(), passed_over));
  }
  chosen->notes = NotesOf(*chosen, now);
  if (!passed_over.empty()) chosen->notes.push_back(fmt::format("newer ones can't be used: {}", passed_over));
  const auto unread = std::count_if(chosen, backups.end(), [](const BackupSummary& b) { return !b.problem.empty(); });
  if (unread > 0) {
    chosen->notes.push_back(fmt::format(
        "{} more can't be read, so whether they are newer isn't known: drctl failover backup list", unread));
  }
  return *chosen;
}

void SortNewestFirst(std::vector<BackupSummary>& backups) {
  std::sort(backups.begin(), backups.end(), [](const BackupSummary& a, const BackupSummary& b) {
    return std::pair(a.started_at, a.name) > std::pair(b.started_at, b.name);
  });
}

}  // namespace understudy::control
