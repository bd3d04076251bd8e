#include "op/errors.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace cachalot::op {

void SetNumber(absl::Status& status, const char* payload, int value) { status.SetPayload(payload, absl::Cord(std::to_string(value))); }

std::optional<int> GetNumber(const absl::Status& status, const char* payload) {
  auto text = status.GetPayload(payload);
  int value = 0;
  if (!text.has_value() || !absl::SimpleAtoi(std::string(*text), &value)) {
    return std::nullopt;
  }
  return value;
}

void SetIds(absl::Status& status, const char* payload, const std::vector<std::string>& ids) {
  if (!ids.empty()) status.SetPayload(payload, absl::Cord(absl::StrJoin(ids, ",")));
}

std::vector<std::string> GetIds(const absl::Status& status, const char* payload) {
  const auto text = status.GetPayload(payload);
  return text.has_value() ? absl::StrSplit(std::string(*text), ',') : std::vector<std::string>();
}

}  // namespace cachalot::op
