#include "core/config/export_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/base/log.h"

namespace understudy::config {
namespace {

struct FixedOption {
  std::string_view option;
  std::string_view setting;
};
constexpr FixedOption kFixedOptions[] = {
    {"root_squash", "Squash = Root_Squash"},
    {"no_root_squash", "Squash = No_Root_Squash"},
    {"all_squash", "Squash = All_Squash"},
    {"secure", "PrivilegedPort = true"},
    {"insecure", "PrivilegedPort = false"},
    {"sync", ""},
    {"no_subtree_check", ""},
};

struct ValueOption {
  std::string_view option;  // with its "="
  std::string_view setting;
  std::string_view values;  // comma-separated; empty: any number
};
constexpr ValueOption kValueOptions[] = {
    {"sec=", "SecType", "none,sys,krb5,krb5i,krb5p"},
    {"anonuid=", "Anonymous_Uid", ""},
    {"anongid=", "Anonymous_Gid", ""},
    {"protocols=", "Protocols", "3,4"},
    {"transports=", "Transports", "tcp,udp"},
};

constexpr size_t kMaxNumberDigits = 10;

bool IsOneOf(std::string_view value, std::string_view values) {
  if (values.empty()) {
    return !value.empty() && value.size() <= kMaxNumberDigits &&
           std::all_of(value.begin(), value.end(), [](char c) { return absl::ascii_isdigit(c); });
  }
  for (const absl::string_view one : absl::StrSplit(absl::string_view(values.data(), values.size()), ',')) {
    if (std::string_view(one.data(), one.size()) == value) return true;
  }
  return false;
}

// nullopt: unknown. Empty: what Ganesha does in any case.
std::optional<std::string> SettingFor(const std::string& option) {
  for (const FixedOption& known : kFixedOptions) {
    if (option == known.option) return std::string(known.setting);
  }
  for (const ValueOption& known : kValueOptions) {
    if (!option.starts_with(known.option)) continue;
    const std::string list = option.substr(known.option.size());
    for (const absl::string_view value : absl::StrSplit(list, ':')) {
      if (!IsOneOf({value.data(), value.size()}, known.values)) return std::nullopt;
    }
    return fmt::format("{} = {}", known.setting, absl::StrReplaceAll(list, {{":", ", "}}));
  }
  return std::nullopt;
}

std::string KnownOptions() {
  std::vector<std::string> known;
  for (const FixedOption& option : kFixedOptions) known.emplace_back(option.option);
  for (const ValueOption& option : kValueOptions) {
    known.push_back(fmt::format("{}{}", option.option, option.values.empty() ? "NUMBER" : option.values));
  }
  return fmt::format("{}", fmt::join(known, " "));
}

absl::Status CheckClient(const std::string& text) {
  const bool fits = !text.empty() && text[0] != '-' && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || std::string_view(".:*?/@_-[]").find(c) != std::string_view::npos;
  });
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "'{}': write a host, a network such as 10.0.0.0/8, a netgroup such as @nodes, or \"*\"", Printable(text)));
}

absl::Status CheckOneOption(std::string_view option) {
  const bool fits =
      !option.empty() && absl::ascii_isalpha(option[0]) && std::all_of(option.begin(), option.end(), [](char c) {
        return absl::ascii_isalnum(c) || std::string_view("_=:.-").find(c) != std::string_view::npos;
      });
  if (!fits) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}': write options as in exports(5), separated by commas, as in sec=sys,no_root_squash", Printable(option)));
  }
  if (option == "ro" || option == "rw") {
    return absl::InvalidArgumentError(
        fmt::format("'{}': leave it out: whether clients may write is what is switched", option));
  }
  if (option.starts_with("fsid=")) {
    return absl::InvalidArgumentError(
        "fsid: leave it out: it names a single export, and these are the options of several");
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const std::string& text) {
  for (const absl::string_view option : absl::StrSplit(text, ',')) {
    RETURN_IF_ERROR(CheckOneOption({option.data(), option.size()}));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> GaneshaSettingFor(const std::string& option) {
  if (const std::optional<std::string> setting = SettingFor(option)) return *setting;
  return absl::InvalidArgumentError(
      fmt::format("'{}' has no counterpart in NFS-Ganesha; known: {}", Printable(option), KnownOptions()));
}

void ExportSwitching::Describe(Visitor& v) {
  v.Choice({.key = "backend",
            .doc = "the NFS server whose exports of the volumes are switched, each volume by itself; `none`: somebody "
                   "else does"},
           backend);
  v.TextList({.key = "clients",
              .doc = "who may mount the volumes: hosts, networks, netgroups, `*`; needed unless `backend` is `none`"},
             clients, CheckClient);
  v.TextList({.key = "options",
              .doc = "of each export, as in exports(5) (`sec=sys,no_root_squash`); `ro`, `rw` and `fsid` never"},
             options, CheckOptions);
}

std::vector<std::string> ExportSwitching::SingleOptions() const {
  std::vector<std::string> single;
  for (const std::string& text : options) {
    for (const absl::string_view option : absl::StrSplit(text, ',')) single.emplace_back(option);
  }
  return single;
}

std::optional<Problem> FindSwitchingProblem(const ExportSwitching& switching, const std::string& key) {
  if (switching.backend == ExportBackend::kNone) {
    if (switching.clients.empty() && switching.options.empty()) return std::nullopt;
    return Problem{key + (switching.clients.empty() ? ".options" : ".clients"),
                   "has no effect while backend is none: write backend: knfsd or ganesha, too"};
  }
  if (switching.clients.empty()) {
    return Problem{key + ".clients", "is missing: write who may mount the volumes, as in [10.0.0.0/8]"};
  }
  if (switching.backend != ExportBackend::kGanesha) return std::nullopt;
  for (const std::string& option : switching.SingleOptions()) {
    const absl::StatusOr<std::string> setting = GaneshaSettingFor(option);
    if (!setting.ok()) return Problem{key + ".options", std::string(MessageOf(setting.status()))};
  }
  return std::nullopt;
}

void KnfsdConfig::Describe(Visitor& v) {
  v.Path({.key = "exports_dir", .doc = "folder for this agent's own file, which exportfs reads with its like"},
         exports_dir);
  v.Path({.key = "exportfs", .doc = "the program exportfs(8)"}, exportfs);
  v.Path({.key = "etab", .doc = "where exportfs keeps what is exported; read, never written"}, etab);
  v.Duration({.key = "timeout", .doc = "a call of exportfs that takes longer is ended, and made again later"}, timeout,
             absl::Seconds(1), absl::Minutes(10));
}

void GaneshaConfig::Describe(Visitor& v) {
  v.Path({.key = "config_dir",
          .doc = "folder for this agent's own file, `understudy-primary.conf` or `understudy-dr.conf`; Ganesha's main "
                 "file needs an `%include` of it"},
         config_dir);
  v.Text({.key = "bus_address", .doc = "D-Bus address at which Ganesha is found", .default_text = "the system bus"},
         bus_address, CheckNotEmpty);
  v.Count({.key = "first_export_id", .doc = "the first Export_Id of this agent; nobody else's may lie in its range"},
          first_export_id, 1, kMaxGaneshaExportId);
  v.Count({.key = "export_ids", .doc = "how many ids it has"}, export_ids, 1, kMaxGaneshaExportId);
  v.Duration({.key = "timeout", .doc = "a call over D-Bus that takes longer is given up, and made again later"},
             timeout, absl::Seconds(1), absl::Minutes(10));
}

std::optional<Problem> FindGaneshaProblem(const GaneshaConfig& ganesha) {
  if (ganesha.first_export_id + ganesha.export_ids - 1 <= kMaxGaneshaExportId) return std::nullopt;
  return Problem{"ganesha.export_ids",
                 fmt::format("goes past {} from ganesha.first_export_id on: write fewer", kMaxGaneshaExportId)};
}

}  // namespace understudy::config
