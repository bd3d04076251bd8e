#include "op/operation.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "op/blob_source.h"
#include "op/build_op.h"
#include "op/exec_op.h"
#include "op/file_op.h"
#include "op/git/git_source.h"
#include "op/http_source.h"
#include "op/image_source.h"
#include "op/local_source.h"
#include "op/passthrough_op.h"
#include "op/tree_ops.h"

namespace cachalot::op {
namespace {

using OperationPtr = std::shared_ptr<solver::Operation>;

absl::StatusOr<OperationPtr> MakeSource(const llb::VertexPtr& vertex, const EnvironmentPtr& environment) {
  const std::string& identifier = std::get<llb::SourceOp>(vertex->op).identifier;
  const std::size_t colon = identifier.find("://");
  if (colon == std::string::npos) return absl::InvalidArgumentError(absl::StrCat("invalid source identifier ", identifier));
  const absl::string_view scheme = absl::string_view(identifier).substr(0, colon);
  if (scheme == "docker-image" || scheme == "oci-layout") return std::make_shared<ImageSource>(vertex, environment);
  if (scheme == "docker-image+blob" || scheme == "oci-layout+blob") return std::make_shared<BlobSource>(vertex, environment);
  if (scheme == "local") return std::make_shared<LocalSource>(vertex, environment);
  if (scheme == "git") return std::make_shared<GitSource>(vertex, environment);
  if (scheme == "http" || scheme == "https") return std::make_shared<HttpSource>(vertex, environment);
  return absl::InvalidArgumentError(absl::StrCat("unsupported source scheme ", scheme, " in ", identifier));
}

}  // namespace

absl::StatusOr<OperationPtr> MakeOperation(const llb::VertexPtr& vertex, const EnvironmentPtr& environment) {
  if (std::holds_alternative<llb::SourceOp>(vertex->op)) return MakeSource(vertex, environment);
  if (std::holds_alternative<llb::ExecOp>(vertex->op)) return std::make_shared<ExecOperation>(vertex, environment);
  if (std::holds_alternative<llb::FileOp>(vertex->op)) return std::make_shared<FileOperation>(vertex, environment);
  if (std::holds_alternative<llb::MergeOp>(vertex->op)) return std::make_shared<MergeOperation>(vertex, environment);
  if (std::holds_alternative<llb::DiffOp>(vertex->op)) return std::make_shared<DiffOperation>(vertex, environment);
  if (std::holds_alternative<llb::BuildOp>(vertex->op)) return std::make_shared<BuildOperation>(vertex, environment);
  if (std::holds_alternative<llb::PassthroughOp>(vertex->op)) return std::make_shared<PassthroughOperation>(vertex);
  return absl::UnimplementedError(absl::StrCat("vertex ", vertex->digest.str(), " has an operation that is not supported"));
}

}  // namespace cachalot::op
