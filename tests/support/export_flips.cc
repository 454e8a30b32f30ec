#include "tests/support/export_flips.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(2);
// Of each client, so many writes are judged after each switch.
constexpr uint64_t kJudgedWrites = 3;
// Between two writes of a client: the servers and the agent have work to do, too.
constexpr absl::Duration kWritePause = absl::Milliseconds(2);

enum class Expected : uint64_t { kEither = 0, kRefused = 1, kDone = 2 };

// What is expected of a write that begins and ends while the number stays the same: a number for each switch, and what
// the export is then.
class Moment {
 public:
  void Set(Expected expected) { value_ = (value_ / 4 + 1) * 4 + static_cast<uint64_t>(expected); }
  [[nodiscard]] uint64_t Now() const { return value_; }
  static Expected Of(uint64_t value) { return static_cast<Expected>(value % 4); }

 private:
  std::atomic<uint64_t> value_{0};  // written by one thread
};

// A client that writes without a pause, on a thread of its own.
class BusyClient {
 public:
  BusyClient(FlippedClient client, const Moment& moment)
      : client_(std::move(client)), moment_(moment), thread_([this](std::stop_token stop) { Work(std::move(stop)); }) {}

  // OK: enough writes were judged since the last call of Begin, all as expected.
  absl::Status Judged() {
    const absl::MutexLock lock(&mutex_);
    if (!wrong_.ok()) return wrong_;
    if (judged_ >= kJudgedWrites) return absl::OkStatus();
    return absl::UnavailableError(fmt::format("{}: {} writes judged", client_.name, judged_));
  }
  void Begin() {
    const absl::MutexLock lock(&mutex_);
    judged_ = 0;
  }
  absl::Status Wrong() {
    const absl::MutexLock lock(&mutex_);
    return wrong_;
  }

  // Ends the writing, and compares the file that the server has with what was acknowledged and refused.
  absl::Status Finish() {
    thread_ = {};
    const absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(wrong_);
    std::ifstream file(client_.server_file, std::ios::binary);
    for (uint64_t block = 0; block < kFlipBlocks; ++block) {
      uint64_t number = 0;
      file.seekg(static_cast<std::streamoff>(block * kFlipBlockBytes));
      file.read(reinterpret_cast<char*>(&number), sizeof number);
      if (!file) return absl::InternalError(fmt::format("{}: '{}' is too short", client_.name, client_.server_file));
      if (number < acknowledged_[block]) {
        return absl::InternalError(fmt::format("{}: block {} holds write {}, and write {} was acknowledged",
                                               client_.name, block, number, acknowledged_[block]));
      }
      if (refused_.contains(number)) {
        return absl::InternalError(
            fmt::format("{}: block {} holds write {}, which was refused", client_.name, block, number));
      }
    }
    fmt::print("{}: {} writes done, {} refused\n", client_.name, done_count_, refused_count_);
    return absl::OkStatus();
  }

 private:
  void Work(std::stop_token stop) {
    std::string data(kFlipBlockBytes, '\0');
    for (uint64_t number = 1; !stop.stop_requested(); ++number) {
      std::memcpy(data.data(), &number, sizeof number);
      const uint64_t before = moment_.Now();
      const absl::Status written = client_.writer->WriteBlock(number % kFlipBlocks, data);
      Take(number, written, moment_.Now() == before ? Moment::Of(before) : Expected::kEither);
      absl::SleepFor(kWritePause);
    }
  }

  void Take(uint64_t number, const absl::Status& written, Expected expected) {
    const absl::MutexLock lock(&mutex_);
    if (written.ok()) {
      acknowledged_[number % kFlipBlocks] = number;
      ++done_count_;
    } else if (absl::IsPermissionDenied(written)) {
      if (expected == Expected::kRefused) refused_.insert(number);
      ++refused_count_;
    } else if (wrong_.ok()) {
      wrong_ = Annotate(written, fmt::format("{}: write {}", client_.name, number));
    }
    if (expected == Expected::kEither) return;
    ++judged_;
    if (wrong_.ok() && written.ok() != (expected == Expected::kDone)) {
      wrong_ = absl::InternalError(fmt::format("{}: write {} was {} while the export was {}", client_.name, number,
                                               written.ok() ? "done" : "refused",
                                               expected == Expected::kDone ? "rw" : "ro"));
    }
  }

  const FlippedClient client_;
  const Moment& moment_;
  absl::Mutex mutex_;
  uint64_t judged_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t done_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t refused_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, uint64_t> acknowledged_ ABSL_GUARDED_BY(mutex_);  // by block
  std::set<uint64_t> refused_ ABSL_GUARDED_BY(mutex_);
  absl::Status wrong_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

std::vector<std::string> SetArguments(const std::string& mode) {
  return {"exports", "set", "web", mode, "--site", "primary"};
}

// What is desired, once the agent has brought the server to it.
absl::StatusOr<std::string> SettledMode(Site& site) {
  std::string mode;
  RETURN_IF_ERROR(WaitForOk("the export to be as desired", kPatience, [&]() -> absl::Status {
    const ProcessResult listed = site.Drctl({"exports", "list", "--site", "primary", "-o", "json"});
    if (listed.exit_code != 0) return absl::UnavailableError(listed.err);
    const nlohmann::json exports = nlohmann::json::parse(listed.out).at("exports");
    const nlohmann::json& web = exports.at(0);
    if (web.at("desired") != web.at("actual")) return absl::UnavailableError(web.dump());
    mode = web.at("desired");
    return absl::OkStatus();
  }));
  return mode;
}

class FlipRun {
 public:
  FlipRun(Site& site, std::vector<FlippedClient> clients, const FlipOptions& options)
      : site_(site), options_(options), random_(options.seed) {
    for (FlippedClient& client : clients) {
      clients_.push_back(std::make_unique<BusyClient>(std::move(client), moment_));
    }
  }

  absl::Status Run() {
    const int every = std::max(1, options_.flips / (options_.kills + 1));
    for (int flip = 0; flip < options_.flips; ++flip) {
      const std::string mode = flip % 2 == 0 ? "ro" : "rw";
      const bool kills = flip > 0 && kills_ < options_.kills && flip % every == 0;
      RETURN_IF_ERROR(Annotate(Flip(mode, kills), fmt::format("flip {} to {}", flip, mode)));
    }
    RETURN_IF_ERROR(Flip("rw", /*kills=*/false));
    for (const auto& client : clients_) RETURN_IF_ERROR(client->Finish());
    fmt::print("{} flips; of {} kills of the agent in the midst of one, {} came after it was written down\n",
               options_.flips, kills_, written_down_);
    return absl::OkStatus();
  }

 private:
  absl::Status Flip(const std::string& mode, bool kills) {
    moment_.Set(Expected::kEither);
    if (kills) {
      RETURN_IF_ERROR(KillInTheMidst(mode));
      ASSIGN_OR_RETURN(const std::string settled, SettledMode(site_));
      if (settled == mode) ++written_down_;
      RETURN_IF_ERROR(Judge(settled));
      moment_.Set(Expected::kEither);
    }
    const absl::Time begin = absl::Now();
    const ProcessResult set = site_.Drctl(SetArguments(mode));
    usual_ = absl::Now() - begin;
    if (set.exit_code != 0) return absl::InternalError(fmt::format("drctl ended with {}: {}", set.exit_code, set.err));
    return Judge(mode);
  }

  absl::Status KillInTheMidst(const std::string& mode) {
    ++kills_;
    std::vector<std::string> arguments = SetArguments(mode);
    arguments.insert(arguments.begin(), {"--config", site_.File("control.yaml")});
    ASSIGN_OR_RETURN(const std::unique_ptr<Process> drctl,
                     Process::Start({.program = ProgramPath("drctl"), .arguments = std::move(arguments)}));
    // While drctl starts there is nothing to interrupt.
    absl::SleepFor(usual_ * std::uniform_real_distribution<double>(0.4, 1.0)(random_));
    site_.primary().Kill();
    (void)drctl->Stop();
    return site_.StartPrimary();
  }

  absl::Status Judge(const std::string& mode) {
    for (const auto& client : clients_) client->Begin();
    moment_.Set(mode == "rw" ? Expected::kDone : Expected::kRefused);
    for (const auto& client : clients_) {
      RETURN_IF_ERROR(WaitForOk("a client's writes", kPatience, [&] {
        const absl::Status judged = client->Judged();
        return client->Wrong().ok() ? judged : absl::OkStatus();
      }));
      RETURN_IF_ERROR(client->Wrong());
    }
    return absl::OkStatus();
  }

  Site& site_;
  const FlipOptions options_;
  std::mt19937_64 random_;
  Moment moment_;
  absl::Duration usual_;  // what drctl took for the newest switch
  int kills_ = 0;
  int written_down_ = 0;
  std::vector<std::unique_ptr<BusyClient>> clients_;
};

}  // namespace

int FlipsOfRun(int otherwise) {
  const char* const flips = std::getenv("UNDERSTUDY_EXPORT_FLIPS");
  int wanted = 0;
  return flips != nullptr && absl::SimpleAtoi(flips, &wanted) && wanted > 0 ? wanted : otherwise;
}

absl::Status SetExport(Site& site, const std::string& mode) {
  return WaitForOk("the export to be " + mode, kPatience, [&] {
    const ProcessResult set = site.Drctl(SetArguments(mode));
    return set.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(set.err);
  });
}

absl::Status RunFlips(Site& site, std::vector<FlippedClient> clients, const FlipOptions& options) {
  return FlipRun(site, std::move(clients), options).Run();
}

}  // namespace understudy::tests
