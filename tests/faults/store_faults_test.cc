// Errors of the system at every call of the store, the snapshots and the writing of blobs: what was promised is kept, nothing is left
// behind, and the same objects go on working.
//
// Each run arms one call with one error, plays a scenario, and looks at what is left. FAULTS_ALL=1 tries every call with every error;
// else a seeded choice runs for a while (FAULTS_SEED replays it). FAULTS_ONLY=error:number is one run.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "faults/inject.h"
#include "os/file.h"
#include "os/mount.h"
#include "snapshot/snapshots_testing.h"
#include "store/build_records.h"
#include "store/cache_index.h"
#include "store/durability.h"
#include "store/local_blobs.h"

namespace cachalot::faults {
namespace {

using snapshot::Label;
using snapshot::SnapshotId;
using snapshot::SnapshotPtr;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kShortForm(25);

class PrivateMounts : public testing::Environment {
 public:
  void SetUp() override {
    if (!os::CanMount()) return;
    ASSERT_TRUE(os::EnterPrivateMountNamespace().ok());
  }
};
const auto* const kPrivateMounts = testing::AddGlobalTestEnvironment(new PrivateMounts);

// A store with its snapshots, as an engine opens them.
struct World {
  absl::Status Open(const std::string& root) {
    ASSIGN_OR_RETURN(database, store::OpenMetadata(root));
    ASSIGN_OR_RETURN(blobs, store::LocalBlobs::Open(root, database.get()));
    ASSIGN_OR_RETURN(snapshots, snapshot::OpenSnapshots({root, blobs.get(), database.get(), &cpu}));
    return absl::OkStatus();
  }

  WorkerPool cpu{"cpu", 2};
  std::unique_ptr<store::Database> database;
  std::unique_ptr<store::LocalBlobs> blobs;
  std::unique_ptr<snapshot::Snapshots> snapshots;
};

// What the store has said yes to.
struct Promises {
  std::map<std::string, std::string> blobs;                        // digest -> content
  std::map<SnapshotId, std::map<std::string, std::string>> trees;  // path -> content
  std::vector<SnapshotPtr> held;
  std::vector<std::shared_ptr<store::BlobPin>> pins;
  std::map<std::string, std::string> results, names, builds;  // key -> snapshot, name -> snapshot, ref -> record

  void Release() {
    held.clear();
    pins.clear();
  }
};

// One pass through everything that writes. What fails is left out, what stands on it too; the first error is returned.
class Scenario {
 public:
  Scenario(World& world, Promises& promises, int pass) : world_(world), promises_(promises), salt_(absl::StrCat("pass ", pass)) {
    Exempt exempt;
    layer_ = fetcher_.Add(snapshot::TarBuilder()
                              .Directory("d/")
                              .File("d/f", salt_)
                              .File("big", std::string(300'000, 'b'))
                              .Link(codec::TarType::kSymlink, "s", "d/f")
                              .Link(codec::TarType::kHardLink, "h", "d/f")
                              .File(".wh.gone", "")
                              .Finish());
  }

  absl::Status Run() {
    PutBlob();
    const SnapshotPtr base = Made(nullptr, {{"a", "one " + salt_}, {"b", std::string(70'000, 'x')}});
    if (base != nullptr) {
      const SnapshotPtr upper = Made(base, {{"c", "three " + salt_}});
      Export(upper);
      Combine(base, upper);
      Remember(upper);
    }
    Pull(base);
    Cache();
    Note(world_.snapshots->DiskUsage({}).status());
    Note(world_.snapshots->ReleaseMemory());
    Note(store::MarkDurable(*world_.database, root_of_database()));
    snapshot::PrunePolicy policy;
    policy.filters = {"description==loose"};
    Note(world_.snapshots->Prune(policy, nullptr));
    return error_;
  }

 private:
  std::string root_of_database() const { return root; }

  bool Note(const absl::Status& status) {
    if (error_.ok()) error_ = status;
    return status.ok();
  }
  template <typename T>
  bool Note(const absl::StatusOr<T>& result) {
    return Note(result.status());
  }

  void PutBlob() {
    auto writer = world_.blobs->NewWriter();
    if (!Note(writer)) return;
    const std::string text = absl::StrCat("blob of ", salt_, std::string(5000, '.'));
    if (!Note((*writer)->Write(text.substr(0, 1000))) || !Note((*writer)->Write(text.substr(1000)))) return;
    auto digest = (*writer)->Commit(oci::Digest::Of(text), static_cast<std::int64_t>(text.size()));
    if (!Note(digest)) return;
    promises_.blobs[digest->str()] = text;
    promises_.pins.push_back(world_.blobs->Pin(*digest));
    Note(world_.blobs->AddSource(*digest, "docker.io/library/x"));
    Note(world_.blobs->Read(*digest));
  }

  SnapshotPtr Keep(const absl::StatusOr<SnapshotPtr>& made, const std::map<std::string, std::string>& content) {
    if (!Note(made)) return nullptr;
    promises_.trees[(*made)->id()] = content;
    promises_.held.push_back(*made);
    return *made;
  }

  SnapshotPtr Made(const SnapshotPtr& parent, const std::map<std::string, std::string>& files) {
    auto active = world_.snapshots->Prepare(parent, {"made"});
    if (!Note(active)) return nullptr;
    {
      auto tree = world_.snapshots->MountTree(*active, false);
      if (!Note(tree)) return nullptr;
      Exempt exempt;
      for (const auto& [name, text] : files) snapshot::WriteFile(absl::StrCat((*tree)->path(), "/", name), text);
    }
    std::map<std::string, std::string> content = files;
    if (parent != nullptr) content.insert(promises_.trees.at(parent->id()).begin(), promises_.trees.at(parent->id()).end());
    return Keep(world_.snapshots->Commit(*active), content);
  }

  void Export(const SnapshotPtr& snapshot) {
    if (snapshot == nullptr) return;
    Note(world_.snapshots->Checksum(snapshot, {}));
    const auto layers = world_.snapshots->Layers(snapshot, {"gzip"}, false, fetcher_, {});
    if (!Note(layers)) return;
    for (const snapshot::Layer& layer : *layers) EXPECT_TRUE(world_.blobs->Has(layer.blob.digest)) << layer.blob.digest.str();
  }

  void Combine(const SnapshotPtr& base, const SnapshotPtr& upper) {
    const SnapshotPtr other = Made(nullptr, {{"m", "merged " + salt_}});
    if (upper == nullptr || other == nullptr) return;
    std::map<std::string, std::string> content = promises_.trees.at(upper->id());
    content["m"] = "merged " + salt_;
    Keep(world_.snapshots->Merge({upper, other}, {"merge"}), content);
    Keep(world_.snapshots->Diff(base, upper, {"diff"}, fetcher_, {}), {{"c", "three " + salt_}});
  }

  void Remember(const SnapshotPtr& snapshot) {
    if (snapshot == nullptr) return;
    store::CacheIndex index(world_.database.get());
    if (Note(index.SaveResult("key", {snapshot->id(), absl::UnixEpoch()}))) promises_.results["key"] = snapshot->id();
    Note(index.SaveAlias(salt_, "reads"));
    store::BuildRecords builds(world_.database.get());
    if (Note(builds.Save({salt_, absl::UnixEpoch(), false, "record"}, {}))) promises_.builds[salt_] = "record";
  }

  void Pull(const SnapshotPtr& base) {
    const auto lazy = world_.snapshots->FromLayer(base, layer_, {"pulled"});
    if (!Note(lazy) || !Note(world_.snapshots->Materialize(*lazy, fetcher_, {}))) return;
    std::map<std::string, std::string> content = {{"d/f", salt_}, {"s", salt_}, {"h", salt_}, {"big", std::string(300'000, 'b')}};
    if (base != nullptr) content.insert(promises_.trees.at(base->id()).begin(), promises_.trees.at(base->id()).end());
    Keep(lazy, content);
  }

  // A directory that goes on being written under a name, and one that is forgotten.
  void Cache() {
    for (const std::string name : {"kept", "forgotten"}) {
      const auto found = world_.snapshots->FindNamed(name);
      if (!Note(found)) continue;
      if (*found != nullptr) {
        promises_.held.push_back(*found);
      } else {
        const auto active = world_.snapshots->Prepare(nullptr, {"loose"});
        if (!Note(active) || !Note(world_.snapshots->Keep(*active)) || !Note(world_.snapshots->SetName(*active, name))) continue;
        if (name == "kept") {
          promises_.names[name] = (*active)->id();
          promises_.held.push_back(*active);
        }
      }
    }
    Note(world_.snapshots->ForgetNames("forgotten"));
  }

 public:
  static std::string root;

 private:
  World& world_;
  Promises& promises_;
  const std::string salt_;
  snapshot::MemoryFetcher fetcher_;
  snapshot::Layer layer_;
  absl::Status error_;
};
std::string Scenario::root;

std::set<std::string> Names(const std::string& path) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path)) names.insert(entry.path().filename());
  return names;
}

// How many descriptors of files, pipes and the like are open: those of threads come and go.
std::size_t Descriptors() { return Names("/proc/self/fd").size(); }

class FaultsTest : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_ROOT(); }

  void ExpectKept(World& world, const Promises& promises) {
    for (const auto& [digest, content] : promises.blobs) {
      const auto read = world.blobs->Read(*oci::Digest::Parse(digest));
      EXPECT_TRUE(read.ok() && *read == content) << "blob " << digest << " is lost: " << read.status();
    }
    for (const auto& [id, content] : promises.trees) {
      const auto found = world.snapshots->Get(id);
      ASSERT_TRUE(found.ok() && *found != nullptr) << "snapshot " << id << " is lost: " << found.status();
      snapshot::MemoryFetcher nothing;  // what is lazy has its blob here
      const absl::Status there = world.snapshots->Materialize(*found, nothing, {});
      ASSERT_TRUE(there.ok()) << there;
      const auto tree = world.snapshots->MountTree(*found, true);
      ASSERT_TRUE(tree.ok()) << tree.status();
      for (const auto& [path, text] : content) EXPECT_EQ(snapshot::ReadFile(absl::StrCat((*tree)->path(), "/", path)), text) << path;
    }
    for (const auto& [name, id] : promises.names) {
      const auto found = world.snapshots->FindNamed(name);
      EXPECT_TRUE(found.ok() && *found != nullptr && (*found)->id() == id) << "name " << name << " is lost";
    }
    store::CacheIndex index(world.database.get());
    for (const auto& [key, id] : promises.results) EXPECT_EQ((*index.ResultOf(key))->snapshot, id);
    store::BuildRecords builds(world.database.get());
    for (const auto& [ref, record] : promises.builds) EXPECT_EQ((*builds.Find(ref))->record, record);
  }

  // Every directory has a record and every record its directory, as far as it has files.
  void ExpectNothingLeft(World& world) {
    std::set<std::string> known = {"trash", "empty"};
    ASSERT_TRUE(world.database
                    ->Read([&](store::Connection& c) -> absl::Status {
                      ASSIGN_OR_RETURN(store::Statement query, c.Prepare("SELECT directory, state FROM snapshots"));
                      while (true) {
                        ASSIGN_OR_RETURN(const bool row, query.Step());
                        if (!row) return absl::OkStatus();
                        known.insert(query.Text(0));
                        if (query.Int(1) != 2) {
                          EXPECT_TRUE(std::filesystem::exists(absl::StrCat(root_, "/snapshots/", query.Text(0), "/fs")));
                        }
                      }
                    })
                    .ok());
    for (const std::string& name : Names(root_ + "/snapshots")) EXPECT_TRUE(known.contains(name)) << "directory " << name << " is left";
    EXPECT_TRUE(Names(root_ + "/blobs/tmp").empty()) << "half a blob is left";
    std::set<std::string> files;
    for (const store::BlobStore::Listed& blob : world.blobs->List()) files.emplace(blob.digest.hex());
    EXPECT_EQ(Names(root_ + "/blobs/sha256"), files);
  }

  // One run; what became of the injected call, or nothing when there are fewer calls.
  std::optional<std::string> Play(int error, std::int64_t number) {
    SCOPED_TRACE(absl::StrCat("FAULTS_ONLY=", error, ":", number));
    Promises promises;
    absl::Status status;
    Outcome outcome;
    {
      World world;
      Arm(error, number);
      status = world.Open(root_);
      if (status.ok()) status = Scenario(world, promises, 1).Run();
      outcome = Disarm();
      if (world.snapshots != nullptr) {
        ExpectKept(world, promises);
        const absl::Status again = Scenario(world, promises, 2).Run();
        EXPECT_TRUE(again.ok()) << outcome.call << " at " << outcome.site << ": the same objects do not go on working: " << again;
        ExpectKept(world, promises);
      }
      promises.Release();
      if (!outcome.injected) Arm(error, number - outcome.calls);  // one of those at the end
    }
    if (!outcome.injected) outcome = Disarm();
    {
      World world;
      const absl::Status reopened = world.Open(root_);
      EXPECT_TRUE(reopened.ok()) << reopened;
      if (!reopened.ok()) return "stuck";
      ExpectKept(world, promises);
      ExpectNothingLeft(world);
      snapshot::PrunePolicy all;
      all.all = true;
      EXPECT_TRUE(world.snapshots->Prune(all, nullptr).ok());
      EXPECT_TRUE(world.blobs->Collect(std::chrono::seconds(0)).ok());
      EXPECT_EQ(Names(root_ + "/snapshots"), (std::set<std::string>{"empty", "trash"}));
      EXPECT_TRUE(Names(root_ + "/snapshots/trash").empty());
      EXPECT_TRUE(Names(root_ + "/blobs/sha256").empty());
    }
    EXPECT_EQ(Descriptors(), descriptors_) << "descriptors are left open";
    EXPECT_TRUE(Names(root_ + "/mounts").empty()) << "a mount point is left";
    if (!outcome.injected) return std::nullopt;
    if (HasFailure()) std::cerr << "after " << outcome.call << " at " << outcome.site << ": " << status << "\n";
    ++sites_[absl::StrCat(outcome.call, " ", outcome.site)][status.ok() ? "borne" : "reported"];
    ++injected_;
    return outcome.call;
  }

  void Fresh() {
    scratch_ = std::make_unique<os::Scratch>();
    Scenario::root = root_ = scratch_->path();
    World().Open(root_).IgnoreError();  // libraries open what they keep
    descriptors_ = Descriptors();
  }

  void Tell() {
    int reported = 0, borne = 0;
    for (const auto& [site, outcomes] : sites_) {
      reported += static_cast<int>(outcomes.contains("reported"));
      borne += static_cast<int>(!outcomes.contains("reported"));
      if (std::getenv("FAULTS_TELL") == nullptr) continue;
      std::cout << site << ":";
      for (const auto& [what, count] : outcomes) std::cout << " " << what << " " << count;
      std::cout << "\n";
    }
    std::cout << injected_ << " errors at " << sites_.size() << " call sites: " << reported << " report it, " << borne << " bear it\n";
  }

  std::unique_ptr<os::Scratch> scratch_;
  std::string root_;
  std::size_t descriptors_ = 0;
  std::map<std::string, std::map<std::string, int>> sites_;
  int injected_ = 0;
};

TEST_F(FaultsTest, NothingIsLostOrLeaked) {
  static constexpr int kErrors[] = {ENOSPC, EIO, EMFILE, ENOMEM, EROFS};
  Fresh();
  if (const char* only = std::getenv("FAULTS_ONLY")) {
    const std::vector<std::string> parts = absl::StrSplit(only, ':');
    Play(std::stoi(parts.at(0)), std::stoll(parts.at(1)));
  } else if (std::getenv("FAULTS_ALL") != nullptr) {
    for (const int error : kErrors) {
      for (std::int64_t number = 1; Play(error, number).has_value(); ++number) {
        if (number % 16 == 0) Fresh();
      }
    }
  } else {
    const char* given = std::getenv("FAULTS_SEED");
    const unsigned seed = given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device()();
    std::cout << "FAULTS_SEED=" << seed << "\n";
    std::mt19937 random(seed);
    for (const auto deadline = Clock::now() + kShortForm; Clock::now() < deadline && !HasFailure();) {
      if (random() % 4 == 0) Fresh();
      Play(kErrors[random() % std::size(kErrors)], 1 + random() % 700);
    }
  }
  Tell();
}

}  // namespace
}  // namespace cachalot::faults
