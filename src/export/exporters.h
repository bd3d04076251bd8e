// The exporters behind export/exporter.h; for that file alone.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "export/exporter.h"
#include "export/options.h"
#include "export/progress.h"

namespace cachalot::exporting {

using Response = std::map<std::string, std::string>;

// An image in the blob store, pushed if asked.
absl::StatusOr<Response> ExportImage(ExportOptions options, const Source& source, const Context& context, ExportVertex& vertex);
// An OCI layout or a Docker archive, as one tar stream to the client.
absl::StatusOr<Response> ExportArchive(ExportOptions options, const Source& source, const Context& context, ExportVertex& vertex);
// The files of the result as a tar stream to the client.
absl::StatusOr<Response> ExportTar(const ExportOptions& options, const Source& source, const Context& context, ExportVertex& vertex);
// The files of the result into a directory of the client.
absl::StatusOr<Response> ExportLocal(const ExportOptions& options, const Source& source, const Context& context, ExportVertex& vertex);

}  // namespace cachalot::exporting
