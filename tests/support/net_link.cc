#include "tests/support/net_link.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_split.h"
#include "tests/support/process.h"

namespace understudy::tests {
namespace {

constexpr std::string_view kNamePrefix = "understudy-net-";
constexpr char kNamespaces[] = "/run/netns";

absl::Status Ip(std::string_view arguments) {
  ASSIGN_OR_RETURN(
      const ProcessResult result,
      RunProcess(
          {.program = "ip", .arguments = absl::StrSplit(absl::string_view(arguments.data(), arguments.size()), ' ')}));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("ip {}: {}", arguments, result.err));
}

// Namespaces carry the pid of the process that made them.
void TakeAwayLeftovers() {
  std::error_code none;
  std::vector<std::string> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(kNamespaces, none)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kNamePrefix)) continue;
    const long pid = std::strtol(name.c_str() + kNamePrefix.size(), nullptr, 10);
    if (pid > 0 && kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) leftovers.push_back(name);
  }
  for (const std::string& name : leftovers) Ip("netns delete " + name).IgnoreError();
}

}  // namespace

std::vector<std::string> NetLink::Enter(const std::string& name) {
  // Not `ip netns exec`: that gives the process a mount namespace of its own, which holds other tests' mounts.
  return {"nsenter", fmt::format("--net={}/{}", kNamespaces, name), "--"};
}

absl::StatusOr<std::unique_ptr<NetLink>> NetLink::Make() {
  if (geteuid() != 0) return absl::UnimplementedError("network namespaces need root");
  TakeAwayLeftovers();
  std::unique_ptr<NetLink> link(new NetLink(fmt::format("{}{}", kNamePrefix, getpid())));
  const absl::Status built = link->Build();
  if (!built.ok()) return absl::UnimplementedError(fmt::format("no network namespaces here: {}", MessageOf(built)));
  return link;
}

absl::Status NetLink::Build() {
  for (const std::string& name : {left_, right_, middle_}) RETURN_IF_ERROR(Ip("netns add " + name));
  RETURN_IF_ERROR(Ip(fmt::format("-n {} link add switch type bridge", middle_)));
  RETURN_IF_ERROR(Ip(fmt::format("-n {} link set switch up", middle_)));
  for (const auto& [name, port, address] :
       {std::tuple(left_, "left", LeftAddress()), std::tuple(right_, "right", RightAddress())}) {
    RETURN_IF_ERROR(Ip(fmt::format("-n {} link add eth0 type veth peer name {} netns {}", name, port, middle_)));
    RETURN_IF_ERROR(Ip(fmt::format("-n {} addr add {}/24 dev eth0", name, address)));
    RETURN_IF_ERROR(Ip(fmt::format("-n {} link set eth0 up", name)));
    RETURN_IF_ERROR(Ip(fmt::format("-n {} link set lo up", name)));
    RETURN_IF_ERROR(Ip(fmt::format("-n {} link set {} master switch up", middle_, port)));
  }
  return absl::OkStatus();
}

NetLink::~NetLink() {
  for (const std::string& name : {left_, right_, middle_}) Ip("netns delete " + name).IgnoreError();
}

absl::Status NetLink::Pull() {
  return Ip(fmt::format("-n {} link set switch down", middle_));
}

absl::Status NetLink::Plug() {
  return Ip(fmt::format("-n {} link set switch up", middle_));
}

}  // namespace understudy::tests
