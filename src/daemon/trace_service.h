// The trace collector that clients send their spans to.
#pragma once

#include "daemon/rpc_error.h"
#include "daemon/translate_trace.h"
#include "opentelemetry/trace_service.grpc.pb.h"
#include "trace/recorder.h"

namespace cachalot::daemon {

// Joins the spans of clients to the traces of their builds.
class TraceService final : public opentelemetry::proto::collector::trace::v1::TraceService::Service {
 public:
  // `traces` outlives the service.
  explicit TraceService(trace::Recorder& traces) : traces_(traces) {}

  grpc::Status Export(grpc::ServerContext*, const opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest* request,
                      opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse*) override {
    auto spans = DecodeSpans(*request);
    if (!spans.ok()) return ToGrpcStatus(spans.status());
    traces_.Add(*std::move(spans));
    return grpc::Status::OK;
  }

 private:
  trace::Recorder& traces_;
};

}  // namespace cachalot::daemon
