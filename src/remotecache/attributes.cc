#include "remotecache/attributes.h"

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/value_of.h"

namespace cachalot::remotecache {

std::string AttributeOr(const Attributes& attributes, const char* name, const char* variable) {
  const auto found = attributes.find(name);
  if (found != attributes.end()) return found->second;
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

absl::StatusOr<bool> BoolAttribute(const Attributes& attributes, const std::string& name, bool otherwise) {
  const auto found = attributes.find(name);
  if (found == attributes.end()) return otherwise;
  for (const char* yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (found->second == yes) return true;
  }
  for (const char* no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (found->second == no) return false;
  }
  return absl::InvalidArgumentError(absl::StrCat("failed to parse ", name, ": \"", absl::CEscape(found->second), "\" is neither true nor false"));
}

absl::StatusOr<oci::Reference> RefAttribute(const Attributes& attributes) {
  const std::string ref = ValueOf(attributes, "ref");
  if (ref.empty()) return absl::InvalidArgumentError("missing ref");
  return oci::Reference::ParseNormalized(ref);
}

absl::StatusOr<snapshot::Compression> CompressionAttributes(const Attributes& attributes) {
  snapshot::Compression compression;
  if (const auto type = attributes.find("compression"); type != attributes.end()) {
    if (type->second != "uncompressed" && type->second != "gzip" && type->second != "zstd") {
      return absl::InvalidArgumentError(absl::StrCat("unsupported compression type ", absl::CEscape(type->second)));
    }
    compression.type = type->second == "uncompressed" ? "" : type->second;
  }
  if (ValueOf(attributes, "force-compression").empty()) {
    compression.force = attributes.count("force-compression") > 0;
  } else {
    ASSIGN_OR_RETURN(compression.force, BoolAttribute(attributes, "force-compression", false));
  }
  const std::string level = ValueOf(attributes, "compression-level");
  if (!level.empty() && !absl::SimpleAtoi(level, &compression.level)) {
    return absl::InvalidArgumentError(absl::StrCat("non-integer value ", absl::CEscape(level), " specified for compression-level"));
  }
  return compression;
}

std::string ClientStore(const std::string& path) { return absl::StrCat("local:", path); }

}  // namespace cachalot::remotecache
