#include "solver/keys.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace cachalot::solver {

namespace {

// Length-prefixed, so that no two lists of fields read the same.
void AppendField(std::string& text, absl::string_view field) { absl::StrAppend(&text, field.size(), ":", field); }

}  // namespace

std::string VertexKey(absl::string_view op_digest, const std::vector<KeyPart>& parts) {
  std::string text;
  AppendField(text, op_digest);
  for (const KeyPart& part : parts) {
    AppendField(text, part.content ? "content" : "key");
    AppendField(text, part.identity);
    AppendField(text, part.selector);
  }
  return Sha256Hex(text);
}

std::string OutputKey(absl::string_view vertex_key, int output) { return absl::StrCat(vertex_key, "/", output); }

}  // namespace cachalot::solver
