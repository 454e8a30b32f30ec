#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <ostream>
#include <set>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "control/commands/commands.h"
#include "control/commands/exports_client.h"
#include "control/commands/source_agents.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

std::string_view SiteName(Site site) {
  return site == Site::kPrimary ? "primary" : "dr";
}

// The exports of one site of a pair. After a failback the live copies at the primary's host are understudy-dr's there.
struct SiteExports {
  std::vector<model::ExportState> exports;
  std::set<std::string> by_reverse;  // volumes whose export is the `reverse` understudy-dr's
};

struct AgentExports {
  const config::PairConfig* pair;
  Site site;
  absl::StatusOr<SiteExports> known = absl::UnknownError("not asked");
};

absl::StatusOr<ExportsClient> Connect(const config::ControlConfig& config, const config::PairConfig& pair, Site site,
                                      bool by_reverse) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  if (by_reverse) return ExportsClient::Create(pair.reverse->dr, tls, net::Role::kDr);
  return site == Site::kPrimary ? ExportsClient::Create(pair.primary, tls, net::Role::kPrimary)
                                : ExportsClient::Create(pair.dr, tls, net::Role::kDr);
}

absl::StatusOr<SiteExports> ExportsOf(const config::ControlConfig& config, const config::PairConfig& pair, Site site) {
  SiteExports known;
  ASSIGN_OR_RETURN(const ExportsClient client, Connect(config, pair, site, /*by_reverse=*/false));
  ASSIGN_OR_RETURN(known.exports, client.List());
  if (site == Site::kDr || !pair.reverse) return known;
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  ASSIGN_OR_RETURN(const ReplicaClient replicas, ReplicaClient::Create(pair.reverse->dr, tls));
  ASSIGN_OR_RETURN(known.by_reverse, PromotedAt(replicas));
  if (known.by_reverse.empty()) return known;
  std::erase_if(known.exports, [&](const auto& state) { return known.by_reverse.contains(state.name); });
  ASSIGN_OR_RETURN(const ExportsClient reverse, Connect(config, pair, site, /*by_reverse=*/true));
  ASSIGN_OR_RETURN(const std::vector<model::ExportState> live, reverse.List());
  std::copy_if(live.begin(), live.end(), std::back_inserter(known.exports),
               [&](const auto& state) { return known.by_reverse.contains(state.name); });
  std::sort(known.exports.begin(), known.exports.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return known;
}

// Asks all at once. NOT_FOUND: there is no such pair.
absl::StatusOr<std::vector<AgentExports>> Gather(const config::ControlConfig& config, const std::string& pair_name,
                                                 std::optional<Site> only) {
  std::vector<AgentExports> agents;
  for (const config::PairConfig& pair : config.pairs) {
    if (!pair_name.empty() && pair.name != pair_name) continue;
    for (const Site site : {Site::kPrimary, Site::kDr}) {
      if (!only || *only == site) agents.push_back({.pair = &pair, .site = site});
    }
  }
  if (agents.empty() && !pair_name.empty()) {
    return absl::NotFoundError(fmt::format("no pair {} in the configuration", Printable(pair_name)));
  }
  std::vector<std::jthread> threads;
  for (AgentExports& agent : agents) {
    threads.emplace_back([&config, &agent] { agent.known = ExportsOf(config, *agent.pair, agent.site); });
  }
  threads.clear();
  return agents;
}

absl::Status PrintUnasked(const Console& console, const std::vector<AgentExports>& agents) {
  absl::Status first;
  for (const AgentExports& agent : agents) {
    if (agent.known.ok()) continue;
    PrintError(console, Annotate(agent.known.status(), fmt::format("pair {}", agent.pair->name)));
    first.Update(agent.known.status());
  }
  return first;
}

Document TextOrNull(std::string_view text) {
  return text.empty() ? Document(nullptr) : Document(Printable(text));
}

Document ToDocument(const config::PairConfig& pair, Site site, const model::ExportState& state) {
  const bool ever_set = state.since != absl::UnixEpoch();
  return {{"volume", state.name},
          {"pair", pair.name},
          {"site", std::string(SiteName(site))},
          {"path", Printable(state.path)},
          {"backend", TextOrNull(state.backend)},
          {"desired", std::string(model::ToString(state.desired))},
          {"actual", state.actual ? Document(std::string(model::ToString(*state.actual))) : Document(nullptr)},
          {"problem", TextOrNull(state.problem)},
          {"since", ever_set ? Document(Rfc3339(state.since)) : Document(nullptr)}};
}

std::string ActualText(const model::ExportState& state) {
  return state.actual ? std::string(model::ToString(*state.actual)) : "-";
}

// The pair's site that has the volume. NOT_FOUND: none has; UNAVAILABLE and the like: one that might have
// it can't be asked.
absl::StatusOr<const AgentExports*> FindAgent(const std::vector<AgentExports>& agents, const std::string& volume,
                                              Site site) {
  const AgentExports* found = nullptr;
  absl::Status unasked;
  for (const AgentExports& agent : agents) {
    if (!agent.known.ok()) {
      unasked.Update(Annotate(agent.known.status(), fmt::format("pair {}", agent.pair->name)));
      continue;
    }
    const bool has = std::any_of(agent.known->exports.begin(), agent.known->exports.end(),
                                 [&](const model::ExportState& state) { return state.name == volume; });
    if (!has) continue;
    if (found != nullptr) {
      return absl::InvalidArgumentError(fmt::format("pairs {} and {} both have a volume {}: say which with --pair",
                                                    found->pair->name, agent.pair->name, Printable(volume)));
    }
    found = &agent;
  }
  if (found != nullptr) return found;
  RETURN_IF_ERROR(unasked);
  return absl::NotFoundError(fmt::format("no volume {} at site {}: drctl exports list shows what there is",
                                         Printable(volume), SiteName(site)));
}

std::string DoneText(const ExportsSetOptions& options, const model::ExportState& state) {
  if (state.actual) {
    return fmt::format("volume {}: the NFS server at {} exports it {}\n", state.name, SiteName(options.site),
                       model::ToString(*state.actual));
  }
  return fmt::format("volume {}: written down; with backend none, switching its export at {} to {} is up to you\n",
                     state.name, SiteName(options.site), model::ToString(state.desired));
}

}  // namespace

ExitCode RunExportsList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                        const ExportsListOptions& options) {
  const absl::StatusOr<std::vector<AgentExports>> agents = Gather(config, options.pair, options.site);
  if (!agents.ok()) return Fail(console, agents.status());
  Table table({"VOLUME", "PAIR", "SITE", "BACKEND", "DESIRED", "ACTUAL", "PROBLEM"});
  Document documents = Document::array();
  for (const AgentExports& agent : *agents) {
    if (!agent.known.ok()) continue;
    for (const model::ExportState& state : agent.known->exports) {
      documents.push_back(ToDocument(*agent.pair, agent.site, state));
      table.Add({state.name, agent.pair->name, std::string(SiteName(agent.site)),
                 state.backend.empty() ? "-" : Printable(state.backend), std::string(model::ToString(state.desired)),
                 ActualText(state), state.problem.empty() ? "-" : Printable(state.problem)});
    }
  }
  Print(console, format, {{"exports", documents}}, table.Text());
  return ExitCodeFor(PrintUnasked(console, *agents));
}

ExitCode RunExportsSet(const Console& console, OutputFormat format, const config::ControlConfig& config,
                       const ExportsSetOptions& options) {
  const absl::StatusOr<model::ExportMode> mode = model::ParseExportMode(options.mode);
  if (!mode.ok()) return Fail(console, mode.status());
  const absl::StatusOr<std::vector<AgentExports>> agents = Gather(config, options.selection.pair, options.site);
  if (!agents.ok()) return Fail(console, agents.status());
  const absl::StatusOr<const AgentExports*> agent = FindAgent(*agents, options.selection.name, options.site);
  if (!agent.ok()) return Fail(console, agent.status());
  const config::PairConfig& pair = *(*agent)->pair;
  const bool by_reverse = (*agent)->known->by_reverse.contains(options.selection.name);
  const absl::StatusOr<ExportsClient> client = Connect(config, pair, options.site, by_reverse);
  if (!client.ok()) return Fail(console, client.status());
  const absl::StatusOr<model::ExportState> state = client->Set(options.selection.name, *mode);
  if (!state.ok()) return Fail(console, state.status());
  Print(console, format, ToDocument(pair, options.site, *state), DoneText(options, *state));
  // What is in the way of some clients is worth knowing although it is done.
  if (!state->problem.empty()) console.err << fmt::format("drctl: {}\n", Printable(state->problem));
  return ExitCode::kDone;
}

}  // namespace understudy::control
