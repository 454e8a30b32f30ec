// knfsd_backend.h: the kernel's NFS server: a file of this agent's own among those that exportfs(8) reads, and
// exportfs.
//
// exportfs -r makes the server's exports what all files say. Its exit code counts for little: a mistake in somebody
// else's file makes it 1 although ours were applied, and warnings leave it 0; so what it wrote into etab is compared
// with what is wanted. It drops exports that were made by hand (`exportfs -o`): those are kept in a file meanwhile, and
// put back whatever it said.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/exports/by_hand_file.h"
#include "core/exports/export_backend.h"
#include "core/exports/exports_file.h"
#include "core/os/command.h"

namespace understudy::exports {

struct KnfsdOptions {
  std::string program;                          // this agent's name, "understudy-dr"; names the file
  std::string exports_dir = "/etc/exports.d";   // read by exportfs
  std::string exportfs = "/usr/sbin/exportfs";  // the program
  std::string etab = "/var/lib/nfs/etab";
  absl::Duration timeout = absl::Seconds(20);  // of each call of exportfs
};

class KnfsdBackend : public ExportBackend {
 public:
  explicit KnfsdBackend(KnfsdOptions options);

  [[nodiscard]] std::string Name() const override { return "knfsd"; }
  [[nodiscard]] absl::Status CheckPath(const std::string& path) const override { return CheckKnfsdPath(path); }
  [[nodiscard]] absl::StatusOr<uint16_t> ChooseId(const std::set<uint16_t>&) override { return 0; }
  [[nodiscard]] absl::StatusOr<Found> Reconcile(std::span<const WantedExport> wanted,
                                                const std::optional<std::string>& only) override;

 private:
  [[nodiscard]] absl::StatusOr<std::vector<EtabEntry>> ReadEtab() const;
  // Runs exportfs so that its files are what the server does, and keeps every export of other paths, also when it is
  // cut short: the next call goes on. `said`: what exportfs has to say of that.
  absl::Status Apply(const std::set<std::string>& our_paths, std::string& said);
  // Exports what by_hand_ keeps and the server hasn't. An error leaves it kept, to be tried again.
  absl::Status PutBackKept();
  // False: exportfs doesn't take it (any more), which is told.
  absl::StatusOr<bool> PutBack(const EtabEntry& entry);
  // Of etab, what isn't at one of our paths, nor at one of another agent's.
  [[nodiscard]] absl::StatusOr<std::vector<EtabEntry>> ByHand(const std::set<std::string>& our_paths) const;
  absl::StatusOr<os::CommandResult> RunExportfs(std::vector<std::string> arguments);

  const KnfsdOptions options_;
  const std::string file_;
  const ByHandFile by_hand_;
  os::CommandRunner runner_;
  bool applied_ = false;                // in this run of the agent, with nothing left to do
  std::vector<EtabEntry> left_behind_;  // what etab had for the wanted paths after the newest Apply
};

}  // namespace understudy::exports
