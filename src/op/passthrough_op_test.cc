#include "op/passthrough_op.h"

#include <gtest/gtest.h>

#include "op/result.h"

namespace cachalot::op {
namespace {

TEST(PassthroughOpTest, HandsOnTheChosenInputs) {
  auto vertex = std::make_shared<llb::Vertex>();
  vertex->op = llb::PassthroughOp{"id", {2, 0, 1}};
  PassthroughOperation operation(vertex);
  const auto a = std::make_shared<TreeResult>(nullptr), b = std::make_shared<TreeResult>(nullptr);
  const auto results = operation.Run({a, nullptr, b}, {});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->size(), 3u);
  EXPECT_EQ((*results)[0], b);
  EXPECT_EQ((*results)[1], a);
  EXPECT_NE((*results)[2], nullptr) << "scratch is a result like others";
  EXPECT_FALSE(operation.Run({a}, {}).ok());
}

TEST(PassthroughOpTest, IdAndOutputsMakeTheKey) {
  const auto digest = [](llb::PassthroughOp op) {
    auto vertex = std::make_shared<llb::Vertex>();
    vertex->op = std::move(op);
    return PassthroughOperation(vertex).DescribeCache({})->op_digest;
  };
  EXPECT_EQ(digest({"id", {0}}), digest({"id", {0}}));
  EXPECT_NE(digest({"id", {0}}), digest({"other", {0}}));
  EXPECT_NE(digest({"id", {0}}), digest({"id", {1}}));
}

}  // namespace
}  // namespace cachalot::op
