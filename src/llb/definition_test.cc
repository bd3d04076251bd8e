#include "llb/definition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "llb/caps.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

using ::testing::HasSubstr;

// Builds definitions message by message, so that broken ones can be made.
class Writer {
 public:
  std::string Add(const pb::Op& op) {
    const std::string bytes = SerializeCanonically(op);
    definition_.add_def(bytes);
    return oci::Digest::Of(bytes).str();
  }
  std::string AddSource(const std::string& identifier) {
    pb::Op op;
    op.mutable_source()->set_identifier(identifier);
    return Add(op);
  }
  void AddTerminal(const std::string& digest, std::int64_t index = 0) {
    pb::Op op;
    AddInput(op, digest, index);
    Add(op);
  }
  static void AddInput(pb::Op& op, const std::string& digest, std::int64_t index = 0) {
    op.add_inputs()->set_digest(digest);
    op.mutable_inputs(op.inputs_size() - 1)->set_index(index);
  }
  pb::Definition& message() { return definition_; }
  absl::StatusOr<Edge> Load() { return LoadDefinition(SerializeCanonically(definition_)); }
  // The error of a definition whose result is `op`.
  std::string ErrorOf(const pb::Op& op) {
    AddTerminal(Add(op));
    return std::string(Load().status().message());
  }

 private:
  pb::Definition definition_;
};

pb::Op Exec(const std::string& root) {
  pb::Op op;
  Writer::AddInput(op, root);
  op.mutable_exec()->mutable_meta()->add_args("/bin/true");
  op.mutable_exec()->mutable_meta()->set_cwd("/");
  op.mutable_exec()->add_mounts()->set_dest("/");
  return op;
}

TEST(LoadDefinition, LoadsWhatWasWritten) {
  Writer writer;
  pb::Op exec = Exec(writer.AddSource("docker-image://docker.io/library/busybox:latest"));
  exec.mutable_platform()->set_os("linux");
  pb::Mount& secret = *exec.mutable_exec()->add_mounts();
  secret.set_input(-1);
  secret.set_dest("/run/secrets/key");
  secret.set_mounttype(pb::SECRET);
  secret.mutable_secretopt()->set_id("key");
  const std::string digest = writer.Add(exec);
  writer.AddTerminal(digest);
  auto& metadata = (*writer.message().mutable_metadata())[digest];
  (*metadata.mutable_description())["llb.customname"] = "look";
  metadata.mutable_linux_resources()->set_memory(1 << 20);
  auto edge = writer.Load();
  ASSERT_TRUE(edge.ok()) << edge.status();
  const Vertex& vertex = *edge->vertex;
  EXPECT_EQ(vertex.digest.str(), digest);
  EXPECT_EQ(vertex.Name(), "look");
  EXPECT_EQ(vertex.platform->os, "linux");
  EXPECT_EQ(vertex.metadata.linux_resources->memory, 1 << 20);
  const ExecOp& op = std::get<ExecOp>(vertex.op);
  EXPECT_EQ(op.mounts[0].output, 0);
  EXPECT_EQ(op.mounts[1].output, -1);  // the wire says 0 for every secret
  EXPECT_EQ(op.mounts[1].secret.id, "key");
  EXPECT_EQ(vertex.inputs[0].vertex->Name(), "docker-image://docker.io/library/busybox:latest");
}

TEST(LoadDefinition, EmptyIsScratch) {
  auto edge = LoadDefinition("");
  ASSERT_TRUE(edge.ok());
  EXPECT_EQ(edge->vertex, nullptr);
  EXPECT_EQ(SaveDefinition(*edge), "");
}

TEST(LoadDefinition, RefusesBrokenGraphs) {
  EXPECT_THAT(LoadDefinition("\xff\xff").status().message(), HasSubstr("failed to parse llb definition"));
  {
    Writer writer;
    writer.AddSource("local://context");
    EXPECT_EQ(writer.Load().status().message(), "invalid LLB with 1 vertexes");
  }
  {
    Writer writer;
    writer.AddSource("local://a");
    writer.AddSource("local://b");
    EXPECT_EQ(writer.Load().status().message(), "invalid LLB with no inputs on last vertex");
  }
  {
    Writer writer;
    writer.AddSource("local://a");
    writer.AddTerminal("sha256:00");
    EXPECT_EQ(writer.Load().status().message(), "invalid missing input digest sha256:00");
  }
  {
    Writer writer;
    writer.AddTerminal(writer.AddSource("local://a"), -1);
    EXPECT_EQ(writer.Load().status().message(), "invalid input 0 output index -1");
  }
  {
    Writer writer;
    writer.AddTerminal(writer.AddSource("local://a"), 1);
    EXPECT_THAT(writer.Load().status().message(), HasSubstr("(local://a) has 1 outputs"));
  }
  {
    Writer writer;
    writer.AddTerminal(writer.AddSource("local://a"));
    writer.message().set_def(0, "\xff");
    EXPECT_EQ(writer.Load().status().message(), "failed to parse llb proto op");
  }
}

// Each text of an operation, one after the other, gets a null byte: all these definitions are refused.
void PoisonTexts(google::protobuf::Message& message, const std::function<void()>& check) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    for (int i = 0; i < (field->is_repeated() ? reflection.FieldSize(message, field) : 1); ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        PoisonTexts(field->is_repeated() ? *reflection.MutableRepeatedMessage(&message, field, i) : *reflection.MutableMessage(&message, field),
                    check);
      } else if (field->type() == FieldDescriptor::TYPE_STRING) {
        const std::string good = field->is_repeated() ? reflection.GetRepeatedString(message, field, i) : reflection.GetString(message, field);
        const auto set = [&](const std::string& text) {
          field->is_repeated() ? reflection.SetRepeatedString(&message, field, i, text) : reflection.SetString(&message, field, text);
        };
        set(good + std::string("\0x", 2));
        SCOPED_TRACE(field->full_name());
        check();
        set(good);
      }
    }
  }
}

TEST(LoadDefinition, RefusesNullBytesInTexts) {
  int checked = 0;
  const auto poison = [&checked](pb::Op op, int texts) {
    EXPECT_EQ(Writer().ErrorOf(op), "") << op.DebugString();
    checked = 0;
    PoisonTexts(op, [&] {
      EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("null byte"));
      ++checked;
    });
    EXPECT_EQ(checked, texts);
  };
  pb::Op exec;
  pb::Meta& meta = *exec.mutable_exec()->mutable_meta();
  meta.add_args("a");
  meta.add_env("A=b");
  meta.set_cwd("/");
  meta.set_user("u");
  meta.set_hostname("h");
  meta.set_cgroupparent("c");
  meta.add_extrahosts()->set_host("h");
  pb::Mount& mount = *exec.mutable_exec()->add_mounts();
  mount.set_input(-1);
  mount.set_dest("/");
  mount.set_selector("/s");
  exec.mutable_exec()->add_secretenv()->set_name("n");
  poison(exec, 10);
  pb::Op file;
  pb::FileAction& mkfile = *file.mutable_file()->add_actions();
  mkfile.set_input(-1);
  mkfile.set_secondaryinput(-1);
  mkfile.mutable_mkfile()->set_path("/f");
  mkfile.mutable_mkfile()->set_data(std::string("\0", 1));  // files may hold them
  poison(file, 1);
  pb::Op source;
  source.mutable_source()->set_identifier("git://a");
  (*source.mutable_source()->mutable_attrs())["git.fullurl"] = "u";
  poison(source, 3);
}

TEST(LoadDefinition, OutputsOfAFileOpAreNumberedFromZeroOn) {
  pb::Op op;
  for (const int output : {0, 0}) {
    pb::FileAction& action = *op.mutable_file()->add_actions();
    action.set_input(-1);
    action.set_secondaryinput(-1);
    action.set_output(output);
    action.mutable_mkfile()->set_path("/f");
  }
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("duplicate output 0"));
  op.mutable_file()->mutable_actions(0)->set_output(-1);
  op.mutable_file()->mutable_actions(1)->set_output(1);
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("missing output index 0"));
  op.mutable_file()->mutable_actions(0)->set_output(0);
  EXPECT_EQ(Writer().ErrorOf(op), "");
}

// As BuildKit counts them.
TEST(LoadDefinition, OutputsOfAnExecOpCountInTheOrderOfTheirMounts) {
  Mount mount;
  mount.output = 5;
  Vertex vertex;
  ExecOp& exec = vertex.op.emplace<ExecOp>();
  exec.mounts = {mount, mount};
  EXPECT_EQ(vertex.OutputCount(), 2);
  exec.mounts[0].type = MountType::kTmpfs;
  EXPECT_EQ(vertex.OutputCount(), 1);
  exec.mounts[1].output = -1;
  EXPECT_EQ(vertex.OutputCount(), 0);
}

TEST(LoadDefinition, RefusesBrokenOperations) {
  EXPECT_THAT(Writer().ErrorOf(pb::Op()), HasSubstr("invalid op of unknown kind"));
  pb::Op op;
  op.mutable_exec();
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid exec op with no meta"));
  op.mutable_exec()->mutable_meta();
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid exec op with no args"));
  op.mutable_exec()->mutable_meta()->add_args("true");
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid exec op with no mounts"));
  op.mutable_exec()->add_mounts()->set_dest("/x");
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid mount /x of exec op: no input 0"));
  op.mutable_exec()->mutable_mounts(0)->set_input(-1);
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid exec op with no rootfs"));
  op.mutable_exec()->mutable_mounts(0)->set_output(1);
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("no output 1"));
  op.mutable_file();
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid file op with no actions"));
  op.mutable_file()->add_actions()->set_input(0);
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid input index for action 0"));
  op.mutable_file()->mutable_actions(0)->set_input(-1);
  op.mutable_file()->mutable_actions(0)->set_secondaryinput(-1);
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid file action of unknown kind"));
  op.mutable_diff();
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid diff op with nil lower or upper input"));
  op.mutable_diff()->mutable_lower()->set_input(-1);
  op.mutable_diff()->mutable_upper()->set_input(0);
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid diff input index 0"));
  op.mutable_passthrough();
  EXPECT_THAT(Writer().ErrorOf(op), HasSubstr("invalid passthrough op with no id"));
}

// Numbers of inputs and outputs that are out of range brought the daemon down: whatever loads has none.
TEST(LoadDefinition, Ghsaqx3x_mv6r_52p6) {
  constexpr std::int64_t kNumbers[] = {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int32_t>::min(), -2, -1, 0, 1, 2,
                                       std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int64_t>::max()};
  const auto in_range = [](std::int64_t index, std::size_t count) { return index >= -1 && index < static_cast<std::int64_t>(count); };
  int loaded = 0;
  for (const std::int64_t number : kNumbers) {
    for (int form = 0; form < 10; ++form) {
      Writer writer;
      const std::string root = writer.AddSource("local://a");
      pb::Op op = Exec(root);
      std::int64_t result = 0;
      if (form == 0) op.mutable_exec()->mutable_mounts(0)->set_input(number);
      if (form == 1) op.mutable_exec()->mutable_mounts(0)->set_output(number);
      if (form == 2) op.mutable_inputs(0)->set_index(number);
      if (form == 3) result = number;
      if (form == 4) op.mutable_merge()->add_inputs()->set_input(number);
      if (form == 5) op.mutable_diff()->mutable_lower()->set_input(number), op.mutable_diff()->mutable_upper()->set_input(0);
      if (form == 6) op.mutable_diff()->mutable_lower()->set_input(0), op.mutable_diff()->mutable_upper()->set_input(number);
      if (form == 7) op.mutable_build()->set_builder(number);
      if (form >= 8) {
        pb::FileAction& action = *op.mutable_file()->add_actions();
        action.set_input(form == 8 ? number : 0);
        action.set_secondaryinput(form == 9 ? number : -1);
        action.mutable_copy()->set_src("/");
      }
      writer.AddTerminal(writer.Add(op), result);
      const absl::StatusOr<Edge> edge = writer.Load();
      if (!edge.ok() || edge->vertex == nullptr) continue;
      ++loaded;
      const Vertex& vertex = *edge->vertex;
      EXPECT_GE(edge->output, 0);
      for (const Edge& input : vertex.inputs) EXPECT_EQ(input.output, 0);
      if (const auto* exec = std::get_if<ExecOp>(&vertex.op)) {
        for (const Mount& mount : exec->mounts)
          EXPECT_TRUE(in_range(mount.input, vertex.inputs.size()) && in_range(mount.output, exec->mounts.size()));
      }
    }
  }
  EXPECT_GT(loaded, 5);
}

// Security modes that nobody knows were neither refused nor confined.
TEST(LoadDefinition, Ghsa7236_3392_c5c6) {
  for (const int mode : {2, 3, 99, -1}) {
    Writer writer;
    pb::Op op = Exec(writer.AddSource("local://a"));
    op.mutable_exec()->set_security(static_cast<pb::SecurityMode>(mode));
    EXPECT_THAT(writer.ErrorOf(op), HasSubstr("security mode")) << mode;
  }
}

TEST(LoadDefinition, RefusesUnknownCapabilities) {
  Writer writer;
  const std::string digest = writer.AddSource("local://a");
  writer.AddTerminal(digest);
  auto& caps = *(*writer.message().mutable_metadata())[digest].mutable_caps();
  caps["source.local"] = true;
  EXPECT_TRUE(writer.Load().ok());
  caps["source.telepathy"] = true;
  const absl::Status status = writer.Load().status();
  EXPECT_THAT(status.message(), HasSubstr("unknown API capability source.telepathy"));
  EXPECT_THAT(status.message(), HasSubstr(digest));
}

TEST(LoadDefinition, KeepsSourceLocations) {
  Writer writer;
  const std::string digest = writer.AddSource("local://a");
  writer.AddTerminal(digest);
  pb::Source& source = *writer.message().mutable_source();
  source.add_infos()->set_filename("Dockerfile");
  pb::Location& location = *(*source.mutable_locations())[digest].add_locations();
  location.add_ranges()->mutable_start()->set_line(3);
  auto edge = writer.Load();
  ASSERT_TRUE(edge.ok()) << edge.status();
  ASSERT_EQ(edge->vertex->locations.size(), 1u);
  EXPECT_EQ(edge->vertex->locations[0].info->filename, "Dockerfile");
  EXPECT_EQ(edge->vertex->locations[0].ranges[0].start_line, 3);
  auto again = LoadDefinition(SaveDefinition(*edge));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->vertex->locations[0].info->filename, "Dockerfile");
  location.set_sourceindex(1);
  EXPECT_EQ(writer.Load().status().message(), "failed to find source map with index 1");
}

TEST(SaveDefinition, WritesASourceFileOnceWhoeverWroteItsDefinition) {
  Writer writer;
  const std::string digest = writer.AddSource("local://a");
  writer.AddTerminal(digest);
  pb::Source& source = *writer.message().mutable_source();
  for (const bool described : {false, true}) {
    pb::SourceInfo& info = *source.add_infos();
    info.set_filename("Dockerfile");
    info.mutable_definition()->add_def("the same operation");
    if (described) (*info.mutable_definition()->mutable_metadata())["x"].set_ignore_cache(true);
    (*source.mutable_locations())[digest].add_locations()->set_sourceindex(described ? 1 : 0);
  }
  source.add_infos()->set_filename("other.Dockerfile");
  (*source.mutable_locations())[digest].add_locations()->set_sourceindex(2);
  auto edge = writer.Load();
  ASSERT_TRUE(edge.ok()) << edge.status();
  pb::Definition saved;
  ASSERT_TRUE(saved.ParseFromString(SaveDefinition(*edge)));
  EXPECT_EQ(saved.source().infos_size(), 2);
}

TEST(LoadDefinition, TakesLongChainsAndNamesNestedMergesBriefly) {
  Writer writer;
  std::string digest = writer.AddSource("local://a");
  for (int i = 0; i < 20'000; ++i) {
    pb::Op op;
    Writer::AddInput(op, digest);
    Writer::AddInput(op, digest);
    op.mutable_merge()->add_inputs()->set_input(0);
    op.mutable_merge()->add_inputs()->set_input(1);
    digest = writer.Add(op);
  }
  writer.AddTerminal(digest);
  auto edge = writer.Load();
  ASSERT_TRUE(edge.ok()) << edge.status();
  EXPECT_EQ(edge->vertex->Name().size(), 4096u);
  EXPECT_EQ(SaveDefinition(*edge), SaveDefinition(*LoadDefinition(SaveDefinition(*edge))));
}

TEST(VertexName, SaysWhatTheOperationDoes) {
  auto base = std::make_shared<Vertex>();
  base->op = SourceOp{"docker-image://busybox", {}};
  Vertex vertex;
  vertex.inputs = {{base, 0}, {base, 0}};
  vertex.op = MergeOp{{0, 1}};
  EXPECT_EQ(vertex.Name(), "merge (docker-image://busybox, docker-image://busybox)");
  vertex.op = DiffOp{-1, 0};
  EXPECT_EQ(vertex.Name(), "diff scratch -> (docker-image://busybox)");
  ExecOp exec;
  exec.meta.args = {"/bin/sh", "-c", "make all"};
  vertex.op = exec;
  EXPECT_EQ(vertex.Name(), "/bin/sh -c make all");
  FileMkdir mkdir;
  mkdir.path = "/d";
  FileCopy copy;
  copy.src = "/a";
  copy.dest = "/b";
  FileSymlink symlink;
  symlink.oldpath = "/old";
  symlink.newpath = "/new";
  FileOp file;
  file.actions = {{0, -1, -1, mkdir}, {1, 0, -1, copy}, {2, -1, 0, symlink}};
  vertex.op = file;
  EXPECT_EQ(vertex.Name(), "mkdir /d, copy /a /b, symlink /new -> /old");
}

TEST(Caps, AreSorted) {
  EXPECT_TRUE(std::is_sorted(LlbCaps().begin(), LlbCaps().end()));
  EXPECT_TRUE(CheckLlbCap("exec.meta.base").ok());
  EXPECT_FALSE(CheckLlbCap("exec.meta").ok());
}

}  // namespace
}  // namespace cachalot::llb
