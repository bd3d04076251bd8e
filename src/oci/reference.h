// Image references: [registry/]repository[:tag][@digest], with Docker's defaults.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "oci/digest.h"

namespace cachalot::oci {

struct Reference {
  std::string registry;    // "docker.io", "localhost:5000"
  std::string repository;  // "library/busybox"
  std::string tag;         // "latest" by default when there is no digest
  Digest digest;           // empty when the reference has none

  // Docker's normalization: "busybox" is docker.io/library/busybox:latest. Errors name the offending text.
  static absl::StatusOr<Reference> ParseNormalized(absl::string_view text);

  std::string name() const;      // "docker.io/library/busybox"
  std::string str() const;       // the full form: name[:tag][@digest]
  std::string familiar() const;  // the short form for people: "busybox:latest"
};

}  // namespace cachalot::oci
