#include "solver/cache_key.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/release_graph.h"
#include "base/sha256.h"

namespace cachalot::solver {

namespace {

// Length-prefixed, so that no two lists of fields read the same.
void AppendField(std::string& text, absl::string_view field) { absl::StrAppend(&text, field.size(), ":", field); }

}  // namespace

CacheKey::~CacheKey() { ReleaseGraph(std::move(inputs)); }

CacheKeyPtr NewCacheKey(std::string op_digest, std::vector<std::string> other_digests, std::vector<KeyInput> inputs, bool ephemeral) {
  auto key = std::make_shared<CacheKey>();
  key->ephemeral = ephemeral;
  std::string text;
  AppendField(text, op_digest);
  for (const KeyInput& input : inputs) {
    if (input.content.empty()) {
      AppendField(text, "key");
      AppendField(text, OutputKey(input.vertex->id, input.output));
      AppendField(text, input.selector);
      key->ephemeral |= input.vertex->ephemeral;
    } else {
      AppendField(text, "content");
      AppendField(text, input.content);
      AppendField(text, "");  // the content covers what was selected
    }
  }
  key->id = Sha256Hex(text);
  key->op_digest = std::move(op_digest);
  key->other_digests = std::move(other_digests);
  key->inputs = std::move(inputs);
  return key;
}

CacheKeyPtr WithContents(const CacheKey& key, bool ephemeral, const std::vector<std::string>& contents) {
  std::vector<KeyInput> inputs = key.inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].content = inputs[i].by_content && i < contents.size() ? contents[i] : "";
  }
  return NewCacheKey(key.op_digest, key.other_digests, std::move(inputs), ephemeral);
}

std::string OutputKey(absl::string_view key_id, int output) { return absl::StrCat(key_id, "/", output); }

std::string RecordDigest(absl::string_view digest, int output) { return absl::StrCat("sha256:", Sha256Hex(absl::StrCat(digest, "@", output))); }

}  // namespace cachalot::solver
