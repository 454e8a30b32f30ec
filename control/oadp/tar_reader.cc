#include "control/oadp/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cerrno>

namespace understudy::control {
namespace {

constexpr uint64_t kEndBytes = 1024;  // two blocks of zeros end a tar file

}  // namespace

void TarReader::Free::operator()(archive* reader) const {
  archive_read_free(reader);
}

TarReader::TarReader(ByteSource& source) : source_(source), reader_(archive_read_new()) {
  UNDERSTUDY_CHECK(reader_ != nullptr);
  UNDERSTUDY_CHECK(archive_read_support_format_tar(reader_.get()) == ARCHIVE_OK);
  // It reads the first header at once: what is wrong there comes again with Next.
  if (archive_read_open(reader_.get(), this, nullptr, &TarReader::OnRead, nullptr) != ARCHIVE_OK &&
      source_status_.ok()) {
    source_status_ = absl::DataLossError(fmt::format("it isn't a tar file: {}", archive_error_string(reader_.get())));
  }
}
TarReader::~TarReader() = default;

absl::StatusOr<std::string_view> TarReader::ReadPiece() {
  ASSIGN_OR_RETURN(const std::string_view piece, source_.Next());
  const size_t last = piece.find_last_not_of('\0');
  trailing_zeros_ = last == std::string_view::npos ? trailing_zeros_ + piece.size() : piece.size() - 1 - last;
  return piece;
}

ssize_t TarReader::OnRead(archive* reader, void* self, const void** piece) {
  auto* const me = static_cast<TarReader*>(self);
  const absl::StatusOr<std::string_view> read = me->ReadPiece();
  if (!read.ok()) {
    me->source_status_ = read.status();
    archive_set_error(reader, EIO, "the source failed");
    return -1;
  }
  *piece = read->data();
  return static_cast<ssize_t>(read->size());
}

absl::Status TarReader::Failure() const {
  if (!source_status_.ok()) return source_status_;
  const char* const message = archive_error_string(reader_.get());
  return absl::DataLossError(fmt::format("it isn't a whole tar file: {}", message == nullptr ? "unknown" : message));
}

absl::StatusOr<std::optional<TarEntry>> TarReader::Next() {
  if (!source_status_.ok()) return source_status_;
  archive_entry* entry = nullptr;
  const int result = archive_read_next_header(reader_.get(), &entry);
  if (result == ARCHIVE_EOF) {
    RETURN_IF_ERROR(VerifyEnd());
    return std::nullopt;
  }
  // A warning is a name that this locale can't show.
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return Failure();
  const char* path = archive_entry_pathname(entry);
  if (path == nullptr) path = archive_entry_pathname_utf8(entry);
  if (path == nullptr) return absl::DataLossError("an entry has a name that can't be read");
  const bool is_link = archive_entry_hardlink(entry) != nullptr || archive_entry_symlink(entry) != nullptr;
  TarEntry found{.path = path};
  found.is_regular = archive_entry_filetype(entry) == AE_IFREG && !is_link;
  found.is_folder = archive_entry_filetype(entry) == AE_IFDIR;
  const int64_t size = archive_entry_size(entry);
  if (size < 0) return absl::DataLossError("an entry has a negative size");
  found.size = static_cast<uint64_t>(size);
  return found;
}

absl::StatusOr<std::string> TarReader::Content(const TarEntry& entry) {
  std::string content(entry.size, '\0');
  size_t length = 0;
  while (length < content.size()) {
    const ssize_t got = archive_read_data(reader_.get(), content.data() + length, content.size() - length);
    if (got < 0) return Failure();
    if (got == 0) return absl::DataLossError("it ends early");
    length += static_cast<size_t>(got);
  }
  return content;
}

absl::Status TarReader::VerifyEnd() {
  bool ended = false;
  while (!ended) {
    ASSIGN_OR_RETURN(const std::string_view piece, ReadPiece());
    ended = piece.empty();
  }
  if (trailing_zeros_ >= kEndBytes) return absl::OkStatus();
  return absl::DataLossError("it doesn't end as a tar file does: something is missing, or follows");
}

}  // namespace understudy::control
