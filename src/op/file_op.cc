#include "op/file_op.h"

#include <set>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status_macros.h"
#include "op/cache_digest.h"
#include "op/file_actions.h"
#include "op/kept_trees.h"

namespace cachalot::op {
namespace {

void AddUser(const std::optional<llb::UserRef>& user, const char* file, std::map<int, std::vector<Selector>>& selectors) {
  if (!user.has_value() || !user->name.has_value() || user->input < 0) return;
  Selector selector;
  selector.path = file;
  selector.follow_links = true;
  selectors[user->input].push_back(std::move(selector));
}

const llb::Chown* OwnerOf(const llb::FileAction& action) {
  return std::visit(
      [](const auto& a) -> const llb::Chown* {
        if constexpr (std::is_same_v<std::decay_t<decltype(a)>, llb::FileRm>) {
          return nullptr;
        } else {
          return &a.owner;
        }
      },
      action.action);
}

}  // namespace

FileOperation::FileOperation(llb::VertexPtr vertex, EnvironmentPtr environment)
    : vertex_(std::move(vertex)), environment_(std::move(environment)), op_(std::get<llb::FileOp>(vertex_->op)) {}

absl::Status FileOperation::CollectSelectors() {
  const int input_count = static_cast<int>(vertex_->inputs.size());
  std::set<int> changed;  // inputs that become part of the result as a whole
  selectors_.clear();
  for (const llb::FileAction& action : op_.actions) {
    changed.insert(action.input);
    const auto* copy = std::get_if<llb::FileCopy>(&action.action);
    if (!std::holds_alternative<llb::FileSymlink>(action.action)) {
      if (const llb::Chown* owner = OwnerOf(action); owner != nullptr) {
        AddUser(owner->user, "/etc/passwd", selectors_);
        AddUser(owner->group, "/etc/group", selectors_);
      }
    }
    if (copy == nullptr || action.secondary_input < 0 || action.secondary_input >= input_count) continue;
    Selector selector;
    selector.path = copy->src;
    selector.wildcard = copy->allow_wildcard && HasWildcards(copy->src);
    selector.follow_links = copy->follow_symlink;
    selector.include_patterns = copy->include_patterns;
    selector.exclude_patterns = copy->exclude_patterns;
    selector.required_paths = copy->required_paths;
    selectors_[action.secondary_input].push_back(std::move(selector));
  }
  for (const int input : changed) selectors_.erase(input);
  if (!selectors_.empty() && selectors_.rbegin()->first >= input_count) {
    return absl::InvalidArgumentError(absl::StrCat("invalid input index ", selectors_.rbegin()->first, " in file op with ", input_count, " inputs"));
  }
  return absl::OkStatus();
}

absl::StatusOr<solver::CacheMap> FileOperation::DescribeCache(const solver::OpContext&) {
  RETURN_IF_ERROR(CollectSelectors());
  solver::CacheMap map;
  map.op_digest = FileOpDigest(op_, static_cast<int>(vertex_->inputs.size()));
  map.inputs.resize(vertex_->inputs.size());
  for (const auto& [input, selectors] : selectors_) {
    std::vector<std::string> paths;
    for (const Selector& selector : selectors) paths.push_back(selector.path);
    std::sort(paths.rbegin(), paths.rend());
    map.inputs[input].selector = DigestOfList(paths);
    map.inputs[input].content = true;
  }
  return map;
}

absl::StatusOr<std::string> FileOperation::ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) {
  absl::StatusOr<std::string> digest = DigestSelected(*environment_, Deduplicate(selectors_[index]), input, context.cancel);
  if (digest.ok()) return digest;
  absl::Status status = digest.status();
  AttachContentInput(*environment_, index, input, status);
  return status;
}

absl::StatusOr<std::vector<solver::ResultPtr>> FileOperation::Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) {
  RETURN_IF_ERROR(MaterializeAll(*environment_, inputs, context.cancel));
  FileActions actions(*environment_->parts.snapshots, op_, inputs, vertex_->Name(), context.cancel);
  absl::StatusOr<std::vector<solver::ResultPtr>> outputs = actions.Run();
  if (outputs.ok() || environment_->kept_trees == nullptr || context.cancel.cancelled()) return outputs;
  absl::Status status = outputs.status();
  AttachTrees(*environment_, inputs, actions.CommitFailed(), status);
  return status;
}

}  // namespace cachalot::op
