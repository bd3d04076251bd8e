#include "daemon/command_line.h"

#include <CLI/CLI.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "daemon/address.h"
#include "daemon/version.h"

namespace cachalot::daemon {

namespace {

constexpr char kBuildkitRoot[] = "/var/lib/buildkit";
constexpr char kBuildkitAddress[] = "unix:///run/buildkit/buildkitd.sock";

// What was given; unset values leave the configuration file's alone.
struct Flags {
  std::string config = kDefaultConfigFile;
  std::optional<std::string> root, log_level, log_format, group, tls_cert, tls_key, tls_ca;
  std::optional<std::string> oci_worker, containerd_worker, snapshotter, network, cni_config, cni_binaries, binary, apparmor, keep_storage;
  std::vector<std::string> addresses, entitlements, labels, platforms, cdi_spec_dirs;
  bool debug = false, trace = false, gc = true, selinux = false, rootless = false, version = false, cdi_disabled = false, proxy_network = false;
  int max_parallelism = 0, cni_pool_size = 0;
};

// Flags of buildkitd that mean something for parts that do not exist here.
struct IgnoredFlags {
  std::vector<std::string> values;
  bool flag = false;
};

std::vector<std::string> SplitLists(const std::vector<std::string>& values) {
  std::vector<std::string> all;
  for (const std::string& value : values) {
    for (absl::string_view part : absl::StrSplit(value, ',', absl::SkipEmpty())) all.emplace_back(part);
  }
  return all;
}

void AddGeneralFlags(CLI::App& app, Flags& flags) {
  app.add_option("--config", flags.config, "path to config file")->capture_default_str();
  app.add_flag("--debug", flags.debug, "enable debug output in logs");
  app.add_flag("--trace", flags.trace, "the same: the log knows no finer level");
  app.add_option("--root", flags.root, "path to state directory");
  app.add_option("--addr", flags.addresses, "listening address (unix://, tcp:// or fd://), repeatable")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--log-level", flags.log_level, "error, warn, info or debug")->envname("BUILDKITD_LOG_LEVEL");
  app.add_option("--log-format", flags.log_format, "text");
  app.add_option("--group", flags.group, "group (name or gid) which will own all Unix socket listening addresses");
  app.add_option("--tlscert", flags.tls_cert, "certificate file to use");
  app.add_option("--tlskey", flags.tls_key, "key file to use");
  app.add_option("--tlscacert", flags.tls_ca, "ca certificate to verify clients");
  app.add_option("--allow-insecure-entitlement", flags.entitlements, "allows insecure entitlements: network.host, security.insecure, device")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("-v,--version", flags.version, "print the version");
}

void AddWorkerFlags(CLI::App& app, Flags& flags) {
  const auto list = [&](const char* name, std::vector<std::string>& target, const char* help) {
    app.add_option(name, target, help)->expected(1)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  app.add_option("--oci-worker", flags.oci_worker, "enable oci workers (true/false/auto)");
  list("--oci-worker-labels", flags.labels, "user-specific annotation labels (com.example.foo=bar)");
  app.add_option("--oci-worker-snapshotter", flags.snapshotter, "name of snapshotter: overlayfs, native (copies) or auto");
  list("--oci-worker-platform", flags.platforms, "override supported platforms for worker");
  app.add_option("--oci-worker-net", flags.network, "worker network type (auto, bridge, cni or host)");
  app.add_option("--oci-cni-config-path", flags.cni_config, "path of cni config file");
  app.add_option("--oci-cni-binary-dir", flags.cni_binaries, "path of cni binary files");
  app.add_option("--oci-cni-pool-size", flags.cni_pool_size, "size of cni network namespace pool");
  app.add_flag("--cdi-disabled", flags.cdi_disabled, "disables support of the Container Device Interface (CDI)");
  list("--cdi-spec-dir", flags.cdi_spec_dirs, "list of directories to scan for CDI spec files");
  app.add_flag("--proxy-network", flags.proxy_network, "let steps reach the network through a proxy only");
  app.add_option("--oci-worker-binary", flags.binary, "name of specified oci worker binary");
  app.add_option("--oci-worker-apparmor-profile", flags.apparmor, "set the name of the apparmor profile applied to containers");
  app.add_flag("--oci-worker-selinux", flags.selinux, "apply SELinux labels");
  app.add_option("--oci-max-parallelism", flags.max_parallelism, "limit the number of build steps that run at the same time");
  app.add_flag("--oci-worker-gc", flags.gc, "enable automatic garbage collection");
  app.add_option("--oci-worker-gc-keepstorage", flags.keep_storage, "storage that is kept, \"Reserved[,Free[,Maximum]]\" (MB)");
  app.add_flag("--rootless,--oci-worker-rootless", flags.rootless, "rootless mode (not supported)");
  app.add_option("--containerd-worker", flags.containerd_worker, "enable containerd workers (not supported: false or auto)");
}

void AddIgnoredFlags(CLI::App& app, IgnoredFlags& ignored) {
  for (const char* name : {"--debugaddr", "--otel-socket-path", "--oci-worker-proxy-snapshotter-path", "--containerd-worker-addr",
                           "--containerd-worker-labels", "--containerd-worker-net", "--containerd-cni-config-path", "--containerd-cni-binary-dir",
                           "--containerd-cni-pool-size", "--containerd-worker-snapshotter", "--containerd-worker-apparmor-profile",
                           "--containerd-max-parallelism", "--containerd-worker-gc-keepstorage"}) {
    app.add_option(name, ignored.values, "accepted without effect")
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->group("");
  }
  for (const char* name : {"--save-cache-debug", "--containerd-worker-selinux", "--containerd-worker-rootless", "--containerd-worker-gc",
                           "--oci-worker-no-process-sandbox"}) {
    app.add_flag(name, ignored.flag, "accepted without effect")->group("");
  }
}

absl::StatusOr<std::optional<bool>> BoolOrAuto(const std::string& flag, const std::string& text) {
  if (text == "auto") return std::optional<bool>();
  for (const char* yes : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == yes) return std::optional(true);
  }
  for (const char* no : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == no) return std::optional(false);
  }
  return absl::InvalidArgumentError(absl::StrCat(flag, ": \"", text, "\" is not true, false or auto"));
}

void Override(const std::optional<std::string>& flag, std::string& target) {
  if (flag.has_value()) target = *flag;
}

absl::Status ApplyWorkerFlags(const CLI::App& app, const Flags& flags, Settings& settings) {
  if (flags.rootless) {
    return absl::UnimplementedError("rootless mode isn't supported");
  }
  if (flags.oci_worker.has_value()) {
    ASSIGN_OR_RETURN(settings.oci_worker, BoolOrAuto("--oci-worker", *flags.oci_worker));
  }
  if (flags.containerd_worker.has_value()) {
    ASSIGN_OR_RETURN(settings.containerd_worker, BoolOrAuto("--containerd-worker", *flags.containerd_worker));
  }
  for (const std::string& label : SplitLists(flags.labels)) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (!absl::StrContains(label, '=')) {
      return absl::InvalidArgumentError(absl::StrCat("--oci-worker-labels: \"", label, "\" is not name=value"));
    }
    settings.engine.worker_labels[parts.first] = parts.second;
  }
  Override(flags.snapshotter, settings.snapshotter);
  Override(flags.network, settings.network_mode);
  Override(flags.cni_config, settings.cni.config_path);
  Override(flags.cni_binaries, settings.cni.plugin_dir);
  if (app.count("--oci-cni-pool-size") > 0) settings.cni.pool_size = flags.cni_pool_size;
  if (app.count("--proxy-network") > 0) settings.engine.proxy_network = flags.proxy_network;
  if (app.count("--cdi-disabled") > 0) settings.engine.cdi.disabled = flags.cdi_disabled;
  if (!flags.cdi_spec_dirs.empty()) settings.engine.cdi.spec_dirs = SplitLists(flags.cdi_spec_dirs);
  Override(flags.binary, settings.engine.runtime.binary);
  Override(flags.apparmor, settings.engine.runtime.apparmor_profile);
  if (!flags.platforms.empty()) settings.platforms = SplitLists(flags.platforms);
  if (app.count("--oci-worker-selinux") > 0) settings.engine.runtime.selinux = flags.selinux;
  if (app.count("--oci-max-parallelism") > 0) settings.engine.max_parallelism = flags.max_parallelism;
  if (app.count("--oci-worker-gc") > 0) settings.engine.gc = flags.gc;
  if (flags.keep_storage.has_value()) {
    ASSIGN_OR_RETURN(settings.limits, ParseKeepStorage(*flags.keep_storage));
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const CLI::App& app, const Flags& flags, Settings& settings) {
  Override(flags.root, settings.root);
  Override(flags.log_level, settings.log_level);
  if (flags.debug || flags.trace) settings.log_level = "debug";
  if (!flags.addresses.empty()) settings.server.addresses = SplitLists(flags.addresses);
  if (!flags.entitlements.empty()) settings.entitlements = SplitLists(flags.entitlements);
  Override(flags.tls_cert, settings.server.tls_cert);
  Override(flags.tls_key, settings.server.tls_key);
  Override(flags.tls_ca, settings.server.tls_ca);
  if (flags.group.has_value() && !flags.group->empty()) {
    ASSIGN_OR_RETURN(settings.server.socket_gid, GroupId(*flags.group));
  }
  if (flags.log_format.value_or("text") != "text") settings.ignored.push_back("--log-format");
  return ApplyWorkerFlags(app, flags, settings);
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  CommandLine result;
  Flags flags;
  IgnoredFlags ignored;
  const bool as_buildkitd = argc > 0 && absl::EndsWith(argv[0], "buildkitd");
  CLI::App app("build daemon", as_buildkitd ? "buildkitd" : "cachalotd");
  AddGeneralFlags(app, flags);
  AddWorkerFlags(app, flags);
  AddIgnoredFlags(app, ignored);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    result.print = app.help();
    return result;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (flags.version) {
    result.print = absl::StrCat(app.get_name(), " ", kPackage, " ", kVersion, " (speaks BuildKit ", kProtocolVersion, ")\n");
    return result;
  }
  Settings& settings = result.settings;
  RETURN_IF_ERROR(LoadConfig(flags.config, settings));
  RETURN_IF_ERROR(ApplyFlags(app, flags, settings));
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty() && option->count() > 0) settings.ignored.push_back("--" + option->get_lnames().front());
  }
  RETURN_IF_ERROR(FinishSettings(as_buildkitd ? kBuildkitRoot : kDefaultRoot, as_buildkitd ? kBuildkitAddress : kDefaultAddress, settings));
  return result;
}

}  // namespace cachalot::daemon
