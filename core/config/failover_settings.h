// failover_settings.h: the failover plans: what goes over together, in which order it is started, and how it is probed.
#pragma once

#include <string>
#include <vector>

#include "core/config/failover_vm_settings.h"
#include "core/config/visitor.h"

namespace understudy::config {

enum class PlannedVerify { kExists, kMetadata, kDigests, kKept };
template <>
struct ChoiceNames<PlannedVerify> {
  static constexpr std::array<std::string_view, 4> kNames = {"exists", "metadata", "digests", "kept"};
};

// What needs no primary.
enum class UnplannedVerify { kExists, kKept };
template <>
struct ChoiceNames<UnplannedVerify> {
  static constexpr std::array<std::string_view, 2> kNames = {"exists", "kept"};
};

enum class UnknownStorage { kStop, kPass };
template <>
struct ChoiceNames<UnknownStorage> {
  static constexpr std::array<std::string_view, 2> kNames = {"stop", "pass"};
};

enum class RestoreFrom { kVelero, kNothing };
template <>
struct ChoiceNames<RestoreFrom> {
  static constexpr std::array<std::string_view, 2> kNames = {"velero", "nothing"};
};

enum class ExistingAtDr { kKeep, kUpdate };
template <>
struct ChoiceNames<ExistingAtDr> {
  static constexpr std::array<std::string_view, 2> kNames = {"keep", "update"};
};

enum class OnBrokenVm { kContinue, kStop };
template <>
struct ChoiceNames<OnBrokenVm> {
  static constexpr std::array<std::string_view, 2> kNames = {"continue", "stop"};
};

// How long a step waits for one volume, machine or object before it fails; the run can be resumed then.
struct FailoverTimeouts {
  absl::Duration stop_vms = absl::Minutes(10);
  absl::Duration final_sync = absl::Hours(1);
  absl::Duration bind = absl::Minutes(5);
  absl::Duration backup = absl::Minutes(10);
  absl::Duration restore = absl::Hours(1);
  absl::Duration boot = absl::Minutes(10);
  void Describe(Visitor& v);
};

struct FailoverPlanConfig {
  std::string name;
  std::vector<std::string> namespaces;  // empty once loaded: the plan has only `volumes`
  std::vector<std::string> volumes;     // "pair/volume"
  PlannedVerify verify = PlannedVerify::kMetadata;
  UnplannedVerify verify_unplanned = UnplannedVerify::kExists;
  UnknownStorage unknown_storage = UnknownStorage::kStop;
  RestoreFrom restore = RestoreFrom::kVelero;
  absl::Duration warn_backup_age = absl::Hours(24);
  std::vector<std::string> excluded_resources;
  ExistingAtDr existing_at_dr = ExistingAtDr::kKeep;
  std::vector<BootGroupConfig> boot;
  OnBrokenVm on_broken_vm = OnBrokenVm::kContinue;
  std::vector<ProbeConfig> probes;
  std::string test_namespace_suffix = "-drtest";
  std::vector<std::string> test_excluded_resources;
  FailoverTimeouts timeouts;
  void Describe(Visitor& v);
};

struct FailoverConfig {
  uint64_t parallelism = 8;
  std::vector<FailoverPlanConfig> plans;
  void Describe(Visitor& v);
};

// What the rest of the configuration has that plans go by.
struct FailoverSurroundings {
  std::vector<std::string> namespaces{};  // of all plans that list neither namespaces nor volumes
  std::vector<std::string> pairs{};       // their names
  bool has_oadp = false;                  // it is said where backups are
  bool has_dr_cluster = false;
};

// Pure. Keys are full ones ("failover.plans[0].volumes"). Two plans have no namespace and no volume in common: each has
// its own lease, so that both could bring the same thing over at once.
[[nodiscard]] std::optional<Problem> FindFailoverProblem(const FailoverConfig& failover,
                                                         const FailoverSurroundings& surroundings);

}  // namespace understudy::config
