#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "control/commands/commands.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

struct PairTrash {
  const config::PairConfig* pair;
  absl::StatusOr<std::vector<model::TrashEntry>> entries = absl::UnknownError("not asked");  // oldest first
};

absl::StatusOr<ReplicaClient> Connect(const config::ControlConfig& config, const config::PairConfig& pair) {
  return ReplicaClient::Create(pair.dr, {config.tls.ca, config.tls.cert, config.tls.key});
}

absl::StatusOr<std::vector<model::TrashEntry>> TrashOf(const config::ControlConfig& config,
                                                       const config::PairConfig& pair) {
  ASSIGN_OR_RETURN(const ReplicaClient client, Connect(config, pair));
  ASSIGN_OR_RETURN(std::vector<model::TrashEntry> entries, client.ListTrash());
  std::sort(entries.begin(), entries.end(), [](const model::TrashEntry& a, const model::TrashEntry& b) {
    return std::pair(a.deleted_at, a.id) < std::pair(b.deleted_at, b.id);
  });
  return entries;
}

// Of every pair, or of the one that is named; asks all at once. NOT_FOUND: there is no such pair.
absl::StatusOr<std::vector<PairTrash>> GatherTrash(const config::ControlConfig& config, const std::string& pair_name) {
  std::vector<PairTrash> trash;
  for (const config::PairConfig& pair : config.pairs) {
    if (pair_name.empty() || pair.name == pair_name) trash.push_back({.pair = &pair});
  }
  if (trash.empty() && !pair_name.empty()) {
    return absl::NotFoundError(fmt::format("no pair {} in the configuration", Printable(pair_name)));
  }
  std::vector<std::jthread> threads;
  for (PairTrash& of_pair : trash) {
    threads.emplace_back([&config, &of_pair] { of_pair.entries = TrashOf(config, *of_pair.pair); });
  }
  threads.clear();
  return trash;
}

absl::Status PrintUnasked(const Console& console, const std::vector<PairTrash>& trash) {
  absl::Status first;
  for (const PairTrash& of_pair : trash) {
    if (of_pair.entries.ok()) continue;
    PrintError(console, Annotate(of_pair.entries.status(), fmt::format("pair {}", of_pair.pair->name)));
    first.Update(of_pair.entries.status());
  }
  return first;
}

Document ToDocument(const config::PairConfig& pair, const model::TrashEntry& entry) {
  Document document = {{"id", entry.id},
                       {"volume", entry.volume},
                       {"pair", pair.name},
                       {"state", std::string(model::ToString(entry.state))},
                       {"replica_path", Printable(entry.root)},
                       {"reason", Printable(entry.reason)},
                       {"deleted_at", Rfc3339(entry.deleted_at)},
                       {"expires_at", Rfc3339(entry.expires_at)},
                       {"size_bytes", nullptr},
                       {"entries", nullptr}};
  if (entry.measured) {
    document["size_bytes"] = entry.size_bytes;
    document["entries"] = entry.entry_count;
  }
  return document;
}

// One table or document of entries.
class TrashListing {
 public:
  void Add(const config::PairConfig& pair, const model::TrashEntry& entry) {
    documents_.push_back(ToDocument(pair, entry));
    table_.Add({entry.id, entry.volume, pair.name, std::string(model::ToString(entry.state)), Rfc3339(entry.deleted_at),
                Rfc3339(entry.expires_at), entry.measured ? fmt::format("{}", entry.size_bytes) : "-"});
  }
  void PrintTo(const Console& console, OutputFormat format) const {
    Print(console, format, {{"trash", documents_}}, table_.Text());
  }

 private:
  Table table_{{"ID", "VOLUME", "PAIR", "STATE", "DELETED", "EXPIRES", "BYTES"}};
  Document documents_ = Document::array();
};

// What the options choose of what the pairs hold.
bool Chooses(const TrashPurgeOptions& options, const model::TrashEntry& entry) {
  return options.id.empty() ? entry.state == model::TrashState::kTrashed : entry.id == options.id;
}

// NOT_FOUND that says where to look, or why a pair that might have it can't be asked.
absl::Status NoSuchEntry(const Console& console, const std::vector<PairTrash>& trash, const std::string& id) {
  RETURN_IF_ERROR(PrintUnasked(console, trash));
  const absl::Status error =
      absl::NotFoundError(fmt::format("no entry {} in the trash: drctl trash list shows what there is", Printable(id)));
  PrintError(console, error);
  return error;
}

}  // namespace

ExitCode RunTrashList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                      const std::string& pair) {
  const absl::StatusOr<std::vector<PairTrash>> trash = GatherTrash(config, pair);
  if (!trash.ok()) return Fail(console, trash.status());
  TrashListing listing;
  for (const PairTrash& of_pair : *trash) {
    if (!of_pair.entries.ok()) continue;
    for (const model::TrashEntry& entry : *of_pair.entries) listing.Add(*of_pair.pair, entry);
  }
  listing.PrintTo(console, format);
  return ExitCodeFor(PrintUnasked(console, *trash));
}

ExitCode RunTrashRestore(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const std::string& id, const std::string& pair) {
  const absl::Status valid = model::ValidateTrashId(id);
  if (!valid.ok()) return Fail(console, valid);
  const absl::StatusOr<std::vector<PairTrash>> trash = GatherTrash(config, pair);
  if (!trash.ok()) return Fail(console, trash.status());
  for (const PairTrash& of_pair : *trash) {
    if (!of_pair.entries.ok()) continue;
    for (const model::TrashEntry& entry : *of_pair.entries) {
      if (entry.id != id) continue;
      const absl::StatusOr<ReplicaClient> client = Connect(config, *of_pair.pair);
      if (!client.ok()) return Fail(console, client.status());
      const absl::StatusOr<DrReplica> replica = client->RestoreTrash(id);
      if (!replica.ok()) return Fail(console, replica.status());
      Print(console, format,
            {{"volume", replica->name},
             {"pair", of_pair.pair->name},
             {"replica_path", Printable(replica->root)},
             {"sequence", replica->sequence}},
            fmt::format("volume {} is a replica again, in {}\n", replica->name, Printable(replica->root)));
      return ExitCode::kDone;
    }
  }
  return ExitCodeFor(NoSuchEntry(console, *trash, id));
}

ExitCode RunTrashPurge(const Console& console, OutputFormat format, const config::ControlConfig& config,
                       const TrashPurgeOptions& options) {
  if (!options.id.empty()) {
    const absl::Status valid = model::ValidateTrashId(options.id);
    if (!valid.ok()) return Fail(console, valid);
  }
  const absl::StatusOr<std::vector<PairTrash>> trash = GatherTrash(config, options.pair);
  if (!trash.ok()) return Fail(console, trash.status());
  TrashListing listing;
  size_t chosen = 0;
  size_t purged_count = 0;
  absl::Status failed;
  for (const PairTrash& of_pair : *trash) {
    if (!of_pair.entries.ok()) continue;
    for (model::TrashEntry entry : *of_pair.entries) {
      if (!Chooses(options, entry)) continue;
      ++chosen;
      if (options.yes) {
        const absl::StatusOr<ReplicaClient> client = Connect(config, *of_pair.pair);
        const absl::Status purged = client.ok() ? client->PurgeTrash(entry.id) : client.status();
        if (purged.ok()) {
          entry.state = model::TrashState::kPurging;
          ++purged_count;
        } else {
          PrintError(console, Annotate(purged, fmt::format("entry {}", entry.id)));
        }
        failed.Update(purged);
      }
      listing.Add(*of_pair.pair, entry);
    }
  }
  if (chosen == 0 && !options.id.empty()) return ExitCodeFor(NoSuchEntry(console, *trash, options.id));
  listing.PrintTo(console, format);
  const absl::Status unasked = PrintUnasked(console, *trash);
  if (chosen > 0 && !options.yes) {
    return Fail(console, absl::FailedPreconditionError(
                             "nothing was purged: what is purged is gone for good; add --yes to purge the above"));
  }
  failed.Update(unasked);
  return purged_count > 0 && !failed.ok() ? ExitCode::kPartial : ExitCodeFor(failed);
}

}  // namespace understudy::control
