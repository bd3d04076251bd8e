// How gRPC writes metadata, statuses and messages on HTTP/2 (doc/PROTOCOL-HTTP2.md of gRPC).
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cachalot::session {

// Header fields of a call, names in lower case. Values of names that end in "-bin" are raw bytes here, base64 on the wire.
using Metadata = std::vector<std::pair<std::string, std::string>>;

// The first value of `name`; nullopt without one.
std::optional<std::string> FindMetadata(const Metadata& metadata, absl::string_view name);
// All values of `name`, in order.
std::vector<std::string> AllMetadata(const Metadata& metadata, absl::string_view name);

// Lists as BuildKit's file synchronisation puts them into headers: a list with anything but plain ASCII travels URL-query
// escaped, marked by "<name>-encoded: 1".
void AppendEncodedList(const std::string& name, const std::vector<std::string>& values, Metadata& metadata);
std::vector<std::string> DecodedList(const Metadata& metadata, const std::string& name);

// The status in a response's header and trailer fields. Typed details become payloads under their type URL.
absl::Status StatusFromFields(const Metadata& fields);
// The trailer fields for `status`.
Metadata FieldsFromStatus(const absl::Status& status);

// The value of "grpc-timeout".
std::string EncodeTimeout(absl::Duration timeout);

// A message begins with a flag byte and its length in four bytes, big endian.
inline constexpr std::size_t kMessagePrefixBytes = 5;
// Larger messages are refused, in both directions.
inline constexpr std::size_t kMaxMessageBytes = 16 << 20;
void AppendMessage(absl::string_view message, std::string& out);

// "-bin" values to and from the wire.
std::string EncodeFieldValue(absl::string_view name, absl::string_view value);
std::string DecodeFieldValue(absl::string_view name, absl::string_view value);

}  // namespace cachalot::session
