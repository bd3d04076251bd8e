#include "dockerfile/instructions/mount.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/suggest.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

constexpr std::pair<absl::string_view, RunMount::Type> kTypes[] = {
    {"bind", RunMount::Type::kBind},     {"cache", RunMount::Type::kCache}, {"tmpfs", RunMount::Type::kTmpfs},
    {"secret", RunMount::Type::kSecret}, {"ssh", RunMount::Type::kSsh},
};

absl::string_view TypeName(RunMount::Type type) {
  for (const auto& [name, value] : kTypes) {
    if (value == type) return name;
  }
  return "";
}

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status InvalidValue(absl::string_view key, absl::string_view value) { return Invalid("invalid value for ", key, ": ", value); }

absl::Status UnexpectedForType(absl::string_view key, RunMount::Type type) {
  return Invalid("unexpected key '", key, "' for mount type '", TypeName(type), "'");
}

bool TakesRequired(const RunMount& mount) { return mount.type == RunMount::Type::kSecret || mount.type == RunMount::Type::kSsh; }

// Applies the options of one mount in their order.
class MountReader {
 public:
  explicit MountReader(const WordExpander* expander) : expander_(expander) {}

  absl::Status Read(absl::string_view field) {
    const std::size_t equals = field.find('=');
    const std::string key = absl::AsciiStrToLower(field.substr(0, equals));
    if (equals == absl::string_view::npos) return expander_ == nullptr ? absl::OkStatus() : ReadSwitch(key, field);
    std::string value(field.substr(equals + 1));
    if (expander_ != nullptr) {
      ASSIGN_OR_RETURN(value, (*expander_)(value));
    } else if (key != "from") {
      return absl::OkStatus();
    } else if (const std::size_t dollar = value.find('$'); dollar != std::string::npos && dollar + 1 != value.size()) {
      return Invalid("'from' doesn't support variable expansion, define alias stage instead");
    }
    if (key == "type" || key == "sharing") return ReadEnumeration(key, value);
    if (std::string* text = TextOption(key); text != nullptr) {
      *text = value;
      return absl::OkStatus();
    }
    if (key == "env") {
      mount_.env = value;
      return absl::OkStatus();
    }
    return ReadNumberOrBool(key, value, field);
  }

  absl::StatusOr<RunMount> Finish() {
    const RunMount::Type type = mount_.type;
    if (type == RunMount::Type::kBind || type == RunMount::Type::kTmpfs) {
      const auto refuse = [&](absl::string_view what) { return Invalid(what, " not allowed for ", GoQuote(TypeName(type)), " type mounts"); };
      if (mount_.mode.has_value()) return refuse("mode");
      if (mount_.uid.has_value()) return refuse("uid");
      if (mount_.gid.has_value()) return refuse("gid");
    }
    if (!readonly_given_) mount_.readonly = type != RunMount::Type::kCache && type != RunMount::Type::kTmpfs;
    if (type == RunMount::Type::kSecret) {
      if (!mount_.from.empty()) return Invalid("secret mount should not have a from");
      if (!mount_.sharing.empty()) return Invalid("secret mount should not define sharing");
      if (mount_.source.empty() && mount_.target.empty() && mount_.id.empty()) return Invalid("invalid secret mount. one of source, target required");
      if (!mount_.source.empty() && !mount_.id.empty()) return Invalid("both source and id can't be set");
    }
    if (!mount_.sharing.empty() && type != RunMount::Type::kCache) return Invalid("invalid cache sharing set for ", TypeName(type), " mount");
    return std::move(mount_);
  }

 private:
  void SetReadonly(bool readonly) {
    mount_.readonly = readonly;
    readonly_given_ = true;
  }

  absl::Status ReadSwitch(const std::string& key, absl::string_view field) {
    if (key == "readonly" || key == "ro" || key == "readwrite" || key == "rw") {
      SetReadonly(key == "readonly" || key == "ro");
      return absl::OkStatus();
    }
    if (key != "required") return Invalid("invalid field '", field, "' must be a key=value pair");
    if (!TakesRequired(mount_)) return UnexpectedForType(key, mount_.type);
    mount_.required = true;
    return absl::OkStatus();
  }

  std::string* TextOption(const std::string& key) {
    if (key == "from") return &mount_.from;
    if (key == "source" || key == "src") return &mount_.source;
    if (key == "target" || key == "dst" || key == "destination") return &mount_.target;
    if (key == "id") return &mount_.id;
    return nullptr;
  }

  absl::Status ReadEnumeration(const std::string& key, const std::string& value) {
    const std::string lower = absl::AsciiStrToLower(value);
    if (key == "sharing") {
      if (lower != "shared" && lower != "private" && lower != "locked") {
        return WithSuggestion(Invalid("unsupported sharing value ", GoQuote(value)), value, {"shared", "private", "locked"});
      }
      mount_.sharing = lower;
      return absl::OkStatus();
    }
    std::vector<std::string> names;
    for (const auto& [name, type] : kTypes) {
      names.emplace_back(name);
      if (name != lower) continue;
      mount_.type = type;
      return absl::OkStatus();
    }
    return WithSuggestion(Invalid("unsupported mount type ", GoQuote(value)), value, names);
  }

  absl::Status ReadNumberOrBool(const std::string& key, const std::string& value, absl::string_view field) {
    if (key == "readonly" || key == "ro" || key == "readwrite" || key == "rw" || key == "required") {
      if (key == "required" && !TakesRequired(mount_)) return UnexpectedForType(key, mount_.type);
      const std::optional<bool> flag = ParseBool(value);
      if (!flag.has_value()) return InvalidValue(key, value);
      if (key == "required") {
        mount_.required = *flag;
      } else {
        SetReadonly(*flag == (key == "readonly" || key == "ro"));
      }
      return absl::OkStatus();
    }
    if (key == "size") {
      if (mount_.type != RunMount::Type::kTmpfs) return UnexpectedForType(key, mount_.type);
      const std::optional<std::int64_t> size = ParseByteSize(value);
      if (!size.has_value()) return InvalidValue(key, value);
      mount_.size = *size;
      return absl::OkStatus();
    }
    if (key == "mode" || key == "uid" || key == "gid") {
      const std::optional<std::uint32_t> number = ParseUnsigned32(value, key == "mode" ? 8 : 10);
      if (!number.has_value()) return Invalid("invalid value ", value, " for ", key);
      (key == "mode" ? mount_.mode : key == "uid" ? mount_.uid : mount_.gid) = number;
      return absl::OkStatus();
    }
    static const std::vector<std::string>& keys =
        *new std::vector<std::string>{"type", "from", "source", "target", "readonly",    "id", "sharing", "required",  "size", "mode",
                                      "uid",  "gid",  "src",    "dst",    "destination", "ro", "rw",      "readwrite", "env"};
    return WithSuggestion(Invalid("unexpected key '", key, "' in '", field, "'"), key, keys);
  }

  const WordExpander* expander_;
  RunMount mount_;
  bool readonly_given_ = false;
};

}  // namespace

absl::StatusOr<RunMount> ParseMount(absl::string_view text, const WordExpander* expander) {
  const absl::StatusOr<std::vector<std::string>> fields = ParseCsvLine(text);
  if (!fields.ok()) return Annotate(fields.status(), "failed to parse csv mounts");
  MountReader reader(expander);
  for (const std::string& field : *fields) RETURN_IF_ERROR(reader.Read(field));
  return reader.Finish();
}

absl::StatusOr<RunDevice> ParseDevice(absl::string_view text) {
  const absl::StatusOr<std::vector<std::string>> fields = ParseCsvLine(text);
  if (!fields.ok()) return Annotate(fields.status(), "failed to parse csv devices");
  RunDevice device;
  for (const std::string& field : *fields) {
    const std::size_t equals = field.find('=');
    const std::string key = absl::AsciiStrToLower(absl::string_view(field).substr(0, equals));
    const std::string value = equals == std::string::npos ? "" : field.substr(equals + 1);
    if (key == "required") {
      const std::optional<bool> flag = equals == std::string::npos ? true : ParseBool(value);
      if (!flag.has_value()) return InvalidValue(key, value);
      device.required = *flag;
    } else if (equals != std::string::npos && key == "name") {
      if (!device.name.empty()) return Invalid("device name already set to ", device.name);
      device.name = value;
    } else if (device.name.empty()) {
      device.name = field;
    } else if (equals == std::string::npos) {
      return Invalid("invalid field '", field, "' must be a key=value pair");
    } else {
      return WithSuggestion(Invalid("unexpected key '", key, "' in '", field, "'"), key, {"name", "required"});
    }
  }
  return device;
}

}  // namespace cachalot::dockerfile
