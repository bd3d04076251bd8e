#include "session/rpc/wire.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"

namespace cachalot::session {
namespace {

void AppendHexEscape(unsigned char byte, std::string& out) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
}

int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') {
    return digit - '0';
  }
  const char lower = absl::ascii_tolower(digit);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Malformed escapes stay as they are, as the specification asks of readers.
std::string PercentDecode(absl::string_view text, bool plus_is_space) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 && HexValue(text[i + 2]) >= 0) {
      out += static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string PercentEncodeMessage(absl::string_view text) {
  std::string out;
  for (const unsigned char c : text) {
    if (c < 0x20 || c > 0x7e || c == '%') {
      AppendHexEscape(c, out);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

std::string QueryEscape(absl::string_view text) {
  std::string out;
  for (const unsigned char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out += static_cast<char>(c);
    } else if (c == ' ') {
      out += '+';
    } else {
      AppendHexEscape(c, out);
    }
  }
  return out;
}

// Whether a header field carries `value` unchanged: HTTP trims blanks at the ends and forbids control characters.
bool TravelsPlainly(absl::string_view value) {
  if (!value.empty() && (value.front() == ' ' || value.back() == ' ')) {
    return false;
  }
  return std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
}

absl::StatusCode CodeOfHttpStatus(absl::string_view http_status) {
  static const std::map<absl::string_view, absl::StatusCode> kCodes = {
      {"400", absl::StatusCode::kInternal},      {"401", absl::StatusCode::kUnauthenticated}, {"403", absl::StatusCode::kPermissionDenied},
      {"404", absl::StatusCode::kUnimplemented}, {"429", absl::StatusCode::kUnavailable},     {"502", absl::StatusCode::kUnavailable},
      {"503", absl::StatusCode::kUnavailable},   {"504", absl::StatusCode::kUnavailable}};
  const auto found = kCodes.find(http_status);
  return found == kCodes.end() ? absl::StatusCode::kUnknown : found->second;
}

}  // namespace

std::optional<std::string> FindMetadata(const Metadata& metadata, absl::string_view name) {
  for (const auto& [key, value] : metadata) {
    if (key == name) {
      return value;
    }
  }
  return std::nullopt;
}

std::vector<std::string> AllMetadata(const Metadata& metadata, absl::string_view name) {
  std::vector<std::string> values;
  for (const auto& [key, value] : metadata) {
    if (key == name) {
      values.push_back(value);
    }
  }
  return values;
}

void AppendEncodedList(const std::string& name, const std::vector<std::string>& values, Metadata& metadata) {
  const bool plain = std::all_of(values.begin(), values.end(), TravelsPlainly);
  for (const std::string& value : values) {
    metadata.emplace_back(name, plain ? value : QueryEscape(value));
  }
  if (!plain) {
    metadata.emplace_back(name + "-encoded", "1");
  }
}

std::vector<std::string> DecodedList(const Metadata& metadata, const std::string& name) {
  std::vector<std::string> values = AllMetadata(metadata, name);
  const std::string encoded = FindMetadata(metadata, name + "-encoded").value_or("");
  if (encoded == "1" || absl::EqualsIgnoreCase(encoded, "true") || encoded == "t" || encoded == "T") {
    for (std::string& value : values) {
      value = PercentDecode(value, /*plus_is_space=*/true);
    }
  }
  return values;
}

absl::Status StatusFromFields(const Metadata& fields) {
  const std::optional<std::string> code_text = FindMetadata(fields, "grpc-status");
  if (!code_text.has_value()) {
    const std::string http_status = FindMetadata(fields, ":status").value_or("");
    if (http_status == "200") {
      return absl::InternalError("server closed the stream without sending trailers");
    }
    return absl::Status(CodeOfHttpStatus(http_status), absl::StrCat("unexpected HTTP status code received from server: ", http_status));
  }
  int code = 0;
  if (!absl::SimpleAtoi(*code_text, &code)) {
    return absl::UnknownError(absl::StrCat("malformed grpc-status: ", *code_text));
  }
  if (code == 0) {
    return absl::OkStatus();
  }
  const auto known = code >= 1 && code <= 16 ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown;
  absl::Status status(known, PercentDecode(FindMetadata(fields, "grpc-message").value_or(""), /*plus_is_space=*/false));
  google::rpc::Status details;
  if (const auto bytes = FindMetadata(fields, "grpc-status-details-bin"); bytes.has_value() && details.ParseFromString(*bytes)) {
    for (const auto& detail : details.details()) {
      status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  return status;
}

Metadata FieldsFromStatus(const absl::Status& status) {
  Metadata fields = {{"grpc-status", absl::StrCat(static_cast<int>(status.code()))}};
  if (!status.ok()) {
    fields.emplace_back("grpc-message", PercentEncodeMessage(status.message()));
  }
  google::rpc::Status details;
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    auto* detail = details.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  if (details.details_size() > 0) {
    details.set_code(static_cast<int>(status.code()));
    details.set_message(std::string(status.message()));
    fields.emplace_back("grpc-status-details-bin", details.SerializeAsString());
  }
  return fields;
}

std::string EncodeTimeout(absl::Duration timeout) {
  // At most eight digits are allowed.
  const std::int64_t milliseconds = std::clamp<std::int64_t>(absl::ToInt64Milliseconds(timeout), 1, 99'999'999);
  return absl::StrCat(milliseconds, "m");
}

void AppendMessage(absl::string_view message, std::string& out) {
  const auto size = static_cast<std::uint32_t>(message.size());
  const char prefix[kMessagePrefixBytes] = {0, static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                                            static_cast<char>(size)};
  out.append(prefix, sizeof(prefix));
  out.append(message.data(), message.size());
}

std::string EncodeFieldValue(absl::string_view name, absl::string_view value) {
  return absl::EndsWith(name, "-bin") ? absl::Base64Escape(value) : std::string(value);
}

std::string DecodeFieldValue(absl::string_view name, absl::string_view value) {
  std::string bytes;
  if (absl::EndsWith(name, "-bin") && absl::Base64Unescape(value, &bytes)) {
    return bytes;
  }
  return std::string(value);
}

}  // namespace cachalot::session
