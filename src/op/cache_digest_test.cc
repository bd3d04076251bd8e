#include "op/cache_digest.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "op/selectors.h"

namespace cachalot::op {
namespace {

const std::vector<std::string> kFolders = {"/", "/a", "/b", "/a/s"};
const std::vector<std::string> kNames = {"x", "y"};

// A small tree as {path: content}; a folder's content is all that is beneath it.
std::map<std::string, std::string> AnyTree(std::mt19937& random) {
  std::map<std::string, std::string> tree;
  for (const std::string& folder : kFolders) {
    for (const std::string& name : kNames) tree[JoinPath(folder, name)] = random() % 2 == 0 ? "1" : "2";
  }
  for (const std::string& folder : kFolders) {
    std::string content = "folder";
    for (const auto& [path, data] : tree) {
      if (data.size() == 1 && IsBeneath(path, folder)) absl::StrAppend(&content, " ", path.substr(folder == "/" ? 0 : folder.size()), "=", data);
    }
    tree[folder] = content;
  }
  return tree;
}

std::string AnyPath(std::mt19937& random) {
  const std::string& folder = kFolders[random() % kFolders.size()];
  return random() % 4 == 0 ? folder : JoinPath(folder, kNames[random() % kNames.size()]);
}

// What stands for the content of an input that only `paths` are read of.
std::string ContentKey(const std::vector<std::string>& paths, const std::map<std::string, std::string>& tree) {
  std::vector<Selector> selectors;
  for (const std::string& path : paths) selectors.emplace_back().path = path;
  std::vector<std::string> contents;
  for (const Selector& selector : Deduplicate(selectors)) contents.push_back(tree.at(selector.path));
  return DigestOfList(contents);
}

// Of operations that have the same key, the outcome is the same. CACHALOT_SEED: which operations.
class KeysTest : public testing::Test {
 protected:
  void Check(const std::string& key, const std::string& outcome) {
    const auto [known, added] = outcomes_.emplace(key, outcome);
    ASSERT_EQ(known->second, outcome) << "of an operation that has the key of another";
    hits_ += added ? 0 : 1;
  }
  void TearDown() override { EXPECT_GT(hits_, 1000) << "keys are of use only if they are found again"; }

  const char* const given_ = std::getenv("CACHALOT_SEED");
  const unsigned seed_ = given_ != nullptr ? std::stoul(given_) : std::random_device()();
  testing::ScopedTrace trace_{__FILE__, __LINE__, absl::StrCat("CACHALOT_SEED=", seed_)};
  std::mt19937 random_{seed_};
  std::map<std::string, std::string> outcomes_;
  int hits_ = 0;
};

TEST_F(KeysTest, OfCopies) {
  for (int round = 0; round < 40000 && !HasFatalFailure(); ++round) {
    const std::map<std::string, std::string> tree = AnyTree(random_);
    const bool from_itself = random_() % 4 == 0;  // the input that is changed is the source, too: it counts as a whole
    llb::FileOp op;
    std::vector<std::string> paths;
    std::string outcome;
    const int count = 1 + static_cast<int>(random_() % 3), inputs = from_itself ? 1 : 2;
    for (int i = 0; i < count; ++i) {
      llb::FileAction& action = op.actions.emplace_back();
      action.input = i == 0 ? 0 : inputs + i - 1;
      action.secondary_input = from_itself ? 0 : 1;
      action.output = i == count - 1 ? 0 : -1;
      llb::FileCopy copy;
      copy.src = paths.emplace_back(AnyPath(random_));
      copy.dest = "/to/";
      action.action = copy;
      absl::StrAppend(&outcome, BaseName(copy.src), ": ", tree.at(copy.src), "\n");
    }
    const std::string input = from_itself ? ContentKey({"/"}, tree) : ContentKey(paths, tree);
    Check(absl::StrCat(FileOpDigest(op, inputs), input), outcome);
  }
}

TEST_F(KeysTest, OfMounts) {
  for (int round = 0; round < 40000 && !HasFatalFailure(); ++round) {
    const std::map<std::string, std::string> tree = AnyTree(random_);
    llb::ExecOp op;
    op.mounts.emplace_back().dest = "/";
    std::vector<std::string> paths;
    std::string outcome;
    const int count = 1 + static_cast<int>(random_() % 3);
    for (int i = 0; i < count; ++i) {
      llb::Mount& mount = op.mounts.emplace_back();
      mount.input = 1;
      mount.readonly = true;
      mount.dest = absl::StrCat("/m", random_() % 2);
      mount.selector = paths.emplace_back(AnyPath(random_));
      absl::StrAppend(&outcome, mount.dest, ": ", tree.at(mount.selector), "\n");
    }
    Check(absl::StrCat(ExecOpDigest(op, {}), ContentKey(paths, tree)), outcome);
  }
}

// As BuildKit's, so that caches can be exchanged: names of one folder say enough.
TEST(CacheDigestTest, PlacesCountOnlyWhereNamesAreNotEnough) {
  const auto digest = [](std::vector<std::string> sources) {
    llb::FileOp op;
    for (int i = 0; i < static_cast<int>(sources.size()); ++i) {
      llb::FileCopy copy;
      copy.src = sources[i];
      op.actions.push_back({i == 0 ? 0 : 1 + i, 1, i + 1 == static_cast<int>(sources.size()) ? 0 : -1, copy});
    }
    return FileOpDigest(op, 2);
  };
  EXPECT_EQ(digest({"/a/x"}), digest({"/b/x"}));
  EXPECT_EQ(digest({"/a/x", "/a/y"}), digest({"/b/x", "/b/y"}));
  EXPECT_NE(digest({"/a/x", "/b/x"}), digest({"/b/x", "/a/x"}));
  EXPECT_NE(digest({"/a", "/a/s/x"}), digest({"/a", "/a/x"}));
}

}  // namespace
}  // namespace cachalot::op
