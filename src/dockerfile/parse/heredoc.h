// Recognizing here-documents.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/parse/node.h"

namespace cachalot::dockerfile {

// The here-document that the single word `word` introduces, without content; none when it is an ordinary word.
absl::StatusOr<std::optional<Heredoc>> ParseHeredocWord(absl::string_view word);

// As above, with a malformed word being an ordinary one.
std::optional<Heredoc> HeredocOfWord(absl::string_view word);

// Every here-document that a whole instruction introduces.
absl::StatusOr<std::vector<Heredoc>> ParseHeredocs(absl::string_view line);

// `content` with the tabs at the start of each line dropped.
std::string Chomp(absl::string_view content);

}  // namespace cachalot::dockerfile
