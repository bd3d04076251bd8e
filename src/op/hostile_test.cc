// Hostile trees against every operation that reads, writes or compares a file tree.
//
// HOSTILE_OPERATIONS and HOSTILE_SECONDS make it longer, HOSTILE_SEED repeats the run of one printed seed.
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <chrono>
#include <iostream>

#include "absl/strings/match.h"
#include "codec/compression.h"
#include "codec/tar.h"
#include "op/copier.h"
#include "op/file_actions.h"
#include "os/mount.h"
#include "snapshot/apply_layer.h"
#include "snapshot/change_sinks.h"
#include "snapshot/checksum_tree.h"
#include "tree/hostile_testing.h"
#include "tree/resolve.h"

namespace cachalot::op {
namespace {

using tree::Canary;
using tree::Hostile;

constexpr int kOperationsPerWorld = 50;

std::string Archive(Hostile& hostile) {
  using codec::TarType;
  codec::StringSink sink;
  codec::TarWriter tar(&sink);
  for (std::size_t i = 0, n = 1 + hostile.Below(12); i < n; ++i) {
    codec::TarEntry entry;
    entry.path = hostile.Path();
    entry.type = hostile.Pick<TarType>({TarType::kFile, TarType::kFile, TarType::kSymlink, TarType::kSymlink, TarType::kDirectory,
                                        TarType::kDirectory, TarType::kHardLink, TarType::kFifo, TarType::kCharDevice});
    if (entry.type == TarType::kSymlink) entry.link = hostile.LinkTarget();
    if (entry.type == TarType::kHardLink) entry.link = hostile.Path();
    if (entry.type == TarType::kCharDevice) entry.device_major = 1, entry.device_minor = 3;
    entry.mode = hostile.Mode();
    entry.uid = hostile.Id(), entry.gid = hostile.Id();
    entry.mtime = {1000, 0};
    if (hostile.Once(3)) entry.xattrs.insert(hostile.Xattr());
    const std::string data(entry.type == TarType::kFile ? hostile.Below(600) : 0, 'y');
    entry.size = static_cast<std::int64_t>(data.size());
    if (!tar.Add(entry).ok()) continue;
    if (!data.empty()) (void)tar.Write(data);
  }
  (void)tar.Finish();
  return sink.bytes();
}

std::string Compressed(Hostile& hostile, const std::string& bytes) {
  codec::StringSink sink;
  const auto kind = hostile.Pick<codec::Compression>({codec::Compression::kNone, codec::Compression::kGzip, codec::Compression::kZstd});
  auto compressor = codec::NewCompressor(kind, -1, &sink);
  if (!compressor.ok() || !(*compressor)->Write(bytes).ok() || !(*compressor)->Finish().ok()) return bytes;
  return sink.bytes();
}

// Layers of a target and of a source, in /work.
class World {
 public:
  World(std::uint64_t seed, WorkerPool& pool) : hostile_(seed), pool_(pool) {
    for (const char* name : {"upper", "lower0", "lower1", "source0", "source1"}) {
      MakeDirectory(name);
      if (name != absl::string_view("upper")) hostile_.Grow(roots_[name].get(), 12);
    }
    hostile_.Grow(roots_["upper"].get(), static_cast<int>(hostile_.Below(4)));
    for (const char* name : {"lower0", "source0"}) {
      const std::string bytes = Archive(hostile_);
      codec::StringSource archive(bytes);
      (void)snapshot::ApplyLayer(archive, Path(name), {Path(name == absl::string_view("lower0") ? "lower1" : "source1")}, {});
    }
    for (int i = 0; i < 2; ++i) {
      const UniqueFd file(::openat(roots_["source0"].get(), absl::StrCat("x", i, ".tar").c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
      if (file.valid()) (void)os::WriteAll(file.get(), Compressed(hostile_, Archive(hostile_)), "archive");
    }
    writer_ = *TreeWriter::OpenDirectories(Path("upper"), {Path("lower0"), Path("lower1")});
    source_ = *SourceTree::Over({Path("source0"), Path("source1")});
  }
  ~World() {
    for (const auto& [name, root] : roots_) (void)os::RemoveTree(Path(name));
  }

  std::vector<int> descriptors() const {
    std::vector<int> all;
    for (const auto& [name, root] : roots_) all.push_back(root.get());
    return all;
  }

  // One operation; returns what it was called.
  const char* Operate() {
    using Operation = std::pair<const char*, void (World::*)()>;
    static const std::vector<Operation> kOperations = {{"mkdir", &World::Mkdir},       {"mkfile", &World::Mkfile},
                                                       {"symlink", &World::Symlink},   {"rm", &World::Rm},
                                                       {"copy", &World::Copy},         {"copy", &World::Copy},
                                                       {"add", &World::Add},           {"add", &World::Add},
                                                       {"read", &World::Read},         {"passwd", &World::Passwd},
                                                       {"apply", &World::Apply},       {"difference", &World::Difference},
                                                       {"checksum", &World::Checksum}, {"make directories", &World::MakeDirectories},
                                                       {"resolve", &World::Resolve},   {"remove", &World::Remove}};
    const Operation& operation = hostile_.Pick(kOperations);
    (this->*operation.second)();
    return operation.first;
  }

  // What of the canary is in the trees.
  std::string Leaks() const {
    std::string text;
    for (const auto& [name, root] : roots_) {
      for (const std::string& path : Canary::Leaks(root.get())) absl::StrAppend(&text, "the canary's data is in ", name, path, "\n");
    }
    return text + leaks_;
  }

 private:
  static std::string Path(absl::string_view name) { return absl::StrCat("/work/", name); }
  void MakeDirectory(const std::string& name) {
    (void)os::RemoveTree(Path(name));
    EXPECT_TRUE(os::MakeDirectories(Path(name)).ok());
    roots_[name] = *os::OpenDirectory(Path(name));
  }
  std::optional<Owner> SomeOwner() { return hostile_.Once(3) ? std::optional<Owner>(Owner{hostile_.Id(), hostile_.Id()}) : std::nullopt; }
  std::int64_t Time() { return hostile_.Once(2) ? -1 : 5'000'000'000; }

  void Mkdir() {
    llb::FileMkdir mkdir;
    mkdir.path = hostile_.Path();
    mkdir.mode = static_cast<int>(hostile_.Mode());
    mkdir.make_parents = !hostile_.Once(3);
    mkdir.timestamp_ns = Time();
    (void)MakeDirectoryAction(mkdir, SomeOwner(), *writer_);
  }
  void Mkfile() {
    llb::FileMkfile mkfile;
    mkfile.path = hostile_.Path();
    mkfile.data = std::string(hostile_.Below(100), 'f');
    mkfile.mode = static_cast<int>(hostile_.Mode());
    mkfile.timestamp_ns = Time();
    (void)MakeFileAction(mkfile, SomeOwner(), *writer_);
  }
  void Symlink() { (void)MakeSymlinkAction({hostile_.LinkTarget(), hostile_.Path(), {}, Time()}, SomeOwner(), *writer_); }
  void Rm() {
    llb::FileRm rm{hostile_.Path(), hostile_.Once(2), hostile_.Once(2)};
    if (rm.allow_wildcard && hostile_.Once(2)) rm.path += "/*";
    (void)RemoveAction(rm, *writer_);
  }
  llb::FileCopy AnyCopy() {
    llb::FileCopy copy;
    copy.src = hostile_.Path();
    if (hostile_.Once(4)) copy.src += "/*";
    copy.dest = hostile_.Path();
    copy.follow_symlink = hostile_.Once(2);
    copy.dir_copy_contents = hostile_.Once(2);
    copy.create_dest_path = !hostile_.Once(3);
    copy.allow_wildcard = copy.allow_empty_wildcard = hostile_.Once(2);
    copy.always_replace_existing = hostile_.Once(2);
    copy.timestamp_ns = Time();
    if (hostile_.Once(4)) copy.mode = static_cast<int>(hostile_.Mode());
    if (hostile_.Once(4)) copy.mode_text = "u+rwX,go=rX";
    if (hostile_.Once(4)) copy.include_patterns = {"**/a", "b"};
    if (hostile_.Once(4)) copy.exclude_patterns = {"**/c", "!c/a"};
    return copy;
  }
  void Copy() { (void)CopyAction(AnyCopy(), SomeOwner(), *source_, *writer_, {}); }
  void Add() {
    llb::FileCopy copy = AnyCopy();
    copy.src = absl::StrCat("/x", hostile_.Below(2), ".tar");
    copy.attempt_unpack = true;
    (void)CopyAction(copy, SomeOwner(), *source_, *writer_, {});
  }
  void Read() {
    const auto path = source_->Resolve(hostile_.Path(), hostile_.Once(2));
    if (!path.ok()) return;
    (void)source_->Lstat(*path);
    (void)source_->ReadLink(*path);
    (void)source_->List(*path);
    (void)source_->Glob(hostile_.Path() + "/*", true);
    NoteContent(source_->OpenFile(*path), *path);
  }
  void Passwd() {
    const auto path = writer_->Resolve(hostile_.Once(2) ? "/etc/passwd" : hostile_.Path());
    if (path.ok()) NoteContent(writer_->OpenFile(*path), *path);
  }
  void NoteContent(const absl::StatusOr<UniqueFd>& fd, const std::string& path) {
    if (fd.ok() && os::ReadAll(fd->get(), 1 << 20, path).value_or("") == Canary::kSecret)
      absl::StrAppend(&leaks_, "the canary's data was read by ", path, "\n");
  }
  void Apply() {
    MakeDirectory("applied");
    const std::string bytes = Archive(hostile_);
    codec::StringSource archive(bytes);
    (void)snapshot::ApplyLayer(archive, Path("applied"), {Path("upper"), Path("lower0"), Path("lower1")}, {});
  }
  void Difference() {
    MakeDirectory("changes");
    snapshot::LinkChangeSink links(Path("changes"), std::vector<std::string>{Path("lower0"), Path("lower1")}, {Path("source0"), Path("source1")});
    (void)snapshot::WalkDifference(Path("source1"), Path("upper"), links, {});
    (void)links.Finish();
    codec::StringSink bytes;
    codec::TarWriter tar(&bytes);
    snapshot::TarChangeSink sink(&tar);
    (void)snapshot::WalkLayer({Path("upper"), hostile_.Once(2) ? Path("lower0") : "", {}}, sink, {});
    if (absl::StrContains(bytes.bytes(), Canary::kSecret)) leaks_ += "the canary's data is in a layer\n";
  }
  void Checksum() {
    snapshot::ChecksumTree checksums(false);
    checksums.Begin([] { return Path("source0"); }, snapshot::ChecksumTree::Origin::kLayers, &pool_);
    std::string real;
    const auto node = checksums.Resolve(hostile_.Path(), hostile_.Once(2), &real);
    if (node.ok() && *node != nullptr) (void)checksums.DigestOf(*node, real);
    checksums.End();
  }
  int AnyRoot() { return hostile_.Pick(descriptors()); }
  void MakeDirectories() { (void)tree::MakeDirectories(AnyRoot(), hostile_.Path(), {hostile_.Mode(), hostile_.Id(), hostile_.Id()}); }
  void Resolve() {
    const std::string path = hostile_.Path();
    const auto end = tree::Resolve(AnyRoot(), path, hostile_.Once(2));
    if (end.ok() && end->rest.size() == 1) NoteContent(tree::OpenRegularFile(end->directory.get(), end->rest.front(), path), path);
    NoteContent(os::OpenInRoot(AnyRoot(), path, O_RDONLY | O_NONBLOCK), path);
    NoteContent(os::OpenBeneath(AnyRoot(), path, O_RDONLY | O_NONBLOCK), path);
  }
  void Remove() {
    const UniqueFd directory = hostile_.Wander(AnyRoot());
    (void)os::RemoveTreeAt(directory.get(), hostile_.Name());
  }

  Hostile hostile_;
  WorkerPool& pool_;
  std::map<std::string, UniqueFd> roots_;
  std::unique_ptr<TreeWriter> writer_;
  std::unique_ptr<SourceTree> source_;
  std::string leaks_;
};

// Worlds one after the other until `enough` says so, with their seeds; stops at the first fault.
std::string Worlds(bool races, const std::function<bool(int operations)>& enough) {
  ::umask(0);
  const Canary canary("/", {"work", "proc"});
  WorkerPool pool("hash", 2);
  std::map<std::string, int> counts;
  int operations = 0;
  for (std::uint64_t seed = tree::FromEnvironment("HOSTILE_SEED", 1);; ++seed) {
    std::string fault;
    {
      World world(seed, pool);
      std::unique_ptr<tree::Churn> churn;
      if (races) churn = std::make_unique<tree::Churn>(seed, world.descriptors());
      for (int i = 0; i < kOperationsPerWorld; ++i, ++operations) ++counts[world.Operate()];
      churn.reset();
      fault = canary.Difference() + world.Leaks();
    }
    if (!fault.empty()) return absl::StrCat("HOSTILE_SEED=", seed, "\n", fault);
    if (::getenv("HOSTILE_SEED") != nullptr && ::getenv("HOSTILE_OPERATIONS") == nullptr && ::getenv("HOSTILE_SECONDS") == nullptr) break;
    if (enough(operations)) break;
  }
  std::cerr << operations << " operations:";
  for (const auto& [name, count] : counts) std::cerr << " " << name << " " << count;
  std::cerr << std::endl;
  return "";
}

TEST(HostileTest, NothingOutsideChanges) {
  if (!os::CanMount()) GTEST_SKIP() << "needs root for a root directory of its own";
  const int wanted = static_cast<int>(tree::FromEnvironment("HOSTILE_OPERATIONS", 4000));
  EXPECT_EQ(tree::RunApart([&] { return Worlds(false, [&](int operations) { return operations >= wanted; }); }), "");
}

TEST(HostileTest, NothingOutsideChangesWhileTreesChange) {
  if (!os::CanMount()) GTEST_SKIP() << "needs root for a root directory of its own";
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(tree::FromEnvironment("HOSTILE_SECONDS", 5));
  EXPECT_EQ(tree::RunApart([&] { return Worlds(true, [&](int) { return std::chrono::steady_clock::now() > end; }); }), "");
}

}  // namespace
}  // namespace cachalot::op
