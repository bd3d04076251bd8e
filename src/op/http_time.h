// Times as HTTP writes them (RFC 9110, section 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT", or one of two older forms.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace cachalot::op {

// Nothing for a text that is no such time.
std::optional<absl::Time> ParseHttpTime(const std::string& text);
std::string FormatHttpTime(absl::Time time);

}  // namespace cachalot::op
