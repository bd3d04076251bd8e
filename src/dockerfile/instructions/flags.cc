#include "dockerfile/instructions/flags.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "dockerfile/instructions/values.h"

namespace cachalot::dockerfile {

absl::Status FlagSet::Parse(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) RETURN_IF_ERROR(ParseOne(argument));
  return absl::OkStatus();
}

absl::Status FlagSet::ParseOne(absl::string_view argument) {
  if (!absl::StartsWith(argument, "--")) return absl::InvalidArgumentError(absl::StrCat("arg should start with -- : ", argument));
  const std::size_t equals = argument.find('=');
  const bool has_value = equals != absl::string_view::npos;
  const absl::string_view shown = argument.substr(0, equals);
  const std::string name(shown.substr(2));
  const std::string value(has_value ? argument.substr(equals + 1) : absl::string_view());

  const auto found = flags_.find(name);
  if (found == flags_.end()) {
    std::vector<std::string> names;
    for (const auto& flag : flags_) names.push_back(flag.first);
    return WithSuggestion(absl::InvalidArgumentError(absl::StrCat("unknown flag: ", shown)), name, names);
  }
  Flag& flag = found->second;
  if (flag.used && flag.texts == nullptr) return absl::InvalidArgumentError(absl::StrCat("duplicate flag specified: ", shown));
  flag.used = true;
  if (flag.boolean != nullptr ? has_value && value.empty() : !has_value) {
    return absl::InvalidArgumentError(absl::StrCat("missing a value on flag: ", shown));
  }
  if (flag.text != nullptr) *flag.text = value;
  if (flag.texts != nullptr) flag.texts->push_back(value);
  if (flag.boolean == nullptr) return absl::OkStatus();
  if (!value.empty() && !absl::EqualsIgnoreCase(value, "true") && !absl::EqualsIgnoreCase(value, "false")) {
    return absl::InvalidArgumentError(absl::StrCat("expecting boolean value for flag ", shown, ", not: ", value));
  }
  *flag.boolean = !absl::EqualsIgnoreCase(value, "false");
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
