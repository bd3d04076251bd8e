// Running a program to its end and taking what it prints.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"
#include "os/process.h"

namespace cachalot::os {

struct RunResult {
  ProcessExit exit;
  std::string out, err;
};

struct RunOptions {
  // What is kept of each stream; the rest is read and dropped.
  std::size_t max_bytes = 16 << 20;
  // Told of everything that is printed, as it comes; `stream` is 1 or 2.
  std::function<void(int stream, absl::string_view bytes)> on_output;
};

// Runs `command`, whose output descriptors are set here, in a session of its own. Any exit code is a result. When `cancel` comes, the
// program and all it started are asked to end, and killed if they take longer than ten seconds: the token's status.
absl::StatusOr<RunResult> Run(Command command, const RunOptions& options, const CancelToken& cancel);

}  // namespace cachalot::os
