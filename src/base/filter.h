// Filters in containerd's syntax: "field", "field==value", "field!=value", "field~=regexp", joined by ','. A field may have
// parts ("labels.name", labels."a.b"), values may be quoted.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cachalot {

class Filter {
 public:
  // The value of a field, by its parts; nothing when it is not present.
  using Lookup = std::function<std::optional<std::string>(const std::vector<std::string>& field)>;

  // What passes any of `filters`, or everything when there is none. An empty filter lets everything pass, a malformed one is
  // INVALID_ARGUMENT.
  static absl::StatusOr<Filter> Parse(const std::vector<std::string>& filters);
  bool Matches(const Lookup& lookup) const;

 private:
  enum class Operator { kPresent, kEqual, kNotEqual, kMatches };
  struct Regexp;
  struct Selector {
    std::vector<std::string> field;
    Operator op = Operator::kPresent;
    std::string value;
    std::shared_ptr<const Regexp> regexp;
  };
  class Parser;

  static bool Matches(const Selector& selector, const Lookup& lookup);

  std::vector<std::vector<Selector>> alternatives_;
};

}  // namespace cachalot
