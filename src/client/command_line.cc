#include "client/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/suggest.h"
#include "client/build_command.h"
#include "client/cache_commands.h"
#include "daemon/version.h"

namespace cachalot::client {

namespace {

constexpr int kUsageError = 125;  // as docker has it

// A flag that may be given again and again, one value each time.
void AddList(CLI::App& app, const char* names, std::vector<std::string>& target, const char* help) {
  app.add_option(names, target, help)->expected(1)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void AddConnectFlags(CLI::App& app, ConnectOptions& connect) {
  app.add_option("--addr", connect.address,
                 "daemon to use: unix://PATH or tcp://HOST:PORT (default: $BUILDKIT_HOST, else a daemon that listens "
                 "on the default socket, else the engine of the state directory)");
  app.add_option("--root", connect.root, "state directory of the engine without a daemon (default: $CACHALOT_ROOT, else /var/lib/cachalot)");
  app.add_option("--tlscacert", connect.tls_ca, "CA certificate for tcp:// daemons");
  app.add_option("--tlscert", connect.tls_cert, "client certificate");
  app.add_option("--tlskey", connect.tls_key, "client key");
  app.add_option("--tlsservername", connect.tls_server_name, "name that the daemon's certificate has");
}

void AddStepFlags(CLI::App& app, BuildOptions& build) {
  AddList(app, "--add-host", build.add_hosts, "add a custom host-to-IP mapping (host:ip)");
  AddList(app, "--allow", build.allow, "allow extra privileged entitlement (network.host, security.insecure)");
  app.add_option("--cgroup-parent", build.cgroup_parent, "parent cgroup for RUN instructions");
  app.add_option("--network", build.network, "networking mode for RUN instructions: default, host, none");
  AddList(app, "--secret", build.secrets, "secret to expose to the build (id=mysecret[,src=/local/secret][,env=NAME])");
  app.add_option("--shm-size", build.shm_size, "size of /dev/shm");
  AddList(app, "--ssh", build.ssh, "SSH agent socket or keys to expose to the build (default|id[=socket|key[,key]])");
  AddList(app, "--ulimit", build.ulimits, "ulimit options (nofile=1024:2048)");
}

void AddResultFlags(CLI::App& app, BuildOptions& build) {
  AddList(app, "--annotation", build.annotations, "add annotation to the image (key=value)");
  AddList(app, "--attest", build.attestations, "attestation parameters (type=sbom,generator=image)");
  app.add_option("--iidfile", build.iid_file, "write the image ID to a file");
  AddList(app, "--label", build.labels, "set metadata for an image (key=value)");
  app.add_flag("--load", build.load, "load the image into a Docker daemon (docker load)");
  app.add_option("--metadata-file", build.metadata_file, "write build result metadata to a file");
  AddList(app, "-o,--output", build.outputs, "output destination (type=local|tar|oci|docker|image|registry,dest=path), or a directory");
  app.add_option("--provenance", build.provenance, "provenance attestation: true, false or parameters");
  app.add_flag("--push", build.push, "push the image to its registry");
  app.add_option("--sbom", build.sbom, "SBOM attestation: true, false or parameters");
  AddList(app, "-t,--tag", build.tags, "name and optionally tag (name:tag)");
}

void AddBuildFlags(CLI::App& app, BuildOptions& build) {
  app.add_option("context", build.context, "PATH, URL or - (a tar archive or Dockerfile on stdin)")->required();
  AddList(app, "--build-arg", build.build_args, "set build-time variables (NAME=value, or NAME for the environment's)");
  AddList(app, "--build-context", build.build_contexts, "additional build contexts (name=path)");
  AddList(app, "--cache-from", build.cache_from, "external cache sources (user/app:cache, type=local,src=path/to/dir)");
  AddList(app, "--cache-to", build.cache_to, "cache export destinations (user/app:cache, type=local,dest=path/to/dir)");
  app.add_option("--call", build.call, "ask the frontend instead of building: check, outline, targets (NAME[,format=json])");
  app.add_flag("--check", build.check, "the same as --call=check");
  app.add_option("-f,--file", build.dockerfile, "name of the Dockerfile (default: PATH/Dockerfile; -: stdin)");
  app.add_flag("--no-cache", build.no_cache, "do not use cache when building the image");
  AddList(app, "--no-cache-filter", build.no_cache_filter, "do not cache these stages");
  AddList(app, "--platform", build.platforms, "set target platform for build");
  app.add_option("--progress", build.progress, "type of progress output: auto, plain, tty, rawjson, quiet")->envname("BUILDKIT_PROGRESS");
  app.add_flag("--pull", build.pull, "always attempt to pull all referenced images");
  app.add_flag("-q,--quiet", build.quiet, "suppress the build output and print the image ID on success");
  app.add_option("--target", build.target, "set the target build stage to build");
  AddStepFlags(app, build);
  AddResultFlags(app, build);
}

void AddPruneFlags(CLI::App& app, PruneOptions& prune, bool& force) {
  app.add_flag("-a,--all", prune.all, "include internal and frontend records");
  AddList(app, "--filter", prune.filters, "which records (until=24h, type=regular, id=..., shared, ...); all must pass");
  app.add_flag("-f,--force", force, "accepted: there is no prompt");
  app.add_option("--keep-duration", prune.keep_duration, "keep what was used within this time");
  app.add_option("--keep-storage,--reserved-space", prune.reserved_space, "disk space always allowed to keep for cache");
  app.add_option("--max-used-space", prune.max_used_space, "maximum disk space allowed for cache");
  app.add_option("--min-free-space", prune.min_free_space, "target amount of free disk space after pruning");
  app.add_flag("-v,--verbose", prune.verbose, "a more verbose output");
}

int ReportUnexpected(const CLI::App& command, const std::string& argument) {
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back(absl::StrCat("--", name));
  }
  const absl::Status status = absl::InvalidArgumentError(absl::StrCat("cachalot ", command.get_name(), ": unexpected argument ", argument));
  std::cerr << "ERROR: " << WithSuggestion(status, argument.substr(0, argument.find('=')), known).message() << "\n";
  return kUsageError;
}

int ReportUnknownCommand(const std::string& name) {
  const absl::Status status = absl::InvalidArgumentError(absl::StrCat("unknown command \"", name, "\""));
  std::cerr << "ERROR: " << WithSuggestion(status, name, {"build", "du", "prune"}).message() << "\n";
  return kUsageError;
}

int Report(const absl::Status& status) {
  if (!status.ok()) {
    std::cerr << "ERROR: " << status.message() << "\n";
  }
  return status.ok() ? 0 : 1;
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv) {
  ConnectOptions connect;
  BuildOptions build;
  DiskUsageOptions usage;
  PruneOptions prune;
  bool debug = false, version = false, force = false;
  CLI::App app("Builds container images.", "cachalot");
  app.fallthrough();
  AddConnectFlags(app, connect);
  app.add_flag("--debug,-D", debug, "log what the engine does");
  app.add_flag("--version", version, "print the version");
  CLI::App& build_command = *app.add_subcommand("build", "build an image from a Dockerfile");
  AddBuildFlags(build_command, build);
  CLI::App& usage_command = *app.add_subcommand("du", "disk usage of the build cache");
  AddList(usage_command, "--filter", usage.filters, "which records");
  usage_command.add_flag("-v,--verbose", usage.verbose, "a more verbose output");
  CLI::App& prune_command = *app.add_subcommand("prune", "remove build cache");
  AddPruneFlags(prune_command, prune, force);
  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    if (app.get_subcommands().empty()) return ReportUnknownCommand(app.remaining().front());
    return ReportUnexpected(*app.get_subcommands().front(), app.remaining(true).front());
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  }
  SetLogLevel(debug ? LogLevel::kDebug : LogLevel::kError);
  if (version) {
    std::cout << "cachalot " << daemon::kVersion << " (speaks BuildKit " << daemon::kProtocolVersion << ")\n";
    return 0;
  }
  if (build_command.parsed()) return RunBuild(build, connect);
  if (usage_command.parsed()) return Report(ShowDiskUsage(usage, connect));
  if (prune_command.parsed()) return Report(Prune(prune, connect));
  std::cout << app.help();
  return 0;
}

}  // namespace cachalot::client
