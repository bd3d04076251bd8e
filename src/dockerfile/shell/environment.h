// Where variable expansion looks names up.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

class Environment {
 public:
  virtual ~Environment() = default;
  virtual std::optional<std::string> Get(absl::string_view name) const = 0;
  // The known names in the order of their definition.
  virtual std::vector<std::string> Names() const = 0;
};

// Variables in the order of their definition; setting one again keeps its place.
class Variables : public Environment {
 public:
  Variables() = default;
  // From "NAME=value" entries; an entry without "=" has an empty value.
  explicit Variables(const std::vector<std::string>& entries);

  void Set(absl::string_view name, absl::string_view value);
  void Remove(absl::string_view name);
  std::optional<std::string> Get(absl::string_view name) const override;
  std::vector<std::string> Names() const override;
  const std::vector<std::pair<std::string, std::string>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
};

}  // namespace cachalot::dockerfile
