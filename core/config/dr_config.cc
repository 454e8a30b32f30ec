#include "core/config/dr_config.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "core/config/yaml_reader.h"
#include "core/model/path.h"

namespace understudy::config {

void DrExport::Describe(Visitor& v) {
  v.Path({.key = "path", .doc = "folder below which replicas lie, as on this host", .required = true}, path);
  switching.Describe(v);
}

void PointsConfig::Describe(Visitor& v) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 60;
  constexpr absl::Duration kLongest = absl::Hours(24 * 366);
  v.Duration({.key = "keep_for",
              .doc = "a state of a replica can be brought back for this long after it was superseded, a pinned one for "
                     "longer; 0s: none can"},
             keep_for, absl::ZeroDuration(), kLongest);
  v.Duration({.key = "keep_all_for", .doc = "every state is kept for this long; then those between are merged away"},
             keep_all_for, absl::ZeroDuration(), kLongest);
  v.Duration({.key = "keep_hourly_for",
              .doc = "one state of each hour is kept for this long, then one of each day (UTC); labelled ones stay"},
             keep_hourly_for, absl::ZeroDuration(), kLongest);
  v.Size({.key = "max_bytes",
          .doc = "what is kept for that, of each volume; the oldest states go first, also when its filesystem is full"},
         max_bytes, 0, kMostBytes);
}

void TrashConfig::Describe(Visitor& v) {
  v.Duration(
      {.key = "retain",
       .doc = "how long the replica of a deleted volume is kept before it is purged; counted while understudy-dr runs"},
      retain, absl::Hours(1), absl::Hours(10 * 365 * 24));
}

void ScrubConfig::Describe(Visitor& v) {
  constexpr uint64_t kLeastRate = uint64_t{64} << 10;
  constexpr uint64_t kMostRate = uint64_t{1} << 40;
  v.Duration({.key = "interval",
              .doc = "each replica is read through this long after the time before, and compared with the digests that "
                     "are kept of it; 0s: never"},
             interval, absl::ZeroDuration(), absl::Hours(24 * 366));
  v.Size({.key = "rate_limit", .doc = "how much of that is read in a second at most"}, rate_limit, kLeastRate,
         kMostRate);
}

void HooksConfig::Describe(Visitor& v) {
  v.Path({.key = "dir",
          .doc = "folder with a folder of executables for each phase: `pre-fence`, `post-fence`, `pre-promote`, "
                 "`post-promote`, `pre-demote`, `post-demote`; it needn't exist"},
         dir);
  v.Duration({.key = "timeout", .doc = "a hook that runs for longer is killed, with all that it started"}, timeout,
             absl::Seconds(1), absl::Hours(1));
}

void DrConfig::Describe(Visitor& v) {
  v.Text({.key = "listen", .doc = "host:port for gRPC from understudy-primary and drctl"}, listen, CheckAddress);
  v.Text({.key = "metrics_listen", .doc = "host:port for /metrics, /healthz and /readyz (plain HTTP)"}, metrics_listen,
         CheckAddress);
  v.Path({.key = "state_dir", .doc = "folder for replica states and the catalog; made with mode 0700 when missing"},
         state_dir);
  v.Choice({.key = "log_level", .doc = "the least important message that is logged"}, log_level);
  v.Section({.key = "tls", .doc = "this agent's identity; its certificate needs the role `dr`", .required = true}, tls);
  v.List({.key = "exports",
          .doc = "the folders that may hold replicas; nothing is written outside them but a work folder "
                 "`.understudy` beside each",
          .required = true},
         exports);
  v.Section({.key = "points", .doc = "the recovery points: how long and how much of each volume's past is kept"},
            points);
  v.Section({.key = "trash", .doc = "where the replicas of deleted volumes go"}, trash);
  v.Section({.key = "knfsd", .doc = "the kernel's NFS server, for exports with `backend: knfsd`"}, knfsd);
  v.Section({.key = "ganesha", .doc = "NFS-Ganesha, for exports with `backend: ganesha`"}, ganesha);
  v.Section({.key = "scrub", .doc = "finds what disks damage in the replicas; the primary sends it again"}, scrub);
  v.Section({.key = "hooks", .doc = "your own programs around a promotion and a demotion"}, hooks);
}

std::optional<Problem> FindProblem(const DrConfig& config) {
  for (size_t i = 0; i < config.exports.size(); ++i) {
    const std::string& path = config.exports[i].path.native();
    const std::string key = fmt::format("exports[{}].path", i);
    if (path == "/") return Problem{key, "'/': write the folder that holds the replicas"};
    for (size_t j = 0; j < i; ++j) {
      const std::string& other = config.exports[j].path.native();
      if (model::IsWithin(path, other) || model::IsWithin(other, path)) {
        return Problem{key, fmt::format("{} overlaps exports[{}] ({}): exports must lie apart", Printable(path), j,
                                        Printable(other))};
      }
    }
    if (auto problem = FindSwitchingProblem(config.exports[i].switching, fmt::format("exports[{}]", i))) return problem;
  }
  return FindGaneshaProblem(config.ganesha);
}

absl::StatusOr<DrConfig> LoadDrConfig(const std::string& file) {
  DrConfig config;
  RETURN_IF_ERROR(ReadYamlFile(
      file, [&](Visitor& v) { config.Describe(v); }, [&] { return FindProblem(config); }));
  return config;
}

}  // namespace understudy::config
