#include <unistd.h>

#include <iostream>

#include "control/app.h"

int main(int argc, char** argv) {
  const understudy::control::Console console{.out = std::cout,
                                             .err = std::cerr,
                                             .err_is_terminal = isatty(STDERR_FILENO) == 1,
                                             .in = isatty(STDIN_FILENO) == 1 ? &std::cin : nullptr};
  return understudy::control::RunDrctl({argv + 1, argv + argc}, console);
}
