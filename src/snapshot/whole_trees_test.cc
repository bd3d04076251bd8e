// Copies must show what stacked layers show: the same random history in a store of each kind, compared tree by tree.
#include "snapshot/whole_trees.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <cstdlib>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "snapshot/apply_layer.h"
#include "snapshot/kind.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::snapshot {
namespace {

long NumberFrom(const char* variable, long otherwise) {
  const char* value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atol(value);
}

// A directory on an overlay mount, where no overlay can have its upper layer.
class OnOverlay {
 public:
  OnOverlay() {
    for (const char* name : {"lower", "upper", "work", "merged"}) EXPECT_EQ(::mkdir((scratch_ / name).c_str(), 0755), 0);
    const os::Mount mount{"overlay", "overlay", {"lowerdir=" + scratch_ / "lower", "upperdir=" + scratch_ / "upper", "workdir=" + scratch_ / "work"}};
    const absl::Status mounted = os::MountAt(mount, path());
    EXPECT_TRUE(mounted.ok()) << mounted;
  }
  ~OnOverlay() { EXPECT_TRUE(os::Unmount(path()).ok()); }
  std::string path() const { return scratch_ / "merged"; }

 private:
  os::Scratch scratch_;
};

class Store {
 public:
  Store(const std::string& root, Kind kind, WorkerPool* cpu) {
    database_ = *store::OpenMetadata(root);
    blobs_ = *store::LocalBlobs::Open(root, database_.get());
    Options options{root, blobs_.get(), database_.get(), cpu};
    options.kind = kind;
    auto snapshots = OpenSnapshots(options);
    EXPECT_TRUE(snapshots.ok()) << snapshots.status();
    snapshots_ = *std::move(snapshots);
  }

  SnapshotPtr Run(const SnapshotPtr& parent, const std::string& script) {
    Materialize(parent);
    auto active = snapshots_->Prepare(parent, {"test"});
    if (!active.ok()) return Failed(active.status());
    {
      auto tree = snapshots_->MountTree(*active, false);
      if (!tree.ok()) return Failed(tree.status());
      EXPECT_EQ(std::system(("cd '" + (*tree)->path() + "' && { " + script + " }").c_str()), 0) << script;
    }
    return *snapshots_->Commit(*active);
  }
  SnapshotPtr Unpack(const SnapshotPtr& parent, const Layer& layer) {
    auto snapshot = snapshots_->FromLayer(parent, layer, {"layer"});
    return snapshot.ok() ? *snapshot : Failed(snapshot.status());
  }
  SnapshotPtr Merge(const std::vector<SnapshotPtr>& uppers) {
    for (const SnapshotPtr& upper : uppers) Materialize(upper);
    auto merged = snapshots_->Merge(uppers, {"merge"});
    return merged.ok() ? *merged : Failed(merged.status());
  }
  SnapshotPtr Diff(const SnapshotPtr& lower, const SnapshotPtr& upper) {
    for (const SnapshotPtr& tree : {lower, upper}) Materialize(tree);
    auto diff = snapshots_->Diff(lower, upper, {"diff"}, fetcher, {});
    return diff.ok() ? *diff : Failed(diff.status());
  }
  // The tree as an image has it, unpacked again.
  SnapshotPtr Travel(const SnapshotPtr& tree) {
    Compression compression;
    auto layers = snapshots_->Layers(tree, compression, false, fetcher, {});
    if (!layers.ok()) return Failed(layers.status());
    SnapshotPtr out;
    for (const Layer& layer : *layers) out = Unpack(out, layer);
    return out;
  }
  void Materialize(const SnapshotPtr& tree) {
    const absl::Status status = snapshots_->Materialize(tree, fetcher, {});
    EXPECT_TRUE(status.ok()) << status;
  }
  // Every entry with all that travels, but times and links between files, which end where a layer replaces one.
  std::string List(const SnapshotPtr& tree) {
    Materialize(tree);
    auto view = snapshots_->MountTree(tree, true);
    if (!view.ok()) return view.status().ToString();
    const std::string script =
        absl::StrCat("cd '", (*view)->path(),
                     "' && find . -mindepth 1 -printf '%p %y %m %U:%G %l ' \\( -type f -exec cat {} \\; -o -printf '\\n' \\) | LC_ALL=C sort");
    FILE* pipe = ::popen(script.c_str(), "r");
    std::string out;
    char buffer[4096];
    for (std::size_t n; (n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    ::pclose(pipe);
    return out;
  }

  MemoryFetcher fetcher;

 private:
  SnapshotPtr Failed(const absl::Status& status) {
    ADD_FAILURE() << status;
    return nullptr;
  }

  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::LocalBlobs> blobs_;
  std::unique_ptr<Snapshots> snapshots_;
};

// Random scripts and layers over a few names, so that they meet.
class History {
 public:
  explicit History(unsigned seed) : random_(seed) {}
  int Below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(random_); }

  std::string Path() {
    std::string path;
    for (int depth = 1 + Below(3); depth > 0; --depth)
      absl::StrAppend(&path, path.empty() ? "" : "/", std::string(1, static_cast<char>('a' + Below(4))));
    return path;
  }
  std::string Script() {
    std::string script;
    for (int i = 1 + Below(5); i > 0; --i) {
      const std::string path = Path(), parent = absl::StrCat("mkdir -p $(dirname ", path, ") 2>/dev/null && ");
      const std::string gone = absl::StrCat("rm -rf ", path, " 2>/dev/null; ");
      switch (Below(6)) {
        case 0: script += gone; break;
        case 1: absl::StrAppend(&script, gone, parent, "echo ", Below(1000), " >", path, "; "); break;
        case 2: absl::StrAppend(&script, gone, parent, "mkdir ", path, " && chmod ", Below(2) == 0 ? "700" : "2755", " ", path, "; "); break;
        case 3: absl::StrAppend(&script, gone, parent, "ln -s ", Path(), " ", path, "; "); break;
        case 4: absl::StrAppend(&script, gone, parent, "echo twin >", path, " && ln -f ", path, " ", path, ".twin; "); break;
        case 5: absl::StrAppend(&script, "[ -d ", path, " ] && [ ! -L ", path, " ] && chown ", Below(50), " ", path, "; "); break;
      }
    }
    return script + "true;";
  }
  std::string Archive() {
    TarBuilder tar;
    std::map<std::string, bool> directories;  // what this archive has, and whether it is one
    for (int i = 1 + Below(6); i > 0; --i) {
      const std::string path = Path(), parent = path.find('/') == std::string::npos ? "" : path.substr(0, path.rfind('/') + 1);
      bool taken = directories.count(path) > 0;
      for (const auto& [other, directory] : directories) taken |= !directory && absl::StrCat(path, "/").rfind(absl::StrCat(other, "/"), 0) == 0;
      if (taken) continue;
      for (std::size_t end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1)) {
        if (directories.emplace(path.substr(0, end), true).second) tar.Directory(path.substr(0, end), 0755);
      }
      const int kind = Below(4);
      directories[path] = kind == 1;
      switch (kind) {
        case 0: tar.File(absl::StrCat(parent, ".wh.", path.substr(parent.size())), ""); break;
        case 1: tar.Directory(path, 0750).File(absl::StrCat(path, "/", kOpaqueMarker), ""); break;
        case 2: tar.Link(codec::TarType::kSymlink, path, Path()); break;
        case 3: tar.File(path, absl::StrCat(Below(1000), "\n"), 0640); break;
      }
    }
    return tar.Finish();
  }

 private:
  std::mt19937 random_;
};

class WholeTreesTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_ROOT(); }
  WorkerPool cpu_{"cpu", 2};
};

TEST_F(WholeTreesTest, CopiesShowWhatLayersShow) {
  const unsigned seed = static_cast<unsigned>(NumberFrom("CACHALOT_TEST_SEED", std::random_device()()));
  std::cout << "CACHALOT_TEST_SEED=" << seed << "\n";
  History history(seed);
  os::Scratch stacked;
  OnOverlay copied;
  Store layers(stacked.path(), Kind::kOverlay, &cpu_), copies(copied.path(), Kind::kNative, &cpu_);
  std::vector<std::pair<SnapshotPtr, SnapshotPtr>> trees = {{nullptr, nullptr}};
  std::map<SnapshotPtr, int> names = {{nullptr, 0}};
  std::string log;
  for (long round = NumberFrom("CACHALOT_TEST_ROUNDS", 30); round > 0 && !HasFailure(); --round) {
    const auto [a, b] = trees[history.Below(static_cast<int>(trees.size()))];
    const auto [c, d] = trees[history.Below(static_cast<int>(trees.size()))];
    std::string what;
    std::pair<SnapshotPtr, SnapshotPtr> made;
    switch (history.Below(6)) {
      case 0:
      case 1:
        what = history.Script();
        made = {layers.Run(a, what), copies.Run(b, what)};
        break;
      case 2:
      case 3: {
        what = "layer";
        const std::string archive = history.Archive();
        made = {layers.Unpack(a, layers.fetcher.Add(archive)), copies.Unpack(b, copies.fetcher.Add(archive))};
        break;
      }
      case 4:
        what = "merge";
        made = {layers.Merge({a, c}), copies.Merge({b, d})};
        break;
      case 5:
        // A difference may repeat what is below; laid over it, it gives the other tree.
        what = "diff over";
        made = {layers.Merge({a, layers.Diff(a, c)}), copies.Merge({b, copies.Diff(b, d)})};
        EXPECT_EQ(layers.List(made.first), layers.List(c)) << log << what << " " << names[a] << " and " << names[c];
        break;
    }
    names.try_emplace(made.first, static_cast<int>(names.size()));
    absl::StrAppend(&log, names[made.first], " = ", what, " of ", names[a], " (and ", names[c], ")\n");
    EXPECT_EQ(copies.List(made.second), layers.List(made.first)) << log;
    if (history.Below(3) == 0 && made.second != nullptr) {
      EXPECT_EQ(copies.List(copies.Travel(made.second)), copies.List(made.second)) << "exported\n" << log;
    }
    trees.push_back(std::move(made));
    if (trees.size() > 12) trees.erase(trees.begin() + history.Below(6));
  }
}

TEST_F(WholeTreesTest, LinksWithinATreeStay) {
  os::Scratch scratch;
  Store copies(scratch.path(), Kind::kNative, &cpu_);
  const SnapshotPtr first = copies.Run(nullptr, "echo 1 >a && ln a b && mkdir d && ln a d/c;");
  const SnapshotPtr second = copies.Run(first, "test $(stat -c %h a) = 3 && echo 2 >a && test $(cat d/c) = 2 && rm b;");
  copies.Run(first, "test $(cat b) = 1;");
  copies.Run(copies.Travel(second), "test $(stat -c %h a) = 2 && test ! -e b && echo 3 >d/c && test $(cat a) = 3;");
}

TEST_F(WholeTreesTest, TheRootDecidesTheKind) {
  os::Scratch plain;
  EXPECT_EQ(*ChooseKind(plain.path(), std::nullopt), Kind::kOverlay);
  EXPECT_EQ(*ChooseKind(plain.path(), Kind::kOverlay), Kind::kOverlay);
  const absl::Status other = ChooseKind(plain.path(), Kind::kNative).status();
  EXPECT_EQ(other.message(),
            absl::StrCat(plain.path(), " holds snapshots of overlayfs, not of native: name another root for them, or remove this one"));

  OnOverlay overlay;
  const absl::Status impossible = ChooseKind(overlay.path(), Kind::kOverlay).status();
  EXPECT_EQ(impossible.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(impossible.message().find(absl::StrCat("overlayfs does not work below ", overlay.path())), absl::string_view::npos) << impossible;
  EXPECT_EQ(*ChooseKind(overlay.path(), std::nullopt), Kind::kNative);
  EXPECT_EQ(*ChooseKind(overlay.path(), std::nullopt), Kind::kNative) << "it is noted";

  os::Scratch chosen;
  EXPECT_EQ(*ChooseKind(chosen.path(), Kind::kNative), Kind::kNative);
  EXPECT_EQ(*ChooseKind(chosen.path(), std::nullopt), Kind::kNative);
  EXPECT_FALSE(ParseKind("stargz").ok());
}

}  // namespace
}  // namespace cachalot::snapshot
