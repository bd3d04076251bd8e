#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

std::optional<UserRef> DecodeUser(const pb::UserOpt& message) {
  switch (message.user_case()) {
    case pb::UserOpt::kByName: return UserRef{message.byname().name(), static_cast<int>(message.byname().input()), 0};
    case pb::UserOpt::kByID: return UserRef{std::nullopt, -1, message.byid()};
    case pb::UserOpt::USER_NOT_SET: return std::nullopt;
  }
  return std::nullopt;
}

absl::Status CheckUser(const pb::UserOpt& message, int input_count) {
  if (message.has_byname() && (message.byname().input() < -1 || message.byname().input() >= input_count)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid user index: ", message.byname().input()));
  }
  return absl::OkStatus();
}

absl::Status DecodeChown(const pb::ChownOpt& message, int input_count, Chown& chown) {
  RETURN_IF_ERROR(CheckUser(message.user(), input_count));
  RETURN_IF_ERROR(CheckUser(message.group(), input_count));
  chown.user = DecodeUser(message.user());
  chown.group = DecodeUser(message.group());
  return absl::OkStatus();
}

void EncodeUser(const UserRef& user, pb::UserOpt& message) {
  if (!user.name) {
    message.set_byid(user.id);
    return;
  }
  message.mutable_byname()->set_name(*user.name);
  message.mutable_byname()->set_input(user.input);
}

// `mutable_owner` is called only when there is an owner: an empty one is not the same bytes.
template <typename Message>
void EncodeOwner(const Chown& chown, Message& message) {
  if (chown.user) EncodeUser(*chown.user, *message.mutable_owner()->mutable_user());
  if (chown.group) EncodeUser(*chown.group, *message.mutable_owner()->mutable_group());
}

absl::StatusOr<FileCopy> DecodeCopy(const pb::FileActionCopy& message, int input_count) {
  FileCopy copy;
  copy.src = message.src();
  copy.dest = message.dest();
  RETURN_IF_ERROR(DecodeChown(message.owner(), input_count, copy.owner));
  copy.mode = message.mode();
  copy.mode_text = message.modestr();
  copy.follow_symlink = message.followsymlink();
  copy.dir_copy_contents = message.dircopycontents();
  copy.attempt_unpack = message.attemptunpackdockercompatibility();
  copy.create_dest_path = message.createdestpath();
  copy.allow_wildcard = message.allowwildcard();
  copy.allow_empty_wildcard = message.allowemptywildcard();
  copy.always_replace_existing = message.alwaysreplaceexistingdestpaths();
  copy.timestamp_ns = message.timestamp();
  copy.include_patterns.assign(message.include_patterns().begin(), message.include_patterns().end());
  copy.exclude_patterns.assign(message.exclude_patterns().begin(), message.exclude_patterns().end());
  copy.required_paths.assign(message.required_paths().begin(), message.required_paths().end());
  return copy;
}

void EncodeAction(const FileCopy& copy, pb::FileAction& action) {
  pb::FileActionCopy& message = *action.mutable_copy();
  message.set_src(copy.src);
  message.set_dest(copy.dest);
  EncodeOwner(copy.owner, message);
  message.set_mode(copy.mode);
  message.set_modestr(copy.mode_text);
  message.set_followsymlink(copy.follow_symlink);
  message.set_dircopycontents(copy.dir_copy_contents);
  message.set_attemptunpackdockercompatibility(copy.attempt_unpack);
  message.set_createdestpath(copy.create_dest_path);
  message.set_allowwildcard(copy.allow_wildcard);
  message.set_allowemptywildcard(copy.allow_empty_wildcard);
  message.set_alwaysreplaceexistingdestpaths(copy.always_replace_existing);
  message.set_timestamp(copy.timestamp_ns);
  message.mutable_include_patterns()->Assign(copy.include_patterns.begin(), copy.include_patterns.end());
  message.mutable_exclude_patterns()->Assign(copy.exclude_patterns.begin(), copy.exclude_patterns.end());
  message.mutable_required_paths()->Assign(copy.required_paths.begin(), copy.required_paths.end());
}

void EncodeAction(const FileMkfile& mkfile, pb::FileAction& action) {
  pb::FileActionMkFile& message = *action.mutable_mkfile();
  message.set_path(mkfile.path);
  message.set_mode(mkfile.mode);
  message.set_data(mkfile.data);
  EncodeOwner(mkfile.owner, message);
  message.set_timestamp(mkfile.timestamp_ns);
}

void EncodeAction(const FileMkdir& mkdir, pb::FileAction& action) {
  pb::FileActionMkDir& message = *action.mutable_mkdir();
  message.set_path(mkdir.path);
  message.set_mode(mkdir.mode);
  message.set_makeparents(mkdir.make_parents);
  EncodeOwner(mkdir.owner, message);
  message.set_timestamp(mkdir.timestamp_ns);
}

void EncodeAction(const FileRm& rm, pb::FileAction& action) {
  action.mutable_rm()->set_path(rm.path);
  action.mutable_rm()->set_allownotfound(rm.allow_not_found);
  action.mutable_rm()->set_allowwildcard(rm.allow_wildcard);
}

void EncodeAction(const FileSymlink& symlink, pb::FileAction& action) {
  pb::FileActionSymlink& message = *action.mutable_symlink();
  message.set_oldpath(symlink.oldpath);
  message.set_newpath(symlink.newpath);
  EncodeOwner(symlink.owner, message);
  message.set_timestamp(symlink.timestamp_ns);
}

absl::Status DecodeAction(const pb::FileAction& message, int input_count, FileAction& action) {
  switch (message.action_case()) {
    case pb::FileAction::kCopy: {
      ASSIGN_OR_RETURN(action.action, DecodeCopy(message.copy(), input_count));
      return absl::OkStatus();
    }
    case pb::FileAction::kMkfile: {
      const pb::FileActionMkFile& mkfile = message.mkfile();
      FileMkfile& decoded = action.action.emplace<FileMkfile>();
      decoded = {mkfile.path(), mkfile.data(), mkfile.mode(), {}, mkfile.timestamp()};
      return DecodeChown(mkfile.owner(), input_count, decoded.owner);
    }
    case pb::FileAction::kMkdir: {
      const pb::FileActionMkDir& mkdir = message.mkdir();
      FileMkdir& decoded = action.action.emplace<FileMkdir>();
      decoded = {mkdir.path(), mkdir.mode(), mkdir.makeparents(), {}, mkdir.timestamp()};
      return DecodeChown(mkdir.owner(), input_count, decoded.owner);
    }
    case pb::FileAction::kRm: {
      action.action = FileRm{message.rm().path(), message.rm().allownotfound(), message.rm().allowwildcard()};
      return absl::OkStatus();
    }
    case pb::FileAction::kSymlink: {
      const pb::FileActionSymlink& symlink = message.symlink();
      FileSymlink& decoded = action.action.emplace<FileSymlink>();
      decoded = {symlink.oldpath(), symlink.newpath(), {}, symlink.timestamp()};
      return DecodeChown(symlink.owner(), input_count, decoded.owner);
    }
    case pb::FileAction::ACTION_NOT_SET: return absl::InvalidArgumentError("invalid file action of unknown kind");
  }
  return absl::InvalidArgumentError("invalid file action of unknown kind");
}

// As BuildKit's: each from 0 on, once.
absl::Status CheckOutputs(const FileOp& op) {
  std::set<int> outputs;
  for (const FileAction& action : op.actions) {
    if (action.output >= 0 && !outputs.insert(action.output).second)
      return absl::InvalidArgumentError(absl::StrCat("duplicate output ", action.output));
  }
  int next = 0;
  for (const int output : outputs) {
    if (output != next++) return absl::InvalidArgumentError(absl::StrCat("missing output index ", next - 1));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DecodeFile(const pb::FileOp& message, int input_count, FileOp& op) {
  if (message.actions().empty()) return absl::InvalidArgumentError("invalid file op with no actions");
  op.actions.reserve(message.actions_size());
  for (const pb::FileAction& action : message.actions()) {
    const int trees = input_count + static_cast<int>(op.actions.size());
    if (action.input() < -1 || action.input() >= trees || action.secondaryinput() < -1 || action.secondaryinput() >= trees) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid input index for action ", op.actions.size(), ": ", action.input(), ", ", action.secondaryinput(), " of ", trees));
    }
    if (action.output() < -1 || action.output() >= message.actions_size()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid output index for action ", op.actions.size(), ": ", action.output()));
    }
    FileAction& decoded = op.actions.emplace_back();
    decoded.input = static_cast<int>(action.input());
    decoded.secondary_input = static_cast<int>(action.secondaryinput());
    decoded.output = static_cast<int>(action.output());
    RETURN_IF_ERROR(DecodeAction(action, input_count, decoded));
  }
  return CheckOutputs(op);
}

void EncodeFile(const FileOp& op, pb::FileOp& message) {
  for (const FileAction& action : op.actions) {
    pb::FileAction& added = *message.add_actions();
    added.set_input(action.input);
    added.set_secondaryinput(action.secondary_input);
    added.set_output(action.output);
    std::visit([&added](const auto& kind) { EncodeAction(kind, added); }, action.action);
  }
}

}  // namespace cachalot::llb
