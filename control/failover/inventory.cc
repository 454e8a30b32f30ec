#include "control/failover/inventory.h"

#include <fmt/format.h>

#include <set>

#include "control/vm/virtual_machines.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

RunVolume VolumeOfKey(std::string_view key) {
  const auto [pair, volume] = SplitKey(key);
  return {.pair = pair, .volume = volume};
}

bool RunMachine::IsToRun() const {
  return was_running && run_strategy != kRunHalted;
}

Json ToJson(const Inventory& inventory) {
  Json volumes = Json::array();
  for (const RunVolume& volume : inventory.volumes) {
    volumes.push_back({{"pair", volume.pair},
                       {"volume", volume.volume},
                       {"replica_path", volume.replica_path},
                       {"persistent_volume", volume.persistent_volume},
                       {"claim", volume.claim},
                       {"storage_class", volume.storage_class}});
  }
  Json other = Json::array();
  for (const OtherStorage& storage : inventory.other) {
    other.push_back({{"persistent_volume", storage.persistent_volume},
                     {"claim", storage.claim},
                     {"storage_class", storage.storage_class},
                     {"why", storage.why}});
  }
  Json machines = Json::array();
  for (const RunMachine& machine : inventory.machines) {
    machines.push_back({{"namespace", machine.namespace_name},
                        {"name", machine.name},
                        {"run_strategy", machine.run_strategy},
                        {"at_source", machine.at_source},
                        {"was_running", machine.was_running}});
  }
  return {{"volumes", std::move(volumes)}, {"unknown_storage", std::move(other)}, {"machines", std::move(machines)}};
}

absl::StatusOr<Inventory> ParseInventory(const Json& document) {
  Inventory inventory;
  try {
    for (const Json& volume : document.at("volumes")) {
      inventory.volumes.push_back({.pair = volume.at("pair"),
                                   .volume = volume.at("volume"),
                                   .replica_path = volume.at("replica_path"),
                                   .persistent_volume = volume.at("persistent_volume"),
                                   .claim = volume.at("claim"),
                                   .storage_class = volume.at("storage_class")});
    }
    for (const Json& storage : document.at("unknown_storage")) {
      inventory.other.push_back({.persistent_volume = storage.at("persistent_volume"),
                                 .claim = storage.at("claim"),
                                 .storage_class = storage.at("storage_class"),
                                 .why = storage.at("why")});
    }
    for (const Json& machine : document.at("machines")) {
      inventory.machines.push_back({.namespace_name = machine.at("namespace"),
                                    .name = machine.at("name"),
                                    .run_strategy = machine.at("run_strategy"),
                                    .at_source = machine.at("at_source"),
                                    .was_running = machine.at("was_running")});
    }
  } catch (const nlohmann::json::exception& unfit) {
    return absl::InvalidArgumentError(
        fmt::format("what the run recorded of its volumes can't be read: {}", unfit.what()));
  }
  return inventory;
}

std::vector<std::string> PairsOf(const Inventory& inventory) {
  std::set<std::string> pairs;
  for (const RunVolume& volume : inventory.volumes) pairs.insert(volume.pair);
  return {pairs.begin(), pairs.end()};
}

absl::StatusOr<Inventory> InventoryOf(const RunRecord& run) {
  const StepRecord* const step = run.Find(kInventoryStep);
  const ItemRecord* const item = step == nullptr ? nullptr : step->Find("");
  if (item == nullptr || !HasEnded(item->state)) {
    return absl::FailedPreconditionError(fmt::format("step {} hasn't been made yet", kInventoryStep));
  }
  return ParseInventory(item->facts);
}

}  // namespace understudy::control
