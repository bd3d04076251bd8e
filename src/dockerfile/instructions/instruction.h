// A Dockerfile as typed instructions, stage by stage.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "dockerfile/instructions/mount.h"
#include "dockerfile/parse/node.h"

namespace cachalot::dockerfile {

struct InlineFile {  // a here-document of ADD or COPY
  std::string path, data;
  bool expand = true;
};
struct SourcesAndDest {
  std::vector<std::string> sources;
  std::vector<InlineFile> files;
  std::string dest;
};

struct AddInstruction {
  SourcesAndDest paths;
  std::string chown, chmod, checksum;
  bool link = false;
  std::optional<bool> keep_git_dir, unpack;
  std::vector<std::string> exclude;
};
struct CopyInstruction {
  SourcesAndDest paths;
  std::string from, chown, chmod;
  bool link = false, parents = false;
  std::vector<std::string> exclude;
};

// A command in shell form (one text) or exec form (a list).
struct CommandLine {
  std::vector<std::string> words;
  bool shell_form = true;
  std::vector<Heredoc> heredocs;
};
struct RunInstruction {
  CommandLine command;
  std::vector<std::string> mount_flags;  // as written, for expansion
  std::vector<RunMount> mounts;
  std::vector<RunDevice> devices;
  std::string network = "default";   // or "none", "host"
  std::string security = "sandbox";  // or "insecure"
};
struct CmdInstruction {
  CommandLine command;
};
struct EntrypointInstruction {
  CommandLine command;
};
struct HealthcheckInstruction {
  std::vector<std::string> test;  // {"NONE"}, {"CMD", ...} or {"CMD-SHELL", text}
  absl::Duration interval, timeout, start_period, start_interval;
  int retries = 0;
};
struct ArgDefinition {
  std::string key;
  std::optional<std::string> value;
  std::string description;  // from a comment `# key description` right above
};
struct ArgInstruction {
  std::vector<ArgDefinition> args;
};
struct EnvInstruction {
  std::vector<KeyValue> pairs;
};
struct LabelInstruction {
  std::vector<KeyValue> pairs;
};
struct ExposeInstruction {
  std::vector<std::string> ports;
};
struct MaintainerInstruction {
  std::string name;
};
struct OnbuildInstruction {
  std::string expression;
};
struct ShellInstruction {
  std::vector<std::string> shell;
};
struct StopsignalInstruction {
  std::string signal;
};
struct UserInstruction {
  std::string user;
};
struct VolumeInstruction {
  std::vector<std::string> volumes;
};
struct WorkdirInstruction {
  std::string path;
};

using InstructionBody = std::variant<AddInstruction, ArgInstruction, CmdInstruction, CopyInstruction, EntrypointInstruction, EnvInstruction,
                                     ExposeInstruction, HealthcheckInstruction, LabelInstruction, MaintainerInstruction, OnbuildInstruction,
                                     RunInstruction, ShellInstruction, StopsignalInstruction, UserInstruction, VolumeInstruction, WorkdirInstruction>;

struct Instruction {
  std::string keyword;  // as written
  std::string code;     // the whole instruction on one line
  Lines lines;
  std::vector<std::string> comments;
  InstructionBody body;
};

struct Stage {
  std::string name;  // in lower case, empty without AS
  std::string base;
  std::string platform;
  std::string keyword;  // FROM as written
  std::string code;
  std::string description;  // from a comment `# name description` right above
  Lines lines;
  std::vector<std::string> comments;
  std::vector<Instruction> instructions;
};

struct Program {
  std::vector<Instruction> global_args;  // the ARG instructions before the first FROM
  std::vector<Stage> stages;
};

}  // namespace cachalot::dockerfile
