#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/progress/display.h"

namespace cachalot::client::progress {
namespace {

constexpr int kMaxLogLines = 1000;

// The sequence for a colour by name or "r,g,b"; nothing for other text.
std::optional<std::string> ColorSequence(absl::string_view text) {
  static const auto& names = *new std::map<std::string, int>{
      {"black", 30},        {"red", 31},        {"green", 32},         {"yellow", 33},      {"blue", 34},       {"magenta", 35},
      {"cyan", 36},         {"white", 37},      {"default", 39},       {"light-black", 90}, {"light-red", 91},  {"light-green", 92},
      {"light-yellow", 93}, {"light-blue", 94}, {"light-magenta", 95}, {"light-cyan", 96},  {"light-white", 97}};
  const auto named = names.find(absl::AsciiStrToLower(text));
  if (named != names.end()) return absl::StrCat("\x1b[", named->second, "m");
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ',');
  int rgb[3];
  if (parts.size() != 3) return std::nullopt;
  for (int i = 0; i < 3; ++i) {
    if (!absl::SimpleAtoi(parts[i], &rgb[i]) || rgb[i] < 0 || rgb[i] > 255) return std::nullopt;
  }
  return absl::StrCat("\x1b[38;5;", 16 + 36 * (rgb[0] / 43) + 6 * (rgb[1] / 43) + rgb[2] / 43, "m");
}

// "run=green:error=255,0,0"
void ReadColors(absl::string_view text, Colors* colors) {
  for (absl::string_view entry : absl::StrSplit(text, ':')) {
    const std::vector<absl::string_view> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (pair.size() != 2) continue;
    const std::optional<std::string> color = ColorSequence(pair[1]);
    if (!color) continue;
    const std::string key = absl::AsciiStrToLower(pair[0]);
    if (key == "run") colors->run = *color;
    if (key == "cancel") colors->cancel = *color;
    if (key == "error") colors->error = *color;
  }
}

}  // namespace

Options OptionsFromEnvironment(const std::function<const char*(const char*)>& get) {
  const auto value = [&get](const char* name) {
    const char* text = get(name);
    return std::string(text == nullptr ? "" : text);
  };
  Options options;
  if (!value("NO_COLOR").empty()) {
    options.colors = {"", "", ""};
  } else {
    ReadColors(value("BUILDKIT_COLORS"), &options.colors);
  }
  int number = 0;
  if (absl::SimpleAtoi(value("BUILDKIT_TTY_LOG_LINES"), &number) && number > 0 && number <= kMaxLogLines) options.log_lines = number;
  if (absl::SimpleAtoi(value("TTY_DISPLAY_RATE"), &number) && number >= 0) options.min_interval = absl::Milliseconds(number);
  options.truncate_names = value("PROGRESS_NO_TRUNC") == "0";
  return options;
}

}  // namespace cachalot::client::progress
