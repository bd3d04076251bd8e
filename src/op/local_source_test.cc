#include "op/local_source.h"

#include "op/named_trees_testing.h"
#include "os/file.h"
#include "session/bare_session_testing.h"
#include "solver/reporter.h"

namespace cachalot::op {
namespace {

// Has one directory, with the file "f" in it.
class SessionWithDirectory final : public session::BareSession {
 public:
  SessionWithDirectory() : BareSession("with") {}
  absl::StatusOr<session::SyncStats> SyncDirectory(const session::SyncRequest&, const std::string& dest,
                                                   const std::function<void(const session::SyncStats&)>&, const CancelToken&) override {
    const absl::Status written = os::WriteFileAtomic(dest + "/f", "text");
    if (!written.ok()) return written;
    session::SyncStats stats;
    stats.changed_directories = {""};
    return stats;
  }
};

class LocalSourceTest : public NamedTreesTest {
 protected:
  // The source "context" of a graph, as a build of the session's client loads it.
  std::unique_ptr<LocalSource> Load(session::SessionPtr session) {
    auto environment = std::make_shared<Environment>();
    environment->parts.snapshots = snapshots_.get();
    environment->parts.named_trees = trees_.get();
    environment->parts.held_locals = &held_;
    environment->parts.clock = &Clock::System();
    environment->session = std::move(session);
    auto vertex = std::make_shared<llb::Vertex>();
    vertex->op = llb::SourceOp{"local://context", {}};
    vertex->digest = oci::Digest::Of("context of one client");
    return std::make_unique<LocalSource>(std::move(vertex), std::move(environment));
  }
  static absl::StatusOr<std::vector<solver::ResultPtr>> Run(LocalSource& source) {
    return source.Run({}, {{}, std::make_shared<solver::Reporter>(&Clock::System())});
  }

  HeldLocals held_;
};

TEST_F(LocalSourceTest, AGraphHandedOnBringsTheDirectoryThatItsBuildHolds) {
  const auto client = std::make_shared<SessionWithDirectory>();
  const auto other = std::make_shared<session::BareSession>("other");
  const std::unique_ptr<LocalSource> before = Load(other);
  auto first = Run(*Load(client));
  ASSERT_TRUE(first.ok()) << first.status();
  const std::unique_ptr<LocalSource> after = Load(other);
  first->clear();  // that build ends
  const auto tree = Run(*after);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(os::ReadFile((*snapshots_->MountTree(TreeOf(tree->front()), true))->path() + "/f", 9).value_or("?"), "text");
  EXPECT_TRUE(absl::IsNotFound(Run(*before).status())) << "nobody held it when the graph was loaded";
}

TEST_F(LocalSourceTest, NothingIsHeldAfterTheBuild) {
  ASSERT_TRUE(Run(*Load(std::make_shared<SessionWithDirectory>())).ok());
  EXPECT_TRUE(absl::IsNotFound(Run(*Load(std::make_shared<session::BareSession>("other"))).status()));
}

}  // namespace
}  // namespace cachalot::op
