#include "core/config/failover_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/base/log.h"

namespace understudy::config {
namespace {

constexpr uint64_t kMaxParallelism = 64;
constexpr size_t kMaxPlanNameBytes = 100;
constexpr size_t kMaxNamespaceBytes = 63;

// It stands in the name of a folder, of Kubernetes objects and of labels.
absl::Status CheckPlanName(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (plain && !text.empty() && text.size() <= kMaxPlanNameBytes && text.front() != '-' && text.back() != '-') {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}': write small letters, digits and dashes, as in web-shop", Printable(text)));
}

absl::Status CheckVolume(const std::string& text) {
  const size_t slash = text.find('/');
  const bool fits = slash != std::string::npos && slash > 0 && slash + 1 < text.size() &&
                    text.find('/', slash + 1) == std::string::npos;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}': write the pair and the volume, as in east/web", Printable(text)));
}

absl::Status CheckSuffix(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (plain && text.size() > 1 && text.front() == '-' && text.back() != '-' && text.size() < kMaxNamespaceBytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}': write what follows a namespace's name, as in -drtest", Printable(text)));
}

// What the plan is about once the configuration is loaded.
const std::vector<std::string>& NamespacesOf(const FailoverPlanConfig& plan, const FailoverSurroundings& surroundings) {
  return plan.namespaces.empty() && plan.volumes.empty() ? surroundings.namespaces : plan.namespaces;
}

bool Has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<Problem> FindRepetition(const std::vector<std::string>& names, const std::string& key) {
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second) return Problem{key, fmt::format("'{}' is listed twice", Printable(name))};
  }
  return std::nullopt;
}

std::optional<Problem> FindNamespaceProblem(const FailoverPlanConfig& plan, const std::string& key,
                                            const FailoverSurroundings& surroundings) {
  const std::vector<std::string>& namespaces = NamespacesOf(plan, surroundings);
  if (namespaces.empty()) {
    if (!plan.volumes.empty()) return std::nullopt;
    return Problem{key + ".namespaces", "the plan is about nothing: write namespaces, or volumes"};
  }
  if (auto problem = FindRepetition(plan.namespaces, key + ".namespaces")) return problem;
  if (!surroundings.has_dr_cluster) {
    return Problem{key + ".namespaces", "there is no `clusters.dr`: say where the namespaces go, or list only volumes"};
  }
  if (plan.restore == RestoreFrom::kVelero && !surroundings.has_oadp) {
    return Problem{key + ".restore", "there is no `oadp`: say where backups are, or write `nothing`"};
  }
  for (const std::string& name : namespaces) {
    if (name.size() + plan.test_namespace_suffix.size() <= kMaxNamespaceBytes) continue;
    return Problem{key + ".test_namespace_suffix",
                   fmt::format("'{}{}', where a rehearsal would run, is longer than {} characters", Printable(name),
                               plan.test_namespace_suffix, kMaxNamespaceBytes)};
  }
  return std::nullopt;
}

std::optional<Problem> FindVolumeProblem(const FailoverPlanConfig& plan, const std::string& key,
                                         const FailoverSurroundings& surroundings) {
  if (auto problem = FindRepetition(plan.volumes, key + ".volumes")) return problem;
  for (const std::string& volume : plan.volumes) {
    if (Has(surroundings.pairs, volume.substr(0, volume.find('/')))) continue;
    return Problem{key + ".volumes", fmt::format("'{}': there is no such pair in `pairs`", Printable(volume))};
  }
  return std::nullopt;
}

std::optional<Problem> FindPlanProblem(const FailoverPlanConfig& plan, const std::string& key,
                                       const FailoverSurroundings& surroundings) {
  if (auto problem = FindNamespaceProblem(plan, key, surroundings)) return problem;
  if (auto problem = FindVolumeProblem(plan, key, surroundings)) return problem;
  for (size_t i = 0; i < plan.boot.size(); ++i) {
    if (auto problem = FindBootGroupProblem(plan.boot[i], fmt::format("{}.boot[{}]", key, i))) return problem;
  }
  for (size_t i = 0; i < plan.probes.size(); ++i) {
    if (auto problem = FindProbeProblem(plan.probes[i], fmt::format("{}.probes[{}]", key, i))) return problem;
  }
  return std::nullopt;
}

// What two plans must not have in common. `first` is the number of the earlier one.
std::optional<Problem> FindClash(const FailoverPlanConfig& plan, const std::string& key,
                                 const FailoverPlanConfig& earlier, size_t first,
                                 const FailoverSurroundings& surroundings) {
  if (plan.name == earlier.name) {
    return Problem{key + ".name", fmt::format("'{}' is plans[{}], too: names must differ", plan.name, first)};
  }
  for (const std::string& name : NamespacesOf(plan, surroundings)) {
    if (!Has(NamespacesOf(earlier, surroundings), name)) continue;
    return Problem{key + ".namespaces",
                   fmt::format("'{}' goes over with plans[{}] ({}) already", Printable(name), first, earlier.name)};
  }
  for (const std::string& volume : plan.volumes) {
    if (!Has(earlier.volumes, volume)) continue;
    return Problem{key + ".volumes",
                   fmt::format("'{}' goes over with plans[{}] ({}) already", Printable(volume), first, earlier.name)};
  }
  return std::nullopt;
}

}  // namespace

void FailoverTimeouts::Describe(Visitor& v) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 7);
  v.Duration({.key = "stop_vms", .doc = "until a virtual machine has shut down"}, stop_vms, absl::Seconds(1), kLongest);
  v.Duration({.key = "final_sync", .doc = "until a volume's last changes are at DR"}, final_sync, absl::Seconds(1),
             kLongest);
  v.Duration({.key = "bind", .doc = "until a claim is bound at DR"}, bind, absl::Seconds(1), kLongest);
  v.Duration({.key = "backup", .doc = "until the DR cluster knows the backup"}, backup, absl::Seconds(1), kLongest);
  v.Duration({.key = "restore", .doc = "until Velero has restored"}, restore, absl::Seconds(1), kLongest);
  v.Duration({.key = "boot", .doc = "until a machine that is in no group of `boot` is well"}, boot, absl::Seconds(1),
             kLongest);
}

void FailoverPlanConfig::Describe(Visitor& v) {
  v.Text({.key = "name", .doc = "the plan's name, unique here", .required = true}, name, CheckPlanName);
  v.TextList({.key = "namespaces",
              .doc = "whose virtual machines and claims go over; each in one plan only",
              .default_text = "`namespaces` of the configuration, unless the plan has `volumes`"},
             namespaces, CheckNotEmpty);
  v.TextList({.key = "volumes",
              .doc = "volumes that go over besides, as `pair/volume`: those without Kubernetes; each in one plan only"},
             volumes, CheckVolume);
  v.Choice({.key = "verify", .doc = "how deep each replica is verified before a planned failover promotes any"},
           verify);
  v.Choice({.key = "verify_unplanned",
            .doc = "the same when the primary is gone; `kept` reads everything at DR, which takes time"},
           verify_unplanned);
  v.Choice({.key = "unknown_storage", .doc = "what to do when a claim's data isn't on a volume of any pair"},
           unknown_storage);
  v.Choice({.key = "restore",
            .doc = "from what the namespaces' other objects are restored; `nothing`: they are at DR already"},
           restore);
  v.Duration({.key = "warn_backup_age", .doc = "a backup that is older is used with a warning"}, warn_backup_age,
             absl::Minutes(1), absl::Hours(24 * 365));
  v.TextList({.key = "excluded_resources",
              .doc = "resources that aren't restored, besides claims, volumes and snapshots, as Velero writes them"},
             excluded_resources, CheckNotEmpty);
  v.Choice({.key = "existing_at_dr", .doc = "what a restore does with objects that are at DR already"}, existing_at_dr);
  v.List({.key = "boot", .doc = "groups of virtual machines, in the order in which they are started"}, boot);
  v.Choice({.key = "on_broken_vm", .doc = "whether the next group is started when a machine doesn't get well"},
           on_broken_vm);
  v.List({.key = "probes", .doc = "looks inside the machines once they run"}, probes);
  v.Text({.key = "test_namespace_suffix",
          .doc = "what a rehearsal adds to the names of the namespaces; together at most 63 characters"},
         test_namespace_suffix, CheckSuffix);
  v.TextList({.key = "test_excluded_resources",
              .doc = "resources that a rehearsal doesn't restore, besides `excluded_resources`: what would meet "
                     "production's, such as Services and Routes"},
             test_excluded_resources, CheckNotEmpty);
  v.Section({.key = "timeouts", .doc = "how long steps wait"}, timeouts);
}

void FailoverConfig::Describe(Visitor& v) {
  v.Count({.key = "parallelism", .doc = "how many volumes or machines a step works on at a time"}, parallelism, 1,
          kMaxParallelism);
  v.List({.key = "plans", .doc = "the failover plans"}, plans);
}

std::optional<Problem> FindFailoverProblem(const FailoverConfig& failover, const FailoverSurroundings& surroundings) {
  for (size_t i = 0; i < failover.plans.size(); ++i) {
    const std::string key = fmt::format("failover.plans[{}]", i);
    for (size_t j = 0; j < i; ++j) {
      if (auto clash = FindClash(failover.plans[i], key, failover.plans[j], j, surroundings)) return clash;
    }
    if (auto problem = FindPlanProblem(failover.plans[i], key, surroundings)) return problem;
  }
  return std::nullopt;
}

}  // namespace understudy::config
