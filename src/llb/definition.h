// Definitions: the serialized form of a build graph, and its checked form.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llb/op.h"

namespace cachalot::llb {

// A serialized pb.Definition (proto/buildkit/ops.proto). Kept as text so that only this room sees protobuf types.
using Definition = std::string;

// Loads and checks a definition: at most 64 MiB and 100,000 operations; every digest matches its bytes, no cycle, every input
// and index present, every operation of a known kind with the fields it needs, every required capability known (llb/caps.h).
// The last operation is the terminal one: its only input is the result. Errors (INVALID_ARGUMENT) say which vertex and what is
// wrong, in BuildKit's words where it has them. Operations that the result does not depend on are checked for their inputs only.
// An empty definition loads as an edge without vertex (scratch).
absl::StatusOr<Edge> LoadDefinition(absl::string_view definition);

// The definition of the graph beneath `edge`; LoadDefinition(SaveDefinition(e)) is e again. Operations keep their bytes, equal
// graphs give equal bytes. An edge without vertex gives the empty definition.
Definition SaveDefinition(const Edge& edge);

}  // namespace cachalot::llb
