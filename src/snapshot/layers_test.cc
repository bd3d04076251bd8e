#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/parallel.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::snapshot {
namespace {

class LayersTest : public SnapshotsTest {
 protected:
  std::vector<Layer> Layers(const SnapshotPtr& snapshot, const Compression& compression = {}, bool keep_remote = false) {
    auto layers = snapshots_->Layers(snapshot, compression, keep_remote, fetcher_, {});
    EXPECT_TRUE(layers.ok()) << layers.status();
    return layers.ok() ? *layers : std::vector<Layer>();
  }

  // The archive's entries as "path" or "path -> link", in order.
  std::vector<std::string> Entries(const Layer& layer) {
    const std::string bytes = *blobs_->Read(layer.blob.digest);
    auto source = *codec::NewAutoDecompressor(std::make_unique<codec::StringSource>(bytes));
    codec::TarReader reader(source.get());
    std::vector<std::string> entries;
    codec::TarEntry entry;
    while (*reader.Next(&entry)) entries.push_back(entry.link.empty() ? entry.path : absl::StrCat(entry.path, " -> ", entry.link));
    return entries;
  }
};

TEST_F(LayersTest, DiffOfEachLayer) {
  const SnapshotPtr base = Make(nullptr, [](const std::string& root) {
    Shell(root,
          "mkdir -p etc usr/lib gone opq/sub && echo 1 >etc/a && echo 2 >etc/b && echo 3 >usr/lib/c && touch gone/x opq/old opq/both opq/sub/deep && "
          "ln etc/a etc/hard && mkfifo pipe");
    Shell(root, "touch -d @1500000000 etc/a etc/b");
  });
  const SnapshotPtr top = Make(base, [](const std::string& root) {
    Shell(root, "rm etc/a && echo new >etc/n && ln etc/n etc/n2 && ln -s n etc/s && rm -r gone && chmod 0700 usr");
    Shell(root, "rm -r opq && mkdir opq && echo x >opq/both && mkdir -p fresh/dir && touch fresh/dir/f");
    Shell(root, "mv etc/b etc/tmp && mv etc/tmp etc/b");  // copied up, but as it was
  });
  const std::vector<Layer> layers = Layers(top);
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(absl::StrJoin(Entries(layers[0]), " "),
            "etc/ etc/a etc/b etc/hard -> etc/a gone/ gone/x opq/ opq/both opq/old opq/sub/ opq/sub/deep pipe usr/ usr/lib/ usr/lib/c");
  EXPECT_EQ(absl::StrJoin(Entries(layers[1]), " "),
            "etc/ etc/.wh.a etc/n etc/n2 -> etc/n etc/s -> n fresh/ fresh/dir/ fresh/dir/f .wh.gone opq/ opq/both opq/.wh.old opq/.wh.sub usr/");
  EXPECT_EQ(layers[1].blob.media_type, oci::kMediaTypeLayerGzip);
  EXPECT_EQ(Layers(top)[1].blob.digest, layers[1].blob.digest);

  // The layers, unpacked elsewhere, are the same tree.
  for (const Layer& layer : layers) fetcher_.bytes[layer.blob.digest.str()] = *blobs_->Read(layer.blob.digest);
  const std::string listing = "find . -type d -printf '%p %y %m %U %G\\n' -o -printf '%p %y %m %U %G %l %n\\n' | sort; cat etc/b etc/n usr/lib/c";
  const auto list = [&](const std::string& root) {
    FILE* pipe = popen(absl::StrCat("cd ", root, " && ", listing).c_str(), "r");
    std::string out;
    char buffer[4096];
    for (std::size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
    pclose(pipe);
    return out;
  };
  const std::string want = list(View(top)->path());
  EXPECT_EQ((*snapshots_->FromLayer(*snapshots_->FromLayer(nullptr, layers[0], {}), layers[1], {}))->id(), top->id()) << "found by its chain";
  Layer bottom = layers[0], upper = layers[1];
  const SnapshotPtr other =
      *snapshots_->FromLayer(*snapshots_->FromLayer(*snapshots_->FromLayer(nullptr, fetcher_.Add(TarBuilder().Finish()), {}), bottom, {}), upper, {});
  ASSERT_TRUE(snapshots_->Materialize(other, fetcher_, {}).ok());
  EXPECT_EQ(list(View(other)->path()), want);
}

TEST_F(LayersTest, EqualTimesAndSizesHideNoChange) {
  const auto write = [&](const std::string& link, const std::string& text) {
    return [=](const std::string& root) {
      Shell(root, "rm -f l f same && ln -s " + link + " l && echo " + text +
                      " >f && echo same >same && touch -h -d '2020-01-01 00:00:00.123456789' l f same");
    };
  };
  const std::vector<Layer> layers = Layers(Make(Make(nullptr, write("/1", "one")), write("/3", "two")));
  EXPECT_EQ(absl::StrJoin(Entries(layers[1]), " "), "f l -> /3");
}

TEST_F(LayersTest, ConvertsAndKeepsRemote) {
  Layer remote = fetcher_.Add(TarBuilder().File("a", std::string(100000, 'a')).Finish());
  remote.sources = {"registry.example/x"};
  SnapshotPtr base = *snapshots_->FromLayer(nullptr, remote, {"base"});
  std::vector<Layer> layers = Layers(base, {}, true);
  EXPECT_EQ(layers[0].sources, remote.sources);
  EXPECT_EQ(fetcher_.fetches, 0);
  layers = Layers(base, {"zstd", -1, false, false}, true);
  EXPECT_EQ(layers[0].blob.digest, remote.blob.digest) << "not forced: it stays as it is";
  EXPECT_EQ(layers[0].blob.media_type, oci::kDockerLayerGzip);
  layers = Layers(base, {"zstd", -1, true, true}, true);
  EXPECT_EQ(fetcher_.fetches, 1);
  EXPECT_NE(layers[0].blob.digest, remote.blob.digest);
  EXPECT_EQ(layers[0].diff_id, remote.diff_id);
  EXPECT_EQ(layers[0].blob.media_type, oci::kMediaTypeLayerZstd);
  EXPECT_EQ(Entries(layers[0]), std::vector<std::string>{"a"});
  layers = Layers(base, {"", -1, true, true});
  EXPECT_EQ(layers[0].blob.digest, remote.diff_id);
  base.reset();
  Reopen();
  EXPECT_EQ(Layers(*snapshots_->FromLayer(nullptr, remote, {}), {"", -1, true, true})[0].blob.digest, remote.diff_id);
}

TEST_F(LayersTest, ImagesKeepTheirOwnBlobsOfTheSameFiles) {
  const std::string tar = TarBuilder().File("a", std::string(100000, 'a')).Finish();
  const Layer one = fetcher_.Add(tar, 0), two = fetcher_.Add(tar, 9);
  ASSERT_NE(one.blob.digest, two.blob.digest);
  const Layer above = fetcher_.Add(TarBuilder().File("b", "b").Finish());
  const SnapshotPtr first = *snapshots_->FromLayer(*snapshots_->FromLayer(nullptr, one, {}), above, {});
  const SnapshotPtr second = *snapshots_->FromLayer(*snapshots_->FromLayer(nullptr, two, {}), above, {});
  EXPECT_EQ(Layers(first)[0].blob.digest, one.blob.digest);
  EXPECT_EQ(Layers(second)[0].blob.digest, two.blob.digest);
  EXPECT_EQ(*snapshots_->FromLayer(*snapshots_->FromLayer(nullptr, two, {}), above, {}), second);
  ASSERT_TRUE(snapshots_->Materialize(second, fetcher_, {}).ok());
  EXPECT_EQ(ReadFile(View(second)->path() + "/a"), std::string(100000, 'a'));
}

// A layer whose files are not those that its image claims took the place of the true one in the cache.
TEST_F(LayersTest, Ghsaf2v9_hprr_32q3) {
  for (const bool evil_first : {true, false}) {
    const std::string mark = evil_first ? "1" : "2";
    const Layer good = fetcher_.Add(TarBuilder().File("a", "good" + mark).Finish());
    Layer evil = fetcher_.Add(TarBuilder().File("a", "evil" + mark).Finish());
    evil.diff_id = good.diff_id;
    std::vector<SnapshotPtr> trees;
    for (const Layer& layer : evil_first ? std::vector<Layer>{evil, good} : std::vector<Layer>{good, evil}) {
      trees.push_back(*snapshots_->FromLayer(nullptr, layer, {}));
    }
    EXPECT_FALSE(snapshots_->Materialize(trees[evil_first ? 0 : 1], fetcher_, {}).ok());
    const SnapshotPtr& tree = trees[evil_first ? 1 : 0];
    const absl::Status status = snapshots_->Materialize(tree, fetcher_, {});
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(ReadFile((*snapshots_->MountTree(tree, true))->path() + "/a"), "good" + mark);
  }
}

TEST_F(LayersTest, SameFilesSameDigest) {
  const auto make = [&] {
    return Make(nullptr, [](const std::string& root) { Shell(root, "mkdir d && echo x >d/f && touch -d @1500000000 d/f d"); });
  };
  EXPECT_EQ(Layers(make())[0].blob.digest, Layers(make())[0].blob.digest);
}

}  // namespace
}  // namespace cachalot::snapshot
