#include "session/tree/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::session {
namespace {

std::string WithoutTrailingGlob(const PathPattern& pattern) {
  absl::string_view text = pattern.text();
  absl::ConsumeSuffix(&text, "/**");
  absl::ConsumeSuffix(&text, "/*");
  return std::string(text);
}

bool IsPlain(const PathPattern& pattern) { return WithoutTrailingGlob(pattern).find_first_of("*[]?^\\") == std::string::npos; }

// Whether a plain pattern, an exception or not, may match something inside `directory`.
bool LeadsInto(const PatternMatcher& matcher, bool exceptions, absl::string_view directory) {
  const std::string inside = absl::StrCat(directory, "/");
  return std::any_of(matcher.entries().begin(), matcher.entries().end(), [&](const PatternMatcher::Entry& entry) {
    return entry.exception == exceptions && absl::StartsWith(absl::StrCat(WithoutTrailingGlob(entry.pattern), "/"), inside);
  });
}

class Walker {
 public:
  Walker(const TreeFilter& filter, const std::function<absl::Status(Stat&)>& visit) : filter_(filter), visit_(visit) {}

  // A directory on the way down.
  struct Level {
    Level* up = nullptr;
    std::string prefix;  // of its entries' paths: "" or "a/b/"
    TreeFilter::Inherited inherited;
    Stat stat;
    bool sent = true;
  };

  absl::Status Enter(int directory, Level& level) {
    ASSIGN_OR_RETURN(auto entries, os::ListDirectory(directory));
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const os::DirectoryEntry& entry : entries) {
      RETURN_IF_ERROR(Visit(directory, entry, level));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Visit(int directory, const os::DirectoryEntry& entry, Level& level) {
    struct stat st {};
    bool known = false;
    if (entry.type == DT_UNKNOWN) {
      known = fstatat(directory, entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
    }
    const bool is_directory = known ? S_ISDIR(st.st_mode) : entry.type == DT_DIR;
    const std::string path = absl::StrCat(level.prefix, entry.name);
    Level own;
    TreeFilter::Verdict verdict;
    if (!filter_.passes_everything()) {
      verdict = filter_.Judge(path, is_directory, level.inherited, is_directory ? &own.inherited : nullptr);
    }
    if (!verdict.sent && !(is_directory && verdict.entered)) {
      return absl::OkStatus();
    }
    if (!known && fstatat(directory, entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno == ENOENT ? absl::OkStatus() : ErrnoError(absl::StrCat("lstat ", path));
    }
    own.stat.set_path(path);
    if (const absl::Status described = Describe(directory, entry.name, st, own.stat); !described.ok()) {
      return absl::IsNotFound(described) ? absl::OkStatus() : described;
    }
    if (verdict.sent) {
      RETURN_IF_ERROR(SendAbove(level));
      RETURN_IF_ERROR(Send(own.stat, st));
    }
    if (!is_directory || !verdict.entered) {
      return absl::OkStatus();
    }
    own.up = &level;
    own.prefix = path + "/";
    own.sent = verdict.sent;
    return EnterAt(directory, entry.name, own, verdict.sent);
  }

  absl::Status EnterAt(int directory, const std::string& name, Level& own, bool sent) {
    const UniqueFd fd(openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.valid()) {
      return Enter(fd.get(), own);
    }
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || (!sent && errno == EACCES)) {
      return absl::OkStatus();
    }
    return ErrnoError(absl::StrCat("open ", absl::StripSuffix(own.prefix, "/")));
  }

  absl::Status Describe(int directory, const std::string& name, const struct stat& st, Stat& stat) {
    // An agent's socket in a context travels as an empty file: the protocol has no sockets.
    stat.set_mode(GoMode(st.st_mode) & ~kModeSocket);
    stat.set_uid(st.st_uid);
    stat.set_gid(st.st_gid);
    stat.set_modtime(ModTimeOf(st));
    if (!S_ISDIR(st.st_mode)) {
      stat.set_size(st.st_size);
    }
    if (S_ISREG(st.st_mode)) {
      stat.set_change(ChangeMark(st));
    }
    if (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) {
      stat.set_devmajor(major(st.st_rdev));
      stat.set_devminor(minor(st.st_rdev));
    }
    if (S_ISLNK(st.st_mode)) {
      ASSIGN_OR_RETURN(*stat.mutable_linkname(), os::ReadLink(directory, name));
    } else {
      *stat.mutable_xattrs() = ReadXattrs(directory, name);
    }
    return absl::OkStatus();
  }

  absl::Status SendAbove(Level& level) {
    if (level.sent) {
      return absl::OkStatus();
    }
    level.sent = true;
    if (level.up != nullptr) {
      RETURN_IF_ERROR(SendAbove(*level.up));
      return visit_(level.stat);
    }
    return absl::OkStatus();
  }

  absl::Status Send(Stat& stat, const struct stat& st) {
    if (st.st_nlink > 1 && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode)) {
      const auto [first, is_first] = first_paths_.try_emplace({st.st_dev, st.st_ino}, stat.path());
      if (!is_first) {
        stat.set_linkname(first->second);
      }
    }
    return visit_(stat);
  }

  const TreeFilter& filter_;
  const std::function<absl::Status(Stat&)>& visit_;
  std::map<std::pair<dev_t, ino_t>, std::string> first_paths_;
};

}  // namespace

absl::StatusOr<TreeFilter> TreeFilter::Create(const Patterns& patterns, int root) {
  std::optional<std::vector<std::string>> include = patterns.include;
  if (!patterns.follow.empty()) {
    ASSIGN_OR_RETURN(const auto followed, FollowLinks(root, patterns.follow));
    if (followed.has_value()) {
      include->insert(include->end(), followed->begin(), followed->end());
      include = DedupePaths(*include);
    }
  }
  TreeFilter filter;
  if (include.has_value() && !include->empty()) {
    auto matcher = PatternMatcher::Create(*include);
    RETURN_IF_ERROR(Annotate(matcher.status(), absl::StrCat("invalid includepatterns: [", absl::StrJoin(*include, " "), "]")));
    filter.include_ = *std::move(matcher);
    for (const auto& entry : filter.include_->entries()) {
      filter.plain_includes_ = filter.plain_includes_ && (entry.exception || IsPlain(entry.pattern));
    }
  }
  if (!patterns.exclude.empty()) {
    auto matcher = PatternMatcher::Create(patterns.exclude);
    RETURN_IF_ERROR(Annotate(matcher.status(), absl::StrCat("invalid excludepatterns: [", absl::StrJoin(patterns.exclude, " "), "]")));
    filter.exclude_ = *std::move(matcher);
    for (const auto& entry : filter.exclude_->entries()) {
      filter.plain_exceptions_ = filter.plain_exceptions_ && (!entry.exception || IsPlain(entry.pattern));
    }
  }
  return filter;
}

TreeFilter::Verdict TreeFilter::Judge(absl::string_view path, bool is_directory, const Inherited& parent, Inherited* own) const {
  Verdict verdict;
  if (include_.has_value() && !include_->Matches(path, parent.include, own == nullptr ? nullptr : &own->include)) {
    verdict.sent = false;
    if (is_directory && plain_includes_ && !LeadsInto(*include_, /*exceptions=*/false, path)) {
      verdict.entered = false;
      return verdict;
    }
  }
  if (exclude_.has_value() && exclude_->Matches(path, parent.exclude, own == nullptr ? nullptr : &own->exclude)) {
    verdict.sent = false;
    if (is_directory && plain_exceptions_ && !LeadsInto(*exclude_, /*exceptions=*/true, path)) {
      verdict.entered = false;
    }
  }
  return verdict;
}

absl::Status WalkTree(int root, const TreeFilter& filter, const std::function<absl::Status(Stat&)>& visit) {
  const UniqueFd fd(openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    return ErrnoError("open the directory");
  }
  Walker::Level top;
  return Walker(filter, visit).Enter(fd.get(), top);
}

}  // namespace cachalot::session
