#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::snapshot {
namespace {

class MergeTest : public SnapshotsTest {
 protected:
  SnapshotPtr Script(const SnapshotPtr& parent, const std::string& script) {
    return Make(parent, [&](const std::string& root) { Shell(root, script); });
  }
  SnapshotPtr Merge(const std::vector<SnapshotPtr>& uppers) {
    auto merged = snapshots_->Merge(uppers, {"merge"});
    EXPECT_TRUE(merged.ok()) << merged.status();
    return *merged;
  }
  SnapshotPtr Diff(const SnapshotPtr& lower, const SnapshotPtr& upper) {
    auto diff = snapshots_->Diff(lower, upper, {"diff"}, fetcher_, {});
    EXPECT_TRUE(diff.ok()) << diff.status();
    return *diff;
  }
  // Every path but directories' parents, with the text of files.
  std::string List(const SnapshotPtr& snapshot) {
    const auto view = View(snapshot);
    FILE* pipe =
        popen(absl::StrCat(
                  "cd ", view->path(),
                  " && find . -mindepth 1 | LC_ALL=C sort | while read p; do echo -n \"$p\"; [ -f $p ] && echo -n \"=$(cat $p)\"; echo -n ' '; done")
                  .c_str(),
              "r");
    std::string out;
    char buffer[4096];
    for (std::size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
    pclose(pipe);
    return out;
  }
};

TEST_F(MergeTest, StacksTrees) {
  const SnapshotPtr a = Script(nullptr, "mkdir d e; echo a >d/a; echo a >both; echo a >e/gone");
  const SnapshotPtr b0 = Script(nullptr, "mkdir -p x e; echo b >x/b; echo b >e/gone");
  // overlayfs marks new directories opaque; that must not hide a's.
  const SnapshotPtr b = Script(b0, "mkdir d; echo b >d/b; echo b >both; rm e/gone; ln both hard");
  const SnapshotPtr merged = Merge({a, nullptr, b});
  EXPECT_EQ(List(merged), "./both=b ./d ./d/a=a ./d/b=b ./e ./hard=b ./x ./x/b=b ");
  EXPECT_EQ(List(b), "./both=b ./d ./d/b=b ./e ./hard=b ./x ./x/b=b ") << "its parts are as before";
  EXPECT_EQ(Merge({a}), a);
  EXPECT_EQ(Merge({}), nullptr);
  struct stat one, other;
  ASSERT_EQ(stat((View(merged)->path() + "/both").c_str(), &one), 0);
  ASSERT_EQ(stat((View(merged)->path() + "/hard").c_str(), &other), 0);
  EXPECT_EQ(one.st_ino, other.st_ino);
}

TEST_F(MergeTest, LayerIsTheSameOnEveryParent) {
  const SnapshotPtr base = Script(nullptr, "mkdir d e; echo 1 >d/same; echo 1 >gone; touch -d @1500000000 d/same d");
  const SnapshotPtr layer =
      Script(Script(nullptr, "echo x >gone; echo x >nowhere"), "mkdir d e; echo 1 >d/same; rm gone nowhere; touch -d @1500000000 d/same d");
  const auto blob_of = [&](const SnapshotPtr& snapshot) {
    const auto layers = snapshots_->Layers(snapshot, {""}, false, fetcher_, {});
    EXPECT_TRUE(layers.ok()) << layers.status();
    return layers.ok() ? layers->back().blob.digest.str() : "";
  };
  const SnapshotPtr difference = Diff(layer->parent(), layer), merged = Merge({base, difference});
  const std::string on_base = blob_of(merged);  // first: what is known of the part is carried along otherwise
  EXPECT_EQ(on_base, blob_of(difference));
  EXPECT_EQ(on_base, blob_of(layer));
  EXPECT_EQ(List(merged), "./d ./d/same=1 ./e ");
}

TEST_F(MergeTest, LazyLayersStayLazy) {
  const Layer layer = fetcher_.Add(TarBuilder().File("lazy", "1").Finish());
  const SnapshotPtr merged = Merge({Script(nullptr, "echo a >a"), *snapshots_->FromLayer(nullptr, layer, {})});
  EXPECT_EQ(fetcher_.fetches, 0);
  ASSERT_TRUE(snapshots_->Materialize(merged, fetcher_, {}).ok());
  EXPECT_EQ(List(merged), "./a=a ./lazy=1 ");
}

TEST_F(MergeTest, DifferenceOfAChain) {
  const SnapshotPtr base = Script(nullptr, "mkdir d; echo 1 >d/keep; echo 1 >d/gone; echo 1 >change");
  const SnapshotPtr top = Script(Script(base, "echo 2 >change; rm d/gone"), "echo 3 >new");
  const SnapshotPtr difference = Diff(base, top);
  EXPECT_EQ(List(difference), "./change=2 ./d ./new=3 ");
  EXPECT_EQ(Diff(nullptr, top), top);
  EXPECT_EQ(Diff(base, base), nullptr);
  // Applied elsewhere it deletes as it did at home.
  const SnapshotPtr other = Script(nullptr, "mkdir d; echo 9 >d/gone; echo 9 >d/stay");
  EXPECT_EQ(List(Merge({other, difference})), "./change=2 ./d ./d/stay=9 ./new=3 ");
  const auto layers = snapshots_->Layers(difference, {""}, false, fetcher_, {});
  ASSERT_TRUE(layers.ok()) << layers.status();
  EXPECT_NE(blobs_->Read((*layers)[0].blob.digest)->find("d/.wh.gone"), std::string::npos);
  // The same by its layers, as another host would do it.
  const SnapshotPtr again = *snapshots_->FromLayer(*snapshots_->FromLayer(other, (*layers)[0], {}), (*layers)[1], {});
  ASSERT_TRUE(snapshots_->Materialize(again, fetcher_, {}).ok());
  EXPECT_EQ(List(again), "./change=2 ./d ./d/stay=9 ./new=3 ");
}

TEST_F(MergeTest, ChangedFilesOverALazyTreeAreFound) {
  const Layer lazy = fetcher_.Add(TarBuilder().Directory("d").File("d/gone", "1").File("d/stay", "1").Finish());
  const SnapshotPtr base = Script(nullptr, "echo a >a");
  const SnapshotPtr changes = Diff(Script(nullptr, "mkdir d; echo 1 >d/gone"), Script(nullptr, "mkdir d; echo n >d/new"));
  const SnapshotPtr merged = Merge({base, *snapshots_->FromLayer(nullptr, lazy, {}), changes});
  const SnapshotPtr difference = Diff(base, merged);
  ASSERT_TRUE(snapshots_->Materialize(difference, fetcher_, {}).ok());
  EXPECT_EQ(List(difference), "./d ./d/new=n ./d/stay=1 ");
}

TEST_F(MergeTest, DifferenceOfStrangers) {
  const SnapshotPtr one =
      Script(nullptr, "mkdir -p d/sub same; echo 1 >d/a; echo 1 >d/sub/x; echo s >same/s; ln -s a d/l; touch -d @1500000000 same/s");
  const SnapshotPtr two =
      Script(Script(nullptr, "mkdir -p d same; echo 2 >d/a; echo s >same/s; ln -s b d/l; touch -d @1500000000 same/s"), "echo n >n");
  const SnapshotPtr difference = Diff(one, two);
  EXPECT_EQ(List(difference), "./d ./d/a=2 ./d/l ./n=n ");
  EXPECT_EQ(List(Merge({one, difference})), List(two));
  EXPECT_EQ(Diff(one, Script(nullptr, "cp -a " + View(one)->path() + "/. .")), nullptr) << "no change is scratch";
}

TEST_F(MergeTest, DifferenceToNothing) {
  const SnapshotPtr one = Script(nullptr, "echo 1 >a");
  EXPECT_EQ(List(Merge({one, Diff(one, nullptr)})), "");
}

}  // namespace
}  // namespace cachalot::snapshot
