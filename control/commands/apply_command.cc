#include <fmt/format.h>

#include <ostream>
#include <set>
#include <thread>

#include "control/apply/applier.h"
#include "control/apply/diff.h"
#include "control/apply/ownership.h"
#include "control/apply/snapshot_check.h"
#include "control/apply/transform.h"
#include "control/commands/agents_client.h"
#include "control/commands/clusters.h"
#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/standby_catalog.h"
#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/wait.h"

namespace understudy::control {
namespace {

using model::CatalogEntry;
using model::ObjectKind;
using nlohmann::json;

constexpr int kAttempts = 8;
constexpr absl::Duration kRetryFirst = absl::Milliseconds(250);
constexpr absl::Duration kRetryLongest = absl::Seconds(4);
constexpr absl::Duration kCatalogTimeout = absl::Seconds(30);

struct Item {
  const config::PairConfig* pair;
  CatalogEntry entry;
};

// What came, or would come, of one object.
struct Applied {
  std::string action;  // "create", "change", "none", "not-ready" or "failed"
  std::string message;
  std::string diff;
  bool unreachable = false;
};

absl::Status ReadCatalog(const config::ControlConfig& config, const config::PairConfig& pair,
                         std::vector<Item>& items) {
  ASSIGN_OR_RETURN(std::vector<CatalogEntry> entries, ListStandbyCatalog(config, pair, kCatalogTimeout));
  for (CatalogEntry& entry : entries) items.push_back({&pair, std::move(entry)});
  return absl::OkStatus();
}

std::string YamlOf(const json& object) {
  // Members in the order of a manifest, which isn't the alphabet's.
  Document document = Document::object();
  for (const char* const key : {"apiVersion", "kind", "metadata", "spec"}) {
    if (object.contains(key)) document[key] = Document::parse(object[key].dump());
  }
  return ToYaml(document);
}

// One object's way to the DR cluster, or what it would be.
class Changer {
 public:
  Changer(const kube::Client& client, const config::ControlConfig& config, const ApplyOptions& options)
      : client_(client), applier_(client), config_(config), options_(options) {}

  Applied Do(const Item& item) {
    absl::StatusOr<Applied> done = Change(item);
    if (done.ok()) return *std::move(done);
    if (item.entry.key.kind == ObjectKind::kVolumeSnapshotContent) absent_contents_.insert(item.entry.key.name);
    return {.action = absl::IsFailedPrecondition(done.status()) ? "not-ready" : "failed",
            .message = std::string(MessageOf(done.status())),
            .diff = {},
            .unreachable = ExitCodeFor(done.status()) == ExitCode::kUnreachable};
  }

 private:
  absl::StatusOr<Applied> Change(const Item& item) {
    const model::ObjectKey& key = item.entry.key;
    ASSIGN_OR_RETURN(json manifest, Transform(item.entry, TransformOptionsOf(config_, *item.pair)));
    RETURN_IF_ERROR(CheckSnapshot(item));
    const kube::Resource& resource = kube::ResourceOf(key.kind);
    absl::StatusOr<json> present = client_.Get(resource, key.namespace_name, key.name);
    const bool absent = absl::IsNotFound(present.status());
    if (!present.ok() && !absent) return present.status();
    if (!absent && !IsOurs(*present)) {
      if (IsOriginOf(*present, manifest)) return Applied{.action = "none", .message = {}, .diff = {}};
      return absl::FailedPreconditionError("is there already and isn't Understudy's: it is left alone");
    }
    if (!absent) manifest = WithBinding(std::move(manifest), *present);
    Applied applied{.action = absent ? "create" : "change", .message = {}, .diff = {}};
    if (!absent && Holds(*present, manifest)) {
      applied.action = "none";
    } else if (!options_.dry_run) {
      RETURN_IF_ERROR(Apply(manifest));
    } else {
      ASSIGN_OR_RETURN(const json after, Try(key, manifest, absent, applied));
      if (options_.diff) applied.diff = DiffOf(key, absent ? json() : *present, after);
      if (!absent && WithoutServerFields(*present) == WithoutServerFields(after)) applied.action = "none";
    }
    return applied;
  }

  // A content is applied when its archive is at DR, a snapshot when its content is.
  absl::Status CheckSnapshot(const Item& item) const {
    if (item.entry.key.kind == ObjectKind::kVolumeSnapshot && absent_contents_.contains(item.entry.volume)) {
      return absl::FailedPreconditionError(fmt::format("waits for VolumeSnapshotContent {}", item.entry.volume));
    }
    if (item.entry.key.kind != ObjectKind::kVolumeSnapshotContent) return absl::OkStatus();
    const net::TlsFiles tls{config_.tls.ca, config_.tls.cert, config_.tls.key};
    ASSIGN_OR_RETURN(const ReplicaClient replicas, ReplicaClient::Create(item.pair->dr, tls));
    return ArchiveCheck([&replicas](const std::string& volume, const std::string& path) {
             return replicas.FileSize(volume, path);
           })
        .Check(item.entry);
  }

  absl::Status Apply(const json& manifest) {
    Backoff backoff(kRetryFirst, kRetryLongest);
    absl::Status applied;
    for (int i = 0; i < kAttempts; ++i) {
      applied = applier_.Apply(manifest);
      if (!PassesSoon(applied)) break;
      WaitUnlessStopped({}, backoff.Next());
    }
    return applied;
  }

  // What the API server would make of it. Where it can't say (the namespace isn't there yet, or the object has to be
  // made anew), the manifest itself.
  absl::StatusOr<json> Try(const model::ObjectKey& key, const json& manifest, bool absent, Applied& applied) const {
    const absl::StatusOr<json> tried =
        client_.TryApply(kube::ResourceOf(key.kind), key.namespace_name, key.name, manifest);
    if (tried.ok()) return *tried;
    if (absent && absl::IsNotFound(tried.status())) {
      applied.message = "its namespace is made, too";
      return manifest;
    }
    if (!absent && absl::IsInvalidArgument(tried.status())) {
      applied.message = fmt::format("has to be made anew: {}", MessageOf(tried.status()));
      return manifest;
    }
    return tried.status();
  }

  static std::string DiffOf(const model::ObjectKey& key, const json& before, const json& after) {
    const std::string name = ToString(key);
    return UnifiedDiff(before.is_null() ? "" : YamlOf(WithoutServerFields(before)), YamlOf(WithoutServerFields(after)),
                       before.is_null() ? "/dev/null" : "dr: " + name, "catalog: " + name);
  }

  const kube::Client& client_;
  KubeApplier applier_;
  const config::ControlConfig& config_;
  const ApplyOptions& options_;
  std::set<std::string> absent_contents_;  // whose own turn ended otherwise
};

Document ToDocument(const Item& item, const Applied& applied) {
  const model::ObjectKey& key = item.entry.key;
  return {{"kind", std::string(model::ToString(key.kind))},
          {"namespace", key.namespace_name.empty() ? Document(nullptr) : Document(key.namespace_name)},
          {"name", key.name},
          {"pair", item.pair->name},
          {"action", applied.action},
          {"message", applied.message.empty() ? Document(nullptr) : Document(Printable(applied.message))},
          {"diff", applied.diff.empty() ? Document(nullptr) : Document(applied.diff)}};
}

// Goes through all items, prints what came of them and says how it ended.
class Pass {
 public:
  void Add(const Item& item, const Applied& applied) {
    documents_.push_back(ToDocument(item, applied));
    ++total_;
    if (applied.action == "failed") ++failed_;
    unreachable_ = unreachable_ || applied.unreachable;
    if (applied.action == "none") return;
    text_ += fmt::format("{:<10} {}{}\n", applied.action, ToString(item.entry.key),
                         applied.message.empty() ? "" : ": " + Printable(applied.message));
    text_ += applied.diff;
  }
  void PrintTo(const Console& console, OutputFormat format) const {
    Print(console, format, {{"objects", documents_}},
          text_.empty() ? fmt::format("{} objects, nothing to change\n", total_) : text_);
  }
  [[nodiscard]] ExitCode Code(const absl::Status& unasked) const {
    if (failed_ == 0 && unasked.ok()) return ExitCode::kDone;
    if (failed_ < total_) return ExitCode::kPartial;
    if (total_ == 0) return ExitCodeFor(unasked);
    return unreachable_ ? ExitCode::kUnreachable : ExitCode::kFailed;
  }

 private:
  Document documents_ = Document::array();
  std::string text_;
  size_t total_ = 0;
  size_t failed_ = 0;
  bool unreachable_ = false;
};

}  // namespace

ExitCode RunApply(const Console& console, OutputFormat format, const config::ControlConfig& config,
                  const ApplyOptions& options) {
  // What is applied is printed; it needn't be logged, too.
  if (const absl::Status log = SetUpLog("error"); !log.ok()) {
    PrintError(console, log);
    return ExitCodeFor(log);
  }
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.pair);
  const absl::StatusOr<kube::ClusterAccess> access =
      narrowed.ok() ? AccessTo(narrowed->clusters.dr, "dr") : narrowed.status();
  if (!access.ok()) {
    PrintError(console, access.status());
    return ExitCodeFor(access.status());
  }
  std::vector<Item> items;
  absl::Status unasked;
  for (const config::PairConfig& pair : narrowed->pairs) {
    const absl::Status read = ReadCatalog(*narrowed, pair, items);
    if (!read.ok()) PrintError(console, Annotate(read, fmt::format("pair {}", pair.name)));
    unasked.Update(read);
  }
  const kube::Client client(*access);
  Changer changer(client, *narrowed, options);
  Pass pass;
  for (const Item& item : items) pass.Add(item, changer.Do(item));
  pass.PrintTo(console, format);
  return pass.Code(unasked);
}

}  // namespace understudy::control
