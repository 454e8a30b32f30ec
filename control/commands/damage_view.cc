#include "control/commands/damage_view.h"

#include <fmt/format.h>

#include <future>
#include <vector>

#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {

DamageViews GatherDamage(const config::ControlConfig& config) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  std::vector<std::future<absl::StatusOr<std::vector<DamagedReplicaView>>>> asked;
  for (const config::PairConfig& pair : config.pairs) {
    asked.push_back(std::async(std::launch::async, [&pair, &tls] { return ListDamage(pair.dr, tls); }));
  }
  DamageViews views;
  for (size_t i = 0; i < asked.size(); ++i) {
    absl::StatusOr<std::vector<DamagedReplicaView>> replicas = asked[i].get();
    if (!replicas.ok()) continue;
    for (DamagedReplicaView& replica : *replicas) {
      const std::pair<std::string, std::string> place(config.pairs[i].name, replica.volume);
      views.emplace(place, std::move(replica));
    }
  }
  return views;
}

Document DamageDocument(const DamageViews& damage, const std::string& pair, const std::string& volume) {
  const auto found = damage.find({pair, volume});
  if (found == damage.end()) return nullptr;
  Document first = Document::array();
  for (const DamagedFileView& file : found->second.first) {
    first.push_back({{"path", Printable(file.path)}, {"reason", Printable(file.why)}, {"found", Rfc3339(file.found)}});
  }
  return {{"files", found->second.files}, {"first", std::move(first)}};
}

std::string DamageLines(const DamageViews& damage) {
  std::string text;
  for (const auto& [place, replica] : damage) {
    text += fmt::format("{}: {} files of DR's replica are damaged; the primary sends them again when it is there\n",
                        replica.volume, replica.files);
    for (const DamagedFileView& file : replica.first) {
      text += fmt::format("  {}: {}\n", Printable(file.path), Printable(file.why));
    }
  }
  return text;
}

}  // namespace understudy::control
