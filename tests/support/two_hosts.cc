#include "tests/support/two_hosts.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace understudy::tests {
namespace {

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

ProcessResult Run(std::vector<std::string> arguments) {
  const auto result =
      RunProcess({.program = ProgramPath("drctl"), .arguments = std::move(arguments)}, absl::Minutes(3));
  return result.ok() ? *result : ProcessResult{.exit_code = -1, .err = std::string(MessageOf(result.status()))};
}

}  // namespace

TwoHosts::TwoHosts(const std::string& more_control_settings) {
  for (const char* const folder : {"a/web", "b"}) std::filesystem::create_directories(dir_.File(folder));
  for (const std::string& name : Names()) ports_[name] = FreePort();
  Run({"pki", "init", "--dir", dir_.File("pki")});
  for (const char* const role : {"primary", "dr", "control"}) {
    Run({"pki", "issue", "--dir", dir_.File("pki"), "--role", role, "--host", "127.0.0.1"});
  }
  WriteConfigs(more_control_settings);
}

std::string TwoHosts::Address(const std::string& name) const {
  return fmt::format("127.0.0.1:{}", ports_.at(name));
}

void TwoHosts::Start(const std::string& name) {
  agents_[name].reset();
  const std::string program = name.starts_with("primary") ? "understudy-primary" : "understudy-dr";
  auto started =
      Process::Start({.program = ProgramPath(program), .arguments = {"--config", dir_.File(name + ".yaml")}});
  ASSERT_TRUE(started.ok()) << started.status();
  agents_[name] = *std::move(started);
}

void TwoHosts::KillAndStart(const std::string& name) {
  Kill(name);
  Start(name);
}

ProcessResult TwoHosts::Drctl(std::vector<std::string> arguments, const std::string& pair) {
  arguments.insert(arguments.begin(), {"--config", dir_.File(pair)});
  return Run(std::move(arguments));
}

nlohmann::json TwoHosts::Json(std::vector<std::string> arguments, const std::string& pair) {
  arguments.insert(arguments.end(), {"-o", "json"});
  const ProcessResult result = Drctl(std::move(arguments), pair);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
}

std::string TwoHosts::Logs() {
  std::string logs;
  for (const auto& [name, agent] : agents_) logs += fmt::format("--- {}\n{}", name, agent->Err());
  return logs;
}

void TwoHosts::WriteConfigs(const std::string& more_control_settings) const {
  const auto agent = [&](const std::string& name, const std::string& role, const std::string& rest) {
    Write(dir_.File(name + ".yaml"), fmt::format("listen: {}\nmetrics_listen: 127.0.0.1:{}\nstate_dir: state-{}\n"
                                                 "tls: {{ca: pki/ca.crt, cert: pki/{}.crt, key: pki/{}.key}}\n{}",
                                                 Address(name), FreePort(), name, role, role, rest));
  };
  const std::string a = dir_.File("a");
  const std::string b = dir_.File("b");
  agent("primary-a", "primary",
        fmt::format("peer: {{address: {}}}\nexports: [{{path: {}, dr_path: {}, server_names: [nfs-a]}}]\nvolumes: "
                    "[{{name: web, path: "
                    "{}/web}}]\n",
                    Address("dr-b"), a, b, a));
  agent("primary-b", "primary",
        fmt::format("peer: {{address: {}}}\nexports: [{{path: {}, dr_path: {}, server_names: [nfs-b]}}]\nvolumes: []\n",
                    Address("dr-a"), b, a));
  agent("dr-a", "dr", fmt::format("exports: [{{path: {}, backend: none}}]\n", a));
  agent("dr-b", "dr", fmt::format("exports: [{{path: {}, backend: none}}]\n", b));
  const std::string tls = "tls: {ca: pki/ca.crt, cert: pki/control.crt, key: pki/control.key}\n";
  Write(dir_.File("control.yaml"),
        tls +
            fmt::format("pairs: [{{name: local, primary: \"{}\", dr: \"{}\", reverse: {{primary: \"{}\", dr: "
                        "\"{}\"}}}}]\n",
                        Address("primary-a"), Address("dr-b"), Address("primary-b"), Address("dr-a")) +
            more_control_settings);
  Write(dir_.File("forward.yaml"), tls + fmt::format("pairs: [{{name: forward, primary: \"{}\", dr: \"{}\"}}]\n",
                                                     Address("primary-a"), Address("dr-b")));
}

}  // namespace understudy::tests
