#include "export/progress.h"

#include "absl/strings/str_cat.h"

namespace cachalot::exporting {

ExportVertex::ExportVertex(const Context& context, const std::string& name) : context_(context) {
  const std::string session = context.session == nullptr ? "" : context.session->id();
  event_.digest = oci::Digest::Of(absl::StrCat(session, "-export-", context.exporter_id)).str();
  event_.name = name;
  event_.started = context.clock->Now();
  if (context_.progress == nullptr) return;
  context_.progress->OnVertex(event_);
  for (const std::string& text : context.warnings) {
    solver::WarningEvent warning;
    warning.vertex = event_.digest;
    warning.brief = text;
    context_.progress->OnWarning(std::move(warning));
  }
}

void ExportVertex::Finish(const absl::Status& status) {
  event_.completed = context_.clock->Now();
  if (!status.ok()) event_.error = std::string(status.message());
  if (context_.progress != nullptr) context_.progress->OnVertex(event_);
}

absl::Time ExportVertex::Report(const std::string& id, const std::string& name, std::int64_t current, std::optional<absl::Time> started,
                                bool done) const {
  solver::StatusEvent status;
  status.vertex = event_.digest;
  status.id = id;
  status.name = name;
  status.current = current;
  status.timestamp = context_.clock->Now();
  status.started = started.value_or(status.timestamp);
  if (done) status.completed = status.timestamp;
  if (context_.progress != nullptr) context_.progress->OnStatus(status);
  return *status.started;
}

}  // namespace cachalot::exporting
