#include "agent-primary/ship/file_looks.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace understudy::primary {

std::optional<FileLook> LookOf(const std::string& path, const CapturedFile& file) {
  if (file.stat.size <= kMaxInlineContentBytes) return std::nullopt;
  FileLook look{.path = path,
                .inode = file.stat.inode,
                .size = file.stat.size,
                .rung = std::string(file.content_changed ? file.rung : std::string_view()),
                .why_not_extents = file.why_not_extents};
  for (const IndexChange& change : file.segment_changes) {
    const auto* const put = std::get_if<PutBase>(&change);
    if (put != nullptr) look.base = put->base;
    look.keeps_base &= put == nullptr && !std::holds_alternative<DropBase>(change);
  }
  return look;
}

void FileLooks::Add(FileLook look) {
  const auto known = looks_.find(look.inode);
  if (known != looks_.end()) {
    if (look.rung.empty()) look.rung = std::move(known->second.rung);
    if (look.keeps_base) look.base = std::move(known->second.base);
    known->second = std::move(look);
    return;
  }
  looks_.emplace(look.inode, std::move(look));
  if (looks_.size() <= kMaxFileLooks) return;
  looks_.erase(std::min_element(looks_.begin(), looks_.end(),
                                [](const auto& a, const auto& b) { return a.second.size < b.second.size; }));
}

const FileLook* FileLooks::Find(uint64_t inode) const {
  const auto found = looks_.find(inode);
  return found == looks_.end() ? nullptr : &found->second;
}

std::vector<FileLook> FileLooks::Largest(size_t most) const {
  std::vector<FileLook> largest;
  for (const auto& [inode, look] : looks_) largest.push_back(look);
  std::sort(largest.begin(), largest.end(), [](const FileLook& a, const FileLook& b) { return a.size > b.size; });
  if (largest.size() > most) largest.resize(most);
  return largest;
}

}  // namespace understudy::primary
