// The flags (--name=value) of one instruction.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// Define the flags that an instruction knows, then Parse; afterwards the defined places hold the values.
class FlagSet {
 public:
  // `--name`, `--name=true`, `--name=false`. The value stays unset when the flag is absent.
  void Bool(absl::string_view name, std::optional<bool>* value) { flags_[std::string(name)].boolean = value; }
  void Text(absl::string_view name, std::string* value) { flags_[std::string(name)].text = value; }
  // May be given more than once.
  void Texts(absl::string_view name, std::vector<std::string>* values) { flags_[std::string(name)].texts = values; }

  absl::Status Parse(const std::vector<std::string>& arguments);

 private:
  struct Flag {
    std::optional<bool>* boolean = nullptr;
    std::string* text = nullptr;
    std::vector<std::string>* texts = nullptr;
    bool used = false;
  };
  absl::Status ParseOne(absl::string_view argument);

  std::map<std::string, Flag> flags_;
};

}  // namespace cachalot::dockerfile
