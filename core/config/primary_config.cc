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
    if (auto problem = FindSwitchingProblem(one.switching, fmt::format("exports[{}]", i))) return problem;
  }
  return FindGaneshaProblem(config.ganesha);
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

void TakeNamespacesFromEnvironment(std::vector<std::string>& namespaces) {
  const char* const variable = std::getenv("WATCH_NAMESPACES");
  if (variable == nullptr || !namespaces.empty()) return;
  for (const absl::string_view name : absl::StrSplit(variable, ',', absl::SkipWhitespace())) {
    namespaces.emplace_back(absl::StripAsciiWhitespace(name));
  }
}

absl::Status CheckUrl(const std::string& text) {
  const size_t host = text.starts_with("http://") ? 7 : text.starts_with("https://") ? 8 : 0;
  const std::string authority = host == 0 ? "" : text.substr(host, text.find_first_of("/?#", host) - host);
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!authority.empty() && printable && authority.find('@') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "'{}': write an http:// or https:// URL without a password, as in http://eda.example.com:5000/endpoint",
      Printable(text)));
}

std::optional<Problem> FindForwardProblem(const PrimaryConfig& config) {
  const auto name_of = [](const ForwardTarget& target) { return target.name.empty() ? target.url : target.name; };
  for (size_t i = 0; i < config.forward.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (name_of(config.forward[i]) != name_of(config.forward[j])) continue;
      return Problem{
          fmt::format("forward[{}].{}", i, config.forward[i].name.empty() ? "url" : "name"),
          fmt::format("'{}' is forward[{}], too: names must differ", Printable(name_of(config.forward[i])), j)};
    }
  }
  if (!config.forward.empty() && !config.kubernetes && !config.webhook) {
    return Problem{"forward", "there are no events to forward: write a kubernetes or a webhook section, too"};
  }
  return std::nullopt;
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
  switching.Describe(v);
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
  v.Choice({.key = "backend", .doc = "where hints at changes come from; `auto` is inotify"}, backend);
  v.Duration({.key = "quiet_period", .doc = "a changed file is captured when it has been quiet for this long"},
             quiet_period, absl::Milliseconds(1), absl::Minutes(10));
  v.Duration({.key = "max_delay", .doc = "a file that keeps changing is captured after this long in any case"},
             max_delay, absl::Milliseconds(10), absl::Hours(1));
  v.Duration({.key = "rescan_interval", .doc = "each volume is compared with its index this often, hints or none"},
             rescan_interval, absl::Seconds(1), absl::Hours(24 * 7));
}

void CaptureConfig::Describe(Visitor& v) {
  v.Choice({.key = "strategy",
            .doc = "how changes of a large file are found; `auto` chooses for each file, and freezes it on XFS and "
                   "btrfs"},
           strategy);
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

void WebhookTls::Describe(Visitor& v) {
  v.Path({.key = "cert", .doc = "certificate of the webhook, with its chain (PEM)", .required = true}, cert);
  v.Path({.key = "key", .doc = "private key of `cert` (PEM)", .required = true}, key);
}

void WebhookConfig::Describe(Visitor& v) {
  v.Text({.key = "listen", .doc = "host:port for the forwarder's POST requests"}, listen, CheckAddress);
  v.Path({.key = "token_file", .doc = "file with the bearer token that every request must carry", .required = true},
         token_file);
  v.Path({.key = "hmac_secret_file",
          .doc = "file with a secret; every request must then be signed with it (`x-hub-signature-256`)"},
         hmac_secret_file);
  v.Size({.key = "max_body", .doc = "a larger request is refused"}, max_body, uint64_t{1} << 10, uint64_t{16} << 20);
  v.Section({.key = "tls", .doc = "serve HTTPS; without it plain HTTP, which belongs on loopback alone"}, tls);
  v.TextList({.key = "namespaces",
              .doc = "whose objects are taken",
              .default_text = "`kubernetes.namespaces`, else `WATCH_NAMESPACES` of the environment, else all"},
             namespaces, CheckNotEmpty);
}

void ForwardTarget::Describe(Visitor& v) {
  v.Text({.key = "name", .doc = "how status, log and metrics call it", .default_text = "the URL"}, name, CheckNotEmpty);
  v.Text({.key = "url", .doc = "where events are posted, as an `ansible.eda.webhook` takes them", .required = true},
         url, CheckUrl);
  v.Path({.key = "token_file", .doc = "file with the bearer token to send"}, token_file);
  v.Path({.key = "hmac_secret_file", .doc = "file with the secret to sign with (`x-hub-signature-256`)"},
         hmac_secret_file);
  v.Path({.key = "ca",
          .doc = "authorities that may have signed the server's certificate (PEM)",
          .default_text = "the system's"},
         ca);
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
  v.Section({.key = "webhook", .doc = "takes object events that a forwarder posts, beside `kubernetes` or alone"},
            webhook);
  v.List({.key = "forward", .doc = "whom object events are posted to, as the rules say"}, forward);
  v.Section({.key = "knfsd", .doc = "the kernel's NFS server, for exports with `backend: knfsd`"}, knfsd);
  v.Section({.key = "ganesha", .doc = "NFS-Ganesha, for exports with `backend: ganesha`"}, ganesha);
  v.Path({.key = "rules_file",
          .doc = "which event leads to what: [rules.md](rules.md)",
          .default_text = "the built-in rules"},
         rules_file);
}

std::optional<Problem> FindProblem(const PrimaryConfig& config) {
  if (config.watch.max_delay < config.watch.quiet_period) {
    return Problem{"watch.max_delay", fmt::format("shorter than watch.quiet_period ({}): write at least that",
                                                  DurationText(config.watch.quiet_period))};
  }
  if (auto problem = FindExportProblem(config)) return problem;
  if (auto problem = FindVolumeProblem(config)) return problem;
  if (auto problem = FindForwardProblem(config)) return problem;
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
  for (ForwardTarget& target : config.forward) {
    if (target.name.empty()) target.name = target.url;
  }
  if (config.kubernetes) TakeNamespacesFromEnvironment(config.kubernetes->namespaces);
  if (config.webhook && config.webhook->namespaces.empty()) {
    if (config.kubernetes) config.webhook->namespaces = config.kubernetes->namespaces;
    TakeNamespacesFromEnvironment(config.webhook->namespaces);
  }
  config.rules = BuiltInRules();
  if (!config.rules_file.empty()) {
    ASSIGN_OR_RETURN(config.rules, LoadRulesFile(config.rules_file.string()));
  }
  return config;
}

}  // namespace understudy::config
