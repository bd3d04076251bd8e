#include "store/blobs.h"

#include "absl/strings/str_cat.h"

namespace cachalot::store {

absl::Status WriteWithin(std::int64_t size, const oci::Digest& digest, absl::string_view bytes, BlobWriter& writer) {
  if (size >= 0 && static_cast<std::int64_t>(bytes.size()) > size - writer.written()) {
    return absl::DataLossError(absl::StrCat("blob ", digest.str(), " is larger than the ", size, " bytes it should have"));
  }
  return writer.Write(bytes);
}

}  // namespace cachalot::store
