// http_server.h: a bounded HTTP/1.1 server, plain or TLS, with one handler.
//
// What a peer can make it hold is bounded: connections (those on top are closed at once), the head and body of a
// request, and the time that a request may take to arrive, however its bytes trickle. It answers by itself what isn't
// HTTP (400), comes too slowly (408) or is too large (413, 431), and closes such a connection.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::net {

// PEM files; read again when they change, so that a renewed certificate needs no restart.
struct HttpServerTls {
  std::filesystem::path cert;
  std::filesystem::path key;
};

struct HttpServerOptions {
  std::string listen = {};  // host:port with an address, or a name that resolves; port 0 takes any
  std::optional<HttpServerTls> tls = std::nullopt;
  size_t max_header_bytes = 16 * 1024;
  size_t max_body_bytes = size_t{1} << 20;
  int max_connections = 64;
  int threads = 4;                                     // the handler runs on them, and may block
  absl::Duration request_timeout = absl::Seconds(30);  // from a request's first byte, or the connection, to its last
  absl::Duration idle_timeout = absl::Seconds(60);     // between two requests of one connection
};

// Thread-safe. Serves from Start until it is destroyed, on threads of its own.
class HttpServer {
 public:
  struct Request {
    std::string method;
    std::string target;                          // path and query
    std::map<std::string, std::string> headers;  // names in lower case; of several with one name, the first
    std::string body;
  };
  struct Response {
    int status = 200;
    std::string body;
    std::string content_type = "application/json";
    std::vector<std::pair<std::string, std::string>> headers = {};
  };
  using Handler = std::function<Response(const Request&)>;

  // INVALID_ARGUMENT: no such address, or the TLS files are unfit. INTERNAL: can't listen.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options,
                                                                         Handler handler);
  // Returns when no handler runs any more; requests under way are cut off.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The port that it listens on.
  [[nodiscard]] int port() const;

 private:
  class Server;
  explicit HttpServer(std::unique_ptr<Server> server);

  const std::unique_ptr<Server> server_;
};

}  // namespace understudy::net
