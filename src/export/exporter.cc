#include "export/exporter.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "export/exporters.h"
#include "export/image_writer.h"
#include "export/options.h"
#include "export/progress.h"

namespace cachalot::exporting {
namespace {

absl::StatusOr<Response> Run(ExportOptions options, const Source& source, const Context& context, ExportVertex& vertex) {
  switch (options.kind) {
    case Kind::kImage: return ExportImage(std::move(options), source, context, vertex);
    case Kind::kOci:
    case Kind::kDocker: return ExportArchive(std::move(options), source, context, vertex);
    case Kind::kTar: return ExportTar(options, source, context, vertex);
    case Kind::kLocal: return ExportLocal(options, source, context, vertex);
  }
  return absl::InternalError("unknown kind of exporter");
}

// Annotations may come from the frontend, too; its own win.
absl::Status AddFrontendAnnotations(const Source& source, ExportOptions& options) {
  if (options.kind == Kind::kTar || options.kind == Kind::kLocal) return absl::OkStatus();
  for (const auto& [key, value] : source.metadata) RETURN_IF_ERROR(options.annotations.Take(key, value).status());
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckCompatibilityVersion(int version) {
  if (version == kCompatibility013 || version == kCompatibility015 || version == kCompatibilityCurrent) return absl::OkStatus();
  const std::string problem = absl::StrCat("unsupported compatibility-version ", version);
  if (version > kCompatibilityCurrent) {
    return absl::InvalidArgumentError(absl::StrCat(problem, ": upgrade buildkit (max supported: ", kCompatibilityCurrent, ")"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(problem, " (supported: [", kCompatibility013, " ", kCompatibility015, " ", kCompatibilityCurrent, "])"));
}

absl::Status CheckExport(const std::string& type, const std::map<std::string, std::string>& attrs) { return ParseOptions(type, attrs).status(); }

absl::StatusOr<std::map<std::string, std::string>> Export(const std::string& type, const std::map<std::string, std::string>& attrs,
                                                          const Source& source, const Context& context) {
  ASSIGN_OR_RETURN(ExportOptions options, ParseOptions(type, attrs));
  RETURN_IF_ERROR(ApplyCompatibility(context.compatibility_version, type, source, options));
  RETURN_IF_ERROR(AddFrontendAnnotations(source, options));
  ExportVertex vertex(context, ExporterTitle(options.kind));
  const Source merged = WithMetadata(source, options);
  absl::StatusOr<Response> response = Run(std::move(options), merged, context, vertex);
  vertex.Finish(response.status());
  return response;
}

}  // namespace cachalot::exporting
