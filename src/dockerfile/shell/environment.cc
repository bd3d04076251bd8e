#include "dockerfile/shell/environment.h"

#include <algorithm>

namespace cachalot::dockerfile {

Variables::Variables(const std::vector<std::string>& entries) {
  for (const std::string& entry : entries) {
    const std::size_t equals = entry.find('=');
    const absl::string_view text = entry;
    Set(text.substr(0, equals), equals == std::string::npos ? absl::string_view() : text.substr(equals + 1));
  }
}

void Variables::Set(absl::string_view name, absl::string_view value) {
  for (auto& [known, old_value] : entries_) {
    if (known == name) {
      old_value = std::string(value);
      return;
    }
  }
  entries_.emplace_back(std::string(name), std::string(value));
}

void Variables::Remove(absl::string_view name) {
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.first == name; }), entries_.end());
}

std::optional<std::string> Variables::Get(absl::string_view name) const {
  for (const auto& [known, value] : entries_) {
    if (known == name) return value;
  }
  return std::nullopt;
}

std::vector<std::string> Variables::Names() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.first);
  return names;
}

}  // namespace cachalot::dockerfile
