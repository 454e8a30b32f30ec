#include <fmt/format.h>

#include "control/commands/commands.h"
#include "core/base/log.h"
#include "core/net/pki.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// The files that were made.
void PrintFiles(const Console& console, OutputFormat format, const std::filesystem::path& certificate,
                const std::filesystem::path& key) {
  const std::string certificate_text = Printable(certificate.native());
  const std::string key_text = Printable(key.native());
  Print(console, format, {{"certificate", certificate_text}, {"key", key_text}},
        fmt::format("{}\n{}\n", certificate_text, key_text));
}

}  // namespace

ExitCode RunPkiInit(const Console& console, OutputFormat format, const std::filesystem::path& folder, bool force) {
  const absl::Status status = net::InitAuthority(folder, force);
  if (!status.ok()) return Fail(console, status);
  PrintFiles(console, format, folder / "ca.crt", folder / "ca.key");
  return ExitCode::kDone;
}

ExitCode RunPkiIssue(const Console& console, OutputFormat format, const PkiIssueOptions& options) {
  net::IssueRequest request{
      .name = options.name, .roles = {}, .hosts = options.hosts, .days = options.days, .force = options.force};
  for (const std::string& text : options.roles) {
    const absl::StatusOr<net::Role> role = net::ParseRole(text);
    if (!role.ok()) return Fail(console, role.status());
    request.roles.push_back(*role);
  }
  if (request.name.empty() && !request.roles.empty()) request.name = net::ToString(request.roles[0]);
  const absl::StatusOr<net::TlsFiles> files = net::IssueCertificate(options.folder, request);
  if (!files.ok()) return Fail(console, files.status());
  PrintFiles(console, format, files->cert, files->key);
  return ExitCode::kDone;
}

}  // namespace understudy::control
