#include "client/build_report.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "daemon/rpc_error.h"

namespace cachalot::client {

namespace {

int LastLine(const pb::Range& range) { return std::max(range.start().line(), range.end().line()); }

bool Marked(const errdefs::Source& source, int line) {
  return std::any_of(source.ranges().begin(), source.ranges().end(),
                     [line](const pb::Range& range) { return range.start().line() <= line && line <= LastLine(range); });
}

}  // namespace

std::string FormatSource(const errdefs::Source& source) {
  const std::vector<std::string> lines = absl::StrSplit(source.info().data(), '\n');
  int start = std::numeric_limits<int>::max();
  int end = 0;
  for (const pb::Range& range : source.ranges()) {
    start = std::min(start, range.start().line());
    end = std::max(end, LastLine(range));
  }
  const int count = static_cast<int>(lines.size());
  if (source.ranges().empty() || start < 1 || start > count) {
    return "";
  }
  end = std::min(end, count);
  const int first_marked = start;
  // Four lines of surroundings for one line, two for several; as many above as below where the file has them.
  const int surroundings = start == end ? 4 : 2;
  for (int added = 0; added < surroundings; ++added) {
    if (start > 1) {
      --start;
      ++added;
    }
    if (end < count) {
      ++end;
      ++added;
    }
  }
  constexpr char kRule[] = "--------------------\n";
  std::string text = absl::StrCat(source.info().filename(), ":", first_marked, "\n", kRule);
  for (int line = start; line <= end; ++line) {
    absl::StrAppendFormat(&text, " %3d | %s %s\n", line, Marked(source, line) ? ">>>" : "   ", lines[static_cast<std::size_t>(line) - 1]);
  }
  return absl::StrCat(text, kRule);
}

std::string FormatFailure(const absl::Status& error) {
  std::string text;
  for (const errdefs::Source& source : daemon::WireDetailsOf(error).sources) {
    absl::StrAppend(&text, FormatSource(source));
  }
  return absl::StrCat(text, "ERROR: failed to build: ", std::string(error.message()), "\n");
}

std::string FormatMetadata(const std::map<std::string, std::string>& exporter_response, const std::string& build_ref) {
  nlohmann::json document = nlohmann::json::object();
  for (const auto& [key, value] : exporter_response) {
    std::string decoded;
    nlohmann::json object;
    if (absl::Base64Unescape(value, &decoded)) {
      object = nlohmann::json::parse(decoded, nullptr, false);
    }
    if (object.is_object()) {
      document[key] = std::move(object);
    } else {
      document[key] = value;
    }
  }
  document["buildx.build.ref"] = build_ref;  // by this name scripts look for it
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string ImageId(const std::map<std::string, std::string>& exporter_response) {
  for (const char* key : {"containerimage.config.digest", "containerimage.digest"}) {
    const auto found = exporter_response.find(key);
    if (found != exporter_response.end()) return found->second;
  }
  return "";
}

}  // namespace cachalot::client
