#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "cachalot/llb/llb.h"
#include "llb/library/git_url.h"
#include "llb/library/shlex.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// tests/golden/llb of the source tree that this program was built in.
std::filesystem::path GoldenDir() {
  for (std::filesystem::path dir = std::filesystem::read_symlink("/proc/self/exe").parent_path(); dir.has_relative_path(); dir = dir.parent_path()) {
    if (std::filesystem::is_directory(dir / "tests" / "golden")) return dir / "tests" / "golden" / "llb";
  }
  return "tests/golden/llb";
}

// Every operation with its digest, metadata and places, in words.
std::string Dump(const Definition& definition) {
  pb::Definition message;
  if (!message.ParseFromString(definition)) return "not a definition";
  std::string text;
  for (const std::string& bytes : message.def()) {
    pb::Op op;
    if (!op.ParseFromString(bytes)) return "not an operation";
    const std::string digest = oci::Digest::Of(bytes).str();
    absl::StrAppend(&text, "# ", digest, "\n", op.DebugString());
    const auto metadata = message.metadata().find(digest);
    if (metadata != message.metadata().end()) absl::StrAppend(&text, "metadata\n", metadata->second.DebugString());
    const auto places = message.source().locations().find(digest);
    if (places != message.source().locations().end()) absl::StrAppend(&text, "places\n", places->second.DebugString());
    text += "\n";
  }
  for (const pb::SourceInfo& info : message.source().infos()) absl::StrAppend(&text, "source\n", info.DebugString());
  return text;
}

// Compares with tests/golden/llb/<name>.txt; CACHALOT_ACCEPT=1 rewrites the file. The digests in those files are what Go's
// client/llb of BuildKit gives for the same calls (checked when they were recorded; any change of them loses caches).
void ExpectGolden(const State& state, const std::string& name) {
  MarshalOptions options;
  options.defaults.platform = oci::Platform{"linux", "amd64", "", "", {}};
  options.local_unique_id = "unique";
  absl::StatusOr<Definition> definition = state.Marshal(options);
  ASSERT_TRUE(definition.ok()) << definition.status();
  EXPECT_EQ(*definition, *state.Marshal(options)) << "the same graph twice";
  auto loaded = LoadDefinition(*definition);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(SaveDefinition(*loaded), *definition);
  const std::filesystem::path path = GoldenDir() / (name + ".txt");
  const std::string dump = Dump(*definition);
  if (const char* accept = std::getenv("CACHALOT_ACCEPT"); accept != nullptr && std::string(accept) == "1") {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << dump;
  }
  std::stringstream golden;
  golden << std::ifstream(path).rdbuf();
  EXPECT_EQ(dump, golden.str()) << "differs from " << path << "; CACHALOT_ACCEPT=1 accepts it";
}

State ProcessGraph() {
  const State base = Image("busybox");
  const State tools = Image("docker.io/library/gcc:12", {.resolve_mode = ResolveMode::kForcePull});
  const State context = Local("context", {.session_id = "s", .exclude_patterns = {"*.o", "a&b<c>"}, .shared_key_hint = "context"});
  RunOptions options;
  options.Shlex(R"(make -j2 "all of" 'it "now"' x\ y)")
      .AddMount("/src", context, {.selector = "lib"})
      .AddMount("/opt", tools, {.readonly = true})
      .AddMount("/cache", Scratch(), {.cache = CacheMount{"id", CacheSharing::kLocked}})
      .AddMount("/tmp", Scratch(), {.tmpfs_size = 4096})
      .AddMount("/out", base, {.no_output = true})
      .AddMount("/again", base, {.content_cache = ContentCache::kOff})
      .AddSecret({.id = "token", .dest = "/run/secrets/token", .env = "TOKEN", .uid = 1, .gid = 2, .mode = 0440, .optional = true})
      .AddSsh({.id = "default", .optional = true})
      .Network(NetMode::kHost)
      .Security(SecurityMode::kInsecure)
      .User("me")
      .Hostname("here")
      .AddExtraHost("h", "10.0.0.1")
      .AddUlimit("nofile", 1, 2)
      .ValidExitCodes({0, 3})
      .CgroupParent("cg")
      .Proxy({.http_proxy = "p", .https_proxy = "", .ftp_proxy = "", .no_proxy = "n", .all_proxy = ""})
      .AddDevice("gpu", true)
      .With(Constraints().Named("make it").IgnoreCache());
  const Exec exec = base.Dir("/src").Dir("sub").AddEnv("A", "1").AddEnv("B", "2").AddEnv("A", "3").Run(options);
  const Exec last = exec.Root().Run(RunOptions().Args({"true"}).ReadonlyRoot().AddMount("/a", State(exec.GetMount("/again")->output())));
  return *last.GetMount("/a");
}

State FileGraph() {
  const State base = Image("alpine:3").Dir("/w");
  const State context = Local("context").Dir("/c");
  FileMkdir mkdir;
  mkdir.path = "d";
  mkdir.mode = 0755;
  mkdir.make_parents = true;
  mkdir.owner = OwnerIds(1, 2);
  FileMkfile mkfile;
  mkfile.path = "/f";
  mkfile.mode = 0644;
  mkfile.data = "data\n";
  mkfile.owner = OwnerNamed("root:staff");
  mkfile.timestamp_ns = 1'000'000'005;
  FileCopy all;
  all.src = "src/";
  all.dest = "dst/";
  all.follow_symlink = all.dir_copy_contents = all.create_dest_path = all.allow_wildcard = all.allow_empty_wildcard = true;
  all.attempt_unpack = all.always_replace_existing = true;
  all.include_patterns = {"i"};
  all.exclude_patterns = {"e"};
  all.required_paths = {"r"};
  all.mode_text = "u+x";
  all.owner = OwnerNamed("me");
  FileCopy own;
  own.src = "/x";
  own.dest = "/y/.";
  own.mode = 0700;
  FileCopy made;
  made.src = "m";
  made.dest = "n";
  FileRm rm;
  rm.path = "../z";
  rm.allow_not_found = rm.allow_wildcard = true;
  FileSymlink symlink;
  symlink.oldpath = "old";
  symlink.newpath = "/new";
  symlink.owner = OwnerNamed("3");
  return base.File(FileActions()
                       .Mkdir(mkdir)
                       .Mkfile(mkfile)
                       .Copy(context, all)
                       .Copy(base, own)
                       .Copy(FileActions().Mkfile("m", 0600, ""), Scratch().Dir("/q"), made)
                       .Rm(rm)
                       .Symlink(symlink));
}

State MergeGraph() {
  const State a = Image("a");
  const State b = Scratch().File(FileActions().Mkfile("/b", 0600, "b"));
  const State changed = a.Run(RunOptions().Shlex("x")).Root();
  return Merge({a, Scratch(), b, Diff(a, changed), Diff(a, Scratch()), Diff(Scratch(), b)}).Requires("after", {b});
}

State SourceGraph() {
  return Merge({
      Local("l", {.include_patterns = {"a", "b"},
                  .follow_paths = {"c"},
                  .differ = "none",
                  .differ_required = true,
                  .metadata_only = true,
                  .metadata_only_exceptions = {"x"}}),
      Git("https://github.com/moby/buildkit.git", {.ref = "v1", .subdir = "sub/../dir", .keep_git_dir = true}),
      Git("git@github.com:moby/buildkit.git", {.ref = "main",
                                               .skip_submodules = true,
                                               .checksum = "abc",
                                               .mtime = "commit",
                                               .fetch_by_commit = true,
                                               .auth_token_secret = "tok",
                                               .known_ssh_hosts = "key\n"}),
      Git("ssh://git@example.com:2222/r.git?x=y#z", {.known_ssh_hosts = "key\n", .ssh_socket = "other"}),
      Git("github.com/moby/buildkit", {.subdir = "docs"}),
      Http("https://example.com/f",
           {.filename = "g", .checksum = "sha256:00", .mode = 0750, .uid = 1, .gid = 2, .auth_header_secret = "h", .accept = "a", .user_agent = "u"}),
      OciLayout("x@sha256:1234", {.session_id = "sess", .store_id = "store", .layer_limit = 2}),
      Image("localhost:5000/x",
            {.resolve_mode = ResolveMode::kPreferLocal, .record_type = "internal", .constraints = Constraints().For({"linux", "arm64", "", "", {}})}),
  });
}

State PlaceGraph() {
  const auto file = std::make_shared<SourceInfo>(SourceInfo{"Dockerfile", "FROM a\nRUN b\n", "Dockerfile", ""});
  const auto line = [](int number) { return std::vector<solver::SourceRange>{{number, 0, number, 0}}; };
  const oci::Platform arm{"linux", "arm", "v7", "", {}};
  const State a = Image("a", {.constraints = Constraints().For(arm).Named("[1/2] FROM a").At(file, line(1))});
  Constraints run;
  run.InGroup("g", "group", true).ExportCache(false).At(file, line(2)).Limited({.memory = 5, .cpuset_cpus = "", .cpuset_mems = ""});
  run.worker_filters = {"label==x"};
  return a.Run(RunOptions().Shlex("b").With(run)).Root().File(FileActions().Copy(a, "/a", "/b"), Constraints().At(file, line(1)).At(file, line(2)));
}

TEST(Library, Processes) { ExpectGolden(ProcessGraph(), "run"); }
TEST(Library, Files) { ExpectGolden(FileGraph(), "file"); }
TEST(Library, Merges) { ExpectGolden(MergeGraph(), "merge"); }
TEST(Library, Sources) { ExpectGolden(SourceGraph(), "sources"); }
TEST(Library, PlacesAndMetadata) { ExpectGolden(PlaceGraph(), "places"); }

TEST(Library, ScratchIsTheEmptyDefinition) {
  EXPECT_EQ(*Scratch().Marshal(), "");
  EXPECT_TRUE(Merge({Scratch(), Scratch()}).is_scratch());
  EXPECT_EQ(Scratch().ToEdge()->vertex, nullptr);
}

TEST(Library, StatesAreImmutable) {
  const State base = Image("busybox").AddEnv("A", "1");
  const State other = base.AddEnv("A", "2").User("me").Dir("x").Dir("y");
  EXPECT_EQ(base.settings().GetEnv("A"), "1");
  EXPECT_EQ(other.settings().GetEnv("A"), "2");
  EXPECT_EQ(base.settings().dir, "/");
  EXPECT_EQ(other.settings().dir, "/x/y");
  const Exec exec = base.Run(RunOptions().Shlex("env").AddEnv("B", "only here").Dir("/tmp"));
  EXPECT_EQ(exec.Root().settings().GetEnv("B"), std::nullopt);
  EXPECT_EQ(exec.Root().settings().dir, "/");
}

TEST(Library, EqualOperationsBecomeOneVertexWithBothNames) {
  Constraints first, second;
  first.Described("first", "1");
  second.Described("second", "2");
  const State a = Scratch().File(FileActions().Mkfile("/a", 0600, "a"), first);
  const State b = Scratch().File(FileActions().Mkfile("/a", 0600, "a"), second);
  const absl::StatusOr<Edge> edge = Merge({a, b}).ToEdge();
  ASSERT_TRUE(edge.ok()) << edge.status();
  EXPECT_EQ(edge->vertex->inputs[0].vertex, edge->vertex->inputs[1].vertex);
  EXPECT_EQ(edge->vertex->inputs[0].vertex->metadata.description.size(), 2u);
}

TEST(Library, BuildsOnLoadedGraphs) {
  const Edge loaded = *LoadDefinition(*Image("a", {.constraints = Constraints().For({"linux", "arm64", "", "", {}})}).Marshal());
  const State state(loaded);
  EXPECT_EQ(state.settings().platform->architecture, "arm64");
  const absl::StatusOr<Edge> edge = state.Run(RunOptions().Shlex("x")).Root().ToEdge();
  ASSERT_TRUE(edge.ok()) << edge.status();
  EXPECT_EQ(edge->vertex->inputs[0].vertex, loaded.vertex);
  EXPECT_EQ(edge->vertex->platform->architecture, "arm64");
}

TEST(Library, ReportsMistakesAtAssembly) {
  EXPECT_THAT(Image("UPPER").Marshal().status().message(), HasSubstr("UPPER"));
  EXPECT_THAT(Image("a").Run(RunOptions()).Root().Marshal().status().message(), HasSubstr("arguments are required"));
  EXPECT_THAT(Image("a").File(FileActions()).Marshal().status().message(), HasSubstr("action is required"));
  RunOptions tmpfs;
  tmpfs.Shlex("x").AddMount("/tmp", Image("a"), {.tmpfs_size = 0});
  const Exec exec = Image("a").Run(tmpfs);
  EXPECT_THAT(exec.Root().Marshal().status().message(), HasSubstr("mount /tmp: tmpfs mounts must use scratch"));
  EXPECT_EQ(exec.GetMount("/tmp").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(exec.GetMount("/nowhere").status().code(), absl::StatusCode::kNotFound);
}

TEST(Library, TakesLongChains) {
  State state = Image("a");
  for (int i = 0; i < 20'000; ++i) state = state.File(FileActions().Mkdir("/d", 0700));
  const absl::StatusOr<Edge> edge = state.ToEdge();
  ASSERT_TRUE(edge.ok()) << edge.status();
}

TEST(Library, ReadsImageConfigs) {
  const absl::StatusOr<State> state = Image("a").WithImageConfig(
      R"({"architecture":"arm64","os":"linux","config":{"Env":["PATH=/bin","E="],"WorkingDir":"/w"},"rootfs":{"type":"layers","diff_ids":[]}})");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->settings().GetEnv("PATH"), "/bin");
  EXPECT_EQ(state->settings().GetEnv("E"), "");
  EXPECT_EQ(state->settings().dir, "/w");
  EXPECT_EQ(state->settings().platform->architecture, "arm64");
}

TEST(SplitCommandLine, SplitsAsAShell) {
  EXPECT_THAT(SplitCommandLine("  a 'b c'\"d\\\"e\" f\\ g ''# h\n# comment\ni"), ElementsAre("a", "b cd\"e", "f g", "#", "h", "i"));
  EXPECT_THAT(SplitCommandLine("a 'b"), IsEmpty());
  EXPECT_THAT(SplitCommandLine("a\\"), IsEmpty());
}

TEST(ParseGitUrl, ReadsSchemesAndScpStyle) {
  EXPECT_EQ(ParseGitUrl("https://u:p@h:1/p.git#ref:dir")->remote, "https://u:p@h:1/p.git");
  EXPECT_EQ(ParseGitUrl("https://u:p@h:1/p.git#ref:dir")->host, "h:1");
  EXPECT_EQ(ParseGitUrl("git@h:p/q.git#ref")->remote, "git@h:p/q.git");
  EXPECT_EQ(ParseGitUrl("git@h:p/q.git#ref")->scheme, "ssh");
  EXPECT_FALSE(ParseGitUrl("ftp://h/p"));
  EXPECT_FALSE(ParseGitUrl("h/p"));
}

}  // namespace
}  // namespace cachalot::llb
