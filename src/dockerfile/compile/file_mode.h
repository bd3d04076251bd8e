// The value of --chmod.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace cachalot::dockerfile {

// Reads an octal number up to 07777 into `*mode`, or a symbolic mode such as "u+rwX,go-w" into `*symbolic`.
absl::Status ParseFileMode(const std::string& text, int* mode, std::string* symbolic);

}  // namespace cachalot::dockerfile
