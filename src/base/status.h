// Building and decorating error values.
#pragma once

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace cachalot {

// An error from the system: the code fits `error_number`, the message reads "<what>: <strerror>", the latter
// in lower case ("open /x: no such file or directory").
absl::Status ErrnoError(absl::string_view what, int error_number = errno);

// `status` with "<context>: " in front of its message; code and payloads are kept. OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace cachalot
