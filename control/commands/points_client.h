// points_client.h: what drctl asks understudy-dr about recovery points. One thread at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/recovery_point.h"
#include "core/net/tls_files.h"

namespace understudy::control {

class PointsClient {
 public:
  // INVALID_ARGUMENT: `tls` is unfit. Calls end with CANCELLED once `stop` is requested.
  [[nodiscard]] static absl::StatusOr<PointsClient> Create(const std::string& address, const net::TlsFiles& tls,
                                                           std::stop_token stop = {});
  PointsClient(PointsClient&&) noexcept;
  ~PointsClient();

  // NOT_FOUND: no such replica there; so also of the calls below.
  [[nodiscard]] absl::StatusOr<model::RecoveryPoints> List(const std::string& volume) const;
  // Of the newest state that completes a capture when `sequence` is nullopt; gives the state's sequence. NOT_FOUND: it
  // isn't kept. ALREADY_EXISTS: another state has that label, or it has another one. FAILED_PRECONDITION: it is the
  // midst of a capture, or no whole one is kept.
  [[nodiscard]] absl::StatusOr<model::Sequence> Label(const std::string& volume,
                                                      std::optional<model::Sequence> sequence, const std::string& label,
                                                      bool pinned) const;
  [[nodiscard]] absl::Status Unlabel(const std::string& volume, model::Sequence sequence) const;
  // Both take as long as they take; `step` is told how many of how many undo records were run.
  using Step = std::function<void(uint64_t, uint64_t)>;
  [[nodiscard]] absl::Status Rewind(const std::string& volume, model::Sequence sequence, const Step& step) const;
  struct Wish {
    std::string volume;
    model::Sequence sequence = 0;
    std::string path;  // empty: beside the replica's folder
    bool writable = false;
  };
  [[nodiscard]] absl::StatusOr<model::PointTree> Materialise(const Wish& wish, const Step& step) const;
  // Lets the primary bring a volume up to date again that was taken back; one that isn't held is fine.
  [[nodiscard]] absl::Status Release(const std::string& volume) const;
  // Of all volumes, also of those whose replica is gone; ascending by id.
  [[nodiscard]] absl::StatusOr<std::vector<model::PointTree>> ListTrees() const;
  // NOT_FOUND: no such tree.
  [[nodiscard]] absl::StatusOr<model::PointTree> RemoveTree(const std::string& id) const;

 private:
  struct Stub;
  explicit PointsClient(std::unique_ptr<Stub> stub);
  std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::control
