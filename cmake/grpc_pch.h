// The headers that cost most to compile, once for each library that talks gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>
