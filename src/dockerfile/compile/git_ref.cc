#include "dockerfile/compile/git_ref.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// Undoes %XX; a malformed escape stays as it is.
std::string Unescape(absl::string_view text, bool plus_is_blank) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) && absl::ascii_isxdigit(text[i + 2])) {
      int byte = 0;
      if (absl::SimpleHexAtoi(text.substr(i + 1, 2), &byte)) out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      out.push_back(plus_is_blank && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

struct Address {
  std::string remote, query, fragment;
};

std::string LowerScheme(absl::string_view text) {
  const std::size_t end = text.find("://");
  if (end == absl::string_view::npos || end == 0) return "";
  for (const char c : text.substr(0, end)) {
    if (!absl::ascii_isalnum(c)) return "";
  }
  return absl::AsciiStrToLower(text.substr(0, end));
}

// user@host:path
bool IsScpStyle(absl::string_view text) {
  const auto skip = [&text](absl::string_view more) {
    std::size_t i = 0;
    while (i < text.size() && (absl::ascii_isalnum(text[i]) || absl::StrContains(more, text.substr(i, 1)))) ++i;
    text.remove_prefix(i);
    return i > 0;
  };
  return skip("-_") && absl::ConsumePrefix(&text, "@") && skip("-.") && absl::ConsumePrefix(&text, ":");
}

// Cuts "?query" and "#fragment" off.
Address SplitAddress(absl::string_view text) {
  Address address;
  const std::size_t hash = text.find('#');
  if (hash != absl::string_view::npos) address.fragment = Unescape(text.substr(hash + 1), /*plus_is_blank=*/false);
  text = text.substr(0, hash);
  const std::size_t question = text.find('?');
  if (question != absl::string_view::npos) address.query = std::string(text.substr(question + 1));
  address.remote = std::string(text.substr(0, question));
  return address;
}

// What the query says, in the order of the names.
class QueryReader {
 public:
  explicit QueryReader(GitRef* ref) : ref_(ref) {}

  absl::Status Read(absl::string_view query) {
    std::map<std::string, std::vector<std::string>> values;
    for (const absl::string_view part : absl::StrSplit(query, '&', absl::SkipEmpty())) {
      const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
      values[Unescape(pair.first, true)].push_back(Unescape(pair.second, true));
    }
    for (const auto& [name, list] : values) {
      if (list.size() > 1) return Invalid("query ", GoQuote(name), " has multiple values");
      RETURN_IF_ERROR(ReadOne(name, list[0]));
    }
    return Finish();
  }

 private:
  absl::Status ReadOne(const std::string& name, const std::string& value) {
    if (name == "submodules" || name == "keep-git-dir" || name == "fetch-by-commit") return ReadSwitch(name, value);
    if (value.empty()) return Invalid("query ", GoQuote(name), " has no value");
    if (name == "ref") return Merge("ref", value, &ref_->ref);
    if (name == "subdir") return Merge("subdir", value, &ref_->subdir);
    if (name == "tag") {
      tag_ = value;
    } else if (name == "branch") {
      branch_ = value;
    } else if (name == "checksum" || name == "commit") {
      ref_->checksum = value;
    } else if (name == "mtime") {
      if (value != "checkout" && value != "commit") return Invalid("invalid mtime value: ", GoQuote(value), " (must be \"checkout\" or \"commit\")");
      ref_->mtime = value;
    } else {
      return Invalid("unexpected query ", GoQuote(name));
    }
    return absl::OkStatus();
  }

  absl::Status ReadSwitch(const std::string& name, const std::string& value) {
    const std::optional<bool> on = value.empty() ? true : ParseBool(value);
    if (!on.has_value()) return Invalid("invalid ", name, " value: ", GoQuote(value));
    if (name == "submodules") ref_->submodules = on;
    if (name == "keep-git-dir") ref_->keep_git_dir = on;
    if (name == "fetch-by-commit") ref_->fetch_by_commit = *on;
    return absl::OkStatus();
  }

  static absl::Status Merge(absl::string_view name, const std::string& value, std::string* place) {
    if (!place->empty() && *place != value) return Invalid(name, " conflicts: ", GoQuote(*place), " vs ", GoQuote(value));
    *place = value;
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (!tag_.empty()) RETURN_IF_ERROR(Merge("ref", WithPrefix("refs/tags/", tag_), &ref_->ref));
    if (branch_.empty()) return absl::OkStatus();
    if (!tag_.empty()) return Invalid("branch conflicts with tag");
    return Merge("ref", WithPrefix("refs/heads/", branch_), &ref_->ref);
  }

  static std::string WithPrefix(absl::string_view prefix, const std::string& name) {
    return absl::StartsWith(name, prefix) ? name : absl::StrCat(prefix, name);
  }

  GitRef* ref_;
  std::string tag_, branch_;
};

}  // namespace

llb::GitOptions GitRef::ToOptions() const {
  llb::GitOptions options;
  options.ref = ref;
  options.subdir = subdir;
  options.keep_git_dir = keep_git_dir.value_or(false);
  options.skip_submodules = !submodules.value_or(true);
  options.checksum = checksum;
  options.mtime = mtime;
  options.fetch_by_commit = fetch_by_commit;
  return options;
}

absl::StatusOr<std::optional<GitRef>> ParseGitRef(absl::string_view text) {
  if (absl::StartsWith(text, "./") || absl::StartsWith(text, "../")) return std::nullopt;
  GitRef ref;
  ref.looks_local = absl::StartsWith(text, "github.com/");
  const std::string scheme = LowerScheme(text);
  const bool web = scheme == "http" || scheme == "https";
  if (!ref.looks_local && !web && scheme != "ssh" && scheme != "git" && !(scheme.empty() && IsScpStyle(text))) return std::nullopt;
  const Address address = SplitAddress(text);
  if (web && !absl::EndsWith(address.remote, ".git")) return std::nullopt;
  ref.remote = address.remote;
  const std::pair<std::string, std::string> fragment = absl::StrSplit(address.fragment, absl::MaxSplits(':', 1));
  ref.ref = fragment.first;
  ref.subdir = RootedPath(fragment.second).substr(1);
  RETURN_IF_ERROR(QueryReader(&ref).Read(address.query));
  return ref;
}

bool IsGitSource(absl::string_view text) {
  const absl::StatusOr<std::optional<GitRef>> ref = ParseGitRef(text);
  return !ref.ok() || ref->has_value();
}

bool IsHttpSource(absl::string_view text) { return (absl::StartsWith(text, "http://") || absl::StartsWith(text, "https://")) && !IsGitSource(text); }

std::string FileNameOfUrl(absl::string_view url) {
  const std::size_t host = url.find("://");
  absl::string_view path = url.substr(0, url.find_first_of("?#"));
  path.remove_prefix(std::min(host == absl::string_view::npos ? 0 : host + 3, path.size()));
  const std::size_t slash = path.find('/');
  const std::string base = BaseName(Unescape(slash == absl::string_view::npos ? "" : path.substr(slash), false));
  return base == "." || base == "/" || base.empty() ? "__unnamed__" : base;
}

}  // namespace cachalot::dockerfile
