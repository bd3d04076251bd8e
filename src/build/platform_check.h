// Whether a result has the platforms that were asked for.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "export/exporter.h"
#include "llb/frontend.h"

namespace cachalot::build {

// Warnings for people. `options` are the request's: "platform" lists what is wanted, this machine's by default. A result without
// trees is not judged.
std::vector<std::string> PlatformWarnings(const std::map<std::string, std::string>& options, const llb::FrontendResult& result,
                                          const exporting::Source& source);

}  // namespace cachalot::build
