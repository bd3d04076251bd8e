#include "base/status.h"

#include <cstring>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"

namespace cachalot {

absl::Status ErrnoError(absl::string_view what, int error_number) {
  char buffer[256];
  std::string text = strerror_r(error_number, buffer, sizeof(buffer));
  // Clients match on the texts that Go's daemons print: "no such file or directory".
  if (text.size() > 1 && absl::ascii_islower(static_cast<unsigned char>(text[1]))) {
    text[0] = absl::ascii_tolower(static_cast<unsigned char>(text[0]));
  }
  return absl::Status(absl::ErrnoToStatusCode(error_number), absl::StrCat(what, ": ", text));
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) {
    return status;
  }
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) { annotated.SetPayload(type_url, payload); });
  return annotated;
}

}  // namespace cachalot
