#include "trace/build_spans.h"

#include <utility>

namespace cachalot::trace {
namespace {

Span NewSpan(Context context, std::string parent_id, std::string name, absl::Time start, absl::Time end, const std::string& error) {
  Span span;
  span.context = std::move(context);
  span.parent_id = std::move(parent_id);
  span.name = std::move(name);
  span.start = start;
  span.end = end;
  if (!error.empty()) {
    span.status = StatusCode::kError;
    span.status_message = error;
  }
  span.scope = "cachalot";
  span.resource = {{"service.name", "cachalotd"}};
  return span;
}

}  // namespace

std::vector<Span> SpansOfBuild(const Context& root, const std::string& parent_id, const BuildSummary& build,
                               const std::vector<solver::VertexEvent>& vertices) {
  std::vector<Span> spans;
  Span whole = NewSpan(root, parent_id, "moby.buildkit.v1.Control/Solve", build.start, build.end, build.error);
  whole.kind = Kind::kServer;
  whole.attributes = {{"ref", build.ref}, {"frontend", build.frontend}};
  spans.push_back(std::move(whole));
  for (const solver::VertexEvent& vertex : vertices) {
    if (!vertex.started.has_value()) continue;
    Span span = NewSpan({root.trace_id, NewSpanId()}, root.span_id, vertex.name, *vertex.started, vertex.completed.value_or(build.end), vertex.error);
    span.attributes = {{"vertex", vertex.digest}, {"cached", vertex.cached}};
    spans.push_back(std::move(span));
  }
  return spans;
}

}  // namespace cachalot::trace
