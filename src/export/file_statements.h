// The attestations of exported files: in-toto statements beside them.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "export/exporter.h"
#include "export/options.h"

namespace cachalot::exporting {

// Names and contents of the statements about the files below `root`. `platform` goes into the names unless it is empty.
absl::StatusOr<std::map<std::string, std::string>> StatementsAboutFiles(const ExportOptions& options, const PlatformResult& result,
                                                                        const std::string& root, const std::string& platform, const Context& context);

}  // namespace cachalot::exporting
