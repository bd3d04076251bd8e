// Directories in the form of an OCI image layout (image-layout.md): blobs, and an index.json of those that have names.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "oci/image.h"

namespace cachalot::client {

// What has the tag in the directory; for an empty tag what is called "latest", or the only thing that is there. NOT_FOUND without it.
absl::StatusOr<oci::Descriptor> FindInLayout(const std::string& directory, const std::string& tag);

// A name that index.json gives: an image's, or just a tag.
struct LayoutName {
  std::string image;  // "docker.io/library/a:1" or empty
  std::string tag;
};
// Makes `names` (none: no name at all) those of `descriptor`, whatever they named before. The directory is there.
absl::Status NameInLayout(const std::string& directory, const oci::Descriptor& descriptor, const std::vector<LayoutName>& names);

// Where the layout keeps a blob.
std::string BlobPathInLayout(const std::string& directory, const oci::Digest& digest);

}  // namespace cachalot::client
