// Gathers the spans of traces from everywhere until somebody takes them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "trace/span.h"

namespace cachalot::trace {

// Takes spans to somewhere else, such as a collector.
class Exporter {
 public:
  virtual ~Exporter() = default;
  virtual void Export(const std::vector<Span>& spans) = 0;  // never blocks
};

// Thread-safe. Spans come in any order, also before somebody listens: a trace is kept while there are listeners, and for a
// minute after its last span. Per trace at most 10,000 spans are kept, of those nobody listens to at most 64.
class Recorder {
 public:
  // `exporter` (null: none) gets all spans as well. Both outlive the recorder.
  explicit Recorder(Clock& clock, Exporter* exporter = nullptr) : clock_(clock), exporter_(exporter) {}

  void Add(std::vector<Span> spans);
  // Keeps the trace until a Take() of it.
  void Listen(const std::string& trace_id);
  // The trace's spans so far; ends one Listen().
  std::vector<Span> Take(const std::string& trace_id);

 private:
  struct Trace {
    std::vector<Span> spans;
    absl::Time last;
    int listeners = 0;
  };
  using Traces = std::map<std::string, Trace>;
  static void Expire(Traces& traces, absl::Time now);

  Clock& clock_;
  Exporter* const exporter_;
  Guarded<Traces> traces_;
};

}  // namespace cachalot::trace
