#include "tests/support/mail_server.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace

absl::StatusOr<std::unique_ptr<MailServer>> MailServer::Start(const std::string& folder,
                                                              const std::string& certificate) {
  std::filesystem::create_directories(folder);
  std::vector<std::string> arguments = {SourcePath("tests/support/smtp_server.py"), folder};
  if (!certificate.empty()) {
    arguments.insert(arguments.end(), {certificate + ".crt", certificate + ".key", kUser, kPassword});
  }
  ASSIGN_OR_RETURN(auto process, Process::Start({.program = "/usr/bin/python3", .arguments = arguments}));
  std::unique_ptr<MailServer> server(new MailServer(folder, std::move(process)));
  const std::string port_file = folder + "/port";
  RETURN_IF_ERROR(WaitFor("the mail server", absl::Seconds(60),
                          [&] { return !ReadFile(port_file).empty() || !server->process_->Running(); }));
  if (!server->process_->Running()) return absl::FailedPreconditionError(server->process_->Err());
  server->url_ = "smtp://127.0.0.1:" + ReadFile(port_file);
  return server;
}

std::string MailServer::Mail(int number) const {
  return ReadFile(folder_ + "/" + std::to_string(number) + ".eml");
}

}  // namespace understudy::tests
