#include "core/net/tls_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "core/base/log.h"
#include "core/net/openssl_handles.h"

namespace understudy::net {
namespace {

std::string Shown(const std::filesystem::path& path) {
  return Printable(path.native());
}

absl::StatusOr<BioHandle> OpenFile(const std::filesystem::path& file, std::string_view what) {
  BioHandle bio(BIO_new_file(file.c_str(), "rb"));
  if (bio) return bio;
  const int error = errno;
  ERR_clear_error();
  return absl::InvalidArgumentError(fmt::format("can't read {} {}: {}; make one with drctl pki", what, Shown(file),
                                                std::generic_category().message(error)));
}

absl::StatusOr<std::vector<CertificateHandle>> ReadCertificates(const std::filesystem::path& file,
                                                                std::string_view what) {
  ASSIGN_OR_RETURN(const BioHandle bio, OpenFile(file, what));
  std::vector<CertificateHandle> certificates;
  while (X509* const certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  ERR_clear_error();  // the end of the file is an error to OpenSSL
  if (certificates.empty()) {
    return absl::InvalidArgumentError(fmt::format("{} {} holds no certificate in PEM form", what, Shown(file)));
  }
  return certificates;
}

absl::StatusOr<KeyHandle> ReadKey(const std::filesystem::path& file) {
  ASSIGN_OR_RETURN(const BioHandle bio, OpenFile(file, "private key"));
  // A passphrase can't be asked for by a service: an encrypted key counts as unreadable.
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  KeyHandle key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key) return key;
  ERR_clear_error();
  return absl::InvalidArgumentError(fmt::format("{} holds no unencrypted private key in PEM form", Shown(file)));
}

std::string TimeText(const ASN1_TIME* time) {
  std::tm broken_down{};
  if (ASN1_TIME_to_tm(time, &broken_down) != 1) return "an unreadable time";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", broken_down.tm_year + 1900, broken_down.tm_mon + 1,
                     broken_down.tm_mday, broken_down.tm_hour, broken_down.tm_min, broken_down.tm_sec);
}

absl::Status CheckDates(const TlsFiles& files, X509* certificate) {
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
    return absl::InvalidArgumentError(
        fmt::format("certificate {} expired at {}: issue a new one with drctl pki issue --force", Shown(files.cert),
                    TimeText(X509_get0_notAfter(certificate))));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
    return absl::InvalidArgumentError(fmt::format("certificate {} isn't valid before {}: check this host's clock",
                                                  Shown(files.cert), TimeText(X509_get0_notBefore(certificate))));
  }
  return absl::OkStatus();
}

absl::Status CheckSignature(const TlsFiles& files, const std::vector<CertificateHandle>& chain,
                            const std::vector<CertificateHandle>& authorities) {
  const StoreHandle store(X509_STORE_new());
  const StoreContextHandle context(X509_STORE_CTX_new());
  STACK_OF(X509)* const intermediates = sk_X509_new_null();
  UNDERSTUDY_CHECK(store && context && intermediates != nullptr);
  for (const CertificateHandle& authority : authorities) X509_STORE_add_cert(store.get(), authority.get());
  for (size_t i = 1; i < chain.size(); ++i) sk_X509_push(intermediates, chain[i].get());
  const bool verified = X509_STORE_CTX_init(context.get(), store.get(), chain[0].get(), intermediates) == 1 &&
                        X509_verify_cert(context.get()) == 1;
  const std::string reason = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
  sk_X509_free(intermediates);
  ERR_clear_error();
  if (verified) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("certificate {} isn't signed by an authority of {} ({}): use the files of one "
                  "drctl pki folder",
                  Shown(files.cert), Shown(files.ca), reason));
}

bool Carries(X509* certificate, Role role) {
  const NamesHandle names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names) return false;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_STRING* const uri = name->d.uniformResourceIdentifier;
    const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                                static_cast<size_t>(ASN1_STRING_length(uri)));
    if (RoleOfUri(text) == role) return true;
  }
  return false;
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files, Role role) {
  ASSIGN_OR_RETURN(const auto authorities, ReadCertificates(files.ca, "authority certificates"));
  ASSIGN_OR_RETURN(const auto chain, ReadCertificates(files.cert, "certificate"));
  ASSIGN_OR_RETURN(const KeyHandle key, ReadKey(files.key));
  if (X509_check_private_key(chain[0].get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        fmt::format("private key {} doesn't belong to certificate {}", Shown(files.key), Shown(files.cert)));
  }
  RETURN_IF_ERROR(CheckDates(files, chain[0].get()));
  RETURN_IF_ERROR(CheckSignature(files, chain, authorities));
  if (Carries(chain[0].get(), role)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("certificate {} doesn't carry the role '{}': issue one with drctl pki issue --role {}",
                  Shown(files.cert), ToString(role), ToString(role)));
}

}  // namespace understudy::net
