// The values of RUN --mount and RUN --device.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// Expands the variables of one word.
using WordExpander = std::function<absl::StatusOr<std::string>(absl::string_view word)>;

struct RunMount {
  enum class Type { kBind, kCache, kTmpfs, kSecret, kSsh };
  Type type = Type::kBind;
  std::string from, source, target, id;
  std::string sharing;  // "", "shared", "private" or "locked"
  bool readonly = true;
  bool required = false;
  std::int64_t size = 0;           // of a tmpfs, 0 unlimited
  std::optional<std::string> env;  // the variable that takes a secret
  std::optional<std::uint32_t> mode, uid, gid;
};

// Reads "type=cache,target=/x,...". Without an expander only `from` is looked at: the rest may hold variables.
absl::StatusOr<RunMount> ParseMount(absl::string_view text, const WordExpander* expander);

struct RunDevice {
  std::string name;
  bool required = false;
};
absl::StatusOr<RunDevice> ParseDevice(absl::string_view text);

}  // namespace cachalot::dockerfile
