#include "op/passthrough_op.h"

#include "absl/strings/str_cat.h"
#include "op/cache_digest.h"
#include "op/result.h"

namespace cachalot::op {

absl::StatusOr<solver::CacheMap> PassthroughOperation::DescribeCache(const solver::OpContext&) {
  solver::CacheMap map;
  map.op_digest = PassthroughOpDigest(std::get<llb::PassthroughOp>(vertex_->op));
  map.inputs.resize(vertex_->inputs.size());
  return map;
}

absl::StatusOr<std::string> PassthroughOperation::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a passthrough operation does not digest its inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> PassthroughOperation::Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext&) {
  std::vector<solver::ResultPtr> outputs;
  for (const int index : std::get<llb::PassthroughOp>(vertex_->op).outputs) {
    if (index < 0 || index >= static_cast<int>(inputs.size())) {
      return absl::InvalidArgumentError(absl::StrCat("invalid passthrough output input index ", index));
    }
    outputs.push_back(inputs[index] != nullptr ? inputs[index] : std::make_shared<TreeResult>(nullptr));
  }
  return outputs;
}

}  // namespace cachalot::op
