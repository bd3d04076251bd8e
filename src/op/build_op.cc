#include "op/build_op.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/digest.h"
#include "oci/go_json.h"
#include "op/result.h"
#include "op/selectors.h"
#include "op/source_tree.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr char kDefinition[] = "buildkit.llb.definition";  // both the input's name and the file's
constexpr char kFilenameAttribute[] = "llbbuild.filename";
constexpr std::size_t kMaxDefinitionBytes = 64 << 20;

}  // namespace

absl::StatusOr<solver::CacheMap> BuildOperation::DescribeCache(const solver::OpContext&) {
  const auto& op = std::get<llb::BuildOp>(vertex_->op);
  const oci::Json json = {{"Type", "buildkit.build.v0"},
                          {"builder", op.builder},
                          {"inputs", op.inputs},
                          {"definition", oci::Digest::Of(op.definition).str()},
                          {"attrs", op.attrs}};
  solver::CacheMap map;
  map.op_digest = oci::Digest::Of(oci::DumpGo(json)).str();
  map.inputs.resize(vertex_->inputs.size());
  return map;
}

absl::StatusOr<std::string> BuildOperation::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a build operation does not digest its inputs");
}

absl::StatusOr<std::string> BuildOperation::ReadDefinition(const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel) const {
  const auto& op = std::get<llb::BuildOp>(vertex_->op);
  if (op.builder != -1) return absl::InvalidArgumentError("only LLB builder is currently allowed");
  auto input = op.inputs.find(kDefinition);
  if (input == op.inputs.end()) return absl::InvalidArgumentError(absl::StrCat("no llb definition input ", kDefinition, " found"));
  if (input->second < 0 || input->second >= static_cast<int>(inputs.size()))
    return absl::InvalidArgumentError(absl::StrCat("invalid index ", input->second));
  auto name = op.attrs.find(kFilenameAttribute);
  RETURN_IF_ERROR(MaterializeAll(*environment_, inputs, cancel));
  ASSIGN_OR_RETURN(const std::unique_ptr<SourceTree> tree, SourceTree::Open(*environment_->parts.snapshots, TreeOf(inputs[input->second])));
  ASSIGN_OR_RETURN(const std::string path, tree->Resolve(name == op.attrs.end() ? kDefinition : name->second, true));
  ASSIGN_OR_RETURN(const UniqueFd fd, tree->OpenFile(path));
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(fd.get()));
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  return os::ReadAll(fd.get(), kMaxDefinitionBytes, path);
}

absl::StatusOr<std::vector<solver::ResultPtr>> BuildOperation::Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const std::string definition, ReadDefinition(inputs, context.cancel));
  ASSIGN_OR_RETURN(solver::ResultPtr result, environment_->solve_nested(definition, context.cancel));
  return std::vector<solver::ResultPtr>{std::move(result)};
}

}  // namespace cachalot::op
