// write_behind.h: has what is written begin its way to the disk while more is being written.
#pragma once

#include <cstdint>

namespace understudy::os {

// What is written at a time before it is worth that.
inline constexpr uint64_t kWriteBehindBytes = 16 * 1024 * 1024;

// What was written to the file so far begins its way to the disk: a later sync waits for less. Promises nothing.
void BeginWriting(int fd);

}  // namespace understudy::os
