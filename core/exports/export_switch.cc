#include "core/exports/export_switch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/model/path.h"

namespace understudy::exports {
namespace {

using model::ExportMode;

constexpr char kNotLooked[] = "the agent hasn't looked at the server yet";

bool Overlap(const std::string& a, const std::string& b) {
  return model::IsWithin(a, b) || model::IsWithin(b, a);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExportSwitch>> ExportSwitch::Start(
    ExportSwitchOptions options, std::vector<std::unique_ptr<ExportBackend>> backends) {
  ASSIGN_OR_RETURN(ExportStore store, ExportStore::Open(options.database));
  ASSIGN_OR_RETURN(const std::vector<StoredExport> rows, store.Load());
  std::unique_ptr<ExportSwitch> made(new ExportSwitch(std::move(options), std::move(backends), std::move(store)));
  {
    absl::MutexLock lock(&made->mutex_);
    for (const StoredExport& row : rows) {
      made->exports_[row.name] = {
          .stored = row, .actual = std::nullopt, .settled = false, .problem = kNotLooked, .since = row.changed_at};
    }
  }
  if (made->options_.interval == absl::InfiniteDuration()) return made;
  made->worker_ = std::jthread([raw = made.get()](std::stop_token stop) { raw->Work(std::move(stop)); });
  return made;
}

ExportSwitch::ExportSwitch(ExportSwitchOptions options, std::vector<std::unique_ptr<ExportBackend>> backends,
                           ExportStore store)
    : options_(std::move(options)), backends_(std::move(backends)), store_(std::move(store)) {}

ExportSwitch::~ExportSwitch() {
  worker_ = {};
}

void ExportSwitch::Work(std::stop_token stop) {
  do Reconcile();
  while (WaitUnlessStopped(stop, options_.interval));
}

const ExportPlace* ExportSwitch::PlaceOf(const std::string& path) const {
  const ExportPlace* longest = nullptr;
  for (const ExportPlace& place : options_.places) {
    if (!model::IsWithin(path, place.path)) continue;
    if (longest == nullptr || place.path.size() > longest->path.size()) longest = &place;
  }
  return longest;
}

ExportBackend* ExportSwitch::BackendNamed(const std::string& name) const {
  for (const auto& backend : backends_) {
    if (backend->Name() == name) return backend.get();
  }
  return nullptr;
}

std::string ExportSwitch::BackendOf(const std::string& path) const {
  const ExportPlace* const place = PlaceOf(path);
  return place == nullptr ? "" : place->backend;
}

absl::StatusOr<StoredExport> ExportSwitch::Planned(const std::string& name, const std::string& path) {
  const ExportPlace* const place = PlaceOf(path);
  if (place == nullptr || !path.starts_with('/')) {
    return absl::InvalidArgumentError(
        fmt::format("no export of the configuration holds '{}': add one to exports:", Printable(path)));
  }
  ExportBackend* const backend = BackendNamed(place->backend);
  UNDERSTUDY_CHECK(backend != nullptr);
  RETURN_IF_ERROR(backend->CheckPath(path));
  StoredExport planned{.name = name, .path = path, .backend = place->backend, .changed_at = options_.clock->Now()};
  std::set<uint16_t> taken;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [other_name, other] : exports_) {
      if (other.stored.backend == planned.backend && other.stored.export_id != 0) taken.insert(other.stored.export_id);
      if (other_name == name) {
        // File handles hold the id, so another folder gets another one.
        const bool same = other.stored.backend == planned.backend && other.stored.path == path;
        if (same) planned.export_id = other.stored.export_id;
        continue;
      }
      if (!Overlap(other.stored.path, path)) continue;
      return absl::AlreadyExistsError(fmt::format("'{}' overlaps '{}', whose export is that of '{}'", Printable(path),
                                                  Printable(other.stored.path), other_name));
    }
  }
  if (planned.export_id == 0) {
    ASSIGN_OR_RETURN(planned.export_id, backend->ChooseId(taken));
  }
  return planned;
}

absl::Status ExportSwitch::WriteDown(const StoredExport& row) {
  RETURN_IF_ERROR(store_.Put(row));
  absl::MutexLock lock(&mutex_);
  Export& one = exports_[row.name];
  const bool same = one.stored.mode == row.mode && one.stored.path == row.path && one.stored.backend == row.backend;
  one.stored = row;
  ++counts_.changes;
  if (same) return absl::OkStatus();
  one.settled = false;
  one.since = row.changed_at;
  one.problem = kNotLooked;
  return absl::OkStatus();
}

absl::Status ExportSwitch::LetGo(const StoredExport& row) {
  StoredExport none = row;
  none.mode = ExportMode::kNone;
  RETURN_IF_ERROR(WriteDown(none));
  if (ExportBackend* const backend = BackendNamed(row.backend); backend != nullptr) Apply(*backend, row.name);
  absl::MutexLock lock(&mutex_);
  const Export& one = exports_.at(row.name);
  if (one.settled) return absl::OkStatus();
  return absl::AbortedError(
      fmt::format("export of '{}', which was '{}' before: {}", row.name, Printable(row.path), one.problem));
}

absl::Status ExportSwitch::SetLocked(const std::string& name, const std::string& path, ExportMode mode, bool forgotten,
                                     const Admit& admit) {
  std::optional<StoredExport> before;
  {
    absl::MutexLock lock(&mutex_);
    if (const auto known = exports_.find(name); known != exports_.end()) before = known->second.stored;
  }
  StoredExport row;
  if (mode == ExportMode::kNone && before && before->path == path) {
    // Always possible, whatever the configuration says by now.
    row = *before;
    row.changed_at = options_.clock->Now();
  } else {
    ASSIGN_OR_RETURN(row, Planned(name, path));
  }
  row.mode = mode;
  row.forgotten = forgotten;
  if (admit) RETURN_IF_ERROR(admit());
  if (before && (before->path != row.path || before->backend != row.backend)) RETURN_IF_ERROR(LetGo(*before));
  if (!before || before->mode != row.mode || before->path != row.path || before->backend != row.backend ||
      before->forgotten != row.forgotten) {
    RETURN_IF_ERROR(WriteDown(row));
  }
  if (ExportBackend* const backend = BackendNamed(row.backend); backend != nullptr) Apply(*backend, name);
  DropForgotten();
  return ResultOf(name);
}

absl::Status ExportSwitch::Set(const std::string& name, const std::string& path, ExportMode mode, const Admit& admit) {
  absl::MutexLock applying(&applying_);
  return SetLocked(name, path, mode, /*forgotten=*/false, admit);
}

absl::Status ExportSwitch::Check(const std::string& name, const std::string& path) {
  absl::MutexLock applying(&applying_);
  return Planned(name, path).status();
}

absl::Status ExportSwitch::Forget(const std::string& name) {
  absl::MutexLock applying(&applying_);
  std::string path;
  {
    absl::MutexLock lock(&mutex_);
    const auto known = exports_.find(name);
    if (known == exports_.end()) return absl::OkStatus();
    path = known->second.stored.path;
  }
  return SetLocked(name, path, ExportMode::kNone, /*forgotten=*/true, nullptr);
}

void ExportSwitch::Reconcile() {
  absl::MutexLock applying(&applying_);
  for (const auto& backend : backends_) Apply(*backend, std::nullopt);
  DropForgotten();
  MoveBetweenBackends();
  absl::MutexLock lock(&mutex_);
  looked_ = true;
}

std::vector<WantedExport> ExportSwitch::WantedOf(const std::string& backend) const {
  std::vector<WantedExport> wanted;
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, one] : exports_) {
    if (one.stored.backend != backend) continue;
    const ExportPlace* const place = PlaceOf(one.stored.path);
    const bool still_configured = place != nullptr && place->backend == backend;
    wanted.push_back({.name = name,
                      .path = one.stored.path,
                      .mode = still_configured ? one.stored.mode : ExportMode::kNone,
                      .terms = still_configured ? place->terms : ExportTerms{},
                      .export_id = one.stored.export_id});
  }
  return wanted;
}

void ExportSwitch::Apply(ExportBackend& backend, const std::optional<std::string>& only) {
  const std::vector<WantedExport> wanted = WantedOf(backend.Name());
  absl::StatusOr<ExportBackend::Found> found = backend.Reconcile(wanted, only);
  std::string& told = told_[backend.Name()];
  const std::string trouble(found.ok() ? std::string_view() : MessageOf(found.status()));
  if (!trouble.empty() && trouble != told) spdlog::warn("exports with backend {}: {}", backend.Name(), trouble);
  told = trouble;
  if (!found.ok()) {
    absl::MutexLock lock(&mutex_);
    ++counts_.failures;
  }
  for (const WantedExport& one : wanted) {
    if (!found.ok()) {
      TakeFound(one.name, {.actual = std::nullopt, .ours_settled = false, .problem = trouble});
    } else if (const auto result = found->find(one.name); result != found->end()) {
      TakeFound(one.name, result->second);
    }
  }
}

void ExportSwitch::TakeFound(const std::string& name, const FoundExport& found) {
  absl::MutexLock lock(&mutex_);
  const auto known = exports_.find(name);
  if (known == exports_.end()) return;
  Export& one = known->second;
  one.settled = found.ours_settled;
  if (one.actual == found.actual && one.problem == found.problem) return;
  if (!found.problem.empty() && found.problem != one.problem) spdlog::warn("export of {}: {}", name, found.problem);
  // What was just asked for, or found at the start as it was left, became so when it was asked for.
  if (one.problem != kNotLooked || !found.problem.empty()) one.since = options_.clock->Now();
  one.actual = found.actual;
  one.problem = found.problem;
}

void ExportSwitch::DropForgotten() {
  std::vector<std::string> gone;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, one] : exports_) {
      if (one.stored.forgotten && one.settled) gone.push_back(name);
    }
  }
  for (const std::string& name : gone) {
    const absl::Status deleted = store_.Delete(name);
    if (!deleted.ok()) {
      // It stays forgotten, and goes next time.
      spdlog::error("export of {}: {}", name, MessageOf(deleted));
      continue;
    }
    absl::MutexLock lock(&mutex_);
    exports_.erase(name);
  }
}

void ExportSwitch::MoveBetweenBackends() {
  std::vector<StoredExport> moving;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, one] : exports_) {
      const ExportPlace* const place = PlaceOf(one.stored.path);
      if (place != nullptr && place->backend != one.stored.backend && one.settled) moving.push_back(one.stored);
    }
  }
  for (const StoredExport& row : moving) {
    absl::StatusOr<StoredExport> planned = Planned(row.name, row.path);
    absl::Status moved = planned.status();
    if (planned.ok()) {
      planned->mode = row.mode;
      moved = WriteDown(*planned);
    }
    if (moved.ok()) {
      Apply(*BackendNamed(planned->backend), row.name);
    } else {
      spdlog::error("export of {}: {}", row.name, MessageOf(moved));
    }
  }
}

absl::Status ExportSwitch::ResultOf(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const auto known = exports_.find(name);
  if (known == exports_.end()) return absl::OkStatus();  // forgotten, and gone
  const Export& one = known->second;
  const model::ExportState state = StateOf(one);
  if (one.settled && state.AsDesired()) return absl::OkStatus();
  const std::string message = fmt::format("export of '{}': {}", name, state.problem);
  if (one.settled) return absl::FailedPreconditionError(message);
  return absl::AbortedError(message + "; it is tried again");
}

model::ExportState ExportSwitch::StateOf(const Export& one) const {
  return {.name = one.stored.name,
          .path = one.stored.path,
          .backend = PlaceOf(one.stored.path) == nullptr ? "" : one.stored.backend,
          .desired = one.stored.mode,
          .actual = one.actual,
          .problem = one.problem,
          .since = one.since};
}

std::vector<model::ExportState> ExportSwitch::List() const {
  std::vector<model::ExportState> states;
  absl::MutexLock lock(&mutex_);
  states.reserve(exports_.size());
  for (const auto& [name, one] : exports_) states.push_back(StateOf(one));
  return states;
}

std::optional<model::ExportState> ExportSwitch::Find(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const auto known = exports_.find(name);
  if (known == exports_.end()) return std::nullopt;
  return StateOf(known->second);
}

absl::Status ExportSwitch::Usable() const {
  absl::MutexLock lock(&mutex_);
  if (!looked_ && !exports_.empty()) return absl::UnavailableError(fmt::format("exports: {}", kNotLooked));
  for (const auto& [name, one] : exports_) {
    const model::ExportState state = StateOf(one);
    if (one.settled && state.AsDesired()) continue;
    return absl::UnavailableError(
        fmt::format("export of '{}' isn't {}: {}", name, model::ToString(state.desired), state.problem));
  }
  return absl::OkStatus();
}

ExportSwitch::Counts ExportSwitch::counts() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

}  // namespace understudy::exports
