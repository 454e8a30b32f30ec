#include "core/model/path.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::model {

absl::Status ValidatePath(std::string_view path) {
  if (path.empty()) return absl::OkStatus();
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(fmt::format("path '{}' {}", Printable(path.substr(0, 512)), why));
  };
  if (path.size() > kMaxPathBytes) return bad("is too long");
  if (path.find('\0') != std::string_view::npos) return bad("has a NUL byte");
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view name = path.substr(begin, end - begin);
    if (name.empty()) return bad("has an empty name in it");
    if (name == "." || name == "..") return bad("has '.' or '..' in it");
    if (name.size() > kMaxNameBytes) return bad("has a name that is too long");
    begin = end + 1;
  }
  return absl::OkStatus();
}

std::string Key(std::string_view path) {
  std::string key(path);
  std::replace(key.begin(), key.end(), '/', '\0');
  return key;
}

std::string PathOfKey(std::string_view key) {
  std::string path(key);
  std::replace(path.begin(), path.end(), '\0', '/');
  return path;
}

std::string_view Parent(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

std::string_view LeafName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string Join(std::string_view folder, std::string_view name) {
  return folder.empty() ? std::string(name) : fmt::format("{}/{}", folder, name);
}

bool IsWithin(std::string_view path, std::string_view folder) {
  if (folder.empty()) return true;
  return path.size() >= folder.size() && path.substr(0, folder.size()) == folder &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

}  // namespace understudy::model
