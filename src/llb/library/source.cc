#include "cachalot/llb/source.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/path.h"
#include "base/status.h"
#include "llb/library/git_url.h"
#include "llb/library/node.h"
#include "oci/go_json.h"
#include "oci/reference.h"

namespace cachalot::llb {
namespace {

class SourceNode : public Node {
 public:
  SourceNode(SourceOp op, Constraints constraints, absl::Status error)
      : Node({}, std::move(constraints)), op_(std::move(op)), error_(std::move(error)) {}

  std::optional<oci::Platform> OutputPlatform() const override { return constraints().platform; }

  absl::Status Assemble(const MarshalOptions& options, const std::vector<Edge>&, Vertex& vertex) const override {
    if (!error_.ok()) return error_;
    if (op_.identifier.empty()) return absl::InvalidArgumentError("source identifier can't be empty");
    SourceOp op = op_;
    if (absl::StartsWith(op.identifier, "local://") && !op.attrs.contains("local.session") && !options.local_unique_id.empty()) {
      op.attrs["local.unique"] = options.local_unique_id;
      RequireCap("source.local.unique", vertex);
    }
    const bool for_platform = absl::StartsWith(op.identifier, "docker-image://") || absl::StartsWith(op.identifier, "oci-layout://");
    if (!for_platform) vertex.platform.reset();
    vertex.op = std::move(op);
    return absl::OkStatus();
  }

 private:
  SourceOp op_;
  absl::Status error_;
};

// A directory of the client whose options are known only when the graph is assembled.
class DecidedLocalNode : public Node {
 public:
  DecidedLocalNode(std::string name, std::function<LocalOptions()> decide) : Node({}, {}), name_(std::move(name)), decide_(std::move(decide)) {}

  absl::Status Assemble(const MarshalOptions& options, const std::vector<Edge>& inputs, Vertex& vertex) const override {
    const State decided = Local(name_, decide_());
    const Constraints& constraints = decided.output().node->constraints();
    for (const auto& [key, value] : constraints.metadata.description) vertex.metadata.description[key] = value;
    for (const auto& [cap, required] : constraints.metadata.caps) vertex.metadata.caps[cap] = required;
    vertex.locations = constraints.locations;
    return decided.output().node->Assemble(options, inputs, vertex);
  }

 private:
  const std::string name_;
  const std::function<LocalOptions()> decide_;
};

// Collects what options say, with the capabilities that the daemon needs for it.
class SourceBuilder {
 public:
  SourceBuilder(const Constraints& constraints, absl::string_view cap) : constraints_(constraints) { Require(cap); }

  void Require(absl::string_view cap) { constraints_.metadata.caps[std::string(cap)] = true; }
  // Empty values and caps are left out.
  void Set(absl::string_view attr, absl::string_view value, absl::string_view cap = "") {
    if (value.empty()) return;
    attrs_[std::string(attr)] = std::string(value);
    if (!cap.empty()) Require(cap);
  }
  void SetList(absl::string_view attr, const std::vector<std::string>& values, absl::string_view cap) {
    if (!values.empty()) Set(attr, oci::DumpGo(oci::Json(values)), cap);
  }
  void SetFlag(absl::string_view attr, bool value, absl::string_view cap) {
    if (value) Set(attr, "true", cap);
  }
  State Build(std::string identifier, absl::Status error = absl::OkStatus()) {
    auto node = std::make_shared<SourceNode>(SourceOp{std::move(identifier), std::move(attrs_)}, std::move(constraints_), std::move(error));
    return State(Output{std::move(node), 0});
  }

 private:
  Constraints constraints_;
  std::map<std::string, std::string> attrs_;
};

std::string NumberOrEmpty(const std::optional<int>& number) { return number ? absl::StrCat(*number) : ""; }

void SetGitTransport(const GitUrl& url, const GitOptions& options, SourceBuilder& source) {
  if (url.scheme != "ssh") return;
  source.Set("git.knownsshhosts", options.known_ssh_hosts);
  source.Require("source.git.knownsshhosts");
  source.Set("git.mountsshsock", options.ssh_socket.empty() ? "default" : options.ssh_socket, "source.git.mountsshsock");
}

// The same repository has the same identifier whatever the transport.
std::string GitIdentifier(const GitUrl& url, const GitOptions& options) {
  std::string id = absl::StrCat(url.host, JoinPath("/", url.path));
  const std::string joined = JoinPath("/", options.subdir);
  const absl::string_view subdir = absl::string_view(joined).substr(1);
  if (!options.ref.empty() || !subdir.empty()) absl::StrAppend(&id, "#", options.ref);
  if (!subdir.empty()) absl::StrAppend(&id, ":", subdir);
  return id;
}

}  // namespace

State Image(absl::string_view ref, const ImageOptions& options) {
  SourceBuilder source(options.constraints, "source.image");
  if (options.resolve_mode == ResolveMode::kForcePull) {
    // Only this mode needs the daemon to know it: the others are about speed, this one about trust.
    source.Set("image.resolvemode", "pull", "source.image.resolvemode");
  } else if (options.resolve_mode == ResolveMode::kPreferLocal) {
    source.Set("image.resolvemode", "local");
  }
  if (!options.record_type.empty()) source.Set("image.recordtype", options.record_type);
  source.Set("image.layerlimit", NumberOrEmpty(options.layer_limit), "source.image.layerlimit");
  source.Set("image.checksum", options.checksum, "source.image.checksum");
  const absl::StatusOr<oci::Reference> parsed = oci::Reference::ParseNormalized(ref);
  return source.Build(absl::StrCat("docker-image://", parsed.ok() ? parsed->str() : ref), parsed.status());
}

State Local(absl::string_view name, const LocalOptions& options) {
  SourceBuilder source(options.constraints, "source.local");
  source.Set("local.session", options.session_id, "source.local.sessionid");
  source.SetList("local.includepattern", options.include_patterns, "source.local.includepatterns");
  source.SetList("local.followpaths", options.follow_paths, "source.local.followpaths");
  source.SetList("local.excludepatterns", options.exclude_patterns, "source.local.excludepatterns");
  source.Set("local.sharedkeyhint", options.shared_key_hint, "source.local.sharedkeyhint");
  source.Set("local.differ", options.differ, options.differ_required ? "source.local.differ" : "");
  if (options.metadata_only) {
    source.SetFlag("local.metadatatransfer", true, "source.local.metadatatransfer");
    source.SetList("local.metadatatransferexclude", options.metadata_only_exceptions, "");
  }
  return source.Build(absl::StrCat("local://", name));
}

State Local(absl::string_view name, std::function<LocalOptions()> decide) {
  return State(Output{std::make_shared<DecidedLocalNode>(std::string(name), std::move(decide)), 0});
}

State Git(absl::string_view url, const GitOptions& options) {
  SourceBuilder source(options.constraints, "source.git");
  std::string full(url);
  std::optional<GitUrl> parsed = ParseGitUrl(full);
  if (!parsed && !HasScheme(full)) {
    full = absl::StrCat("https://", url);
    parsed = ParseGitUrl(full);
  }
  source.SetFlag("git.keepgitdir", options.keep_git_dir, "source.git.keepgitdir");
  source.Set("git.fullurl", parsed ? parsed->remote : full, "source.git.fullurl");
  const bool auth_chosen = options.auth_token_secret || options.auth_header_secret;
  source.Set("git.authtokensecret", options.auth_token_secret.value_or("GIT_AUTH_TOKEN"), auth_chosen ? "source.git.httpauth" : "");
  source.Set("git.authheadersecret", options.auth_header_secret.value_or("GIT_AUTH_HEADER"), auth_chosen ? "source.git.httpauth" : "");
  if (parsed) SetGitTransport(*parsed, options, source);
  source.Set("git.checksum", options.checksum, "source.git.checksum");
  source.SetFlag("git.skipsubmodules", options.skip_submodules, "source.git.skipsubmodules");
  source.Set("git.mtime", options.mtime, "source.git.mtime");
  source.SetFlag("git.fetchbycommit", options.fetch_by_commit, "source.git.fetchbycommit");
  source.Set("git.bundle", options.bundle, "source.git.bundle");
  source.Set("oci.session", options.bundle_session_id);
  source.Set("oci.store", options.bundle_store_id);
  source.SetFlag("git.checkoutbundle", options.checkout_bundle, "source.git.checkoutbundle");
  // An address that cannot be read is left to the daemon, whose fetch reports it with the place in the source.
  return source.Build(absl::StrCat("git://", parsed ? GitIdentifier(*parsed, options) : full));
}

State Http(absl::string_view url, const HttpOptions& options) {
  SourceBuilder source(options.constraints, "source.http");
  source.Set("http.checksum", options.checksum, "source.http.checksum");
  source.Set("http.filename", options.filename);
  if (options.mode != 0) source.Set("http.perm", absl::StrFormat("0%o", options.mode & 0777), "source.http.perm");
  if (options.uid != 0) source.Set("http.uid", absl::StrCat(options.uid), "soruce.http.uidgid");
  if (options.gid != 0) source.Set("http.gid", absl::StrCat(options.gid), "soruce.http.uidgid");
  source.Set("http.authheadersecret", options.auth_header_secret, "source.http.auth");
  source.Set("http.header.accept", options.accept, "source.http.header");
  source.Set("http.header.user-agent", options.user_agent, "source.http.header");
  source.Set("http.sig.pubkey", options.public_key, "source.http.signatureverify");
  source.Set("http.sig.signature", options.signature, "source.http.signatureverify");
  return source.Build(std::string(url));
}

State OciLayout(absl::string_view ref, const OciLayoutOptions& options) {
  SourceBuilder source(options.constraints, "source.ocilayout");
  source.Set("oci.session", options.session_id);
  source.Set("oci.store", options.store_id);
  source.Set("oci.layerlimit", NumberOrEmpty(options.layer_limit));
  return source.Build(absl::StrCat("oci-layout://", ref));
}

State Source(absl::string_view identifier, std::map<std::string, std::string> attrs, const Constraints& constraints) {
  auto node = std::make_shared<SourceNode>(SourceOp{std::string(identifier), std::move(attrs)}, constraints, absl::OkStatus());
  return State(Output{std::move(node), 0});
}

}  // namespace cachalot::llb
