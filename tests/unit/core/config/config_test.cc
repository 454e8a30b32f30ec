// Configuration files: what is read, and that each mistake names file, line, key and remedy.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/config/control_config.h"
#include "core/config/dr_config.h"
#include "core/config/primary_config.h"

namespace understudy::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kSmallestPrimary[] = R"(tls: {ca: pki/ca.crt, cert: pki/primary.crt, key: pki/primary.key}
peer: {address: 127.0.0.1:7412}
exports: [{path: a, dr_path: /srv/b}]
)";

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(std::string_view text) const {
    const std::string file = folder_ / "test.yaml";
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }
  std::string PrimaryError(std::string_view text) const {
    const auto config = LoadPrimaryConfig(Write(text));
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(MessageOf(config.status()));
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigTest, SmallestPrimaryGetsDefaultsAndAbsolutePaths) {
  const auto config =
      LoadPrimaryConfig(Write(std::string(kSmallestPrimary) + "volumes: [{name: web, path: a/web/}]\n"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->listen, "0.0.0.0:7411");
  EXPECT_EQ(config->state_dir, "/var/lib/understudy/primary");
  EXPECT_EQ(config->tls.ca, folder_ / "pki/ca.crt");
  EXPECT_EQ(config->exports.at(0).path, folder_ / "a");
  EXPECT_EQ(config->exports.at(0).dr_path, "/srv/b");
  EXPECT_EQ(config->volumes.at(0).path, folder_ / "a/web");
  EXPECT_EQ(config->watch.quiet_period, absl::Milliseconds(100));
  EXPECT_FALSE(config->kubernetes.has_value());
}

TEST_F(ConfigTest, EveryPrimarySettingIsRead) {
  const auto config = LoadPrimaryConfig(Write(R"(
listen: "[::1]:1"
metrics_listen: 127.0.0.1:0
state_dir: ../x
log_level: debug
tls: {ca: /ca, cert: /cert, key: /key}
peer: {address: "dr.example.com:7412"}
exports:
  - {path: /srv/a, server_names: [nfs1, 10.0.0.1]}
watch: {backend: inotify, quiet_period: 50ms, max_delay: 5s, rescan_interval: 2h}
capture: {strategy: rsync}
guard: {max_delete_fraction: 0.25, min_files: 7}
kubernetes: {kubeconfig: kube.yaml, context: admin, namespaces: [shop]}
webhook: {listen: "127.0.0.1:1", token_file: token, hmac_secret_file: secret, max_body: 2MiB, tls: {cert: c, key: k}}
forward:
  - {name: eda, url: "https://eda:5000/endpoint", token_file: t, hmac_secret_file: h, ca: ca.crt}
  - url: http://127.0.0.1:5001
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->listen, "[::1]:1");
  EXPECT_EQ(config->state_dir, folder_.parent_path() / "x");
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
  EXPECT_EQ(config->exports.at(0).dr_path, "/srv/a");
  EXPECT_THAT(config->exports.at(0).server_names, ElementsAre("nfs1", "10.0.0.1"));
  EXPECT_EQ(config->watch.backend, WatchBackend::kInotify);
  EXPECT_EQ(config->watch.quiet_period, absl::Milliseconds(50));
  EXPECT_EQ(config->watch.max_delay, absl::Seconds(5));
  EXPECT_EQ(config->watch.rescan_interval, absl::Hours(2));
  EXPECT_EQ(config->capture.strategy, CaptureStrategy::kRsync);
  EXPECT_EQ(config->guard.max_delete_fraction, 0.25);
  EXPECT_EQ(config->guard.min_files, 7u);
  ASSERT_TRUE(config->kubernetes.has_value());
  EXPECT_EQ(config->kubernetes->cluster.kubeconfig, folder_ / "kube.yaml");
  EXPECT_EQ(config->kubernetes->cluster.context, "admin");
  EXPECT_THAT(config->kubernetes->namespaces, ElementsAre("shop"));
  ASSERT_TRUE(config->webhook.has_value());
  EXPECT_EQ(config->webhook->listen, "127.0.0.1:1");
  EXPECT_EQ(config->webhook->token_file, folder_ / "token");
  EXPECT_EQ(config->webhook->hmac_secret_file, folder_ / "secret");
  EXPECT_EQ(config->webhook->max_body, uint64_t{2} << 20);
  EXPECT_EQ(config->webhook->tls.value().key, folder_ / "k");
  EXPECT_THAT(config->webhook->namespaces, ElementsAre("shop"));
  ASSERT_EQ(config->forward.size(), 2u);
  EXPECT_EQ(config->forward[0].ca, folder_ / "ca.crt");
  EXPECT_EQ(config->forward[1].name, "http://127.0.0.1:5001");
  EXPECT_EQ(config->rules.size(), 5u) << "the built-in ones";
}

TEST_F(ConfigTest, TheRulesFileIsFollowedAndItsMistakesNameItsLine) {
  std::ofstream(folder_ / "rules.yaml") << "rules:\n- name: nothing\n  do: [ignore]\n";
  const std::string text = std::string(kSmallestPrimary) + "rules_file: rules.yaml\n";
  const auto config = LoadPrimaryConfig(Write(text));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rules.at(0).name, "nothing");
  std::ofstream(folder_ / "rules.yaml") << "rules:\n- name: nothing\n  do: [ignroe]\n";
  EXPECT_THAT(PrimaryError(text), HasSubstr("rules.yaml:3: rules[0].do[0]: 'ignroe'"));
}

TEST_F(ConfigTest, TheWebhookTakesItsNamespacesFromWhereTheyAre) {
  const std::string base = std::string(kSmallestPrimary) + "webhook: {token_file: t";
  ASSERT_EQ(setenv("WATCH_NAMESPACES", "a, b", 1), 0);
  EXPECT_THAT(LoadPrimaryConfig(Write(base + "}\n"))->webhook->namespaces, ElementsAre("a", "b"));
  EXPECT_THAT(LoadPrimaryConfig(Write(base + ", namespaces: [c]}\n"))->webhook->namespaces, ElementsAre("c"));
  unsetenv("WATCH_NAMESPACES");
  EXPECT_THAT(LoadPrimaryConfig(Write(base + "}\n"))->webhook->namespaces, IsEmpty());
}

TEST_F(ConfigTest, ForwardingMistakesAreNamed) {
  const std::string base = std::string(kSmallestPrimary) + "webhook: {token_file: t}\n";
  EXPECT_THAT(PrimaryError(base + "forward: [{url: \"ftp://x\"}]\n"), HasSubstr("test.yaml:5: forward[0].url"));
  EXPECT_THAT(PrimaryError(base + "forward: [{url: \"http://u:p@x\"}]\n"), HasSubstr("without a password"));
  EXPECT_THAT(PrimaryError(base + "forward: [{url: \"http://\"}]\n"), HasSubstr("forward[0].url"));
  EXPECT_THAT(PrimaryError(base + "forward: [{url: \"http://x\"}, {url: \"http://x\"}]\n"),
              HasSubstr("forward[1].url: 'http://x' is forward[0], too"));
  EXPECT_THAT(PrimaryError(std::string(kSmallestPrimary) + "forward: [{url: \"http://x\"}]\n"),
              HasSubstr("there are no events to forward"));
}

TEST_F(ConfigTest, UnknownKeyNamesLineAndKnownKeys) {
  const std::string error = PrimaryError(std::string(kSmallestPrimary) + "watch:\n  quiet_perod: 1s\n");
  EXPECT_THAT(error, HasSubstr("test.yaml:5: watch.quiet_perod: there is no such setting"));
  EXPECT_THAT(error, HasSubstr("quiet_period"));
}

TEST_F(ConfigTest, DoubledKeyIsRefused) {
  EXPECT_THAT(PrimaryError(std::string(kSmallestPrimary) + "peer: {address: 127.0.0.1:1}\n"),
              HasSubstr("test.yaml:4: peer: stands twice"));
}

TEST_F(ConfigTest, MissingRequiredKeyIsNamed) {
  EXPECT_THAT(PrimaryError("peer: {address: 127.0.0.1:1}\n"), HasSubstr("test.yaml:1: tls: is missing"));
  EXPECT_THAT(PrimaryError("tls: {ca: a, cert: b}\n"), HasSubstr("test.yaml:1: tls.key: is missing"));
  EXPECT_THAT(PrimaryError(""), HasSubstr("is missing"));
}

TEST_F(ConfigTest, WrongTypesSayWhatToWrite) {
  const std::string base = kSmallestPrimary;
  EXPECT_THAT(PrimaryError(base + "watch: {quiet_period: 5}\n"), HasSubstr("test.yaml:4: watch.quiet_period: '5'"));
  EXPECT_THAT(PrimaryError(base + "watch: {quiet_period: 0ms}\n"), HasSubstr("from 1ms to 10m"));
  EXPECT_THAT(PrimaryError(base + "watch: [1]\n"), HasSubstr("watch: a list: write a map"));
  EXPECT_THAT(PrimaryError(base + "volumes: web\n"), HasSubstr("volumes: 'web': write a list"));
  EXPECT_THAT(PrimaryError(base + "volumes: [web]\n"), HasSubstr("volumes[0]: 'web': write a map"));
  EXPECT_THAT(PrimaryError(base + "listen: 7411\n"), HasSubstr("test.yaml:4: listen: '7411': write host:port"));
  EXPECT_THAT(PrimaryError(base + "log_level: loud\n"), HasSubstr("write one of debug, info, warning, error"));
  EXPECT_THAT(PrimaryError(base + "kubernetes: {in_cluster: maybe}\n"), HasSubstr("write true or false"));
  EXPECT_THAT(PrimaryError(base + "kubernetes: {in_cluster: true, namespaces: shop}\n"), HasSubstr("write a list"));
}

TEST_F(ConfigTest, NumbersHaveBounds) {
  const std::string base = kSmallestPrimary;
  EXPECT_EQ(LoadPrimaryConfig(Write(base))->guard.max_delete_fraction, 0.5);
  EXPECT_EQ(LoadPrimaryConfig(Write(base))->guard.min_files, 100u);
  EXPECT_TRUE(LoadPrimaryConfig(Write(base + "guard: {max_delete_fraction: 1}\n")).ok());
  for (const char* const wrong : {"0", "-0.1", "1.01", "half", ".nan", "50%", "[1]"}) {
    EXPECT_THAT(PrimaryError(base + "guard: {max_delete_fraction: " + wrong + "}\n"),
                HasSubstr("write a number above 0 and up to 1"));
  }
  for (const char* const wrong : {"0", "-1", "1.5", "many", "99999999999999999999"}) {
    EXPECT_THAT(PrimaryError(base + "guard: {min_files: " + wrong + "}\n"),
                HasSubstr("test.yaml:4: guard.min_files: "));
  }
}

TEST_F(ConfigTest, BrokenYamlNamesTheLine) {
  EXPECT_THAT(PrimaryError("listen: x\n]\n"), HasSubstr("test.yaml:2: not well-formed YAML"));
  EXPECT_THAT(PrimaryError(std::string(kSmallestPrimary) + "---\nlisten: x\n"), HasSubstr("a second YAML document"));
  EXPECT_THAT(PrimaryError("just words\n"), HasSubstr("test.yaml:1: write a map"));
}

TEST_F(ConfigTest, CrossFieldMistakesNameTheirLine) {
  const std::string base = kSmallestPrimary;
  EXPECT_THAT(PrimaryError(base + "volumes:\n  - {name: web, path: elsewhere/web}\n"),
              HasSubstr("test.yaml:5: volumes[0].path"));
  EXPECT_THAT(PrimaryError(base + "volumes: [{name: web, path: a}]\n"), HasSubstr("lies below no export"));
  EXPECT_THAT(PrimaryError(base + "volumes:\n  - {name: x, path: a/x}\n  - {name: y, path: a/x/y}\n"),
              HasSubstr("test.yaml:6: volumes[1].path"));
  EXPECT_THAT(PrimaryError(base + "volumes:\n  - {name: x, path: a/x}\n  - {name: x, path: a/y}\n"),
              HasSubstr("test.yaml:6: volumes[1].name"));
  EXPECT_THAT(PrimaryError(base + "volumes: [{name: ../x, path: a/x}]\n"), HasSubstr("volumes[0].name"));
  EXPECT_THAT(PrimaryError(base + "kubernetes: {context: x}\n"), HasSubstr("kubernetes: says no way"));
  EXPECT_THAT(PrimaryError(base + "watch: {quiet_period: 5s}\n"), HasSubstr("max_delay"));
}

TEST_F(ConfigTest, OverlappingExportsAreRefused) {
  EXPECT_THAT(PrimaryError("tls: {ca: a, cert: b, key: c}\npeer: {address: h:1}\nexports:\n- path: a\n- path: a/b\n"),
              HasSubstr("test.yaml:5: exports[1].path"));
}

TEST_F(ConfigTest, MissingFileIsNotFound) {
  EXPECT_EQ(LoadPrimaryConfig(folder_ / "none.yaml").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(LoadPrimaryConfig(folder_).ok());
}

TEST_F(ConfigTest, NamespacesComeFromTheEnvironmentWhereTheFileListsNone) {
  setenv("WATCH_NAMESPACES", "shop, bank,", 1);
  const std::string base = kSmallestPrimary;
  const auto from_environment = LoadPrimaryConfig(Write(base + "kubernetes: {in_cluster: true}\n"));
  const auto from_file = LoadPrimaryConfig(Write(base + "kubernetes: {in_cluster: true, namespaces: [x]}\n"));
  unsetenv("WATCH_NAMESPACES");
  ASSERT_TRUE(from_environment.ok() && from_file.ok());
  EXPECT_THAT(from_environment->kubernetes->namespaces, ElementsAre("shop", "bank"));
  EXPECT_THAT(from_file->kubernetes->namespaces, ElementsAre("x"));
}

TEST_F(ConfigTest, DrIsRead) {
  const auto config = LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\nexports: [{path: b, backend: none}]\n"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->listen, "0.0.0.0:7412");
  EXPECT_EQ(config->exports.at(0).path, folder_ / "b");
  EXPECT_EQ(config->trash.retain, absl::Hours(7 * 24));
  const auto kept = LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\nexports: [{path: b}]\ntrash: {retain: 30d}\n"));
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->trash.retain, absl::Hours(30 * 24));
  EXPECT_FALSE(LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\nexports: [{path: b}]\ntrash: {retain: 1m}\n")).ok());
  EXPECT_EQ(config->scrub.interval, absl::Hours(7 * 24));
  const auto scrubbed = LoadDrConfig(
      Write("tls: {ca: a, cert: b, key: c}\nexports: [{path: b}]\nscrub: {interval: 0s, rate_limit: 1MiB}\n"));
  ASSERT_TRUE(scrubbed.ok()) << scrubbed.status();
  EXPECT_EQ(scrubbed->scrub.interval, absl::ZeroDuration());
  EXPECT_EQ(scrubbed->scrub.rate_limit, 1u << 20);
  EXPECT_THAT(std::string(MessageOf(LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\nexports: []\n")).status())),
              HasSubstr("exports: an empty list"));
}

TEST_F(ConfigTest, ExportSwitchingIsReadForBothAgents) {
  const std::string sections = R"(
knfsd: {exports_dir: e, exportfs: /bin/exportfs, etab: etab, timeout: 5s}
ganesha: {config_dir: g, bus_address: "unix:path=/run/bus", first_export_id: 500, export_ids: 100, timeout: 3s}
)";
  const std::string exports =
      "exports: [{path: a, backend: knfsd, clients: [10.0.0.0/8, '@nodes', 'fd00::/8', '*'], "
      "options: ['sec=krb5:sys,no_root_squash', insecure]}]\n";
  const auto dr = LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\n" + exports + sections));
  ASSERT_TRUE(dr.ok()) << dr.status();
  const ExportSwitching& switching = dr->exports.at(0).switching;
  EXPECT_EQ(switching.backend, ExportBackend::kKnfsd);
  EXPECT_THAT(switching.clients, ElementsAre("10.0.0.0/8", "@nodes", "fd00::/8", "*"));
  EXPECT_THAT(switching.SingleOptions(), ElementsAre("sec=krb5:sys", "no_root_squash", "insecure"));
  EXPECT_EQ(dr->knfsd.exports_dir, folder_ / "e");
  EXPECT_EQ(dr->knfsd.exportfs, "/bin/exportfs");
  EXPECT_EQ(dr->knfsd.etab, folder_ / "etab");
  EXPECT_EQ(dr->knfsd.timeout, absl::Seconds(5));
  EXPECT_EQ(dr->ganesha.config_dir, folder_ / "g");
  EXPECT_EQ(dr->ganesha.bus_address, "unix:path=/run/bus");
  EXPECT_EQ(dr->ganesha.first_export_id, 500u);
  EXPECT_EQ(dr->ganesha.export_ids, 100u);
  const auto primary =
      LoadPrimaryConfig(Write("tls: {ca: a, cert: b, key: c}\npeer: {address: 'd:1'}\n" + exports + sections));
  ASSERT_TRUE(primary.ok()) << primary.status();
  EXPECT_EQ(primary->exports.at(0).switching.backend, ExportBackend::kKnfsd);
  EXPECT_EQ(primary->ganesha.first_export_id, 500u);
  // Both agents may run on one host.
  const auto plain = LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\nexports: [{path: b}]\n"));
  const auto other = LoadPrimaryConfig(Write(kSmallestPrimary));
  ASSERT_TRUE(plain.ok() && other.ok());
  EXPECT_LE(plain->ganesha.first_export_id + plain->ganesha.export_ids, other->ganesha.first_export_id);
}

TEST_F(ConfigTest, ExportSwitchingThatCantWorkIsRefused) {
  const auto error = [this](const std::string& rest, const std::string& more = "") {
    return std::string(MessageOf(
        LoadDrConfig(Write("tls: {ca: a, cert: b, key: c}\nexports:\n- {path: b" + rest + "}\n" + more)).status()));
  };
  EXPECT_EQ(error(", backend: ganesha, clients: ['*'], options: ['sec=sys,no_root_squash,protocols=3:4']"), "");
  EXPECT_THAT(error(", backend: knfsd"), HasSubstr("exports[0].clients: is missing"));
  EXPECT_THAT(error(", clients: ['*']"), HasSubstr("has no effect while backend is none"));
  EXPECT_THAT(error(", backend: nfsd"), HasSubstr("write one of none, knfsd, ganesha"));
  for (const char* const wrong : {"''", "'a b'", "'*(rw)'", "'-ro'", "\"a\\nb\"", "'#x'", "'a;b'", "'a\"b'"}) {
    EXPECT_THAT(error(", backend: knfsd, clients: [" + std::string(wrong) + "]"), HasSubstr("exports[0].clients[0]"))
        << wrong;
  }
  for (const char* const wrong :
       {"'rw'", "'sec=sys,ro'", "'fsid=7'", "''", "'a b'", "'a)b'", "\"sync\\nb\"", "'sync,,wdelay'"}) {
    EXPECT_THAT(error(", backend: knfsd, clients: ['*'], options: [" + std::string(wrong) + "]"),
                HasSubstr("exports[0].options[0]"))
        << wrong;
  }
  EXPECT_THAT(error(", backend: ganesha, clients: ['*'], options: [wdelay]"),
              HasSubstr("no counterpart in NFS-Ganesha"));
  EXPECT_THAT(error(", backend: ganesha, clients: ['*'], options: ['anonuid=x']"), HasSubstr("anonuid=NUMBER"));
  EXPECT_THAT(error("", "ganesha: {first_export_id: 60000, export_ids: 10000}"), HasSubstr("ganesha.export_ids"));
  EXPECT_THAT(error("", "ganesha: {first_export_id: 0}"), HasSubstr("ganesha.first_export_id"));
}

TEST_F(ConfigTest, ControlIsRead) {
  const auto config = LoadControlConfig(Write(R"(
tls: {ca: a, cert: b, key: c}
pairs:
  - {name: one, primary: p1:7411, dr: "[fd00::2]:7412"}
  - {name: two, primary: p2:7411, dr: d2:7412, server_names: [nfs2], dr_server: nfs-dr}
clusters: {dr: {kubeconfig: dr.kubeconfig}}
storage_class_map: {gold: silver}
keep_annotations: []
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->pairs.at(0).dr_server, "fd00::2");
  EXPECT_EQ(config->pairs.at(1).dr_server, "nfs-dr");
  EXPECT_EQ(config->clusters.dr->kubeconfig, folder_ / "dr.kubeconfig");
  EXPECT_EQ(config->storage_class_map.at("gold"), "silver");
  EXPECT_THAT(config->keep_annotations, IsEmpty());
}

constexpr char kSmallestControl[] = "tls: {ca: a, cert: b, key: c}\npairs: [{name: x, primary: p:1, dr: d:1}]\n";

TEST_F(ConfigTest, FailoverPlansFitTheRestOfTheConfiguration) {
  const auto error = [&](const std::string& plans, const std::string& more = "clusters: {dr: {kubeconfig: k}}\n") {
    const auto config =
        LoadControlConfig(Write(fmt::format("{}{}failover: {{plans: [{}]}}\n", kSmallestControl, more, plans)));
    return config.ok() ? "" : std::string(MessageOf(config.status()));
  };
  EXPECT_EQ(error("{name: a, namespaces: [n], restore: nothing}, {name: b, volumes: [x/v]}"), "");
  EXPECT_THAT(error("{name: a, volumes: [x/v]}, {name: a, volumes: [x/w]}"), HasSubstr("names must differ"));
  // Two runs could bring the same thing over at once.
  EXPECT_THAT(error("{name: a, namespaces: [n, m], restore: nothing}, {name: b, namespaces: [m], restore: nothing}"),
              AllOf(HasSubstr("failover.plans[1].namespaces"), HasSubstr("'m' goes over with plans[0] (a)")));
  EXPECT_THAT(error("{name: a, volumes: [x/v]}, {name: b, volumes: [x/w, x/v]}"),
              AllOf(HasSubstr("failover.plans[1].volumes"), HasSubstr("'x/v' goes over with plans[0] (a)")));
  EXPECT_THAT(error("{name: a, restore: nothing}, {name: b, namespaces: [n], restore: nothing}",
                    "namespaces: [n]\nclusters: {dr: {kubeconfig: k}}\n"),
              HasSubstr("'n' goes over with plans[0] (a)"));
  EXPECT_THAT(error("{name: a, volumes: [x/v, x/v]}"), HasSubstr("'x/v' is listed twice"));
  EXPECT_THAT(error("{name: a, volumes: [y/v]}"), HasSubstr("'y/v': there is no such pair"));
  EXPECT_THAT(error("{name: a, namespaces: [n], restore: nothing}", ""), HasSubstr("clusters.dr"));
  EXPECT_THAT(error("{name: a, restore: nothing}", "namespaces: [n]\n"), HasSubstr("clusters.dr"));
  EXPECT_EQ(error("{name: a, volumes: [x/v]}", "namespaces: [n]\n"), "");
  EXPECT_THAT(error("{name: a, namespaces: [n]}"), HasSubstr("oadp"));
  const std::string longest(56, 'n');
  EXPECT_EQ(error("{name: a, namespaces: [" + longest + "], restore: nothing}"), "");
  EXPECT_THAT(error("{name: a, namespaces: [" + longest + "n], restore: nothing}"), HasSubstr("test_namespace_suffix"));
}

TEST_F(ConfigTest, TheScheduledSyncIsRead) {
  const auto plain = LoadControlConfig(Write(kSmallestControl));
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(plain->schedule.enabled);
  EXPECT_EQ(plain->schedule.cron, "0 * * * *");
  EXPECT_EQ(plain->schedule.time_zone, "UTC");
  EXPECT_EQ(plain->stale.max_fraction, 0.25);
  EXPECT_FALSE(plain->clusters.primary.has_value());
  const auto config = LoadControlConfig(Write(std::string(kSmallestControl) + R"(
clusters: {primary: {kubeconfig: primary.kubeconfig}, dr: {kubeconfig: dr.kubeconfig}}
namespaces: [shop, bank]
state_dir: state
schedule: {cron: "30 2 * * *", time_zone: Europe/Berlin, enabled: false}
sync: {parallelism: 2, volume_timeout: 10m}
stale: {enabled: false, max_fraction: 0.1, min_objects: 1}
notify:
  email: {smtp_url: "smtp://mail:587", user: u, password_file: secret, from: a@example.com, to: [b@example.com], when: always}
  webhooks: [{url: "https://hook/x", token_file: token, hmac_secret_file: hmac}]
)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->clusters.primary->kubeconfig, folder_ / "primary.kubeconfig");
  EXPECT_THAT(config->namespaces, ElementsAre("shop", "bank"));
  EXPECT_EQ(config->state_dir, folder_ / "state");
  EXPECT_EQ(config->schedule.cron, "30 2 * * *");
  EXPECT_EQ(config->sync.volume_timeout, absl::Minutes(10));
  EXPECT_EQ(config->notify.email->starttls, StartTls::kRequired);
  EXPECT_EQ(config->notify.email->when, MailWhen::kAlways);
  EXPECT_EQ(config->notify.webhooks.at(0).token_file, folder_ / "token");
}

TEST_F(ConfigTest, NotificationsThatCantWorkOrLeakAreRefused) {
  const auto error = [this](const std::string& notify) {
    return std::string(
        MessageOf(LoadControlConfig(Write(std::string(kSmallestControl) + "notify: {" + notify + "}\n")).status()));
  };
  const std::string email = "email: {smtp_url: 'smtp://m:25', from: a@b, to: [c@d]";
  EXPECT_EQ(error(email + "}"), "");
  EXPECT_THAT(error(email + ", user: u}"), HasSubstr("belong together"));
  EXPECT_THAT(error(email + ", user: u, password_file: p, starttls: off}"), HasSubstr("unencrypted"));
  EXPECT_THAT(error(email + ", user: u, password_file: p, starttls: optional}"), HasSubstr("unencrypted"));
  EXPECT_THAT(error("email: {smtp_url: 'http://m', from: a@b, to: [c@d]}"), HasSubstr("notify.email.smtp_url"));
  EXPECT_THAT(error("email: {smtp_url: 'smtp://u:p@m', from: a@b, to: [c@d]}"), HasSubstr("without a user"));
  EXPECT_THAT(error("email: {smtp_url: 'smtp://m', from: a@b, to: []}"), HasSubstr("notify.email.to"));
  for (const char* const wrong : {"'a'", "'@b'", "'a@'", "'a b@c'", "'<a@b>'", "\"a@b\\r\\nX: y\"", "'a@b@c'"}) {
    EXPECT_THAT(error("email: {smtp_url: 'smtp://m', to: [c@d], from: " + std::string(wrong) + "}"),
                HasSubstr("write a bare mail address"))
        << wrong;
  }
  EXPECT_THAT(error("webhooks: [{url: 'ftp://x'}]"), HasSubstr("notify.webhooks[0].url"));
  EXPECT_THAT(error("webhooks: [{url: 'https://x'}, {url: 'https://x'}]"), HasSubstr("keep one"));
}

TEST_F(ConfigTest, ControlPairsNeedDifferentNames) {
  const auto config =
      LoadControlConfig(Write("tls: {ca: a, cert: b, key: c}\npairs:\n- {name: x, primary: p:1, dr: d:1}\n- {name: x, "
                              "primary: p:2, dr: d:2}\n"));
  EXPECT_THAT(std::string(MessageOf(config.status())), HasSubstr("test.yaml:4: pairs[1].name"));
}

}  // namespace
}  // namespace understudy::config
