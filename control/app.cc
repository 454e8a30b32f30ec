#include "control/app.h"

#include <utility>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"

namespace understudy::control {

int RunDrctl(std::vector<std::string> arguments, const Console& console) {
  CommandLine line(console);
  AddStatus(line);
  AddVolumes(line);
  AddPoints(line);
  AddTrash(line);
  AddExports(line);
  AddGuard(line);
  AddEvents(line);
  AddSync(line);
  AddFailover(line);
  AddReprotect(line);
  AddFailback(line);
  AddApply(line);
  AddServe(line);
  AddPki(line);
  AddConfig(line);
  return line.Run(std::move(arguments));
}

}  // namespace understudy::control
