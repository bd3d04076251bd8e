#include "op/file_actions.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/errors.h"
#include "op/result.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr std::size_t kMaxUserFileBytes = 10 << 20;

}  // namespace

std::optional<Owner> FindInUserFile(absl::string_view text, absl::string_view name, bool group) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    Owner owner;
    if (fields.size() < 3 || fields[0] != name || !absl::SimpleAtoi(fields[2], group ? &owner.gid : &owner.uid)) continue;
    if (!group && (fields.size() < 4 || !absl::SimpleAtoi(fields[3], &owner.gid))) continue;
    return owner;
  }
  return std::nullopt;
}

FileActions::FileActions(snapshot::Snapshots& snapshots, const llb::FileOp& op, const std::vector<solver::ResultPtr>& inputs, std::string description,
                         CancelToken cancel)
    : snapshots_(snapshots),
      op_(op),
      input_count_(static_cast<int>(inputs.size())),
      description_(std::move(description)),
      cancel_(std::move(cancel)) {
  values_.resize(inputs.size() + op.actions.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    values_[i].done = true;
    values_[i].result = inputs[i];
  }
}

absl::Status FileActions::CountUses() {
  uses_.assign(values_.size(), 0);
  auto use = [&](int index, int weight) -> absl::Status {
    if (index < -1 || index >= static_cast<int>(values_.size())) {
      return absl::InvalidArgumentError(absl::StrCat("invalid input index ", index, ", ", values_.size(), " provided"));
    }
    if (index >= 0) uses_[index] += weight;
    return absl::OkStatus();
  };
  for (std::size_t i = 0; i < op_.actions.size(); ++i) {
    RETURN_IF_ERROR(use(op_.actions[i].input, 1));
    RETURN_IF_ERROR(use(op_.actions[i].secondary_input, 2));
    if (op_.actions[i].output >= 0) uses_[input_count_ + i] += 2;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<solver::ResultPtr>> FileActions::Run() {
  RETURN_IF_ERROR(CountUses());
  std::vector<solver::ResultPtr> outputs;
  for (std::size_t i = 0; i < op_.actions.size(); ++i) {
    const int output = op_.actions[i].output;
    if (output < 0) continue;
    RETURN_IF_ERROR(Evaluate(static_cast<int>(i)));
    if (output >= static_cast<int>(op_.actions.size())) return absl::InvalidArgumentError(absl::StrCat("invalid output index ", output));
    if (outputs.size() <= static_cast<std::size_t>(output)) outputs.resize(output + 1);
    outputs[output] = values_[input_count_ + i].result;
  }
  if (outputs.empty()) return absl::InvalidArgumentError("no outputs specified");
  return outputs;
}

absl::Status FileActions::EvaluateInputs(int action) {
  // A plain chain may be long: it is walked, not recursed into.
  std::vector<int> chain;
  for (int index = op_.actions[action].input; index >= input_count_ && !values_[index].done; index = op_.actions[index - input_count_].input) {
    if (chain.size() > op_.actions.size()) return absl::InvalidArgumentError(absl::StrCat("loop from index ", index));
    chain.push_back(index - input_count_);
  }
  for (auto next = chain.rbegin(); next != chain.rend(); ++next) RETURN_IF_ERROR(Evaluate(*next));
  const int secondary = op_.actions[action].secondary_input;
  if (secondary >= input_count_ + action) return absl::InvalidArgumentError(absl::StrCat("loop from index ", secondary));
  if (secondary >= input_count_) return Evaluate(secondary - input_count_);
  return absl::OkStatus();
}

absl::Status FileActions::Evaluate(int action) {
  Value& value = values_[input_count_ + action];
  if (value.done) return absl::OkStatus();
  RETURN_IF_ERROR(EvaluateInputs(action));
  RETURN_IF_ERROR(cancel_.status());
  absl::StatusOr<std::unique_ptr<Work>> work = Begin(op_.actions[action].input);
  absl::Status status = work.ok() ? Apply(op_.actions[action], **work) : work.status();
  if (status.ok() && uses_[input_count_ + action] > 1) {
    absl::StatusOr<solver::ResultPtr> result = Commit(*std::move(work));
    status = result.status();
    if (result.ok()) value.result = *std::move(result);
  } else if (status.ok()) {
    value.work = *std::move(work);
  }
  value.done = status.ok();
  if (!status.ok() && failed_ < 0) {
    SetNumber(status, kFileActionPayload, action);
    failed_ = action;
    if (work.ok()) failed_work_ = *std::move(work);
  }
  return status;
}

std::vector<solver::ResultPtr> FileActions::CommitFailed() {
  std::vector<solver::ResultPtr> results(op_.actions.size());
  if (failed_ < 0) return results;
  if (failed_work_ != nullptr) {
    failed_work_->writer.reset();
    results[failed_] = std::make_shared<TreeResult>(snapshots_.CommitUnrecorded(std::exchange(failed_work_, nullptr)->active));
  }
  const int secondary = op_.actions[failed_].secondary_input;
  if (secondary >= input_count_) results[secondary - input_count_] = values_[secondary].result;
  return results;
}

absl::StatusOr<std::unique_ptr<FileActions::Work>> FileActions::Begin(int index) {
  if (index >= 0 && values_[index].work != nullptr) return std::move(values_[index].work);
  snapshot::SnapshotPtr parent;
  if (index >= 0) {
    ASSIGN_OR_RETURN(parent, CommittedTreeOf(values_[index].result, snapshots_));
  }
  snapshot::Label label;
  label.description = description_;
  auto work = std::make_unique<Work>();
  ASSIGN_OR_RETURN(work->active, snapshots_.Prepare(parent, label));
  ASSIGN_OR_RETURN(work->writer, TreeWriter::Open(snapshots_, work->active));
  return work;
}

absl::StatusOr<solver::ResultPtr> FileActions::Commit(std::unique_ptr<Work> work) {
  work->writer.reset();
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr committed, snapshots_.Commit(work->active));
  return std::make_shared<TreeResult>(std::move(committed));
}

absl::StatusOr<std::optional<Owner>> FileActions::LookUp(const llb::UserRef& user, const std::string& file, Work& work) {
  if (user.input < 0 || user.input >= static_cast<int>(values_.size())) {
    return absl::InvalidArgumentError(absl::StrCat("invalid user index: ", user.input));
  }
  UniqueFd fd;
  absl::StatusOr<UniqueFd> opened = absl::NotFoundError(file);
  if (values_[user.input].result != nullptr || user.input < input_count_) {
    ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> tree, SourceTree::Open(snapshots_, TreeOf(values_[user.input].result)));
    ASSIGN_OR_RETURN(const std::string path, tree->Resolve(file, true));
    opened = tree->OpenFile(path);
  } else {
    ASSIGN_OR_RETURN(const std::string path, work.writer->Resolve(file));
    opened = work.writer->OpenFile(path);
  }
  if (absl::IsInvalidArgument(opened.status())) return opened.status();  // no regular file
  if (!opened.ok()) return std::nullopt;                                 // as if the file did not name the user
  ASSIGN_OR_RETURN(const std::string text, os::ReadAll(opened->get(), kMaxUserFileBytes, file));
  return FindInUserFile(text, *user.name, file == "/etc/group");
}

absl::StatusOr<std::optional<Owner>> FileActions::FindOwner(const llb::Chown& chown, Work& work) {
  if (!chown.user.has_value() && !chown.group.has_value()) return std::nullopt;
  Owner owner;
  if (chown.user.has_value() && chown.user->name.has_value()) {
    ASSIGN_OR_RETURN(const std::optional<Owner> found, LookUp(*chown.user, "/etc/passwd", work));
    owner = found.value_or(Owner());
  } else if (chown.user.has_value()) {
    owner = {chown.user->id, chown.user->id};
  }
  if (chown.group.has_value() && chown.group->name.has_value()) {
    ASSIGN_OR_RETURN(const std::optional<Owner> found, LookUp(*chown.group, "/etc/group", work));
    if (found.has_value()) owner.gid = found->gid;
  } else if (chown.group.has_value()) {
    owner.gid = chown.group->id;
  }
  return owner;
}

absl::Status FileActions::Apply(const llb::FileAction& action, Work& work) {
  TreeWriter& tree = *work.writer;
  if (const auto* rm = std::get_if<llb::FileRm>(&action.action)) return RemoveAction(*rm, tree);
  std::optional<Owner> owner;
  auto find = [&](const llb::Chown& chown) -> absl::Status {
    ASSIGN_OR_RETURN(owner, FindOwner(chown, work));
    return absl::OkStatus();
  };
  if (const auto* mkdir = std::get_if<llb::FileMkdir>(&action.action)) {
    RETURN_IF_ERROR(find(mkdir->owner));
    return MakeDirectoryAction(*mkdir, owner, tree);
  }
  if (const auto* mkfile = std::get_if<llb::FileMkfile>(&action.action)) {
    RETURN_IF_ERROR(find(mkfile->owner));
    return MakeFileAction(*mkfile, owner, tree);
  }
  if (const auto* symlink = std::get_if<llb::FileSymlink>(&action.action)) {
    RETURN_IF_ERROR(find(symlink->owner));
    return MakeSymlinkAction(*symlink, owner, tree);
  }
  const auto& copy = std::get<llb::FileCopy>(action.action);
  RETURN_IF_ERROR(find(copy.owner));
  const snapshot::SnapshotPtr from = action.secondary_input < 0 ? nullptr : TreeOf(values_[action.secondary_input].result);
  ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> source, SourceTree::Open(snapshots_, from));
  return CopyAction(copy, owner, *source, tree, cancel_);
}

}  // namespace cachalot::op
