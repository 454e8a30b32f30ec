#include "control/vm/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "absl/strings/str_replace.h"
#include "control/vm/boot.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/net/http_client.h"
#include "core/net/ssh_session.h"
#include "core/net/tcp_connect.h"

namespace understudy::control {
namespace {

constexpr size_t kMaxTextBytes = 1000;
constexpr size_t kMaxAnswerBytes = size_t{1} << 20;
constexpr size_t kMaxOutputBytes = 64 * 1024;

struct Attempt {
  bool passed = false;
  bool final = false;  // no further attempt can bring anything else
  std::string target;
  std::string text;
};

std::string Shortened(std::string text) {
  if (text.size() <= kMaxTextBytes) return text;
  text.resize(kMaxTextBytes);
  return text + "…";
}

// Of bytes that came from inside: one printable line.
std::string Shown(std::string_view bytes) {
  while (!bytes.empty() && (bytes.back() == '\n' || bytes.back() == '\r')) bytes.remove_suffix(1);
  return Printable(bytes.substr(0, kMaxTextBytes));
}

// The instance's first address that isn't only good on its own link.
std::optional<std::string> AddressOf(const VmStatus& status) {
  for (const std::string& address : status.ip_addresses) {
    if (!address.starts_with("fe80:") && !address.starts_with("169.254.")) return address;
  }
  return std::nullopt;
}

// What makes one attempt of each kind of probe.
class Prober {
 public:
  Prober(VirtualMachines& machines, const VmKey& key, const Probe& probe, std::stop_token stop)
      : machines_(machines), key_(key), probe_(probe), stop_(stop) {}

  Attempt operator()(const TcpProbe& tcp) {
    Attempt attempt;
    const std::optional<std::string> host = HostOr(tcp.host, attempt);
    if (!host) return attempt;
    attempt.target = net::HostAndPort(*host, tcp.port);
    const net::IoDeadline deadline(probe_.attempt_timeout, stop_);
    const absl::Status connected = net::ConnectTcp(*host, tcp.port, deadline).status();
    return Ended(std::move(attempt), connected, "accepts connections");
  }

  Attempt operator()(const HttpProbe& http) {
    Attempt attempt;
    std::string url = http.url;
    if (url.find("{ip}") != std::string::npos) {
      std::optional<std::string> address = HostOr("", attempt);
      if (!address) return attempt;
      if (address->find(':') != std::string::npos) address = fmt::format("[{}]", *address);
      url = absl::StrReplaceAll(url, {{"{ip}", *address}});
    }
    attempt.target = url;
    net::HttpTls tls;
    tls.ca_file = http.ca.native();
    const net::HttpClient client(tls);
    net::HttpRequest request;
    request.url = url;
    request.connect_timeout = request.silence_timeout = request.total_timeout = probe_.attempt_timeout;
    request.max_response_bytes = kMaxAnswerBytes;
    const absl::StatusOr<net::HttpResponse> response = client.Send(request, stop_);
    if (!response.ok()) return Ended(std::move(attempt), response.status(), "");
    return Judge(std::move(attempt), http, *response);
  }

  Attempt operator()(const SshProbe& ssh) {
    Attempt attempt;
    const std::optional<std::string> host = HostOr(ssh.host, attempt);
    if (!host) return attempt;
    attempt.target = net::HostAndPort(*host, ssh.port);
    // The key stays with the machine whatever address it gets: its name counts first.
    const net::SshTarget target{.host = *host,
                                .port = ssh.port,
                                .user = ssh.user,
                                .key_file = ssh.key_file,
                                .passphrase_file = ssh.passphrase_file,
                                .known_hosts = ssh.known_hosts,
                                .known_as = {fmt::format("{}.{}", key_.name, key_.namespace_name)}};
    auto session = net::SshSession::Connect(target, probe_.attempt_timeout, stop_);
    if (!session.ok()) return Ended(std::move(attempt), session.status(), "");
    const absl::StatusOr<net::SshRun> run =
        (*session)->Run(ssh.command, kMaxOutputBytes, probe_.attempt_timeout, stop_);
    if (!run.ok()) return Ended(std::move(attempt), run.status(), "");
    return Judge(std::move(attempt), ssh, *run);
  }

  Attempt operator()(const GuestAgentProbe& agent) {
    Attempt attempt{.passed = false, .final = false, .target = "agent", .text = {}};
    const absl::StatusOr<VmStatus> status = machines_.Get(key_);
    if (!status.ok()) return Ended(std::move(attempt), status.status(), "");
    if (!status->agent_connected) {
      attempt.text = "the guest agent doesn't answer: is qemu-guest-agent installed and running inside?";
      return attempt;
    }
    const absl::StatusOr<GuestOs> os =
        agent.os_info ? machines_.GuestInfo(key_) : absl::UnimplementedError("not asked");
    attempt.passed = true;
    attempt.text = os.ok() ? fmt::format("the guest agent answers: {} on {}, agent {}", Shown(os->pretty_name),
                                         Shown(os->host_name), Shown(os->agent_version))
                           : "the guest agent answers";
    return attempt;
  }

 private:
  // The probe's host, or the instance's address; none, with the reason in `attempt`.
  std::optional<std::string> HostOr(const std::string& host, Attempt& attempt) {
    if (!host.empty()) return host;
    const absl::StatusOr<VmStatus> status = machines_.Get(key_);
    if (!status.ok()) {
      attempt = Ended(std::move(attempt), status.status(), "");
      return std::nullopt;
    }
    std::optional<std::string> address = AddressOf(*status);
    if (!address) {
      attempt.text = status->has_instance ? "the instance has no address yet; without a guest agent KubeVirt may not "
                                            "know it: give the probe a host"
                                          : "the machine has no instance";
    }
    return address;
  }

  // After an error or a success; which errors are final is known by their codes.
  static Attempt Ended(Attempt attempt, const absl::Status& status, std::string_view success) {
    attempt.passed = status.ok();
    attempt.text = status.ok() ? std::string(success) : std::string(MessageOf(status));
    attempt.final = absl::IsUnauthenticated(status) || absl::IsInvalidArgument(status);
    return attempt;
  }

  static Attempt Judge(Attempt attempt, const HttpProbe& http, const net::HttpResponse& response) {
    const bool status_fits = response.status == http.status;
    const bool body_fits = http.body.empty() || response.body.find(http.body) != std::string::npos;
    attempt.passed = status_fits && body_fits;
    if (!status_fits) {
      attempt.text = fmt::format("answered {}, not {}: {}", response.status, http.status, Shown(response.body));
    } else if (!body_fits) {
      attempt.text =
          fmt::format("answered {} without '{}': {}", response.status, Shown(http.body), Shown(response.body));
    } else {
      attempt.text = fmt::format("answered {}", response.status);
    }
    return attempt;
  }

  static Attempt Judge(Attempt attempt, const SshProbe& ssh, const net::SshRun& run) {
    attempt.passed = run.exit_code == ssh.exit_code;
    std::string said = Shown(run.out);
    if (!run.err.empty()) said += fmt::format("{}{}", said.empty() ? "" : " / ", Shown(run.err));
    const std::string end =
        run.exit_code ? fmt::format("ended with {}", *run.exit_code) : fmt::format("ended by signal {}", run.signal);
    const std::string wanted = attempt.passed ? "" : fmt::format(", not {}", ssh.exit_code);
    attempt.text = fmt::format("the command {}{}{}{}", end, wanted, said.empty() ? "" : ": ", said);
    return attempt;
  }

  VirtualMachines& machines_;
  const VmKey& key_;
  const Probe& probe_;
  const std::stop_token stop_;
};

struct Task {
  VmKey key;
  const Probe* probe;
};

std::vector<Task> TasksOf(std::vector<VmKey> keys, const std::vector<Probe>& probes) {
  std::sort(keys.begin(), keys.end());
  std::vector<Task> tasks;
  for (const VmKey& key : keys) {
    for (const Probe& probe : probes) {
      const bool fits = std::any_of(probe.vms.begin(), probe.vms.end(),
                                    [&](const std::string& glob) { return MatchesVm(glob, key); });
      if (fits) tasks.push_back({.key = key, .probe = &probe});
    }
  }
  return tasks;
}

}  // namespace

std::string_view KindOf(const Probe& probe) {
  constexpr std::string_view kKinds[] = {"tcp", "http", "ssh", "guest-agent"};
  return kKinds[probe.what.index()];
}

absl::StatusOr<ProbeResult> RunProbe(VirtualMachines& machines, const VmKey& key, const Probe& probe,
                                     std::stop_token stop, const ProbeOptions& options, Clock& clock) {
  const absl::Duration began = clock.Monotonic();
  ProbeResult result{.key = key, .kind = std::string(KindOf(probe)), .target = {}, .text = {}};
  Prober prober(machines, key, probe, stop);
  while (true) {
    Attempt attempt = std::visit(prober, probe.what);
    if (stop.stop_requested()) return absl::CancelledError(fmt::format("probing {} was stopped", ToString(key)));
    ++result.attempts;
    result.passed = attempt.passed;
    result.text = Shortened(std::move(attempt.text));
    if (!attempt.target.empty()) result.target = std::move(attempt.target);
    result.took = clock.Monotonic() - began;
    const absl::Duration left = probe.timeout - result.took;
    if (attempt.passed || attempt.final || left <= absl::ZeroDuration()) return result;
    WaitUnlessStopped(stop, std::min(left, options.retry_interval));
  }
}

absl::StatusOr<std::vector<ProbeResult>> RunProbes(VirtualMachines& machines, const std::vector<VmKey>& keys,
                                                   const std::vector<Probe>& probes, int parallelism,
                                                   std::stop_token stop, const ProbeOptions& options, Clock& clock) {
  const std::vector<Task> tasks = TasksOf(keys, probes);
  std::vector<absl::StatusOr<ProbeResult>> ended(tasks.size(), absl::CancelledError("not probed"));
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size(); i = next++) {
      ended[i] = RunProbe(machines, tasks[i].key, *tasks[i].probe, stop, options, clock);
    }
  };
  {
    std::vector<std::jthread> threads;
    const size_t wanted = std::min(tasks.size(), static_cast<size_t>(std::max(parallelism, 1)));
    for (size_t i = 0; i < wanted; ++i) threads.emplace_back(work);
  }
  std::vector<ProbeResult> results;
  for (absl::StatusOr<ProbeResult>& result : ended) {
    RETURN_IF_ERROR(result.status());
    results.push_back(*std::move(result));
  }
  return results;
}

}  // namespace understudy::control
