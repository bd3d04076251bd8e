// What a user learns at the end of a build.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "buildkit/errdefs.pb.h"

namespace cachalot::client {

// The lines of a source file around its marked ones, as buildx shows them; empty without a place.
std::string FormatSource(const errdefs::Source& source);
// The Dockerfile's lines, then "ERROR: failed to build: ..." .
std::string FormatFailure(const absl::Status& error);

// The exporter's response as the JSON of --metadata-file: values that hold base64 of a JSON object become that object.
std::string FormatMetadata(const std::map<std::string, std::string>& exporter_response, const std::string& build_ref);
// The id of the image that was made: the digest of its configuration, or else of its manifest; empty when none was.
std::string ImageId(const std::map<std::string, std::string>& exporter_response);

}  // namespace cachalot::client
