// memory_machines.h: the virtual machines of a cluster in memory: control/vm/virtual_machines.h.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/vm/virtual_machines.h"

namespace understudy::tests {

// Machines start and stop at once, unless a test says otherwise. Thread-safe.
class MemoryMachines : public control::VirtualMachines {
 public:
  using Key = control::VmKey;

  absl::StatusOr<std::vector<control::VmStatus>> List(const std::string& namespace_name, std::stop_token) override {
    const absl::MutexLock lock(&mutex_);
    ++lists_;
    if (on_list_) on_list_();
    if (!list_error_.ok()) return list_error_;
    std::vector<control::VmStatus> found;
    for (auto& [key, machine] : machines_) {
      if (!namespace_name.empty() && key.namespace_name != namespace_name) continue;
      Step(machine);
      found.push_back(machine.status);
    }
    return found;
  }
  absl::StatusOr<std::vector<Key>> ListStrays(const std::string& namespace_name, std::stop_token) override {
    const absl::MutexLock lock(&mutex_);
    if (!list_error_.ok()) return list_error_;
    std::vector<Key> found;
    for (const Key& key : strays_) {
      if (namespace_name.empty() || key.namespace_name == namespace_name) found.push_back(key);
    }
    return found;
  }
  absl::StatusOr<control::VmStatus> Get(const Key& key) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = machines_.find(key);
    if (found == machines_.end()) return absl::NotFoundError(control::ToString(key) + " not found");
    Step(found->second);
    return found->second.status;
  }
  absl::StatusOr<control::StopRecord> Stop(const Key& key) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = machines_.find(key);
    if (found == machines_.end()) return absl::NotFoundError(control::ToString(key) + " not found");
    Machine& machine = found->second;
    if (!machine.stop_error.ok()) return machine.stop_error;
    control::StopRecord record = control::RecordOf(machine.status);
    if (!machine.status.wants_running) return record;
    stopped_.push_back(key);
    machine.status.run_strategy = control::kRunHalted;
    machine.status.wants_running = false;
    machine.looks = machine.stops_after;
    record.via = control::StopRecord::Via::kSubresource;
    return record;
  }
  absl::Status Start(const Key& key, const std::string& run_strategy) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = machines_.find(key);
    if (found == machines_.end()) return absl::NotFoundError(control::ToString(key) + " not found");
    Machine& machine = found->second;
    if (machine.failing_starts != 0) {
      if (machine.failing_starts > 0) --machine.failing_starts;
      return machine.start_error;
    }
    if (run_strategy == control::kRunHalted || machine.status.wants_running) return absl::OkStatus();
    started_.push_back(key);
    machine.status.run_strategy = run_strategy.empty() ? control::kRunAlways : run_strategy;
    machine.status.wants_running = true;
    machine.status.printable_status = "Starting";
    machine.looks = machine.starts_after;
    return absl::OkStatus();
  }
  absl::StatusOr<control::GuestOs> GuestInfo(const Key& key) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = guests_.find(key);
    if (found == guests_.end()) return absl::UnimplementedError("guestosinfo isn't served");
    return found->second;
  }

  // A machine that is stopped, or runs and is well.
  void Add(const Key& key, const std::string& run_strategy = control::kRunHalted) {
    const absl::MutexLock lock(&mutex_);
    Machine& machine = machines_[key];
    machine.status.key = key;
    machine.status.run_strategy = run_strategy;
    machine.status.printable_status = "Stopped";
    machine.status.wants_running = run_strategy != control::kRunHalted;
    Step(machine);
  }
  // It is off, with the strategy that it has.
  void Rest(const Key& key) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).status.wants_running = false;
    Step(machines_.at(key));
  }
  // Runs without a VirtualMachine.
  void AddStray(const Key& key) {
    const absl::MutexLock lock(&mutex_);
    strays_.push_back(key);
  }
  void Remove(const Key& key) {
    const absl::MutexLock lock(&mutex_);
    machines_.erase(key);
  }
  // How many looks a start or a stop takes; less than 0: for ever.
  void SetPace(const Key& key, int starts_after, int stops_after) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).starts_after = starts_after;
    machines_.at(key).stops_after = stops_after;
  }
  // It gets `printable_status` instead of running, from its next start on.
  void Break(const Key& key, const std::string& printable_status) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).broken = printable_status;
  }
  // For ever when `times` is less than 0.
  void FailStart(const Key& key, const absl::Status& error, int times = -1) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).start_error = error;
    machines_.at(key).failing_starts = times;
  }
  void FailStop(const Key& key, const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).stop_error = error;
  }
  void FailList(const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    list_error_ = error;
  }
  void SetAgent(const Key& key, bool connects) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).has_agent = connects;
    machines_.at(key).status.agent_connected = connects && machines_.at(key).status.has_instance;
  }
  void SetGuest(const Key& key, const control::GuestOs& guest) {
    const absl::MutexLock lock(&mutex_);
    guests_[key] = guest;
  }
  void SetAddress(const Key& key, const std::string& address) {
    const absl::MutexLock lock(&mutex_);
    machines_.at(key).address = address;
    Step(machines_.at(key));
  }
  // Called at each List, so that a test can move its clock.
  void OnList(std::function<void()> on_list) {
    const absl::MutexLock lock(&mutex_);
    on_list_ = std::move(on_list);
  }

  // In the order of the calls.
  [[nodiscard]] std::vector<Key> Started() const {
    const absl::MutexLock lock(&mutex_);
    return started_;
  }
  [[nodiscard]] std::vector<Key> Stopped() const {
    const absl::MutexLock lock(&mutex_);
    return stopped_;
  }
  [[nodiscard]] int Lists() const {
    const absl::MutexLock lock(&mutex_);
    return lists_;
  }

 private:
  struct Machine {
    control::VmStatus status;
    std::string address = "192.0.2.1";
    std::string broken;
    bool has_agent = false;
    int starts_after = 0;
    int stops_after = 0;
    int failing_starts = 0;
    int looks = 0;  // until it is as wanted
    absl::Status start_error;
    absl::Status stop_error;
  };

  // One look later.
  static void Step(Machine& machine) {
    control::VmStatus& status = machine.status;
    if (machine.looks != 0) {
      if (machine.looks > 0) --machine.looks;
      return;
    }
    const bool runs = status.wants_running && machine.broken.empty();
    status.has_instance = runs;
    status.ready = runs;
    status.instance_phase = runs ? "Running" : "";
    status.agent_connected = runs && machine.has_agent;
    status.ip_addresses.clear();
    if (runs && !machine.address.empty()) status.ip_addresses.push_back(machine.address);
    if (!status.wants_running) {
      status.printable_status = "Stopped";
    } else {
      status.printable_status = runs ? "Running" : machine.broken;
    }
  }

  mutable absl::Mutex mutex_;
  std::map<Key, Machine> machines_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, control::GuestOs> guests_ ABSL_GUARDED_BY(mutex_);
  std::vector<Key> strays_ ABSL_GUARDED_BY(mutex_);
  std::vector<Key> started_ ABSL_GUARDED_BY(mutex_);
  std::vector<Key> stopped_ ABSL_GUARDED_BY(mutex_);
  absl::Status list_error_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_list_ ABSL_GUARDED_BY(mutex_);
  int lists_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace understudy::tests
