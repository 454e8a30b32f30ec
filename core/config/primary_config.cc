#include "core/config/primary_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/log.h"
#include "core/config/yaml_reader.h"
#include "core/model/path.h"

namespace understudy::config {
namespace {

bool IsWithin(const std::filesystem::path& path, const std::filesystem::path& folder) {
  return model::IsWithin(path.native(), folder.native());
}

std::string Shown(const std::filesystem::path& path) {
  return Printable(path.native());
}

std::optional<Problem> FindExportProblem(const PrimaryConfig& config) {
  for (size_t i = 0; i < config.exports.size(); ++i) {
    const PrimaryExport& one = config.exports[i];
    if (one.path == "/")
      return Problem{fmt::format("exports[{}].path", i), "'/': write the folder that holds the volumes"};
    for (size_t j = 0; j < i; ++j) {
      if (IsWithin(one.path, config.exports[j].path) || IsWithin(config.exports[j].path, one.path)) {
        return Problem{fmt::format("exports[{}].path", i),
                       fmt::format("{} overlaps exports[{}] ({}): exports must lie apart", Shown(one.path), j,
                                   Shown(config.exports[j].path))};
      }
    }
  }
  return std::nullopt;
}

std::optional<Problem> FindVolumeProblem(const PrimaryConfig& config) {
  for (size_t i = 0; i < config.volumes.size(); ++i) {
    const ListedVolume& one = config.volumes[i];
    const std::string path_key = fmt::format("volumes[{}].path", i);
    const bool exported =
        std::any_of(config.exports.begin(), config.exports.end(), [&](const PrimaryExport& candidate) {
          return one.path != candidate.path && IsWithin(one.path, candidate.path);
        });
    if (!exported) {
      return Problem{path_key, fmt::format("{} lies below no export: write a folder below one of exports[].path",
                                           Shown(one.path))};
    }
    for (size_t j = 0; j < i; ++j) {
      const ListedVolume& other = config.volumes[j];
      if (one.name == other.name) {
        return Problem{fmt::format("volumes[{}].name", i),
                       fmt::format("'{}' is volumes[{}], too: names must differ", one.name, j)};
      }
      if (IsWithin(one.path, other.path) || IsWithin(other.path, one.path)) {
        return Problem{path_key, fmt::format("{} overlaps volumes[{}] ({}): volumes must lie apart", Shown(one.path), j,
                                             Shown(other.path))};
      }
    }
  }
  return std::nullopt;
}

void TakeNamespacesFromEnvironment(PrimaryKubernetes& kubernetes) {
  const char* const variable = std::getenv("WATCH_NAMESPACES");
  if (variable == nullptr || !kubernetes.namespaces.empty()) return;
  for (const absl::string_view name : absl::StrSplit(variable, ',', absl::SkipWhitespace())) {
    kubernetes.namespaces.emplace_back(absl::StripAsciiWhitespace(name));
  }
}

}  // namespace

void PrimaryExport::Describe(Visitor& v) {
  v.Path({.key = "path", .doc = "folder that holds the volumes, as on this host", .required = true}, path);
  v.Text({.key = "dr_path", .doc = "the same folder at the DR host, absolute", .default_text = "the same as `path`"},
         dr_path, CheckAbsolutePath);
  v.TextList(
      {.key = "server_names",
       .doc = "how PersistentVolumes name this host (`nfs.server`, or a CSI driver's server): names and addresses"},
      server_names, CheckNotEmpty);
}

void ListedVolume::Describe(Visitor& v) {
  v.Text({.key = "name", .doc = "the volume's name, unique in the deployment", .required = true}, name,
         [](const std::string& text) { return model::ValidateVolumeName(text); });
  v.Path({.key = "path", .doc = "the volume's folder, below one of the exports", .required = true}, path);
}

void PeerConfig::Describe(Visitor& v) {
  v.Text({.key = "address", .doc = "host:port of understudy-dr; its certificate must name this host", .required = true},
         address, CheckAddress);
}

void WatchConfig::Describe(Visitor& v) {
  v.Choice({.key = "backend", .doc = "where hints at changes come from; `auto` takes the best that works here"},
           backend);
  v.Duration({.key = "quiet_period", .doc = "a changed file is captured when it has been quiet for this long"},
             quiet_period, absl::Milliseconds(1), absl::Minutes(10));
  v.Duration({.key = "max_delay", .doc = "a file that keeps changing is captured after this long in any case"},
             max_delay, absl::Milliseconds(10), absl::Hours(1));
  v.Duration({.key = "rescan_interval", .doc = "each volume is compared with its index this often, hints or none"},
             rescan_interval, absl::Seconds(1), absl::Hours(24 * 7));
}

void CaptureConfig::Describe(Visitor& v) {
  v.Choice({.key = "strategy", .doc = "how changes of a large file are found; `auto` chooses for each file"}, strategy);
  v.Boolean(
      {.key = "selinux_labels",
       .doc = "replicate security.selinux, too, for hosts with one policy; what is at DR already gets its label when "
              "it changes"},
      selinux_labels);
}

void GuardConfig::Describe(Visitor& v) {
  constexpr uint64_t kMaxMinFiles = 1'000'000'000;
  v.Fraction({.key = "max_delete_fraction",
              .doc = "a volume that lost more than this part of its entries within an hour is held back; 1 turns the "
                     "guard off"},
             max_delete_fraction, 0, 1);
  v.Count({.key = "min_files",
           .doc = "with fewer entries gone than this it isn't held back, unless nothing is left of 64 MiB or more"},
          min_files, 1, kMaxMinFiles);
  v.Count(
      {.key = "min_objects",
       .doc = "deletions of Kubernetes objects are held back when more than `max_delete_fraction` of a kind, and at "
              "least so many, are gone within an hour; or when a list of the cluster is empty"},
      min_objects, 1, kMaxMinFiles);
}

void PrimaryKubernetes::Describe(Visitor& v) {
  cluster.Describe(v);
  v.TextList({.key = "namespaces",
              .doc = "whose PersistentVolumeClaims and VolumeSnapshots are protected",
              .default_text = "`WATCH_NAMESPACES` (comma-separated) of the environment, else all"},
             namespaces, CheckNotEmpty);
}

void PrimaryConfig::Describe(Visitor& v) {
  v.Text({.key = "listen", .doc = "host:port for gRPC from drctl"}, listen, CheckAddress);
  v.Text({.key = "metrics_listen", .doc = "host:port for /metrics, /healthz and /readyz (plain HTTP)"}, metrics_listen,
         CheckAddress);
  v.Path({.key = "state_dir", .doc = "folder for the index; made with mode 0700 when missing"}, state_dir);
  v.Choice({.key = "log_level", .doc = "the least important message that is logged"}, log_level);
  v.Section({.key = "tls", .doc = "this agent's identity; its certificate needs the role `primary`", .required = true},
            tls);
  v.Section({.key = "peer", .doc = "the agent at the DR host", .required = true}, peer);
  v.List({.key = "exports", .doc = "the folders whose volumes are protected", .required = true}, exports);
  v.List({.key = "volumes", .doc = "volumes listed by hand, for use without Kubernetes or beside it"}, volumes);
  v.Section({.key = "watch", .doc = "when changes are captured"}, watch);
  v.Section({.key = "capture", .doc = "how changes are captured"}, capture);
  v.Section({.key = "guard", .doc = "which deletions are held back from DR until `drctl guard approve`"}, guard);
  v.Section({.key = "kubernetes", .doc = "the primary cluster; leave it out to use listed volumes only"}, kubernetes);
}

std::optional<Problem> FindProblem(const PrimaryConfig& config) {
  if (config.watch.max_delay < config.watch.quiet_period) {
    return Problem{"watch.max_delay", fmt::format("shorter than watch.quiet_period ({}): write at least that",
                                                  DurationText(config.watch.quiet_period))};
  }
  if (auto problem = FindExportProblem(config)) return problem;
  if (auto problem = FindVolumeProblem(config)) return problem;
  if (config.kubernetes) return FindClusterProblem(config.kubernetes->cluster, "kubernetes");
  return std::nullopt;
}

absl::StatusOr<PrimaryConfig> LoadPrimaryConfig(const std::string& file) {
  PrimaryConfig config;
  RETURN_IF_ERROR(ReadYamlFile(
      file, [&](Visitor& v) { config.Describe(v); }, [&] { return FindProblem(config); }));
  for (PrimaryExport& one : config.exports) {
    if (one.dr_path.empty()) one.dr_path = one.path.native();
  }
  if (config.kubernetes) TakeNamespacesFromEnvironment(*config.kubernetes);
  return config;
}

}  // namespace understudy::config
