// The state directory of an engine, closed to other users.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace cachalot::build {

// Makes the directory, or tightens one that was made with looser modes: nobody but its owner reads what an engine keeps in it. Others may
// walk through the directory itself, for a socket may lie there; what else lies there is left alone. FAILED_PRECONDITION when the directory, or
// what an engine keeps in it, belongs to another user or is a link, or when a new root has something under an engine's names already: an
// engine deletes what it does not know there.
absl::Status MakePrivateRoot(const std::string& root);

}  // namespace cachalot::build
