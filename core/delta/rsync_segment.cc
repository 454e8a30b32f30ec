#include "core/delta/rsync_segment.h"

#include <fmt/format.h>
#include <librsync.h>

#include <algorithm>
#include <memory>

#include "core/delta/content_digest.h"

namespace understudy::delta {
namespace {

// Blocks of 8 KiB hold a few guest pages. Eight bytes of BLAKE2 are enough: the whole segment's digest is checked after
// patching, and a segment that fails is sent whole.
constexpr size_t kMatchedBytes = 8 * 1024;
constexpr size_t kStrongSumBytes = 8;
// Of librsync's signatures: magic, block length and length of the strong sums, and then both sums of each block.
constexpr size_t kSignatureHeaderBytes = 12;
constexpr size_t kSumBytes = 4 + kStrongSumBytes;
constexpr size_t kOutputStepBytes = 64 * 1024;

struct FreeJob {
  void operator()(rs_job_t* job) const { rs_job_free(job); }
};
using Job = std::unique_ptr<rs_job_t, FreeJob>;

struct FreeSignature {
  void operator()(rs_signature_t* signature) const { rs_free_sumset(signature); }
};

// librsync would write each error to stderr, too: ours travel as statuses.
void KeepQuiet() {
  [[maybe_unused]] static const bool kQuiet = (rs_trace_set_level(RS_LOG_EMERG), true);
}

rs_buffers_t BuffersOf(std::string_view input) {
  rs_buffers_t buffers{};
  buffers.next_in = const_cast<char*>(input.data());  // librsync doesn't write through it
  buffers.avail_in = input.size();
  buffers.eof_in = 1;
  return buffers;
}

// Feeds `input` to the job and collects what comes out, at most `max_output` bytes.
absl::StatusOr<std::string> Run(rs_job_t* job, std::string_view input, size_t max_output, std::string_view what) {
  KeepQuiet();
  std::string output;
  rs_buffers_t buffers = BuffersOf(input);
  for (;;) {
    const size_t done = output.size();
    // One byte more than allowed shows that the output is too long.
    const size_t step = std::min(kOutputStepBytes, max_output + 1 - done);
    output.resize(done + step);
    buffers.next_out = output.data() + done;
    buffers.avail_out = step;
    const rs_result result = rs_job_iter(job, &buffers);
    output.resize(done + step - buffers.avail_out);
    if (output.size() > max_output) return absl::DataLossError(fmt::format("{}: more output than announced", what));
    if (result == RS_DONE) return output;
    if (result != RS_BLOCKED) return absl::DataLossError(fmt::format("{}: {}", what, rs_strerror(result)));
    if (buffers.avail_in == 0 && output.size() == done) {
      return absl::DataLossError(fmt::format("{}: unexpected end of input", what));
    }
  }
}

rs_result CopyFromBase(void* opaque, rs_long_t position, size_t* length, void** buffer) {
  const auto& base = *static_cast<const std::string_view*>(opaque);
  if (position < 0 || static_cast<uint64_t>(position) >= base.size()) return RS_INPUT_ENDED;
  const size_t offset = static_cast<size_t>(position);
  *length = std::min(*length, base.size() - offset);
  *buffer = const_cast<char*>(base.data() + offset);  // librsync only reads it
  return RS_DONE;
}

}  // namespace

absl::StatusOr<std::string> MakeSignature(std::string_view base) {
  const Job job(rs_sig_begin(kMatchedBytes, kStrongSumBytes, RS_RK_BLAKE2_SIG_MAGIC));
  return Run(job.get(), base, base.size() + 1024, "librsync signature");
}

absl::StatusOr<std::string> JoinSignatures(std::span<const std::string> signatures) {
  std::string joined;
  for (const std::string& signature : signatures) {
    const bool whole = &signature == &signatures.back() ||
                       signature.size() == kSignatureHeaderBytes + kSegmentBytes / kMatchedBytes * kSumBytes;
    const std::string_view header = std::string_view(signature).substr(0, kSignatureHeaderBytes);
    if (!whole || header.size() < kSignatureHeaderBytes || (!joined.empty() && !joined.starts_with(header))) {
      return absl::InvalidArgumentError("not the signature of a segment");
    }
    joined.append(signature, joined.empty() ? 0 : kSignatureHeaderBytes);
  }
  return joined;
}

absl::StatusOr<std::string> MakeDelta(std::string_view signature, std::string_view next) {
  rs_signature_t* loaded = nullptr;
  const Job load(rs_loadsig_begin(&loaded));
  const absl::StatusOr<std::string> nothing = Run(load.get(), signature, 0, "librsync load signature");
  const std::unique_ptr<rs_signature_t, FreeSignature> sums(loaded);
  if (!nothing.ok() || sums == nullptr) {
    return absl::InvalidArgumentError(fmt::format("not a signature: {}", MessageOf(nothing.status())));
  }
  if (const rs_result result = rs_build_hash_table(sums.get()); result != RS_DONE) {
    return absl::InternalError(fmt::format("librsync hash table: {}", rs_strerror(result)));
  }
  const Job job(rs_delta_begin(sums.get()));
  // A delta of pure literals is a little longer than its input.
  return Run(job.get(), next, next.size() + next.size() / 16 + 1024, "librsync delta");
}

absl::Status ApplyDelta(std::string_view base, std::string_view delta, std::span<char> next) {
  KeepQuiet();
  const Job job(rs_patch_begin(CopyFromBase, &base));
  rs_buffers_t buffers = BuffersOf(delta);
  buffers.next_out = next.data();
  buffers.avail_out = next.size();
  char beyond = 0;
  for (bool full = false;;) {
    const size_t left_before = buffers.avail_in + buffers.avail_out;
    const rs_result result = rs_job_iter(job.get(), &buffers);
    if (full && buffers.avail_out == 0) return absl::DataLossError("librsync patch: more output than announced");
    if (result == RS_DONE) break;
    if (result != RS_BLOCKED) return absl::DataLossError(fmt::format("librsync patch: {}", rs_strerror(result)));
    if (buffers.avail_out == 0) {
      full = true;
      buffers.next_out = &beyond;
      buffers.avail_out = 1;
    } else if (buffers.avail_in + buffers.avail_out == left_before) {
      return absl::DataLossError("librsync patch: unexpected end of input");
    }
  }
  const auto missing = next.empty() || buffers.next_out == &beyond ? 0 : buffers.avail_out;
  if (missing == 0) return absl::OkStatus();
  return absl::DataLossError(fmt::format("librsync patch: {} of {} bytes are missing", missing, next.size()));
}

absl::StatusOr<std::string> ApplyDelta(std::string_view base, std::string_view delta, size_t length) {
  std::string next(length, '\0');
  RETURN_IF_ERROR(ApplyDelta(base, delta, std::span<char>(next)));
  return next;
}

}  // namespace understudy::delta
