#include "op/kept_trees.h"

#include <gtest/gtest.h>

#include "op/environment.h"
#include "op/errors.h"
#include "op/result.h"

namespace cachalot::op {
namespace {

solver::ResultPtr Tree() { return std::make_shared<TreeResult>(nullptr); }

TEST(KeptTreesTest, KeepsUntilClosed) {
  KeptTrees kept;
  const solver::ResultPtr tree = Tree();
  const std::vector<std::string> ids = kept.Keep({tree, nullptr, tree});
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(ids[1], "");
  EXPECT_EQ(kept.Find(ids[0]), tree);
  EXPECT_EQ(kept.Find(ids[2]), tree);
  EXPECT_EQ(kept.Find(""), nullptr);
  kept.Close();
  EXPECT_EQ(kept.Find(ids[0]), nullptr);
  EXPECT_EQ(kept.Keep({tree}), std::vector<std::string>{""});
  EXPECT_EQ(tree.use_count(), 1);
}

TEST(KeptTreesTest, ErrorsNameTheTrees) {
  Environment environment;
  absl::Status plain = absl::UnknownError("failed");
  AttachTrees(environment, {Tree()}, {Tree()}, plain);
  EXPECT_TRUE(GetIds(plain, kInputTreesPayload).empty());

  environment.kept_trees = std::make_shared<KeptTrees>();
  absl::Status status = absl::UnknownError("failed");
  AttachTrees(environment, {Tree(), nullptr}, {Tree()}, status);
  const std::vector<std::string> inputs = GetIds(status, kInputTreesPayload);
  ASSERT_EQ(inputs.size(), 2u);
  EXPECT_NE(environment.kept_trees->Find(inputs[0]), nullptr);
  EXPECT_EQ(inputs[1], "");
  EXPECT_EQ(GetIds(status, kWorkTreesPayload).size(), 1u);

  absl::Status digest = absl::NotFoundError("\"/x\": not found");
  AttachContentInput(environment, 2, Tree(), digest);
  EXPECT_EQ(GetNumber(digest, kContentInputPayload), 2);
  EXPECT_EQ(GetIds(digest, kInputTreesPayload).size(), 1u);
  EXPECT_TRUE(GetIds(digest, kWorkTreesPayload).empty());
}

}  // namespace
}  // namespace cachalot::op
