#include "trace/recorder.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace cachalot::trace {
namespace {

constexpr std::size_t kMaxSpans = 10'000;
constexpr std::size_t kMaxForgotten = 64;
constexpr absl::Duration kPatience = absl::Minutes(1);

}  // namespace

void Recorder::Expire(Traces& traces, absl::Time now) {
  std::erase_if(traces, [now](const auto& entry) { return entry.second.listeners == 0 && now - entry.second.last > kPatience; });
  while (true) {
    auto oldest = traces.end();
    std::size_t forgotten = 0;
    for (auto trace = traces.begin(); trace != traces.end(); ++trace) {
      if (trace->second.listeners > 0) continue;
      ++forgotten;
      if (oldest == traces.end() || trace->second.last < oldest->second.last) oldest = trace;
    }
    if (forgotten <= kMaxForgotten) return;
    traces.erase(oldest);
  }
}

void Recorder::Add(std::vector<Span> spans) {
  if (exporter_ != nullptr) exporter_->Export(spans);
  const absl::Time now = clock_.Now();
  auto traces = traces_.Lock();
  for (Span& span : spans) {
    Trace& trace = (*traces)[span.context.trace_id];
    trace.last = now;
    if (trace.spans.size() < kMaxSpans) trace.spans.push_back(std::move(span));
  }
  Expire(*traces, now);
}

void Recorder::Listen(const std::string& trace_id) {
  Trace& trace = (*traces_.Lock())[trace_id];
  ++trace.listeners;
}

std::vector<Span> Recorder::Take(const std::string& trace_id) {
  auto traces = traces_.Lock();
  const auto found = traces->find(trace_id);
  if (found == traces->end()) return {};
  Trace& trace = found->second;
  trace.listeners = std::max(0, trace.listeners - 1);
  if (trace.listeners > 0) return trace.spans;
  std::vector<Span> spans = std::move(trace.spans);
  traces->erase(found);
  return spans;
}

}  // namespace cachalot::trace
