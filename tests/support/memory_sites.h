// memory_sites.h: both sites of a failover in memory: control/failover/ports.h; and trouble on the way to them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/failover/ports.h"

namespace understudy::tests {

// Lets one call fail that changes something: before it had its effect, or after it, when only the answer is lost.
// Counts the calls. Thread-safe.
class Trouble {
 public:
  enum class When { kBefore, kAfter };
  // The call that fails, counted from 0; less than 0: none.
  void FailAt(int call, When when) {
    const absl::MutexLock lock(&mutex_);
    fails_at_ = call;
    when_ = when;
    calls_ = 0;
  }
  [[nodiscard]] int Calls() const {
    const absl::MutexLock lock(&mutex_);
    return calls_;
  }
  // Makes `effect` unless it fails before.
  template <class Effect>
  auto Pass(Effect effect) -> decltype(effect()) {
    bool fails = false;
    When when = When::kBefore;
    {
      const absl::MutexLock lock(&mutex_);
      fails = calls_++ == fails_at_;
      when = when_;
    }
    if (fails && when == When::kBefore) return absl::UnavailableError("the link is down");
    auto result = effect();
    if (fails) return absl::UnavailableError("the link went down");
    return result;
  }

 private:
  mutable absl::Mutex mutex_;
  int fails_at_ ABSL_GUARDED_BY(mutex_) = -1;
  When when_ ABSL_GUARDED_BY(mutex_) = When::kBefore;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One pair, "east", and others that are dead. Thread-safe.
class MemorySites : public control::SiteAgents {
 public:
  explicit MemorySites(Trouble& trouble) : trouble_(trouble) {}

  std::vector<std::string> Pairs() const override {
    const absl::MutexLock lock(&mutex_);
    std::vector<std::string> pairs = {"east"};
    pairs.insert(pairs.end(), dead_pairs_.begin(), dead_pairs_.end());
    return pairs;
  }

  absl::StatusOr<std::vector<control::SourceView>> Sources(const std::string& pair) override {
    const absl::MutexLock lock(&mutex_);
    if (pair != "east") return absl::UnavailableError("the primary of " + pair + " can't be reached");
    if (!primary_error_.ok()) return primary_error_;
    std::vector<control::SourceView> sources;
    for (const auto& [name, volume] : volumes_) sources.push_back(volume.source);
    return sources;
  }
  absl::Status SetSourceExport(const std::string&, const std::string& volume, model::ExportMode mode) override {
    return Change(volume, [mode](Volume& changed) {
      changed.source.exported = mode;
      changed.source.fenced = changed.has_server && mode != model::ExportMode::kReadWrite;
    });
  }
  absl::StatusOr<model::Sequence> Sync(const std::string&, const std::string& volume, absl::Duration,
                                       const std::function<void(const std::string&)>&, std::stop_token) override {
    return trouble_.Pass([&]() -> absl::StatusOr<model::Sequence> {
      const absl::MutexLock lock(&mutex_);
      Volume& synced = volumes_.at(volume);
      if (!sync_error_.ok()) return sync_error_;
      if (synced.source.paused) return absl::FailedPreconditionError("is paused");
      return synced.replica.sequence = ++synced.source.sequence;
    });
  }
  absl::Status Pause(const std::string&, const std::string& volume) override {
    return Change(volume, [](Volume& changed) { changed.source.paused = true; });
  }
  absl::Status Resume(const std::string&, const std::string& volume) override {
    return Change(volume, [](Volume& changed) { changed.source.paused = false; });
  }

  absl::StatusOr<std::vector<control::ReplicaView>> Replicas(const std::string& pair) override {
    const absl::MutexLock lock(&mutex_);
    if (pair != "east") return absl::UnavailableError("DR of " + pair + " can't be reached");
    std::vector<control::ReplicaView> replicas;
    for (const auto& [name, volume] : volumes_) replicas.push_back(volume.replica);
    return replicas;
  }
  absl::StatusOr<std::optional<absl::Time>> ConfirmedAt(const std::string&,
                                                        const control::ReplicaView& replica) override {
    const absl::MutexLock lock(&mutex_);
    return volumes_.at(replica.volume).confirmed_at;
  }
  absl::StatusOr<std::vector<model::CatalogEntry>> Catalog(const std::string&, model::ObjectKind kind) override {
    const absl::MutexLock lock(&mutex_);
    std::vector<model::CatalogEntry> entries;
    std::copy_if(catalog_.begin(), catalog_.end(), std::back_inserter(entries),
                 [&](const model::CatalogEntry& entry) { return entry.key.kind == kind; });
    return entries;
  }
  absl::StatusOr<control::Findings> Verify(const std::string&, const std::string& volume, model::VerifyDepth,
                                           const std::function<void(const model::VerifyCounts&)>&) override {
    const absl::MutexLock lock(&mutex_);
    control::Findings findings;
    findings.counts.differences = volumes_.at(volume).differences;
    findings.counts.unchecked = volumes_.at(volume).unchecked;
    if (findings.counts.differences > 0) findings.differences.push_back({"disk", model::DifferenceKind::kContent, ""});
    return findings;
  }
  absl::Status Rewind(const std::string&, const std::string& volume, model::Sequence sequence,
                      const std::function<void(const std::string&)>&) override {
    return Change(volume, [&](Volume& changed) {
      ++changed.rewinds;
      changed.replica.held = true;
      changed.replica.midst_of_capture = sequence != changed.replica.whole_sequence;
      changed.replica.captured_at = changed.whole_captured_at;
    });
  }
  absl::StatusOr<control::ReplicaView> Promote(const std::string&, const std::string& volume, const std::string&,
                                               bool allow_incomplete, const control::PromotionWatch&) override {
    return trouble_.Pass([&]() -> absl::StatusOr<control::ReplicaView> {
      const absl::MutexLock lock(&mutex_);
      Volume& promoted = volumes_.at(volume);
      if (promoted.replica.midst_of_capture && !allow_incomplete) {
        return absl::FailedPreconditionError("in the midst of a capture");
      }
      promoted.replica.state = model::VolumeState::kActive;
      promoted.replica.held = false;
      ++promoted.replica.epoch;
      ++promoted.promotions;
      return promoted.replica;
    });
  }
  absl::Status RunHooks(const std::string&, model::HookPhase phase, const std::string& volume, const std::string&,
                        const control::PromotionWatch& watch) override {
    return trouble_.Pass([&] {
      model::HookResult hook;
      {
        const absl::MutexLock lock(&mutex_);
        hooks_.emplace_back(phase, volume);
        if (const auto error = hook_errors_.find(phase); error != hook_errors_.end()) {
          if (!error->second.ok()) return error->second;
        }
        if (!has_hooks_) return absl::OkStatus();
      }
      hook.phase = phase;
      hook.name = "10-switch";
      watch.on_hook(hook);
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::vector<control::LiveView>> LiveVolumes(const std::string& pair) override {
    const absl::MutexLock lock(&mutex_);
    if (pair != "east") return absl::UnavailableError("the agents of " + pair + " can't be reached");
    if (!primary_error_.ok()) return primary_error_;
    std::vector<control::LiveView> live;
    for (const auto& [name, volume] : volumes_) {
      if (volume.replica.state != model::VolumeState::kActive) continue;
      live.push_back({.volume = name,
                      .at_primary = volume.at_home,
                      .epoch = volume.replica.epoch,
                      .root = volume.replica.root,
                      .turned = volume.turns > 0 || volume.at_home});
    }
    return live;
  }
  absl::Status Turn(const std::string&, const std::string& volume, const std::string&,
                    const control::PromotionWatch&) override {
    return Change(volume, [](Volume& turned) { ++turned.turns; });
  }
  absl::StatusOr<model::Sequence> SyncTurned(const std::string&, const std::string& volume, absl::Duration,
                                             const std::function<void(const std::string&)>&, std::stop_token) override {
    return trouble_.Pass([&]() -> absl::StatusOr<model::Sequence> {
      const absl::MutexLock lock(&mutex_);
      return ++volumes_.at(volume).replica.sequence;
    });
  }

  absl::StatusOr<model::Sequence> LabelNewest(const std::string&, const std::string& volume,
                                              const std::string& label) override {
    return trouble_.Pass([&]() -> absl::StatusOr<model::Sequence> {
      const absl::MutexLock lock(&mutex_);
      Volume& labelled = volumes_.at(volume);
      const model::Sequence newest = labelled.replica.sequence;
      const auto known = labelled.labels.find(newest);
      if (known != labelled.labels.end() && known->second.name != label) {
        return absl::AlreadyExistsError("its newest state is called " + known->second.name);
      }
      labelled.labels[newest] = {.name = label, .pinned = true};
      return newest;
    });
  }
  absl::StatusOr<model::RecoveryPoints> Points(const std::string&, const std::string& volume) override {
    const absl::MutexLock lock(&mutex_);
    const Volume& of = volumes_.at(volume);
    model::RecoveryPoints points;
    points.newest.sequence = of.replica.sequence;
    points.newest.completes_capture = true;
    for (const auto& [sequence, label] : of.labels) {
      model::RecoveryPoint point;
      point.sequence = sequence;
      point.completes_capture = true;
      point.label = label.name;
      point.pinned = label.pinned;
      if (sequence == of.replica.sequence) {
        points.newest = point;
      } else {
        points.points.push_back(point);
      }
    }
    return points;
  }
  absl::Status SetPinned(const std::string&, const std::string& volume, model::Sequence sequence,
                         const std::string& label, bool pinned) override {
    return Change(volume, [&](Volume& changed) { changed.labels[sequence] = {.name = label, .pinned = pinned}; });
  }
  absl::Status Unlabel(const std::string&, const std::string& volume, model::Sequence sequence) override {
    return Change(volume, [sequence](Volume& changed) { changed.labels.erase(sequence); });
  }
  absl::StatusOr<model::PointTree> Materialise(const std::string&, const control::TreeWish& wish,
                                               const std::function<void(const std::string&)>&) override {
    return trouble_.Pass([&]() -> absl::StatusOr<model::PointTree> {
      const absl::MutexLock lock(&mutex_);
      for (const model::PointTree& tree : trees_) {
        if (tree.path == wish.path) return absl::AlreadyExistsError(wish.path + " is there");
      }
      model::PointTree tree;
      tree.id = std::to_string(++tree_count_);
      tree.volume = wish.volume;
      tree.sequence = wish.sequence;
      tree.path = wish.path;
      tree.writable = true;
      tree.state = model::PointTreeState::kReady;
      trees_.push_back(tree);
      return tree;
    });
  }
  absl::StatusOr<std::vector<model::PointTree>> Trees(const std::string&) override {
    const absl::MutexLock lock(&mutex_);
    return trees_;
  }
  absl::Status RemoveTree(const std::string&, const std::string& id) override {
    return trouble_.Pass([&] {
      const absl::MutexLock lock(&mutex_);
      const bool removed = std::erase_if(trees_, [&](const model::PointTree& tree) { return tree.id == id; }) > 0;
      return removed ? absl::OkStatus() : absl::NotFoundError("no such tree");
    });
  }

  // What its primary says of it from now on.
  void SetSourceState(const std::string& volume, const std::string& state) {
    const absl::MutexLock lock(&mutex_);
    volumes_.at(volume).source.state = state;
  }
  // A pair of which neither agent answers.
  void AddDeadPair(const std::string& pair) {
    const absl::MutexLock lock(&mutex_);
    dead_pairs_.push_back(pair);
  }
  // A volume that its primary keeps up to date.
  void Add(const std::string& volume) {
    const absl::MutexLock lock(&mutex_);
    Volume& added = volumes_[volume];
    added.source = {.volume = volume, .state = "idle", .sequence = 3, .exported = model::ExportMode::kReadWrite};
    added.replica = {.volume = volume, .root = "/srv/b/" + volume, .epoch = 1, .sequence = 3, .complete = true};
  }
  void AddToCatalog(model::CatalogEntry entry) {
    const absl::MutexLock lock(&mutex_);
    catalog_.push_back(std::move(entry));
  }
  void ClearCatalog() {
    const absl::MutexLock lock(&mutex_);
    catalog_.clear();
  }
  void LosePrimary() {
    const absl::MutexLock lock(&mutex_);
    primary_error_ = absl::UnavailableError("the primary can't be reached");
  }
  void SetDifferences(const std::string& volume, uint64_t differences) {
    const absl::MutexLock lock(&mutex_);
    volumes_.at(volume).differences = differences;
  }
  void FailSync(const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    sync_error_ = error;
  }
  void SetUnchecked(const std::string& volume, uint64_t unchecked) {
    const absl::MutexLock lock(&mutex_);
    volumes_.at(volume).unchecked = unchecked;
  }
  // Its export has `backend: none`: no server is told to be read-only.
  void TakeServerAway(const std::string& volume) {
    const absl::MutexLock lock(&mutex_);
    volumes_.at(volume).has_server = false;
  }
  // Every phase has a hook, which goes well.
  void AddHooks() {
    const absl::MutexLock lock(&mutex_);
    has_hooks_ = true;
  }
  void OnHook(model::HookPhase phase, const absl::Status& result) {
    const absl::MutexLock lock(&mutex_);
    hook_errors_[phase] = result;
  }
  // How often the hooks of the phase were run for the volume.
  [[nodiscard]] size_t HookRuns(model::HookPhase phase, const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    return static_cast<size_t>(std::count(hooks_.begin(), hooks_.end(), std::pair(phase, volume)));
  }
  void Edit(const std::string& volume, const std::function<void(control::ReplicaView&)>& edit) {
    const absl::MutexLock lock(&mutex_);
    edit(volumes_.at(volume).replica);
  }
  [[nodiscard]] control::ReplicaView ReplicaOf(const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    return volumes_.at(volume).replica;
  }
  [[nodiscard]] control::SourceView SourceOf(const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    return volumes_.at(volume).source;
  }
  [[nodiscard]] int PromotionsOf(const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    return volumes_.at(volume).promotions;
  }
  // It came home in an earlier failback: its live copy is at the primary, and was replicated from there.
  void BringHome(const std::string& volume) {
    const absl::MutexLock lock(&mutex_);
    volumes_.at(volume).at_home = true;
    volumes_.at(volume).replica.state = model::VolumeState::kActive;
    volumes_.at(volume).source.state = "handed-over";
  }
  void ConfirmAt(const std::string& volume, absl::Time time) {
    const absl::MutexLock lock(&mutex_);
    volumes_.at(volume).confirmed_at = time;
  }
  // Somebody's label of the state that the replica shows.
  void AddLabel(const std::string& volume, const std::string& label, bool pinned) {
    const absl::MutexLock lock(&mutex_);
    Volume& of = volumes_.at(volume);
    of.labels[of.replica.sequence] = {.name = label, .pinned = pinned};
  }
  // "label" or "label pinned" of the newest state; empty: none.
  [[nodiscard]] std::string LabelOf(const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    const Volume& of = volumes_.at(volume);
    const auto found = of.labels.find(of.replica.sequence);
    if (found == of.labels.end()) return "";
    return found->second.name + (found->second.pinned ? " pinned" : "");
  }
  // DR has a part of its next capture; the newest whole one is that of `captured_at`, commit `whole` (0: it isn't
  // kept).
  void LeaveInMidstOfCapture(const std::string& volume, model::Sequence whole, absl::Time captured_at) {
    const absl::MutexLock lock(&mutex_);
    Volume& left = volumes_.at(volume);
    ++left.replica.sequence;
    left.replica.midst_of_capture = true;
    left.replica.whole_sequence = whole;
    left.whole_captured_at = captured_at;
  }
  [[nodiscard]] int RewindsOf(const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    return volumes_.at(volume).rewinds;
  }
  [[nodiscard]] size_t Labels() const {
    const absl::MutexLock lock(&mutex_);
    size_t count = 0;
    for (const auto& [name, volume] : volumes_) count += volume.labels.size();
    return count;
  }

 private:
  struct Volume {
    control::SourceView source;
    control::ReplicaView replica;
    struct Label {
      std::string name;
      bool pinned = false;
    };
    std::map<model::Sequence, Label> labels;
    std::optional<absl::Time> confirmed_at;
    uint64_t differences = 0;
    uint64_t unchecked = 0;
    bool has_server = true;
    int promotions = 0;
    int rewinds = 0;
    absl::Time whole_captured_at{};
    int turns = 0;
    bool at_home = false;
  };

  absl::Status Change(const std::string& volume, const std::function<void(Volume&)>& change) {
    return trouble_.Pass([&] {
      const absl::MutexLock lock(&mutex_);
      change(volumes_.at(volume));
      return absl::OkStatus();
    });
  }

  Trouble& trouble_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Volume> volumes_ ABSL_GUARDED_BY(mutex_);
  std::vector<model::CatalogEntry> catalog_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<model::HookPhase, std::string>> hooks_ ABSL_GUARDED_BY(mutex_);
  std::map<model::HookPhase, absl::Status> hook_errors_ ABSL_GUARDED_BY(mutex_);
  bool has_hooks_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<model::PointTree> trees_ ABSL_GUARDED_BY(mutex_);
  int tree_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> dead_pairs_ ABSL_GUARDED_BY(mutex_);
  absl::Status sync_error_ ABSL_GUARDED_BY(mutex_);
  absl::Status primary_error_ ABSL_GUARDED_BY(mutex_);
};

// Backups whose archive is a file that says its name. Thread-safe.
class MemoryBackups : public control::Backups {
 public:
  explicit MemoryBackups(Trouble& trouble) : trouble_(trouble) {}

  absl::StatusOr<control::BackupView> Fetch(const std::string& name, const std::vector<std::string>&,
                                            const std::filesystem::path& folder, std::stop_token) override {
    return trouble_.Pass([&]() -> absl::StatusOr<control::BackupView> {
      const absl::MutexLock lock(&mutex_);
      const std::string& chosen = name.empty() ? latest_ : name;
      if (!backups_.contains(chosen)) return absl::NotFoundError("there is no backup " + chosen);
      std::ofstream(folder / "archive") << chosen;
      return control::BackupView{.name = chosen, .phase = "Completed", .started_at = absl::Now(), .archive_bytes = 7};
    });
  }
  absl::StatusOr<control::BackupObjects> Read(const std::string& name, const std::vector<std::string>&,
                                              const std::filesystem::path& folder, std::stop_token) override {
    const absl::MutexLock lock(&mutex_);
    if (!std::filesystem::exists(folder / "archive")) return absl::NotFoundError("nothing was fetched");
    if (!read_error_.ok()) return read_error_;
    return backups_.at(name);
  }

  // The latest from now on.
  void Add(const std::string& name, control::BackupObjects objects) {
    const absl::MutexLock lock(&mutex_);
    backups_[name] = std::move(objects);
    latest_ = name;
  }
  void FailRead(const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    read_error_ = error;
  }

 private:
  Trouble& trouble_;
  absl::Mutex mutex_;
  std::map<std::string, control::BackupObjects> backups_ ABSL_GUARDED_BY(mutex_);
  std::string latest_ ABSL_GUARDED_BY(mutex_);
  absl::Status read_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
