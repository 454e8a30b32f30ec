// Boot groups and probes as they stand in a file.
#include "core/config/failover_vm_settings.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/yaml_reader.h"

namespace understudy::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct PlanPart {
  std::vector<BootGroupConfig> boot;
  std::vector<ProbeConfig> probes;
  void Describe(Visitor& v) {
    v.List({.key = "boot", .doc = "boot groups"}, boot);
    v.List({.key = "probes", .doc = "probes"}, probes);
  }
  [[nodiscard]] std::optional<Problem> FindProblem() const {
    for (size_t i = 0; i < boot.size(); ++i) {
      if (auto problem = FindBootGroupProblem(boot[i], fmt::format("boot[{}]", i))) return problem;
    }
    for (size_t i = 0; i < probes.size(); ++i) {
      if (auto problem = FindProbeProblem(probes[i], fmt::format("probes[{}]", i))) return problem;
    }
    return std::nullopt;
  }
};

absl::StatusOr<PlanPart> Read(const std::string& text) {
  PlanPart part;
  RETURN_IF_ERROR(ReadYamlText(
      text, "/etc/understudy/control.yaml", [&](Visitor& v) { part.Describe(v); }, [&] { return part.FindProblem(); }));
  return part;
}

std::string Error(const std::string& text) {
  const auto part = Read(text);
  EXPECT_TRUE(absl::IsInvalidArgument(part.status())) << part.status();
  return std::string(MessageOf(part.status()));
}

TEST(FailoverVmSettingsTest, EverythingIsRead) {
  const auto part = Read(R"(
boot:
- {vms: ["shop/db-*"], expect_agent: true, timeout: 20m, pause_after: 30s}
- {vms: ["*"]}
probes:
- vms: [shop/db-0]
  timeout: 90s
  tcp: {port: 5432}
  http: {url: "https://{ip}:8443/healthz", status: 204, body: ready, ca: ca.crt}
  ssh: {command: systemctl is-active postgresql, user: probe, key_file: keys/probe, known_hosts: known_hosts,
        port: 2222, exit_code: 0}
  guest_agent: true
- {vms: ["bank/*"], tcp: {port: 80, host: lb.example.com}}
)");
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_THAT(part->boot[0].vms, ElementsAre("shop/db-*"));
  EXPECT_TRUE(part->boot[0].expect_agent);
  EXPECT_EQ(part->boot[0].timeout, absl::Minutes(20));
  EXPECT_EQ(part->boot[0].pause_after, absl::Seconds(30));
  EXPECT_EQ(part->boot[1].timeout, absl::Minutes(10));
  const ProbeConfig& probe = part->probes[0];
  EXPECT_EQ(probe.timeout, absl::Seconds(90));
  EXPECT_EQ(probe.tcp->port, 5432);
  EXPECT_EQ(probe.http->status, 204);
  EXPECT_EQ(probe.http->ca, "/etc/understudy/ca.crt");
  EXPECT_EQ(probe.ssh->key_file, "/etc/understudy/keys/probe");
  EXPECT_EQ(probe.ssh->known_hosts, "/etc/understudy/known_hosts");
  EXPECT_EQ(probe.ssh->port, 2222);
  EXPECT_TRUE(probe.guest_agent);
  EXPECT_FALSE(part->probes[1].http.has_value());
  EXPECT_EQ(part->probes[1].tcp->host, "lb.example.com");
  EXPECT_EQ(part->probes[1].timeout, absl::Minutes(5));
}

TEST(FailoverVmSettingsTest, MistakesAreNamedWithWhatToWrite) {
  EXPECT_THAT(Error("boot: [{}]"), HasSubstr("boot[0].vms"));
  EXPECT_THAT(Error("boot: [{vms: []}]"), HasSubstr("write at least one"));
  EXPECT_THAT(Error("boot: [{vms: [db]}]"), HasSubstr("namespace/name"));
  EXPECT_THAT(Error("boot: [{vms: [Shop/db]}]"), HasSubstr("namespace/name"));
  EXPECT_THAT(Error("probes: [{vms: [a/b]}]"), HasSubstr("looks for nothing"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], tcp: {}}]"), HasSubstr("probes[0].tcp.port"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], tcp: {port: 70000}}]"), HasSubstr("65535"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], http: {url: \"ftp://{ip}/\"}}]"), HasSubstr("http://{ip}:8080/healthz"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], http: {url: \"http://me:pw@{ip}/\"}}]"), HasSubstr("without a user"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], ssh: {command: x}}]"), HasSubstr("probes[0].ssh.user"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], ssh: {command: x, user: y, passphrase_file: f}}]"),
              HasSubstr("probes[0].ssh.passphrase_file"));
  EXPECT_THAT(Error("probes: [{vms: [a/b], ssh: {command: x, user: y, exit_code: 256}}]"), HasSubstr("255"));
}

}  // namespace
}  // namespace understudy::config
