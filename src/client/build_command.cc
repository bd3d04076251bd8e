#include "client/build_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/path.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "client/build_context.h"
#include "client/build_report.h"
#include "client/call.h"
#include "client/docker_load.h"
#include "client/interrupt.h"
#include "client/layout_uses.h"
#include "client/progress/display.h"
#include "client/solve.h"
#include "client/source_policy.h"
#include "os/file.h"

namespace cachalot::client {

namespace {

namespace control = moby::buildkit::v1;

constexpr int kFailed = 1;
constexpr int kInterrupted = 130;

// The places for what the exporters send.
bool IsLayout(const OutputSpec& spec) {
  const std::string tar = ValueOf(spec.attrs, "tar");
  return tar == "false" || tar == "0";
}

absl::StatusOr<std::vector<Output>> OutputPlaces(const std::vector<OutputSpec>& specs, LayoutUses& layouts) {
  std::vector<Output> places;
  int index = -1;
  for (const OutputSpec& spec : specs) {
    ++index;
    if (spec.type == "image") {
      continue;
    }
    if (spec.type == "local") {
      const auto mode = spec.attrs.find("mode");
      places.push_back({index, spec.dest, mode != spec.attrs.end() && mode->second == "delete", nullptr});
      continue;
    }
    if (IsLayout(spec)) {
      RETURN_IF_ERROR(layouts.AddOutput(spec));
      continue;
    }
    if (spec.dest == "-" && isatty(STDOUT_FILENO) == 1) {
      return absl::InvalidArgumentError(absl::StrCat("dest file is required for ", spec.type, " exporter. refusing to write to console"));
    }
    if (spec.dest.empty() && spec.type == "docker") {
      ASSIGN_OR_RETURN(Output load, DockerLoadOutput(index));
      places.push_back(std::move(load));
    } else {
      places.push_back(spec.dest == "-" ? DescriptorOutput(index, STDOUT_FILENO) : FileOutput(index, spec.dest));
    }
  }
  return places;
}

absl::StatusOr<AttachOptions> Offers(const BuildOptions& options, const BuildContext& context, const std::vector<OutputSpec>& outputs,
                                     LayoutUses& layouts) {
  AttachOptions offers;
  offers.shared_key = context.shared_key;
  offers.directories = context.directories;
  for (const std::string& text : options.secrets) {
    ASSIGN_OR_RETURN(SecretSource secret, ParseSecret(text));
    offers.secrets.push_back(std::move(secret));
  }
  for (const std::string& text : options.ssh) {
    ASSIGN_OR_RETURN(SshAgent agent, ParseSsh(text));
    offers.ssh_agents.push_back(std::move(agent));
  }
  ASSIGN_OR_RETURN(offers.outputs, OutputPlaces(outputs, layouts));
  offers.content_stores = context.layouts;
  offers.content_stores.insert(layouts.stores().begin(), layouts.stores().end());
  return offers;
}

progress::Mode DisplayMode(progress::Mode wanted, bool quiet) {
  if (quiet) {
    return progress::Mode::kQuiet;
  }
  if (wanted == progress::Mode::kAuto) {
    return isatty(STDERR_FILENO) == 1 ? progress::Mode::kTty : progress::Mode::kPlain;
  }
  return wanted;
}

// A link's target is written, and what is no regular file ("/dev/stdout") is written into.
absl::Status WriteResult(const std::string& path, absl::string_view text) {
  const absl::StatusOr<struct stat> there = os::Lstat(path);
  if (!there.ok() || S_ISREG(there->st_mode)) return os::WriteFileAtomic(path, text, 0644);
  ASSIGN_OR_RETURN(const UniqueFd fd, os::Open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  return os::WriteAll(fd.get(), text, path);
}

// Known before anything runs: a place where WriteResult could not write.
absl::Status CheckResultFile(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  struct stat st;
  const bool there = ::stat(path.c_str(), &st) == 0;
  if (there && S_ISDIR(st.st_mode)) return ErrnoError(absl::StrCat("open ", path), EISDIR);
  const std::string written = there ? path : DirName(path);
  return ::access(written.c_str(), W_OK) == 0 ? absl::OkStatus() : ErrnoError(absl::StrCat("open ", path));
}

absl::Status WriteResults(const BuildOptions& options, const SolveOutcome& outcome, const std::string& ref) {
  if (!options.metadata_file.empty()) {
    RETURN_IF_ERROR(WriteResult(options.metadata_file, FormatMetadata(outcome.exporter_response, ref)));
  }
  const std::string id = ImageId(outcome.exporter_response);
  if (!options.iid_file.empty()) {
    RETURN_IF_ERROR(WriteResult(options.iid_file, id));
  }
  if (options.quiet && !id.empty()) {
    std::cout << id << std::endl;
  }
  return absl::OkStatus();
}

// One build's parts, in the order in which they are made.
class BuildCommand {
 private:
  // What `work` returns; the progress that it tells is displayed meanwhile.
  template <typename Work>
  auto Shown(Work work) {
    const auto output = progress::NewFdOutput(STDERR_FILENO);
    const progress::Mode mode = DisplayMode(mode_, options_.quiet);
    progress::LiveDisplay display(progress::NewDisplay(mode, output.get(), &Clock::System(),
                                                       progress::OptionsFromEnvironment([](const char* name) { return std::getenv(name); })));
    auto outcome = work([&](const build::ProgressBatch& batch) { display.Update(batch); });
    display.Finish();
    return outcome;
  }

 public:
  explicit BuildCommand(const BuildOptions& options) : options_(options) {}

  // The exit code.
  absl::StatusOr<int> Run(const ConnectOptions& connect, daemon::StopSignal& signal) {
    RETURN_IF_ERROR(Prepare());
    offers_.stop_fd = signal.fd();
    ASSIGN_OR_RETURN(const auto attachables, Attachables::Create(std::move(offers_)));
    ConnectOptions stoppable = connect;
    stoppable.stop_fd = signal.fd();
    ASSIGN_OR_RETURN(const auto connection, Connect(stoppable));
    if (context_.upload) {
      (*request_.mutable_frontendattrs())["context"] = attachables->AddUpload(std::move(context_.upload));
    }
    const InterruptWatch interrupt(signal);
    if (!call_.name.empty()) {
      ASSIGN_OR_RETURN(const auto answer, Shown([&](const auto& on_progress) {
                         return Ask(call_, *connection, request_, *attachables, on_progress, interrupt.token());
                       }));
      return PrintAnswer(call_, answer, std::cout);
    }
    ASSIGN_OR_RETURN(const SolveOutcome outcome,
                     Shown([&](const auto& on_progress) { return Solve(*connection, request_, *attachables, on_progress, interrupt.token()); }));
    RETURN_IF_ERROR(layouts_.NameResults(outcome.exporter_response));
    RETURN_IF_ERROR(WriteResults(options_, outcome, request_.ref()));
    return 0;
  }

 private:
  absl::Status Prepare() {
    ASSIGN_OR_RETURN(mode_, progress::ParseMode(options_.progress));
    ASSIGN_OR_RETURN(call_, ParseCall(options_.check ? "check" : options_.call));
    for (const std::string& path : {options_.metadata_file, options_.iid_file}) RETURN_IF_ERROR(CheckResultFile(path));
    ASSIGN_OR_RETURN(const std::vector<OutputSpec> outputs, CollectOutputs(options_));
    ASSIGN_OR_RETURN(request_, MakeRequest(options_, outputs));
    request_.set_ref(RandomId());
    if (const char* policy = std::getenv(kSourcePolicyVariable); policy != nullptr && *policy != '\0') {
      ASSIGN_OR_RETURN(*request_.mutable_sourcepolicy(), ReadSourcePolicy(policy));
    }
    ASSIGN_OR_RETURN(context_, OpenContext(options_, STDIN_FILENO));
    request_.mutable_frontendattrs()->insert(context_.attrs.begin(), context_.attrs.end());
    RETURN_IF_ERROR(layouts_.AddCaches(*request_.mutable_cache()));
    ASSIGN_OR_RETURN(offers_, Offers(options_, context_, outputs, layouts_));
    if (outputs.empty() && options_.outputs.empty() && !options_.quiet && call_.name.empty()) {
      std::cerr << "WARNING: No output specified: the result only remains in the build cache. Use --output, --push or --load.\n";
    }
    return absl::OkStatus();
  }

  const BuildOptions& options_;
  progress::Mode mode_ = progress::Mode::kAuto;
  Call call_;
  control::SolveRequest request_;
  BuildContext context_;
  LayoutUses layouts_;
  AttachOptions offers_;
};

}  // namespace

int RunBuild(const BuildOptions& options, const ConnectOptions& connect) {
  daemon::StopSignal signal;
  const absl::StatusOr<int> code = BuildCommand(options).Run(connect, signal);
  if (code.ok()) {
    return *code;
  }
  std::cerr << FormatFailure(code.status());
  return absl::IsCancelled(code.status()) ? kInterrupted : kFailed;
}

}  // namespace cachalot::client
