#include "core/net/pki.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/strings/ascii.h"
#include "core/base/log.h"
#include "core/model/volume.h"
#include "core/net/openssl_handles.h"

namespace understudy::net {
namespace {

constexpr int kSerialBits = 127;  // positive, and at most 20 bytes (RFC 5280, 4.1.2.2)
constexpr long kSecondsPerDay = 24 * 60 * 60;
constexpr long kBackdateSeconds = 5 * 60;  // for clocks that are a little behind
constexpr size_t kMaxHostBytes = 253;
constexpr size_t kMaxCommonNameBytes = 64;

std::string Shown(const std::filesystem::path& path) {
  return Printable(path.native());
}

absl::Status OpenSslStatus(std::string_view what) {
  return absl::InternalError(fmt::format("can't {}: OpenSSL: {}", what, TakeOpenSslError()));
}

bool IsAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

absl::Status CheckHost(const std::string& host) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_'; };
  const bool is_name = !host.empty() && host.size() <= kMaxHostBytes && absl::ascii_isalnum(host[0]) &&
                       std::all_of(host.begin(), host.end(), allowed);
  if (is_name || IsAddress(host)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("host '{}': write a host name or an IP address, without a port", Printable(host)));
}

absl::Status CheckRequest(const IssueRequest& request) {
  if (!model::ValidateVolumeName(request.name).ok()) {
    return absl::InvalidArgumentError(fmt::format(
        "name '{}': use letters, digits, '.', '_' or '-', beginning with a letter or digit", Printable(request.name)));
  }
  if (request.name == "ca") return absl::InvalidArgumentError("name 'ca': is the authority's; use another");
  if (request.roles.empty()) return absl::InvalidArgumentError("no role: name at least one of primary, dr, control");
  if (request.days < 1 || request.days > kMaxCertificateDays) {
    return absl::InvalidArgumentError(fmt::format("{} days: use 1 to {}", request.days, kMaxCertificateDays));
  }
  for (const std::string& host : request.hosts) RETURN_IF_ERROR(CheckHost(host));
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, std::string_view bytes, const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, fmt::format("can't write {}", Shown(file)));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (fsync(fd) != 0) return ErrnoStatus(errno, fmt::format("can't sync {}", Shown(file)));
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::filesystem::path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, fmt::format("can't open folder {}", Shown(folder)));
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : ErrnoStatus(error, fmt::format("can't sync folder {}", Shown(folder)));
}

// `file` appears whole, durably, with `mode`; what was there is replaced when `force`.
absl::Status WriteFile(const std::filesystem::path& file, std::string_view content, mode_t mode, bool force) {
  std::string temporary = file.native() + ".XXXXXX";
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);  // mode 0600
  if (fd < 0) return ErrnoStatus(errno, fmt::format("can't create a file beside {}", Shown(file)));
  absl::Status status = WriteAll(fd, content, file);
  if (status.ok() && fchmod(fd, mode) != 0)
    status = ErrnoStatus(errno, fmt::format("can't set the mode of {}", Shown(file)));
  close(fd);
  if (status.ok() &&
      renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, file.c_str(), force ? 0 : RENAME_NOREPLACE) != 0) {
    status = errno == EEXIST
                 ? absl::AlreadyExistsError(fmt::format("{} is there already: --force replaces it", Shown(file)))
                 : ErrnoStatus(errno, fmt::format("can't put {} in place", Shown(file)));
  }
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncFolder(file.parent_path());
}

template <class Write>
absl::StatusOr<std::string> ToPem(std::string_view what, const Write& write) {
  const BioHandle bio(BIO_new(BIO_s_mem()));
  if (!bio || write(bio.get()) != 1) return OpenSslStatus(fmt::format("encode {}", what));
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(length));
}

absl::StatusOr<std::string> KeyPem(EVP_PKEY* key) {
  return ToPem("a private key", [&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

absl::StatusOr<std::string> CertificatePem(X509* certificate) {
  return ToPem("a certificate", [&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

// The pair of files of one identity, the key first: a certificate without its key helps nobody.
absl::Status WriteIdentity(const std::filesystem::path& folder, const std::string& name, EVP_PKEY* key,
                           X509* certificate, bool force) {
  const std::filesystem::path key_file = folder / (name + ".key");
  const std::filesystem::path certificate_file = folder / (name + ".crt");
  if (!force && std::filesystem::exists(certificate_file)) {
    return absl::AlreadyExistsError(fmt::format("{} is there already: --force replaces it", Shown(certificate_file)));
  }
  ASSIGN_OR_RETURN(const std::string key_pem, KeyPem(key));
  ASSIGN_OR_RETURN(const std::string certificate_pem, CertificatePem(certificate));
  RETURN_IF_ERROR(WriteFile(key_file, key_pem, 0600, force));
  return WriteFile(certificate_file, certificate_pem, 0644, force);
}

absl::Status SetSerial(X509* certificate) {
  const BigNumberHandle serial(BN_new());
  if (!serial || BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return OpenSslStatus("make a serial number");
  }
  return absl::OkStatus();
}

absl::Status SetSubject(X509* certificate, const std::string& common_name) {
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const std::string fitting = common_name.substr(0, kMaxCommonNameBytes);
  if (X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("Understudy"), -1,
                                 -1, 0) != 1 ||
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(fitting.c_str()),
                                 -1, -1, 0) != 1) {
    return OpenSslStatus("name a certificate");
  }
  return absl::OkStatus();
}

// `value` in the notation of OpenSSL's x509v3_config(5).
absl::Status AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionHandle extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpenSslStatus(fmt::format("add {} to a certificate", OBJ_nid2sn(nid)));
  }
  return absl::OkStatus();
}

// A certificate for `key` without extensions, not yet signed.
absl::StatusOr<CertificateHandle> NewCertificate(EVP_PKEY* key, const std::string& common_name, int days) {
  CertificateHandle certificate(X509_new());
  if (!certificate) return OpenSslStatus("make a certificate");
  RETURN_IF_ERROR(SetSerial(certificate.get()));
  RETURN_IF_ERROR(SetSubject(certificate.get(), common_name));
  if (X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kBackdateSeconds) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days * kSecondsPerDay) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return OpenSslStatus("fill in a certificate");
  }
  return certificate;
}

absl::Status Sign(X509* certificate, EVP_PKEY* key) {
  return X509_sign(certificate, key, EVP_sha256()) > 0 ? absl::OkStatus() : OpenSslStatus("sign a certificate");
}

absl::StatusOr<KeyHandle> NewKey() {
  KeyHandle key(EVP_EC_gen("P-256"));
  if (!key) return OpenSslStatus("make a private key");
  return key;
}

struct Authority {
  CertificateHandle certificate;
  KeyHandle key;
};

absl::StatusOr<Authority> ReadAuthority(const std::filesystem::path& folder) {
  const std::filesystem::path certificate_file = folder / "ca.crt";
  const std::filesystem::path key_file = folder / "ca.key";
  const BioHandle certificate_bio(BIO_new_file(certificate_file.c_str(), "rb"));
  const BioHandle key_bio(BIO_new_file(key_file.c_str(), "rb"));
  if (!certificate_bio || !key_bio) {
    ERR_clear_error();
    return absl::NotFoundError(fmt::format("can't read {} and {}: make an authority with drctl pki init --dir {}",
                                           Shown(certificate_file), Shown(key_file), Shown(folder)));
  }
  Authority authority;
  authority.certificate.reset(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
  authority.key.reset(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  if (!authority.certificate || !authority.key ||
      X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        fmt::format("{} and {} aren't a certificate and its key: restore them, or begin anew with "
                    "drctl pki init --force",
                    Shown(certificate_file), Shown(key_file)));
  }
  return authority;
}

std::string AlternativeNames(const IssueRequest& request) {
  std::vector<std::string> names;
  for (const Role role : request.roles) names.push_back("URI:" + RoleUri(role));
  for (const std::string& host : request.hosts) names.push_back((IsAddress(host) ? "IP:" : "DNS:") + host);
  return fmt::format("{}", fmt::join(names, ","));
}

}  // namespace

absl::Status InitAuthority(const std::filesystem::path& folder, bool force) {
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) {
    std::filesystem::create_directories(folder, error);
    if (!error) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  }
  if (error) return ErrnoStatus(error.value(), fmt::format("can't make folder {}", Shown(folder)));
  ASSIGN_OR_RETURN(const KeyHandle key, NewKey());
  ASSIGN_OR_RETURN(const CertificateHandle certificate,
                   NewCertificate(key.get(), "Understudy authority", kAuthorityDays));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) != 1) {
    return OpenSslStatus("fill in a certificate");
  }
  X509* const self = certificate.get();
  RETURN_IF_ERROR(AddExtension(self, self, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  RETURN_IF_ERROR(AddExtension(self, self, NID_key_usage, "critical,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(AddExtension(self, self, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(Sign(self, key.get()));
  return WriteIdentity(folder, "ca", key.get(), self, force);
}

absl::StatusOr<TlsFiles> IssueCertificate(const std::filesystem::path& folder, const IssueRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  ASSIGN_OR_RETURN(const Authority authority, ReadAuthority(folder));
  ASSIGN_OR_RETURN(const KeyHandle key, NewKey());
  ASSIGN_OR_RETURN(const CertificateHandle owner, NewCertificate(key.get(), request.name, request.days));
  X509* const certificate = owner.get();
  X509* const issuer = authority.certificate.get();
  if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1)
    return OpenSslStatus("fill in a certificate");
  RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_key_usage, "critical,digitalSignature"));
  RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth"));
  RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_subject_alt_name, AlternativeNames(request)));
  RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(AddExtension(certificate, issuer, NID_authority_key_identifier, "keyid:always"));
  RETURN_IF_ERROR(Sign(certificate, authority.key.get()));
  RETURN_IF_ERROR(WriteIdentity(folder, request.name, key.get(), certificate, request.force));
  return TlsFiles{
      .ca = folder / "ca.crt", .cert = folder / (request.name + ".crt"), .key = folder / (request.name + ".key")};
}

}  // namespace understudy::net
