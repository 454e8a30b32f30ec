// inventory.h: what a run is about: its volumes, and the claims, virtual machines and other storage that its namespaces
// have. Found once by the step of that name, kept as its facts, and read by the steps after it. Values; pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/runs/run.h"
#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

inline constexpr char kInventoryStep[] = "inventory";

struct RunVolume {
  std::string pair{};
  std::string volume{};
  std::string replica_path{};       // absolute, at DR; printable text
  std::string persistent_volume{};  // empty: it was listed by hand
  std::string claim{};              // "namespace/name"; empty: none
  std::string storage_class{};

  // "pair/volume": its key in the steps.
  [[nodiscard]] std::string Key() const { return pair + "/" + volume; }
};
// Of a volume that only its key is known of.
[[nodiscard]] RunVolume VolumeOfKey(std::string_view key);

// A PersistentVolume of the run's namespaces that no pair replicates.
struct OtherStorage {
  std::string persistent_volume{};
  std::string claim{};
  std::string storage_class{};
  std::string why{};
};

struct RunMachine {
  std::string namespace_name{};
  std::string name{};
  std::string run_strategy{};  // with which it is to run; Halted: it stays stopped
  bool at_source = false;      // the cluster that goes down has it
  bool was_running = true;     // false: it was off on purpose, and stays off

  [[nodiscard]] std::string Key() const { return namespace_name + "/" + name; }
  // Whether the run starts it.
  [[nodiscard]] bool IsToRun() const;
};

struct Inventory {
  std::vector<RunVolume> volumes{};    // by pair and name; one that several claims are on is there for each
  std::vector<OtherStorage> other{};   // by name
  std::vector<RunMachine> machines{};  // by namespace and name
};

[[nodiscard]] nlohmann::ordered_json ToJson(const Inventory& inventory);
// INVALID_ARGUMENT: not such a document.
[[nodiscard]] absl::StatusOr<Inventory> ParseInventory(const nlohmann::ordered_json& document);

// The pairs that hold the volumes, ascending.
[[nodiscard]] std::vector<std::string> PairsOf(const Inventory& inventory);

// What the step of that name left. FAILED_PRECONDITION: it hasn't been made yet.
[[nodiscard]] absl::StatusOr<Inventory> InventoryOf(const RunRecord& run);

}  // namespace understudy::control
