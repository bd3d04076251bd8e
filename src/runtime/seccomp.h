// The system call filter of unprivileged containers: what Docker's default profile allows.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace cachalot::runtime {

// The profile as the OCI runtime specification's `linux.seccomp`, for a runtime that compiles it.
std::string SeccompProfileJson();
// The same as a classic BPF program, base64. Compiling it takes longer than starting a few containers: it is kept in the existing
// directory `cache`.
absl::StatusOr<std::string> SeccompProgramBase64(const std::string& cache);
// False when the kernel has no seccomp filters.
bool SeccompSupported();

}  // namespace cachalot::runtime
