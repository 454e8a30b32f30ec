// memory_sync.h: the clusters and agents of a run of the scheduled sync in memory: control/sync/ports.h and the
// applier.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/apply/applier.h"
#include "control/sync/ports.h"
#include "tests/support/memory_archives.h"
#include "tests/support/memory_catalog.h"

namespace understudy::tests {

// One cluster: read by the run, and applied to. Thread-safe.
class MemoryCluster : public control::ClusterReader, public control::ObjectApplier {
 public:
  absl::StatusOr<std::vector<nlohmann::json>> List(model::ObjectKind kind, const std::string& namespace_name,
                                                   std::stop_token) const override {
    const absl::MutexLock lock(&mutex_);
    const auto failing = list_errors_.find({kind, namespace_name});
    if (failing != list_errors_.end()) return failing->second;
    std::vector<nlohmann::json> items;
    for (const auto& [key, object] : objects_) {
      const bool fits = key.kind == kind && (namespace_name.empty() || key.namespace_name == namespace_name);
      if (fits && !hidden_.contains(key)) items.push_back(object);
    }
    return items;
  }
  absl::StatusOr<nlohmann::json> Get(const model::ObjectKey& key) const override {
    const absl::MutexLock lock(&mutex_);
    if (!get_error_.ok()) return get_error_;
    const auto found = objects_.find(key);
    if (found == objects_.end()) return absl::NotFoundError(ToString(key) + " not found");
    return found->second;
  }
  absl::Status Apply(const nlohmann::json& manifest) override {
    const absl::MutexLock lock(&mutex_);
    const nlohmann::json& metadata = manifest.at("metadata");
    const auto kind = model::ParseObjectKind(manifest.at("kind").get<std::string>());
    const model::ObjectKey key{*kind, metadata.value("namespace", ""), metadata.at("name")};
    if (const auto refused = apply_errors_.find(key); refused != apply_errors_.end()) return refused->second;
    objects_[key] = manifest;
    applied_.push_back(key);
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Uid() const override {
    const absl::MutexLock lock(&mutex_);
    return uid_;
  }
  absl::StatusOr<control::DeleteOutcome> Delete(const model::ObjectKey& key, const std::string&) override {
    const absl::MutexLock lock(&mutex_);
    if (const auto refused = delete_errors_.find(key); refused != delete_errors_.end()) return refused->second;
    if (objects_.erase(key) == 0) return control::DeleteOutcome::kAbsent;
    deleted_.push_back(key);
    return control::DeleteOutcome::kDeleted;
  }

  void Put(const model::ObjectKey& key, nlohmann::json object) {
    const absl::MutexLock lock(&mutex_);
    object["kind"] = std::string(model::ToString(key.kind));
    object["metadata"]["name"] = key.name;
    if (!key.namespace_name.empty()) object["metadata"]["namespace"] = key.namespace_name;
    objects_[key] = std::move(object);
  }
  void Remove(const model::ObjectKey& key) {
    const absl::MutexLock lock(&mutex_);
    objects_.erase(key);
  }
  // Lists don't have it, as through a broken proxy.
  void Hide(const model::ObjectKey& key) {
    const absl::MutexLock lock(&mutex_);
    hidden_.insert(key);
  }
  void FailList(model::ObjectKind kind, const std::string& namespace_name, const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    list_errors_[{kind, namespace_name}] = error;
  }
  void FailGet(const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    get_error_ = error;
  }
  void FailApply(const model::ObjectKey& key, const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    apply_errors_[key] = error;
  }
  // OK ends the trouble.
  void FailDelete(const model::ObjectKey& key, const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    delete_errors_.erase(key);
    if (!error.ok()) delete_errors_[key] = error;
  }
  void SetUid(const absl::StatusOr<std::string>& uid) {
    const absl::MutexLock lock(&mutex_);
    uid_ = uid;
  }
  [[nodiscard]] bool Has(const model::ObjectKey& key) const { return Get(key).ok(); }
  [[nodiscard]] std::vector<model::ObjectKey> Applied() const {
    const absl::MutexLock lock(&mutex_);
    return applied_;
  }
  [[nodiscard]] std::vector<model::ObjectKey> Deleted() const {
    const absl::MutexLock lock(&mutex_);
    return deleted_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::map<model::ObjectKey, nlohmann::json> objects_ ABSL_GUARDED_BY(mutex_);
  std::set<model::ObjectKey> hidden_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<model::ObjectKind, std::string>, absl::Status> list_errors_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, absl::Status> apply_errors_ ABSL_GUARDED_BY(mutex_);
  std::map<model::ObjectKey, absl::Status> delete_errors_ ABSL_GUARDED_BY(mutex_);
  absl::StatusOr<std::string> uid_ ABSL_GUARDED_BY(mutex_) = std::string("cluster-1");
  absl::Status get_error_ ABSL_GUARDED_BY(mutex_);
  std::vector<model::ObjectKey> applied_ ABSL_GUARDED_BY(mutex_);
  std::vector<model::ObjectKey> deleted_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe.
class MemoryOwed : public control::OwedReleases {
 public:
  absl::StatusOr<std::vector<control::OwedRelease>> Owed() override {
    const absl::MutexLock lock(&mutex_);
    std::vector<control::OwedRelease> owed;
    for (const auto& [place, release] : owed_) owed.push_back(release);
    return owed;
  }
  absl::Status Owe(const control::OwedRelease& release) override {
    const absl::MutexLock lock(&mutex_);
    owed_[{release.pair, release.volume}] = release;
    return absl::OkStatus();
  }
  absl::Status Settle(const control::OwedRelease& release) override {
    const absl::MutexLock lock(&mutex_);
    owed_.erase({release.pair, release.volume});
    return absl::OkStatus();
  }

 private:
  absl::Mutex mutex_;
  std::map<std::pair<std::string, std::string>, control::OwedRelease> owed_ ABSL_GUARDED_BY(mutex_);
};

// The agents of a pair whose NFS host is "nfs1": /export/x there is /replica/x at DR. Thread-safe.
class MemoryPair : public control::PairAgents {
 public:
  explicit MemoryPair(std::string name = "east", std::vector<std::string> server_names = {"nfs1"})
      : name_(std::move(name)), server_names_(std::move(server_names)) {}

  const std::string& name() const override { return name_; }
  const std::vector<std::string>& server_names() const override { return server_names_; }
  const std::string& dr_server() const override { return dr_server_; }

  absl::StatusOr<std::optional<control::ProtectedVolume>> Find(const std::string& volume) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = volumes_.find(volume);
    if (found == volumes_.end()) return std::nullopt;
    return found->second;
  }
  absl::StatusOr<control::ProtectedVolume> Protect(const std::string& volume, const kube::NfsSource& source) override {
    const absl::MutexLock lock(&mutex_);
    if (source.server != "nfs1") return absl::NotFoundError("not on this host");
    if (lost_.contains(volume)) return absl::NotFoundError(source.path + ": no such folder");
    const control::ProtectedVolume wanted{"/replica" + source.path.substr(7), 0};
    const auto [found, is_new] = volumes_.try_emplace(volume, wanted);
    if (found->second.replica_path == wanted.replica_path) return found->second;
    return absl::AlreadyExistsError(volume + " stands for another place");
  }
  absl::StatusOr<control::ProtectedVolume> Sync(const std::string& volume, absl::Duration,
                                                std::stop_token stop) override {
    const std::stop_callback wake(stop, [this] {
      const absl::MutexLock lock(&mutex_);
      released_ = true;
    });
    const absl::MutexLock lock(&mutex_);
    ++under_way_;
    most_under_way_ = std::max(most_under_way_, under_way_);
    mutex_.Await(absl::Condition(&released_));
    --under_way_;
    synced_.insert(volume);
    if (on_sync_) on_sync_(volume);
    if (const auto failing = sync_errors_.find(volume); failing != sync_errors_.end()) return failing->second;
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    control::ProtectedVolume& known = volumes_.at(volume);
    if (dirty_.erase(volume) > 0 || known.sequence == 0) ++known.sequence;
    return known;
  }
  absl::Status Release(const std::string& volume, const kube::NfsSource&) override {
    const absl::MutexLock lock(&mutex_);
    if (!release_error_.ok()) return release_error_;
    volumes_.erase(volume);
    trashed_.insert(volume);
    return absl::OkStatus();
  }
  absl::StatusOr<control::LiveCopies> LiveAtDr() override {
    const absl::MutexLock lock(&mutex_);
    if (!live_.ok()) return live_.status();
    control::LiveCopies copies{.states = *live_, .standby = {}, .others = others_};
    for (const auto& [volume, known] : volumes_) {
      if (!live_->contains(volume)) copies.standby.insert(volume);
    }
    return copies;
  }
  absl::StatusOr<std::set<std::string>> Carried() override {
    const absl::MutexLock lock(&mutex_);
    return carried_;
  }
  model::CatalogWriter& catalog() override { return catalog_; }
  control::SnapshotCheck& snapshots() override { return archives_; }

  [[nodiscard]] MemoryCatalog& memory_catalog() { return catalog_; }
  void FailSync(const std::string& volume, const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    sync_errors_[volume] = error;
  }
  // The volumes whose live copy is DR's, with their states; or why that can't be told. The catalog isn't told.
  void SetLive(absl::StatusOr<std::map<std::string, std::string>> live) {
    const absl::MutexLock lock(&mutex_);
    live_ = std::move(live);
  }
  // Why it isn't known where those live of which DR has no replica. It is, in the beginning.
  void SetOthers(const absl::Status& others) {
    const absl::MutexLock lock(&mutex_);
    others_ = others;
  }
  // In a run to the primary: the volumes that go there, or why that isn't known. None in the beginning.
  void SetCarried(absl::StatusOr<std::set<std::string>> carried) {
    const absl::MutexLock lock(&mutex_);
    carried_ = std::move(carried);
  }
  // The volume's folder isn't there.
  void LoseFolder(const std::string& volume) {
    const absl::MutexLock lock(&mutex_);
    lost_.insert(volume);
  }
  // The archive of a VolumeSnapshotContent is at DR, or it isn't (any more). None is in the beginning.
  void SetArchive(const std::string& content, bool at_dr) { archives_.Set(content, at_dr); }
  void FailRelease(const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    release_error_ = error;
  }
  // Something was written to it since its last sync.
  void Write(const std::string& volume) {
    const absl::MutexLock lock(&mutex_);
    dirty_.insert(volume);
  }
  // Called in the midst of a sync.
  void OnSync(std::function<void(const std::string&)> on_sync) {
    const absl::MutexLock lock(&mutex_);
    on_sync_ = std::move(on_sync);
  }
  // Syncs wait from now on, until they are let go.
  void Hold() {
    const absl::MutexLock lock(&mutex_);
    released_ = false;
  }
  void LetGo() {
    const absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  [[nodiscard]] int UnderWay() const {
    const absl::MutexLock lock(&mutex_);
    return under_way_;
  }
  [[nodiscard]] int MostUnderWay() const {
    const absl::MutexLock lock(&mutex_);
    return most_under_way_;
  }
  [[nodiscard]] std::set<std::string> Synced() const {
    const absl::MutexLock lock(&mutex_);
    return synced_;
  }
  [[nodiscard]] std::set<std::string> Trashed() const {
    const absl::MutexLock lock(&mutex_);
    return trashed_;
  }
  [[nodiscard]] bool Protects(const std::string& volume) const {
    const absl::MutexLock lock(&mutex_);
    return volumes_.contains(volume);
  }

 private:
  const std::string name_;
  const std::vector<std::string> server_names_;
  const std::string dr_server_ = "dr-nfs";
  MemoryCatalog catalog_;
  MemoryArchives archives_;
  mutable absl::Mutex mutex_;
  bool released_ ABSL_GUARDED_BY(mutex_) = true;
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, control::ProtectedVolume> volumes_ ABSL_GUARDED_BY(mutex_);
  absl::StatusOr<std::map<std::string, std::string>> live_ ABSL_GUARDED_BY(mutex_) =
      std::map<std::string, std::string>();
  absl::Status others_ ABSL_GUARDED_BY(mutex_);
  absl::StatusOr<std::set<std::string>> carried_ ABSL_GUARDED_BY(mutex_) = std::set<std::string>();
  std::set<std::string> lost_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Status> sync_errors_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const std::string&)> on_sync_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> dirty_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> synced_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> trashed_ ABSL_GUARDED_BY(mutex_);
  absl::Status release_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
