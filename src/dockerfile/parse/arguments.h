// Splitting one logical line: keyword, flags, arguments.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "dockerfile/parse/node.h"

namespace cachalot::dockerfile {

// Fills keyword, flags, arguments, pairs, json and original of `node` from `line`. Unknown keywords get no arguments.
// For ONBUILD the arguments are the triggered keyword and its arguments.
absl::Status SplitInstruction(absl::string_view line, char escape, Node* node);

// Whether a line with this node may introduce here-documents: ADD, COPY and RUN in shell form, also below ONBUILD.
bool MayHaveHeredocs(const Node& node);

}  // namespace cachalot::dockerfile
