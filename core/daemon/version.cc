#include "core/daemon/version.h"

namespace understudy::daemon {

std::string_view SoftwareVersion() {
  return UNDERSTUDY_VERSION;
}

}  // namespace understudy::daemon
