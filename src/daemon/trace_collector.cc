#include "daemon/trace_collector.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/guarded.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "daemon/rpc_error.h"
#include "daemon/translate_trace.h"
#include "opentelemetry/trace_service.grpc.pb.h"
#include "registry/http.h"

namespace cachalot::daemon {

namespace {

namespace collector = opentelemetry::proto::collector::trace::v1;

constexpr std::size_t kMaxQueued = 20'000;  // spans

class Channel {
 public:
  virtual ~Channel() = default;
  virtual absl::Status Send(const collector::ExportTraceServiceRequest& request) = 0;
};

class GrpcChannel final : public Channel {
 public:
  explicit GrpcChannel(const CollectorSettings& settings) : settings_(settings) {
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    if (settings_.tls) {
      grpc::SslCredentialsOptions options;
      if (!settings_.certificate.empty()) {
        std::ifstream file(settings_.certificate, std::ios::binary);
        options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
      }
      credentials = grpc::SslCredentials(options);
    }
    stub_ = collector::TraceService::NewStub(grpc::CreateChannel(settings_.url, credentials));
  }

  absl::Status Send(const collector::ExportTraceServiceRequest& request) override {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(settings_.timeout));
    for (const auto& [name, value] : settings_.headers) context.AddMetadata(absl::AsciiStrToLower(name), value);
    collector::ExportTraceServiceResponse response;
    return FromGrpcStatus(stub_->Export(&context, request, &response));
  }

 private:
  const CollectorSettings settings_;
  std::unique_ptr<collector::TraceService::Stub> stub_;
};

class HttpChannel final : public Channel {
 public:
  explicit HttpChannel(const CollectorSettings& settings) : settings_(settings), transport_(registry::HttpTransport::Create()) {}

  absl::Status Send(const collector::ExportTraceServiceRequest& message) override {
    const std::string bytes = message.SerializeAsString();
    registry::HttpRequest request;
    request.method = "POST";
    request.url = settings_.url;
    request.headers = settings_.headers;
    request.headers.emplace_back("Content-Type", "application/x-protobuf");
    request.stall_timeout = settings_.timeout;
    if (!settings_.certificate.empty()) request.tls.root_cas = {settings_.certificate};
    registry::SetBody(request, bytes);
    ASSIGN_OR_RETURN(const registry::HttpResponse response, transport_->Do(request));
    return response.ok() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(response.status, " ", response.reason));
  }

 private:
  const CollectorSettings settings_;
  const std::unique_ptr<registry::HttpTransport> transport_;
};

class CollectorClient final : public trace::Exporter {
 public:
  explicit CollectorClient(std::unique_ptr<Channel> channel) : channel_(std::move(channel)), sender_(NewThread([this] { SendAll(); })) {}
  ~CollectorClient() override {
    queue_.Lock()->stopping = true;
    queue_.NotifyAll();
    sender_.join();
  }

  void Export(const std::vector<trace::Span>& spans) override {
    auto queue = queue_.Lock();
    if (queue->spans.size() + spans.size() > kMaxQueued) return;
    queue->spans.insert(queue->spans.end(), spans.begin(), spans.end());
    queue_.NotifyAll();
  }

 private:
  struct Queue {
    std::vector<trace::Span> spans;
    bool stopping = false;
  };

  void SendAll() {
    bool failed = false;
    while (true) {
      std::vector<trace::Span> spans;
      {
        auto queue = queue_.Lock();
        queue.Wait([](const Queue& now) { return now.stopping || !now.spans.empty(); });
        // A collector that does not answer must not hold up the end of the process.
        if (queue->spans.empty() || (queue->stopping && failed)) return;
        spans.swap(queue->spans);
      }
      const absl::Status sent = channel_->Send(EncodeSpans(spans));
      if (!sent.ok() && !failed) LogWarning("sending traces to the collector failed: ", sent.message());
      failed = !sent.ok();
    }
  }

  const std::unique_ptr<Channel> channel_;
  Guarded<Queue> queue_;
  std::thread sender_;
};

// Values of headers are URL-encoded.
std::string DecodePercents(absl::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int byte = 0;
    if (text[i] == '%' && i + 2 < text.size() && absl::SimpleHexAtoi(text.substr(i + 1, 2), &byte)) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

}  // namespace

absl::StatusOr<std::optional<CollectorSettings>> ReadCollectorSettings(const std::function<std::string(const std::string&)>& lookup) {
  const auto read = [&](const char* name) {
    const std::string special = lookup(absl::StrCat("OTEL_EXPORTER_OTLP_TRACES_", name));
    return special.empty() ? lookup(absl::StrCat("OTEL_EXPORTER_OTLP_", name)) : special;
  };
  const std::string exporter = lookup("OTEL_TRACES_EXPORTER");
  if (exporter == "none") return std::nullopt;
  if (!exporter.empty() && exporter != "otlp") return absl::InvalidArgumentError(absl::StrCat("unsupported opentelemetry exporter ", exporter));
  std::string endpoint = read("ENDPOINT");
  if (exporter.empty() && endpoint.empty()) return std::nullopt;
  CollectorSettings settings;
  const std::string protocol = read("PROTOCOL");
  if (!protocol.empty() && protocol != "grpc" && protocol != "http/protobuf") {
    return absl::InvalidArgumentError(absl::StrCat("unsupported otlp protocol ", protocol));
  }
  settings.http = protocol == "http/protobuf";
  if (endpoint.empty()) endpoint = settings.http ? "http://localhost:4318" : "http://localhost:4317";
  if (settings.http) {
    const bool in_full = !lookup("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").empty();
    settings.url = in_full ? endpoint : absl::StrCat(absl::StripSuffix(endpoint, "/"), "/v1/traces");
  } else {
    settings.tls = absl::StartsWith(endpoint, "https://");
    absl::string_view rest = endpoint;
    if (!absl::ConsumePrefix(&rest, "https://")) absl::ConsumePrefix(&rest, "http://");
    settings.url = std::string(rest.substr(0, rest.find('/')));
  }
  settings.certificate = read("CERTIFICATE");
  for (const absl::string_view header : absl::StrSplit(read("HEADERS"), ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(header, absl::MaxSplits('=', 1));
    settings.headers.emplace_back(absl::StripAsciiWhitespace(parts.first), DecodePercents(absl::StripAsciiWhitespace(parts.second)));
  }
  std::int64_t timeout_ms = 0;
  if (absl::SimpleAtoi(read("TIMEOUT"), &timeout_ms) && timeout_ms > 0) settings.timeout = absl::Milliseconds(timeout_ms);
  return settings;
}

std::unique_ptr<trace::Exporter> NewCollectorClient(const CollectorSettings& settings) {
  if (settings.http) return std::make_unique<CollectorClient>(std::make_unique<HttpChannel>(settings));
  return std::make_unique<CollectorClient>(std::make_unique<GrpcChannel>(settings));
}

}  // namespace cachalot::daemon
