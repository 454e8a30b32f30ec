#include "core/net/http_server.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "core/base/log.h"

namespace understudy::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr absl::Duration kAnswerTimeout = absl::Seconds(30);
// A peer that still sends when it is refused gets this long, and this much, before the connection is cut under its
// answer.
constexpr absl::Duration kLingerTimeout = absl::Seconds(2);
constexpr size_t kMaxLingerBytes = size_t{4} << 20;
constexpr size_t kLingerBufferBytes = 64 * 1024;
constexpr std::chrono::milliseconds kAcceptPause(100);

// The TLS identity, loaded anew when its files change.
class TlsIdentity {
 public:
  using Context = std::shared_ptr<asio::ssl::context>;

  explicit TlsIdentity(HttpServerTls files) : files_(std::move(files)) {}

  // What is there now; where that can't be used, what was there before.
  absl::StatusOr<Context> Current() {
    const std::string stamp = Stamp(files_.cert) + Stamp(files_.key);
    absl::MutexLock lock(&mutex_);
    if (context_ != nullptr && stamp == stamp_) return context_;
    absl::StatusOr<Context> loaded = Load();
    if (loaded.ok()) {
      context_ = *std::move(loaded);
    } else if (context_ == nullptr) {
      return loaded.status();
    } else {
      spdlog::warn("the old certificate is kept: {}", MessageOf(loaded.status()));
    }
    stamp_ = stamp;
    return context_;
  }

 private:
  static std::string Stamp(const std::filesystem::path& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return "-";
    return fmt::format("{}:{}:{}.{};", status.st_dev, status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
  }

  absl::StatusOr<Context> Load() const {
    auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
    error_code error;
    context->set_options(
        asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
    if (!error) context->use_certificate_chain_file(files_.cert.native(), error);
    if (!error) context->use_private_key_file(files_.key.native(), asio::ssl::context::pem, error);
    if (!error) return context;
    return absl::InvalidArgumentError(fmt::format("can't use certificate {} and key {}: {}",
                                                  Printable(files_.cert.native()), Printable(files_.key.native()),
                                                  error.message()));
  }

  const HttpServerTls files_;
  absl::Mutex mutex_;
  Context context_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);
};

struct Shared {
  HttpServerOptions options;
  HttpServer::Handler handler;
  std::atomic<int> connections{0};
};

struct PlainStream {
  explicit PlainStream(tcp::socket socket, const TlsIdentity::Context&) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  beast::tcp_stream& Lowest() { return stream; }
};

struct TlsStream {
  TlsStream(tcp::socket socket, TlsIdentity::Context used)
      : context(std::move(used)), stream(std::move(socket), *context) {}
  const TlsIdentity::Context context;
  beast::ssl_stream<beast::tcp_stream> stream;
  beast::tcp_stream& Lowest() { return beast::get_lowest_layer(stream); }
};

int StatusFor(error_code error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit) return 431;
  return 400;
}

HttpServer::Response Refusal(int status) {
  const char* const reason = status == 408   ? "the request took too long to arrive"
                             : status == 413 ? "the body is too large"
                             : status == 431 ? "the head is too large"
                                             : "this isn't well-formed HTTP";
  return {.status = status, .body = fmt::format("{{\"error\": \"{}\"}}\n", reason)};
}

// One connection and its requests, one after the other. Keeps itself alive through its handlers, which all run on the
// connection's strand.
template <class Stream>
class Session : public std::enable_shared_from_this<Session<Stream>> {
 public:
  Session(tcp::socket socket, TlsIdentity::Context context, Shared& shared)
      : stream_(std::move(socket), std::move(context)), timer_(stream_.Lowest().get_executor()), shared_(shared) {
    ++shared_.connections;
  }
  ~Session() { --shared_.connections; }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] auto Executor() { return stream_.Lowest().get_executor(); }

  void Run() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      stream_.Lowest().expires_after(absl::ToChronoMilliseconds(shared_.options.request_timeout));
      stream_.stream.async_handshake(asio::ssl::stream_base::server,
                                     [self = this->shared_from_this()](error_code error) {
                                       if (!error) self->AwaitRequest(self->shared_.options.request_timeout);
                                     });
    } else {
      AwaitRequest(shared_.options.request_timeout);
    }
  }

 private:
  // Until the first byte; then the request's own time begins.
  void AwaitRequest(absl::Duration timeout) {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(shared_.options.max_header_bytes));
    parser_->body_limit(shared_.options.max_body_bytes);
    timed_out_ = false;
    stream_.Lowest().expires_never();
    SetTimer(timeout);
    if (buffer_.size() > 0) return ReadHead();
    stream_.stream.async_read_some(buffer_.prepare(kFirstReadBytes),
                                   [self = this->shared_from_this()](error_code error, size_t length) {
                                     if (error) return self->timer_.cancel(), void();
                                     self->buffer_.commit(length);
                                     self->SetTimer(self->shared_.options.request_timeout);
                                     self->ReadHead();
                                   });
  }

  void ReadHead() {
    http::async_read_header(stream_.stream, buffer_, *parser_,
                            [self = this->shared_from_this()](error_code error, size_t) {
                              if (error) return self->OnBadRequest(error);
                              self->OnHead();
                            });
  }

  void OnHead() {
    if (timed_out_) return OnBadRequest(asio::error::operation_aborted);
    const auto expect = parser_->get()[http::field::expect];
    if (!absl::EqualsIgnoreCase(absl::string_view(expect.data(), expect.size()), "100-continue")) return ReadBody();
    continue_.emplace(http::status::continue_, parser_->get().version());
    http::async_write(stream_.stream, *continue_, [self = this->shared_from_this()](error_code error, size_t) {
      if (error) return self->timer_.cancel(), void();
      self->ReadBody();
    });
  }

  void ReadBody() {
    if (timed_out_) return OnBadRequest(asio::error::operation_aborted);
    http::async_read(stream_.stream, buffer_, *parser_, [self = this->shared_from_this()](error_code error, size_t) {
      if (error) return self->OnBadRequest(error);
      self->OnRequest();
    });
  }

  void OnRequest() {
    timer_.cancel();
    http::request<http::string_body> message = parser_->release();
    HttpServer::Request request;
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    for (const auto& field : message) {
      const auto name = field.name_string();
      request.headers.emplace(absl::AsciiStrToLower(absl::string_view(name.data(), name.size())),
                              std::string(field.value()));
    }
    request.body = std::move(message.body());
    Answer(shared_.handler(request), message.keep_alive());
  }

  void OnBadRequest(error_code error) {
    timer_.cancel();
    const bool broken_off = error == http::error::end_of_stream || error == http::error::partial_message ||
                            error == asio::error::connection_reset || error == asio::error::eof;
    if (timed_out_) return Answer(Refusal(408), false);
    if (broken_off || error == asio::error::operation_aborted || error.category() == asio::error::get_ssl_category()) {
      return;
    }
    Answer(Refusal(StatusFor(error)), false);
  }

  void Answer(HttpServer::Response response, bool keep_alive) {
    answer_.emplace(static_cast<http::status>(response.status), 11);
    answer_->set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) answer_->set(name, value);
    answer_->keep_alive(keep_alive);
    answer_->body() = std::move(response.body);
    answer_->prepare_payload();
    stream_.Lowest().expires_after(absl::ToChronoMilliseconds(kAnswerTimeout));
    http::async_write(stream_.stream, *answer_,
                      [self = this->shared_from_this(), keep_alive](error_code error, size_t) {
                        if (error) return;
                        if (keep_alive) return self->AwaitRequest(self->shared_.options.idle_timeout);
                        error_code ignored;  // the peer may have gone
                        self->stream_.Lowest().socket().shutdown(tcp::socket::shutdown_send, ignored);
                        self->stream_.Lowest().expires_after(absl::ToChronoMilliseconds(kLingerTimeout));
                        self->linger_.resize(kLingerBufferBytes);
                        self->Linger();
                      });
  }

  // Closing with bytes unread would reset the connection, and take the answer back.
  void Linger() {
    stream_.Lowest().async_read_some(asio::buffer(linger_),
                                     [self = this->shared_from_this()](error_code error, size_t length) {
                                       self->lingered_bytes_ += length;
                                       if (!error && self->lingered_bytes_ < kMaxLingerBytes) self->Linger();
                                     });
  }

  void SetTimer(absl::Duration timeout) {
    timer_.expires_after(absl::ToChronoMilliseconds(timeout));
    timer_.async_wait([weak = this->weak_from_this()](error_code error) {
      const auto self = weak.lock();
      // A timer that was set anew may have had its old end queued already.
      if (error || self == nullptr || self->timer_.expiry() > std::chrono::steady_clock::now()) return;
      // Ends the read that is under way; its handler answers.
      self->timed_out_ = true;
      self->stream_.Lowest().cancel();
    });
  }

  static constexpr size_t kFirstReadBytes = 4096;

  Stream stream_;
  asio::steady_timer timer_;
  Shared& shared_;
  bool timed_out_ = false;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::empty_body>> continue_;
  std::optional<http::response<http::string_body>> answer_;
  std::vector<char> linger_;
  size_t lingered_bytes_ = 0;
};

absl::StatusOr<tcp::endpoint> Resolve(asio::io_context& context, const std::string& listen) {
  const size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  error_code error;
  const auto found = tcp::resolver(context).resolve(host, colon == std::string::npos ? "" : listen.substr(colon + 1),
                                                    tcp::resolver::passive, error);
  if (!error && colon != std::string::npos && !found.empty()) return found.begin()->endpoint();
  return absl::InvalidArgumentError(fmt::format("can't resolve {}: write host:port", Printable(listen)));
}

}  // namespace

class HttpServer::Server {
 public:
  Server(const HttpServerOptions& options, Handler handler)
      : shared_{.options = options, .handler = std::move(handler)}, context_(options.threads) {
    if (options.tls) identity_.emplace(*options.tls);
  }
  ~Server() {
    context_.stop();
    for (std::thread& thread : threads_) thread.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  absl::Status Open() {
    if (identity_) RETURN_IF_ERROR(identity_->Current().status());
    ASSIGN_OR_RETURN(const tcp::endpoint endpoint, Resolve(context_, shared_.options.listen));
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(shared_.options.max_connections, error);
    if (error) {
      return absl::InternalError(fmt::format("can't listen on {}: {}", shared_.options.listen, error.message()));
    }
    port_ = acceptor_.local_endpoint().port();
    Accept();
    for (int i = 0; i < shared_.options.threads; ++i) threads_.emplace_back([this] { context_.run(); });
    return absl::OkStatus();
  }

  [[nodiscard]] int port() const { return port_; }

 private:
  void Accept() {
    acceptor_.async_accept(asio::make_strand(context_), [this](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) return AcceptLater();
      if (shared_.connections < shared_.options.max_connections) Serve(std::move(socket));
      Accept();
    });
  }
  // When descriptors run out, accepting at once would only spin.
  void AcceptLater() {
    retry_.expires_after(kAcceptPause);
    retry_.async_wait([this](error_code error) {
      if (!error) Accept();
    });
  }

  void Serve(tcp::socket socket) {
    if (!identity_) return Begin<PlainStream>(std::move(socket), nullptr);
    absl::StatusOr<TlsIdentity::Context> identity = identity_->Current();
    if (identity.ok()) Begin<TlsStream>(std::move(socket), *std::move(identity));
  }
  // A session's handlers run on its own strand, its first ones as well.
  template <class Stream>
  void Begin(tcp::socket socket, TlsIdentity::Context identity) {
    auto session = std::make_shared<Session<Stream>>(std::move(socket), std::move(identity), shared_);
    asio::dispatch(session->Executor(), [session] { session->Run(); });
  }

  // Sessions live in handlers that the context holds, and refer to this: so it goes after the context.
  Shared shared_;
  std::optional<TlsIdentity> identity_;
  asio::io_context context_;
  tcp::acceptor acceptor_{context_};
  asio::steady_timer retry_{context_};
  int port_ = 0;
  std::vector<std::thread> threads_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options, Handler handler) {
  auto server = std::make_unique<Server>(options, std::move(handler));
  RETURN_IF_ERROR(server->Open());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(server)));
}

HttpServer::HttpServer(std::unique_ptr<Server> server) : server_(std::move(server)) {}
HttpServer::~HttpServer() = default;

int HttpServer::port() const {
  return server_->port();
}

}  // namespace understudy::net
