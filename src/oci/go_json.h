// JSON text as Go's encoding/json reads and prints it: digests of manifests and configurations are computed over such bytes.
// Only .cc files include this header: nlohmann's templates are expensive.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cachalot::oci {

using Json = nlohmann::ordered_json;

// Parses at most `max_bytes`, nested at most 200 deep. `what` names the document in errors.
absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view what, std::size_t max_bytes = 8 << 20);

// Compact, or indented by `indent` spaces a level; <, >, & and line separators escaped as Go does.
std::string DumpGo(const Json& value, int indent = 0);

// RFC 3339 with as many fractional digits as needed, in UTC.
std::string FormatGoTime(absl::Time time);
absl::StatusOr<absl::Time> ParseGoTime(absl::string_view text);

// Reads members of one object, remembering the first member that has the wrong type. Absent members and nulls are empty values.
class ObjectReader {
 public:
  // `where` names the object in errors; `status` keeps the first error and outlives the reader.
  ObjectReader(const Json& object, std::string where, absl::Status& status);

  const Json* Find(const char* name) const;  // null when absent or null
  std::string String(const char* name);
  std::int64_t Int(const char* name);
  bool Bool(const char* name);
  std::vector<std::string> Strings(const char* name);
  std::map<std::string, std::string> StringMap(const char* name);
  // The member names of an object, sorted (Go's map[string]struct{}).
  std::vector<std::string> Set(const char* name);
  void Fail(const char* name, absl::string_view problem);
  // Runs `read(element, where)` for every element of an array member.
  template <typename Read>
  void Each(const char* name, Read read) {
    const Json* list = Find(name);
    if (list == nullptr) return;
    if (!list->is_array()) return Fail(name, "is not an array");
    for (std::size_t i = 0; i < list->size(); ++i) read((*list)[i], where_ + "." + name + "[" + std::to_string(i) + "]");
  }
  std::string Where(const char* name) const { return where_ + "." + name; }

 private:
  const Json& object_;
  std::string where_;
  absl::Status& status_;
};

}  // namespace cachalot::oci
