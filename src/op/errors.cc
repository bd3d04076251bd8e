#include "op/errors.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"

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

}  // namespace cachalot::op
