// Git sources over real repositories of this machine, and their parts that need none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "op/git/git_bundle.h"
#include "op/git/git_checkout.h"
#include "op/git/git_refs.h"
#include "op/git/git_signature.h"
#include "op/git/git_source.h"
#include "os/file.h"
#include "os/run.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::op {
namespace {

using testing::HasSubstr;

GitIdentifier Parse(const std::string& identifier, std::map<std::string, std::string> attrs = {}) {
  const absl::StatusOr<GitIdentifier> id = GitIdentifier::Parse({identifier, std::move(attrs)});
  EXPECT_TRUE(id.ok()) << id.status();
  return id.ok() ? *id : GitIdentifier();
}
std::string Refusal(const std::string& identifier, std::map<std::string, std::string> attrs) {
  return std::string(GitIdentifier::Parse({identifier, std::move(attrs)}).status().message());
}

const std::string kCommit(40, 'a');

TEST(GitIdentifierTest, ReadsRemoteRefAndDirectory) {
  const GitIdentifier id = Parse("git://example.com/a/b.git#main:/x/../y");
  EXPECT_EQ(id.remote, "https://example.com/a/b.git");
  EXPECT_EQ(id.ref, "main");
  EXPECT_EQ(id.subdir, "y");
  EXPECT_EQ(Parse("git://git@example.com:a/b.git#v1").remote, "git@example.com:a/b.git");
  EXPECT_EQ(Parse("git://example.com/a", {{"git.fullurl", "ssh://git@example.com/a"}}).remote, "ssh://git@example.com/a");
}

TEST(GitIdentifierTest, SpeaksNoOtherProtocols) {
  for (const char* url : {"file:///etc", "ext::sh -c id", "/etc/passwd", "-upload-pack=x", "-x@host:path"}) {
    EXPECT_EQ(Parse("git://example.com/a", {{"git.fullurl", url}}).remote, absl::StrCat("https://", url));
  }
}

TEST(GitIdentifierTest, RefusesWhatMakesNoSense) {
  EXPECT_THAT(Refusal("git://example.com/a#--upload-pack=x", {}), HasSubstr("invalid git ref"));
  EXPECT_THAT(Refusal("git://example.com/a", {{"git.checksum", "xyz"}}), HasSubstr("expected hex commit hash"));
  EXPECT_THAT(Refusal("git://example.com/a#" + kCommit, {{"git.checksum", "bbbb"}}), HasSubstr("expected checksum to match bbbb"));
  EXPECT_THAT(Refusal("git://example.com/a#main", {{"git.fetchbycommit", "true"}, {"git.checksum", "aaaa"}}), HasSubstr("full commit SHA"));
  EXPECT_THAT(Refusal("git://example.com/a", {{"git.bundle", "https://x"}}), HasSubstr("not supported"));
  EXPECT_THAT(Refusal("git://example.com/a:b", {{"git.checkoutbundle", "true"}, {"git.keepgitdir", "true"}}), HasSubstr("incompatible"));
}

TEST(GitIdentifierTest, HidesCredentials) {
  EXPECT_EQ(Parse("git://x", {{"git.fullurl", "https://user:secret@example.com/a@b"}}).Redacted(), "https://xxxxx:xxxxx@example.com/a@b");
  EXPECT_EQ(Parse("git://x", {{"git.fullurl", "https://example.com/a@b"}}).Redacted(), "https://example.com/a@b");
  EXPECT_EQ(Parse("git://x", {{"git.fullurl", "https://token@example.com/a"}}).Redacted(), "https://xxxxx@example.com/a");
  EXPECT_EQ(Parse("git://x", {{"git.fullurl", "ssh://git@example.com/a"}}).Redacted(), "ssh://git@example.com/a");
}

TEST(GitIdentifierTest, KeyCoversWhatShapesTheTree) {
  GitIdentifier id = Parse("git://example.com/a#main:sub");
  EXPECT_EQ(id.CacheKey("c", "refs/heads/main"), "c:sub");
  id.skip_submodules = id.commit_times = id.keep_git_dir = true;
  EXPECT_EQ(id.CacheKey("c", "refs/heads/main"), "c.git#refs/heads/main:sub(skip-submodules)(mtime=commit)");
}

TEST(GitBundleTest, NamesItsRef) {
  EXPECT_EQ(BundleRef(""), "refs/heads/main");
  EXPECT_EQ(BundleRef(kCommit), "refs/heads/main");
  EXPECT_EQ(BundleRef("refs/tags/v1"), "refs/tags/v1");
  EXPECT_EQ(BundleRef("refs/heads/x"), "refs/heads/x");
}

TEST(GitSignatureTest, SplitsCommitsAndTags) {
  const SignedObject commit = SplitSignature("tree t\ncommitter c 5 +0000\ngpgsig BEGIN\n x\n END\nencoding e\n\nmessage\ngpgsig no\n");
  EXPECT_EQ(commit.payload, "tree t\ncommitter c 5 +0000\nencoding e\n\nmessage\ngpgsig no\n");
  EXPECT_EQ(commit.signature, "BEGIN\nx\nEND\n");
  const SignedObject tag = SplitSignature("object o\ntype commit\n\nv1\n-----BEGIN PGP SIGNATURE-----\nabc\n");
  EXPECT_EQ(tag.payload, "object o\ntype commit\n\nv1\n");
  EXPECT_EQ(tag.signature, "-----BEGIN PGP SIGNATURE-----\nabc\n");
  EXPECT_EQ(SplitSignature("tree t\n\nm").signature, "");
}

TEST(GitSignatureTest, FindsTheCommitsTime) {
  EXPECT_EQ(*CommitTime("tree t\nauthor a 1 +0000\ncommitter A B <m> 1700000000 +0100\n\ncommitter x 2 +0000\n"), absl::FromUnixSeconds(1700000000));
  EXPECT_FALSE(CommitTime("tree t\n\ncommitter x 2 +0000\n").ok());
}

class GitTest : public snapshot::SnapshotsTest {
 protected:
  void SetUp() override {
    if (!os::FindProgram("git").ok()) GTEST_SKIP() << "needs git";
    snapshot::SnapshotsTest::SetUp();
    if (IsSkipped()) return;
    named_trees_ = std::make_unique<NamedTrees>(snapshots_.get());
    environment_.parts.snapshots = snapshots_.get();
    environment_.parts.blobs = blobs_.get();
    environment_.parts.named_trees = named_trees_.get();
    environment_.parts.work_dir = remote_.path();
    ASSERT_TRUE(os::MakeDirectories(remote_ / "repo").ok());
    InRemote(
        "git init -q -b main && git config user.email a@b && git config user.name a && mkdir sub && ln -s /etc link"
        " && echo one >sub/file && git add . && GIT_COMMITTER_DATE='1700000000 +0000' git commit -qm one && git tag -a v1 -m v1");
  }
  void TearDown() override {
    named_trees_.reset();
    snapshot::SnapshotsTest::TearDown();
  }
  void InRemote(const std::string& script) { Shell(remote_ / "repo", script); }
  std::string Commit(const std::string& revision) {
    const auto run = os::Run({.argv = {"git", "-C", remote_ / "repo", "rev-parse", revision}}, {}, {});
    return run.ok() ? std::string(absl::StripAsciiWhitespace(run->out)) : "";
  }
  std::string url() const { return "file://" + (remote_ / "repo"); }
  Git NewGit(const GitIdentifier& id) { return Git(*GitAccess::Open(id, environment_, {}), nullptr, {}); }
  absl::StatusOr<GitTarget> Ask(const GitIdentifier& id) { return AskForRef(id, NewGit(id), url()); }
  // As a source does it, but from the local copy of the remote.
  absl::StatusOr<std::shared_ptr<snapshot::MountedTree>> CheckOutOf(const GitIdentifier& id, const GitTarget& target) {
    const Git git = NewGit(id);
    auto repository = GitRepository::Fetch(id, target, url(), environment_, git);
    if (!repository.ok()) return repository.status();
    auto tree = CheckOut(id, target, **repository, environment_, git);
    if (!tree.ok()) return tree.status();
    return snapshots_->MountTree(*tree, true);
  }
  std::shared_ptr<snapshot::MountedTree> Files(const GitIdentifier& id) {
    const auto target = Ask(id);
    EXPECT_TRUE(target.ok()) << target.status();
    auto tree = CheckOutOf(id, *target);
    EXPECT_TRUE(tree.ok()) << tree.status();
    return tree.ok() ? *tree : nullptr;
  }

  os::Scratch remote_;
  std::unique_ptr<NamedTrees> named_trees_;
  Environment environment_;
};

TEST_F(GitTest, FindsBranchesTagsAndTheDefault) {
  GitIdentifier id = Parse("git://example.com/repo");
  auto target = Ask(id);
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->ref, "refs/heads/main");
  EXPECT_EQ(target->object, Commit("main"));
  id.ref = "v1";
  target = Ask(id);
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->ref, "refs/tags/v1");
  EXPECT_EQ(target->object, Commit("v1"));
  EXPECT_EQ(target->commit, Commit("main"));
  id.checksum = Commit("main").substr(0, 10);
  EXPECT_TRUE(Ask(id).ok());
  id.checksum = "0000";
  EXPECT_THAT(Ask(id).status().message(), HasSubstr("expected checksum to match 0000"));
  id = Parse("git://example.com/repo#none");
  EXPECT_THAT(Ask(id).status().message(), HasSubstr("repository does not contain ref none"));
}

TEST_F(GitTest, ChecksOutWithoutTheRepository) {
  const auto tree = Files(Parse("git://example.com/repo"));
  EXPECT_EQ(snapshot::ReadFile(tree->path() + "/sub/file"), "one\n");
  EXPECT_FALSE(os::Lstat(tree->path() + "/.git").ok());
}

TEST_F(GitTest, KeepsTheRepositoryWithoutTracesOfThisMachine) {
  const auto tree = Files(Parse("git://example.com/repo#v1", {{"git.keepgitdir", "true"}}));
  EXPECT_EQ(snapshot::ReadFile(tree->path() + "/.git/HEAD"), Commit("main") + "\n");
  const std::string config = snapshot::ReadFile(tree->path() + "/.git/config");
  EXPECT_THAT(config, HasSubstr("url = https://example.com/repo"));
  EXPECT_THAT(config, testing::Not(HasSubstr(scratch_.path())));
  EXPECT_FALSE(os::Lstat(tree->path() + "/.git/FETCH_HEAD").ok());
}

TEST_F(GitTest, TakesASubdirectoryButFollowsNoLink) {
  const auto tree = Files(Parse("git://example.com/repo#main:sub"));
  EXPECT_EQ(snapshot::ReadFile(tree->path() + "/file"), "one\n");
  const auto link = CheckOutOf(Parse("git://example.com/repo#main:link"), *Ask(Parse("git://example.com/repo")));
  EXPECT_THAT(link.status().message(), HasSubstr("invalid subdir link"));
}

// A sub-directory led out of the repository by its links and by "..".
TEST_F(GitTest, Ghsa4vrq_3vrq_g6gg) {
  InRemote("ln -s .. up && ln -s / sub/root && mkdir sub/etc && echo own >sub/etc/passwd && git add . && git commit -qm links");
  const GitTarget target = *Ask(Parse("git://example.com/repo#main"));
  for (const char* subdir : {"link", "up", "up/..", "sub/root", "sub/root/etc", "sub/../link", "sub/../../..", "../..", "..", "/../../etc",
                             "sub/../../etc", "link/.", "./link", "sub//root", "sub/file", "sub/file/..", "none", ".git", "sub/./root/etc"}) {
    GitIdentifier id = Parse("git://example.com/repo#main");
    id.subdir = subdir;  // as if nobody had cleaned it
    for (const GitIdentifier& form : {Parse(absl::StrCat("git://example.com/repo#main:", subdir)), id}) {
      const auto tree = CheckOutOf(form, target);
      if (!tree.ok()) continue;
      EXPECT_FALSE(os::Lstat((*tree)->path() + "/passwd").ok()) << subdir;
      EXPECT_FALSE(os::Lstat((*tree)->path() + "/shadow").ok()) << subdir;
    }
  }
  EXPECT_EQ(snapshot::ReadFile(Files(Parse("git://example.com/repo#main:sub/etc"))->path() + "/passwd"), "own\n");
}

// The name of the default branch, which the remote chooses, became an option of git.
TEST_F(GitTest, Ghsahw3h_2gp9_cxpv) {
  const std::string pwned = remote_ / "pwned";
  for (const std::string& name : {absl::StrCat("--upload-pack=touch ", pwned), absl::StrCat("--output=", pwned), std::string("-x")}) {
    InRemote("printf 'ref: refs/heads/%s\\n' '" + name + "' >.git/HEAD");
    InRemote("mkdir -p \"$(dirname '.git/refs/heads/" + name + "')\" && git rev-parse refs/heads/main >'.git/refs/heads/" + name + "'");
    const GitIdentifier id = Parse("git://example.com/repo");
    const auto target = Ask(id);
    if (target.ok()) (void)CheckOutOf(id, *target);
    EXPECT_FALSE(target.ok() && absl::StartsWith(target->ref, "-")) << name;
    EXPECT_FALSE(os::Lstat(pwned).ok()) << name;
  }
}

// Asking twice for the same reference brought the daemon down.
TEST_F(GitTest, Ghsa2fqp_xg6f_v7gj) {
  GitRefs refs;
  const GitIdentifier id = Parse("git://127.0.0.1:1/nobody");
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(refs.Resolve(id, NewGit(id)).ok());
}

TEST_F(GitTest, GivesFilesTheCommitsTime) {
  const auto tree = Files(Parse("git://example.com/repo", {{"git.mtime", "commit"}}));
  for (const char* path : {"", "/sub", "/sub/file", "/link"}) EXPECT_EQ(os::Lstat(tree->path() + path)->st_mtime, 1700000000) << path;
}

TEST_F(GitTest, KeepsToTheAnswerAlthoughTheBranchMovesOn) {
  const GitIdentifier id = Parse("git://example.com/repo#main");
  const auto target = Ask(id);
  ASSERT_TRUE(target.ok()) << target.status();
  InRemote("echo two >sub/file && git commit -qam two");
  const auto old = CheckOutOf(id, *target);
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(snapshot::ReadFile((*old)->path() + "/sub/file"), "one\n");
  EXPECT_EQ(snapshot::ReadFile(Files(id)->path() + "/sub/file"), "two\n");
}

TEST_F(GitTest, SurvivesTagsThatMoveAndBranchesThatBecomeDirectories) {
  InRemote("git branch a && git tag t");
  EXPECT_NE(Files(Parse("git://example.com/repo#a")), nullptr);
  EXPECT_NE(Files(Parse("git://example.com/repo#t")), nullptr);
  InRemote("git branch -D a && echo two >sub/file && git commit -qam two && git branch a/b && git tag -f t");
  EXPECT_EQ(snapshot::ReadFile(Files(Parse("git://example.com/repo#a/b"))->path() + "/sub/file"), "two\n");
  EXPECT_EQ(snapshot::ReadFile(Files(Parse("git://example.com/repo#t"))->path() + "/sub/file"), "two\n");
}

TEST_F(GitTest, SurvivesAGitThatWasKilled) {
  const GitIdentifier id = Parse("git://example.com/repo#main");
  ASSERT_NE(Files(id), nullptr);
  InRemote("echo two >sub/file && git commit -qam two");
  const snapshot::SnapshotPtr shared = *snapshots_->FindNamed("git:https://example.com/repo");
  const auto tree = *snapshots_->MountTree(shared, false);
  Shell(tree->path(), "touch shallow.lock index.lock HEAD.lock packed-refs.lock config.lock refs/heads/main.lock objects/info/commit-graph.lock");
  EXPECT_EQ(snapshot::ReadFile(Files(id)->path() + "/sub/file"), "two\n");
}

TEST_F(GitTest, WritesABundleThatStandsAlone) {
  InRemote("echo two >sub/file && git commit -qam two");
  EXPECT_NE(Files(Parse("git://example.com/repo#main")), nullptr);  // leaves a shallow repository
  const auto tree = Files(Parse("git://example.com/repo#main", {{"git.checkoutbundle", "true"}}));
  ASSERT_NE(tree, nullptr);
  Shell(remote_.path(), "git clone -q -b main " + tree->path() + "/bundle copy && git -C copy log --format=%s >log");
  EXPECT_EQ(snapshot::ReadFile(remote_ / "log"), "two\none\n");
}

TEST_F(GitTest, VerifiesSshSignatures) {
  if (!os::FindProgram("ssh-keygen").ok()) GTEST_SKIP() << "needs ssh-keygen";
  Shell(remote_.path(), "ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -q -t ed25519 -N '' -f other");
  InRemote(
      "git config gpg.format ssh && git config user.signingkey ../key && git commit -q -S --allow-empty -m signed && git tag unsigned"
      " && git cat-file commit HEAD >../commit && git tag -s -m s signed && git cat-file tag signed >../tag");
  const std::string commit = snapshot::ReadFile(remote_ / "commit"), tag = snapshot::ReadFile(remote_ / "tag");
  GitSignaturePolicy policy;
  policy.public_key = snapshot::ReadFile(remote_ / "key.pub");
  EXPECT_TRUE(VerifyGitSignature(policy, commit, "", remote_.path(), {}).ok());
  EXPECT_TRUE(VerifyGitSignature(policy, "", tag, remote_.path(), {}).ok());
  std::string forged = commit;
  forged.back() = '!';
  EXPECT_FALSE(VerifyGitSignature(policy, forged, "", remote_.path(), {}).ok());
  policy.require_signed_tag = true;
  EXPECT_THAT(VerifyGitSignature(policy, commit, "", remote_.path(), {}).message(), HasSubstr("signed tag required"));
  EXPECT_TRUE(VerifyGitSignature(policy, "", tag, remote_.path(), {}).ok());
  policy.public_key = snapshot::ReadFile(remote_ / "other.pub");
  EXPECT_FALSE(VerifyGitSignature(policy, commit, tag, remote_.path(), {}).ok());
}

}  // namespace
}  // namespace cachalot::op
