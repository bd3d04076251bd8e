// How an export shows itself: one vertex, with a status per step.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "export/exporter.h"

namespace cachalot::exporting {

class ExportVertex {
 public:
  // Starts the vertex `name` ("exporting to image").
  ExportVertex(const Context& context, const std::string& name);
  // Completes it.
  void Finish(const absl::Status& status);

  // Shows `id` as running while `step` runs; returns what it returns.
  template <typename Step>
  auto Run(const std::string& id, Step step) {
    const absl::Time started = Report(id, "", 0, std::nullopt, /*done=*/false);
    auto result = step();
    Report(id, "", 0, started, /*done=*/true);
    return result;
  }
  // A status with a count of bytes; returns the time of the report. `started`: of the first report of that id.
  absl::Time Report(const std::string& id, const std::string& name, std::int64_t current, std::optional<absl::Time> started, bool done) const;

 private:
  const Context& context_;
  solver::VertexEvent event_;
};

}  // namespace cachalot::exporting
