// The attributes of cache imports and exports, checked and typed. Errors are INVALID_ARGUMENT and name the attribute.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "oci/reference.h"
#include "snapshot/snapshots.h"

namespace cachalot::remotecache {

using Attributes = std::map<std::string, std::string>;

// The attribute, or else the environment variable; empty when neither is there.
std::string AttributeOr(const Attributes& attributes, const char* name, const char* variable);
// What Go's strconv.ParseBool takes; `otherwise` when the attribute is absent.
absl::StatusOr<bool> BoolAttribute(const Attributes& attributes, const std::string& name, bool otherwise);
// "ref".
absl::StatusOr<oci::Reference> RefAttribute(const Attributes& attributes);
// "compression", "compression-level" and "force-compression".
absl::StatusOr<snapshot::Compression> CompressionAttributes(const Attributes& attributes);

// The content store of the client's session that stands for its directory `path`.
std::string ClientStore(const std::string& path);

}  // namespace cachalot::remotecache
