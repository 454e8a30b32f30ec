// reference.h: the reference pages of the configuration files, made from the declarations of their settings.
#pragma once

#include <string>
#include <vector>

namespace understudy::config {

struct ReferencePage {
  std::string file_name;  // in docs/reference/
  std::string markdown;
};

// One page for each configuration file. Pure: what it returns changes only with the settings.
[[nodiscard]] std::vector<ReferencePage> ReferencePages();

}  // namespace understudy::config
