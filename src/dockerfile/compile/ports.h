// The ports of EXPOSE.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "dockerfile/lint/linter.h"

namespace cachalot::dockerfile {

// Adds the ports of "[[ip:]host:]first[-last][/protocol]" to `ports`, as "80/tcp".
absl::Status ParsePorts(const std::string& text, Lines lines, const Linter& linter, std::vector<std::string>* ports);

}  // namespace cachalot::dockerfile
