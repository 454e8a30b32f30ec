// grpc_log.h: what gRPC itself would print on stderr goes to the program's log, as debug messages: every failure that
// matters comes back as a status, and is reported once by who made the call.
#pragma once

namespace understudy::net {

// Takes effect once, for the process; RpcServer and MakeChannel call it. Thread-safe.
void TakeOverGrpcLog();

}  // namespace understudy::net
