#include "runtime/user.h"

#include <fcntl.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::runtime {
namespace {

constexpr std::size_t kMaxUserFile = 10 << 20;
constexpr std::size_t kMaxGroups = 65536;  // setgroups(2) takes no more
constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();

using Fields = std::vector<absl::string_view>;

// The file's text; empty when there is none.
absl::StatusOr<std::string> ReadUserFile(int root_fd, const char* path) {
  absl::StatusOr<UniqueFd> entry = os::OpenInRoot(root_fd, path, O_PATH);
  if (!entry.ok()) return std::string();
  ASSIGN_OR_RETURN(struct stat st, os::Stat(entry->get()));
  if (!S_ISREG(st.st_mode)) return std::string();  // opening a device or a pipe would do something
  ASSIGN_OR_RETURN(UniqueFd fd, os::Open(os::DescriptorPath(entry->get()), O_RDONLY));
  return os::ReadAll(fd.get(), kMaxUserFile, path);
}

// A number, nothing for a name, an error for a number out of range.
absl::StatusOr<std::optional<std::uint32_t>> ParseId(absl::string_view text) {
  absl::string_view digits = text;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) digits.remove_prefix(1);
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit)) return std::nullopt;
  std::int64_t id = -1;
  if (!absl::SimpleAtoi(text, &id) || id < 0 || id > kMaxId) {
    return absl::InvalidArgumentError("uids and gids must be in range 0-2147483647");
  }
  return static_cast<std::uint32_t>(id);
}

// An id within a file; nothing when it is malformed, so that such a line never matches.
std::optional<std::uint32_t> FileId(absl::string_view text) {
  absl::StatusOr<std::optional<std::uint32_t>> id = ParseId(text);
  return id.ok() ? *id : std::nullopt;
}

template <typename Visit>
void ForEachLine(absl::string_view text, std::size_t least_fields, Visit visit) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    Fields fields = absl::StrSplit(line, ':');
    if (line.empty() || fields.size() < least_fields) continue;
    if (!visit(fields)) return;
  }
}

struct PasswdEntry {
  std::string name;
  std::uint32_t uid, gid;
  std::string home;
};

std::optional<PasswdEntry> FindUser(absl::string_view passwd, absl::string_view name, std::optional<std::uint32_t> uid) {
  std::optional<PasswdEntry> found;
  ForEachLine(passwd, 4, [&](const Fields& fields) {
    std::optional<std::uint32_t> entry_uid = FileId(fields[2]), entry_gid = FileId(fields[3]);
    if (!entry_uid || !entry_gid || (uid ? *uid != *entry_uid : fields[0] != name)) return true;
    found = PasswdEntry{std::string(fields[0]), *entry_uid, *entry_gid, fields.size() > 5 ? std::string(fields[5]) : ""};
    return false;
  });
  return found;
}

std::optional<std::uint32_t> FindGroup(absl::string_view groups, absl::string_view name, std::optional<std::uint32_t> gid) {
  std::optional<std::uint32_t> found;
  ForEachLine(groups, 3, [&](const Fields& fields) {
    std::optional<std::uint32_t> id = FileId(fields[2]);
    if (!id || (gid ? *gid != *id : fields[0] != name)) return true;
    found = id;
    return false;
  });
  return found;
}

std::vector<std::uint32_t> GroupsOf(absl::string_view groups, absl::string_view user) {
  std::vector<std::uint32_t> found;
  ForEachLine(groups, 4, [&](const Fields& fields) {
    std::optional<std::uint32_t> id = FileId(fields[2]);
    Fields members = absl::StrSplit(fields[3], ',');
    if (id && std::find(members.begin(), members.end(), user) != members.end()) found.push_back(*id);
    return true;
  });
  return found;
}

absl::StatusOr<User> LookUp(int root_fd, absl::string_view user_part, absl::string_view group_part) {
  ASSIGN_OR_RETURN(std::optional<std::uint32_t> uid, ParseId(user_part));
  ASSIGN_OR_RETURN(std::optional<std::uint32_t> gid, ParseId(group_part));
  if (user_part.empty()) uid = 0;
  ASSIGN_OR_RETURN(std::string passwd, ReadUserFile(root_fd, "/etc/passwd"));
  User user;
  std::optional<PasswdEntry> entry = FindUser(passwd, user_part, uid);
  if (!entry && !uid) return absl::NotFoundError(absl::StrCat("unable to find user ", user_part, ": no matching entries in passwd file"));
  user.uid = entry ? entry->uid : *uid;
  user.gid = entry ? entry->gid : 0;
  if (entry && !entry->home.empty()) user.home = entry->home;
  if (group_part.empty() && !entry) return user;
  ASSIGN_OR_RETURN(std::string groups, ReadUserFile(root_fd, "/etc/group"));
  if (group_part.empty()) {
    user.groups = GroupsOf(groups, entry->name);
    if (user.groups.size() >= kMaxGroups)
      return absl::InvalidArgumentError(absl::StrCat("user ", user_part, " is in more than ", kMaxGroups - 1, " groups"));
    return user;
  }
  std::optional<std::uint32_t> group = FindGroup(groups, group_part, gid);
  if (!group && !gid) return absl::NotFoundError(absl::StrCat("unable to find group ", group_part, ": no matching entries in group file"));
  user.gid = group ? *group : *gid;
  return user;
}

}  // namespace

absl::StatusOr<User> LookUpUser(int root_fd, absl::string_view spec) {
  std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(spec, absl::MaxSplits(':', 1));
  absl::StatusOr<User> user = LookUp(root_fd, spec.empty() ? "0" : parts.first, parts.second);
  // The default user exists whatever the container's files hold.
  if (!user.ok() && spec.empty()) user = User();
  RETURN_IF_ERROR(user.status());
  if (std::find(user->groups.begin(), user->groups.end(), user->gid) == user->groups.end()) {
    user->groups.insert(user->groups.begin(), user->gid);
  }
  return user;
}

}  // namespace cachalot::runtime
