// Dockerfile text to instructions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/parse/node.h"

namespace cachalot::dockerfile {

inline constexpr std::size_t kMaxLineBytes = 64 * 1024;
inline constexpr std::size_t kMaxFileBytes = 8 << 20;
inline constexpr std::size_t kMaxInstructions = 100'000;

struct File {
  std::vector<Node> nodes;
  char escape = '\\';
  std::vector<int> empty_continuations;  // the lines at which instructions with empty continuation lines end
};

// Errors carry their lines (LinesOf).
absl::StatusOr<File> ParseFile(absl::string_view text);

}  // namespace cachalot::dockerfile
