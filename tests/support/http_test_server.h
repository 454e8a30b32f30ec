// http_test_server.h: a real HTTP/1.1 server on loopback whose answers a test decides, badly behaved ones included;
// over TLS when the test gives it a certificate.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::tests {

struct TestRequest {
  std::string method;
  std::string target;                          // path and query
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// The answer to one request; of its connection's thread.
class TestReply {
 public:
  virtual ~TestReply() = default;
  virtual void Send(int status, std::string_view body, const std::map<std::string, std::string>& headers = {}) = 0;
  // An answer in chunks. Chunk returns false when the client has gone. It ends when the handler returns, or when it is
  // broken off.
  virtual void Begin(int status) = 0;
  virtual bool Chunk(std::string_view data) = 0;
  // An answer that says it has `length` bytes, and is broken off after `part`.
  virtual void BreakOffAfter(int status, size_t length, std::string_view part,
                             const std::map<std::string, std::string>& headers) = 0;
  // Closes the connection without finishing the answer.
  virtual void BreakOff() = 0;
  // Says nothing more until the client hangs up or the server ends.
  virtual void Hold() = 0;
};

class HttpTestServer {
 public:
  // Called for each request, on its connection's thread.
  using Handler = std::function<void(const TestRequest&, TestReply&)>;

  explicit HttpTestServer(Handler handler);
  // PEM files of the server's certificate and key, which can be read; an unusable one ends the test program.
  struct Tls {
    std::string certificate_file;
    std::string key_file;
  };
  HttpTestServer(Handler handler, const Tls& tls);
  // Closes all connections and waits for the handlers.
  ~HttpTestServer();
  HttpTestServer(const HttpTestServer&) = delete;
  HttpTestServer& operator=(const HttpTestServer&) = delete;

  [[nodiscard]] std::string Url() const;  // "http://127.0.0.1:<port>", or https
  // Breaks off every connection there is; new ones are accepted. Thread-safe.
  void CutConnections();
  // Thread-safe.
  [[nodiscard]] std::vector<TestRequest> Requests() const;
  [[nodiscard]] int Connections() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace understudy::tests
