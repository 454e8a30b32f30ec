// net_link.h: two hosts' networks on this machine, joined by one cable that a test can pull.
//
// Two network namespaces and a veth pair; nothing of the machine's own network is touched. Needs root.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"

namespace understudy::tests {

// Not thread-safe.
class NetLink {
 public:
  // UNIMPLEMENTED: this machine can't; the message says why, for a skipped test. First takes away what killed runs
  // left.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<NetLink>> Make();
  ~NetLink();
  NetLink(const NetLink&) = delete;
  NetLink& operator=(const NetLink&) = delete;

  // The addresses of the two ends.
  [[nodiscard]] std::string LeftAddress() const { return "10.213.77.1"; }
  [[nodiscard]] std::string RightAddress() const { return "10.213.77.2"; }
  // What to put before a command that is to run at that end.
  [[nodiscard]] std::vector<std::string> Left() const { return Enter(left_); }
  [[nodiscard]] std::vector<std::string> Right() const { return Enter(right_); }

  // From now on every packet disappears, and nobody is told: neither end's own link goes down.
  [[nodiscard]] absl::Status Pull();
  [[nodiscard]] absl::Status Plug();

 private:
  explicit NetLink(const std::string& name) : left_(name + "-l"), right_(name + "-r"), middle_(name + "-m") {}
  [[nodiscard]] static std::vector<std::string> Enter(const std::string& name);
  absl::Status Build();

  // The namespaces; the middle one is the switch between the two, so that pulling a cable there isn't seen at the ends.
  const std::string left_;
  const std::string right_;
  const std::string middle_;
};

}  // namespace understudy::tests
