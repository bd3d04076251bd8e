// Small YAML documents, such as the specifications of devices, as trees of texts.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::runtime {

// Scalars stay texts: who reads a field knows its type. JSON is YAML, too.
struct YamlNode {
  enum class Kind { kScalar, kSequence, kMapping };

  Kind kind = Kind::kScalar;
  std::string text;
  std::vector<YamlNode> items;
  std::map<std::string, YamlNode, std::less<>> members;

  // The member of a mapping, or null.
  const YamlNode* Find(absl::string_view name) const;
};

// The first document of `text`. Errors name the line. Anchors and aliases are refused, for a few of them can describe a huge tree.
absl::StatusOr<YamlNode> ParseYaml(absl::string_view text);

}  // namespace cachalot::runtime
