#include "core/daemon/process_mark.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace understudy::daemon {
namespace {

// Empty: there is no such process.
std::string MarkOf(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  // The name, in brackets, may hold anything; the start time is the 20th word after it (proc(5)).
  std::istringstream words(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string word;
  constexpr int kStartTimeWord = 20;
  for (int i = 0; i < kStartTimeWord; ++i) words >> word;
  if (!words) return "";
  std::ifstream boot_file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  boot_file >> boot;
  return fmt::format("{} {} {}", pid, word, boot);
}

}  // namespace

std::string ProcessMark() {
  return MarkOf(std::to_string(getpid()));
}

bool IsAlive(std::string_view mark) {
  return !mark.empty() && MarkOf(std::string(mark.substr(0, mark.find(' ')))) == mark;
}

}  // namespace understudy::daemon
