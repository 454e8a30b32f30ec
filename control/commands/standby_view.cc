#include "control/commands/standby_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <future>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "control/apply/snapshot_check.h"
#include "control/commands/agents_client.h"
#include "control/commands/clusters.h"
#include "control/commands/standby_catalog.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/access.h"
#include "core/kube/client.h"

namespace understudy::control {
namespace {

constexpr std::array kKinds = {model::ObjectKind::kPersistentVolume, model::ObjectKind::kPersistentVolumeClaim,
                               model::ObjectKind::kVolumeSnapshot, model::ObjectKind::kVolumeSnapshotContent};

using Entries = std::vector<model::CatalogEntry>;

// A kind that the cluster doesn't know is none of it.
absl::StatusOr<PresentObjects> ListCluster(const std::optional<config::ClusterConfig>& cluster, std::stop_token stop) {
  ASSIGN_OR_RETURN(kube::ClusterAccess access, AccessTo(cluster, "dr"));
  const kube::Client client(std::move(access), {.request_timeout = kStandbyTimeout});
  PresentObjects present;
  for (const model::ObjectKind kind : kKinds) {
    absl::StatusOr<kube::ListResult> list = client.List(kube::ResourceOf(kind), "", stop);
    if (absl::IsNotFound(list.status())) continue;
    RETURN_IF_ERROR(list.status());
    for (nlohmann::json& item : list->items) {
      const nlohmann::json& metadata = item["metadata"];
      model::ObjectKey key{kind, metadata.value("namespace", ""), metadata.value("name", "")};
      present.insert_or_assign(std::move(key), std::move(item));
    }
  }
  return present;
}

// What isn't at DR because its archive isn't, is told so. Stops asking when DR's agent doesn't answer.
void ExplainSnapshots(const config::ControlConfig& config, const config::PairConfig& pair, const Entries& wanted,
                      StandbyState& state) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  const absl::StatusOr<ReplicaClient> replicas = ReplicaClient::Create(pair.dr, tls);
  if (!replicas.ok()) return;
  ArchiveCheck archives(
      [&replicas](const std::string& volume, const std::string& path) { return replicas->FileSize(volume, path); });
  for (StandbyObject& object : state.problems) {
    if (object.key.kind != model::ObjectKind::kVolumeSnapshotContent || !object.is_absent) continue;
    const auto entry = std::find_if(wanted.begin(), wanted.end(),
                                    [&object](const model::CatalogEntry& each) { return each.key == object.key; });
    const absl::Status at_dr = archives.Check(*entry);
    if (absl::IsFailedPrecondition(at_dr)) object.reason = std::string(MessageOf(at_dr));
    if (!at_dr.ok() && !absl::IsFailedPrecondition(at_dr)) return;
  }
}

}  // namespace

StandbyViews GatherStandby(const config::ControlConfig& config) {
  StandbyViews views;
  if (!config.clusters.dr) return views;
  std::stop_source ending;
  const std::jthread timer([&ending](std::stop_token done) {
    if (WaitUnlessStopped(done, kStandbyTimeout)) ending.request_stop();
  });
  std::map<std::string, std::future<absl::StatusOr<Entries>>> catalogs;
  for (const config::PairConfig& pair : config.pairs) {
    catalogs[pair.name] =
        std::async(std::launch::async, [&config, &pair] { return ListStandbyCatalog(config, pair, kStandbyTimeout); });
  }
  const absl::StatusOr<PresentObjects> present = ListCluster(config.clusters.dr, ending.get_token());
  for (const config::PairConfig& pair : config.pairs) {
    const absl::StatusOr<Entries> wanted = catalogs.at(pair.name).get();
    if (!present.ok()) {
      views.emplace(pair.name, Annotate(present.status(), "the DR cluster"));
    } else if (!wanted.ok()) {
      views.emplace(pair.name, wanted.status());
    } else {
      StandbyState state = CompareStandby(*wanted, *present);
      ExplainSnapshots(config, pair, *wanted, state);
      views.emplace(pair.name, std::move(state));
    }
  }
  return views;
}

Document ToDocument(const absl::StatusOr<StandbyState>& view) {
  Document document = {{"applied", nullptr},
                       {"pending", nullptr},
                       {"failed", nullptr},
                       {"problems", Document::array()},
                       {"error", nullptr}};
  if (!view.ok()) {
    document["error"] = Printable(MessageOf(view.status()));
    return document;
  }
  document["applied"] = view->applied;
  document["pending"] = view->pending;
  document["failed"] = view->failed;
  for (const StandbyObject& object : view->problems) {
    const Document namespace_name =
        object.key.namespace_name.empty() ? Document() : Document(object.key.namespace_name);
    document["problems"].push_back({{"kind", model::ToString(object.key.kind)},
                                    {"namespace", namespace_name},
                                    {"name", Printable(object.key.name)},
                                    {"state", ToString(object.phase)},
                                    {"reason", Printable(object.reason)}});
  }
  return document;
}

std::string StandbyText(const StandbyViews& views) {
  if (views.empty()) return {};
  Table table({"PAIR", "OBJECTS AT DR", "PENDING", "FAILED"});
  std::string lines;
  for (const auto& [pair, view] : views) {
    if (!view.ok()) {
      table.Add({pair, "unknown", "-", "-"});
      lines += fmt::format("pair {}: the standby can't be looked at: {}\n", pair, Printable(MessageOf(view.status())));
      continue;
    }
    table.Add(
        {pair, fmt::format("{}", view->applied), fmt::format("{}", view->pending), fmt::format("{}", view->failed)});
    for (const StandbyObject& object : view->problems) {
      lines += fmt::format("{} at DR is {}: {}\n", Printable(ToString(object.key)), ToString(object.phase),
                           Printable(object.reason));
    }
  }
  return lines.empty() ? table.Text() : table.Text() + "\n" + lines;
}

}  // namespace understudy::control
