// What commands.h declares about the trees that were made of recovery points, whichever volumes they are of.
#include <fmt/format.h>

#include <thread>
#include <utility>
#include <vector>

#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/points_client.h"
#include "control/commands/points_view.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// Of one understudy-dr. A pair with `reverse` has two: the replica of a volume that was turned round is the other's.
struct PairTrees {
  const config::PairConfig* pair;
  std::string address;
  absl::StatusOr<std::vector<model::PointTree>> trees = absl::UnknownError("not asked");
};

absl::StatusOr<PointsClient> Connect(const config::ControlConfig& config, const std::string& address) {
  return PointsClient::Create(address, {config.tls.ca, config.tls.cert, config.tls.key});
}

absl::StatusOr<std::vector<model::PointTree>> TreesOf(const config::ControlConfig& config, const std::string& address) {
  ASSIGN_OR_RETURN(const PointsClient client, Connect(config, address));
  return client.ListTrees();
}

// Of every pair of `config`; asks all at once.
std::vector<PairTrees> GatherTrees(const config::ControlConfig& config) {
  std::vector<PairTrees> all;
  for (const config::PairConfig& pair : config.pairs) {
    all.push_back({.pair = &pair, .address = pair.dr});
    if (pair.reverse) all.push_back({.pair = &pair, .address = pair.reverse->dr});
  }
  std::vector<std::jthread> threads;
  for (PairTrees& of_pair : all) {
    threads.emplace_back([&config, &of_pair] { of_pair.trees = TreesOf(config, of_pair.address); });
  }
  threads.clear();
  return all;
}

absl::Status PrintUnasked(const Console& console, const std::vector<PairTrees>& all) {
  absl::Status first;
  for (const PairTrees& of_pair : all) {
    if (of_pair.trees.ok()) continue;
    PrintError(console, Annotate(of_pair.trees.status(), fmt::format("pair {}", of_pair.pair->name)));
    first.Update(of_pair.trees.status());
  }
  return first;
}

Document WithPair(const config::PairConfig& pair, const model::PointTree& tree) {
  Document document = ToDocument(tree);
  document["pair"] = pair.name;
  return document;
}

absl::Status Confirm(const Console& console, const PointsRemoveOptions& options, const config::PairConfig& pair,
                     const model::PointTree& tree) {
  if (options.yes) return absl::OkStatus();
  return AskForYes(console, fmt::format("tree {} of volume {} (pair {}): {} is deleted with all that is in it{}",
                                        tree.id, tree.volume, pair.name, Printable(tree.path),
                                        tree.writable ? ", also what clients wrote to it" : ""));
}

ExitCode Remove(const Console& console, OutputFormat format, const config::ControlConfig& config,
                const PairTrees& of_pair, const std::string& id) {
  const absl::StatusOr<PointsClient> client = Connect(config, of_pair.address);
  if (!client.ok()) return Fail(console, client.status());
  const absl::StatusOr<model::PointTree> gone = client->RemoveTree(id);
  if (!gone.ok()) return Fail(console, gone.status());
  Print(console, format, WithPair(*of_pair.pair, *gone),
        fmt::format("tree {} of volume {} is gone from {}\n", gone->id, gone->volume, Printable(gone->path)));
  return ExitCode::kDone;
}

}  // namespace

ExitCode RunPointsListTrees(const Console& console, OutputFormat format, const config::ControlConfig& config,
                            const std::string& pair) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const std::vector<PairTrees> all = GatherTrees(*narrowed);
  Table table({"TREE", "VOLUME", "PAIR", "STATE", "PATH", "WRITABLE", "IS"});
  Document trees = Document::array();
  for (const PairTrees& of_pair : all) {
    if (!of_pair.trees.ok()) continue;
    for (const model::PointTree& tree : *of_pair.trees) {
      table.Add({tree.id, tree.volume, of_pair.pair->name, fmt::format("{}", tree.sequence), Printable(tree.path),
                 tree.writable ? "yes" : "no", std::string(model::ToString(tree.state))});
      trees.push_back(WithPair(*of_pair.pair, tree));
    }
  }
  Print(console, format, {{"trees", std::move(trees)}}, table.Text());
  return ExitCodeFor(PrintUnasked(console, all));
}

ExitCode RunPointsRemove(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const PointsRemoveOptions& options) {
  const absl::Status valid = model::ValidatePointTreeId(options.id);
  if (!valid.ok()) return Fail(console, valid);
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const std::vector<PairTrees> all = GatherTrees(*narrowed);
  for (const PairTrees& of_pair : all) {
    if (!of_pair.trees.ok()) continue;
    for (const model::PointTree& tree : *of_pair.trees) {
      if (tree.id != options.id) continue;
      const absl::Status confirmed = Confirm(console, options, *of_pair.pair, tree);
      if (!confirmed.ok()) return Fail(console, confirmed);
      return Remove(console, format, *narrowed, of_pair, tree.id);
    }
  }
  // A pair that can't be asked may have it.
  const absl::Status unasked = PrintUnasked(console, all);
  if (!unasked.ok()) return ExitCodeFor(unasked);
  return Fail(console,
              absl::NotFoundError(fmt::format("no tree {}: drctl points list shows all there are", options.id)));
}

}  // namespace understudy::control
