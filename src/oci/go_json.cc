#include "oci/go_json.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace cachalot::oci {
namespace {

constexpr int kMaxDepth = 200;

// Deep nesting would overflow the stack of whoever walks the tree.
bool NestsTooDeep(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

// The length of the valid UTF-8 sequence at `text[i]`, or 0.
std::size_t Utf8Length(absl::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char lead = byte(i);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return 0;
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(i + 1) < 0xa0) return 0;
  if (lead == 0xed && byte(i + 1) > 0x9f) return 0;
  if (lead == 0xf0 && byte(i + 1) < 0x90) return 0;
  if (lead == 0xf4 && byte(i + 1) > 0x8f) return 0;
  return length;
}

void AppendEscape(unsigned char c, std::string& out) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: absl::StrAppend(&out, "\\u", absl::Hex(c, absl::kZeroPad4));
  }
}

void AppendString(absl::string_view text, std::string& out) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t length = Utf8Length(text, i);
    const absl::string_view piece = text.substr(i, std::max<std::size_t>(length, 1));
    if (length == 0) {
      out += "\\ufffd";
    } else if (piece == "\xe2\x80\xa8") {
      out += "\\u2028";
    } else if (piece == "\xe2\x80\xa9") {
      out += "\\u2029";
    } else if (c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&') {
      AppendEscape(c, out);
    } else {
      out.append(piece.data(), piece.size());
    }
    i += piece.size();
  }
  out += '"';
}

void AppendValue(const Json& value, int indent, int level, std::string& out);

void NewLine(int indent, int level, std::string& out) {
  if (indent == 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(indent) * level, ' ');
}

void AppendContainer(const Json& value, int indent, int level, std::string& out) {
  const bool object = value.is_object();
  out += object ? '{' : '[';
  bool first = true;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!first) out += ',';
    first = false;
    NewLine(indent, level + 1, out);
    if (object) {
      AppendString(it.key(), out);
      out += indent == 0 ? ":" : ": ";
    }
    AppendValue(*it, indent, level + 1, out);
  }
  if (!value.empty()) NewLine(indent, level, out);
  out += object ? '}' : ']';
}

void AppendValue(const Json& value, int indent, int level, std::string& out) {
  if (value.is_structured()) {
    AppendContainer(value, indent, level, out);
  } else if (value.is_string()) {
    AppendString(value.get_ref<const std::string&>(), out);
  } else {
    out += value.dump();
  }
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view what, std::size_t max_bytes) {
  if (text.size() > max_bytes) return absl::InvalidArgumentError(absl::StrCat(what, " is larger than ", max_bytes, " bytes"));
  if (NestsTooDeep(text)) return absl::InvalidArgumentError(absl::StrCat(what, " nests deeper than ", kMaxDepth, " levels"));
  Json value = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(what, " is not valid JSON"));
  return value;
}

std::string DumpGo(const Json& value, int indent) {
  std::string out;
  AppendValue(value, indent, 0, out);
  return out;
}

std::string FormatGoTime(absl::Time time) {
  const absl::Time whole = absl::FromUnixNanos(0) + absl::Floor(time - absl::UnixEpoch(), absl::Nanoseconds(1));
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%E*SZ", whole, absl::UTCTimeZone());
}

absl::StatusOr<absl::Time> ParseGoTime(absl::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid time \"", text.substr(0, 100), "\": ", error));
  }
  return time;
}

ObjectReader::ObjectReader(const Json& object, std::string where, absl::Status& status) : object_(object), where_(std::move(where)), status_(status) {
  if (!object_.is_object() && status_.ok()) status_ = absl::InvalidArgumentError(where_ + " is not an object");
}

const Json* ObjectReader::Find(const char* name) const {
  if (!object_.is_object()) return nullptr;
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void ObjectReader::Fail(const char* name, absl::string_view problem) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(where_, ".", name, " ", problem));
}

std::string ObjectReader::String(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  Fail(name, "is not a string");
  return "";
}

std::int64_t ObjectReader::Int(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) return 0;
  if (value->is_number_integer()) return value->get<std::int64_t>();
  Fail(name, "is not an integer");
  return 0;
}

bool ObjectReader::Bool(const char* name) {
  const Json* value = Find(name);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, "is not a boolean");
  return false;
}

std::vector<std::string> ObjectReader::Strings(const char* name) {
  std::vector<std::string> out;
  const Json* list = Find(name);
  if (list == nullptr) return out;
  if (!list->is_array()) {
    Fail(name, "is not an array");
    return out;
  }
  for (const Json& value : *list) {
    if (!value.is_string()) {
      Fail(name, "holds something that is not a string");
      return out;
    }
    out.push_back(value.get<std::string>());
  }
  return out;
}

std::map<std::string, std::string> ObjectReader::StringMap(const char* name) {
  std::map<std::string, std::string> out;
  const Json* object = Find(name);
  if (object == nullptr) return out;
  if (!object->is_object()) {
    Fail(name, "is not an object");
    return out;
  }
  for (auto it = object->begin(); it != object->end(); ++it) {
    if (!it->is_string()) {
      Fail(name, "holds something that is not a string");
      return out;
    }
    out[it.key()] = it->get<std::string>();
  }
  return out;
}

std::vector<std::string> ObjectReader::Set(const char* name) {
  std::vector<std::string> out;
  const Json* object = Find(name);
  if (object == nullptr) return out;
  if (!object->is_object()) {
    Fail(name, "is not an object");
    return out;
  }
  for (auto it = object->begin(); it != object->end(); ++it) out.push_back(it.key());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace cachalot::oci
