#include "dockerfile/compile/named_context.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "cachalot/llb/source.h"
#include "dockerfile/compile/git_ref.h"
#include "dockerfile/compile/ignore_file.h"
#include "dockerfile/shell/quote.h"
#include "nlohmann/json.hpp"
#include "oci/reference.h"

namespace cachalot::dockerfile {
namespace {

constexpr absl::string_view kIgnoreFile = ".dockerignore";
constexpr absl::string_view kLocalScheme = "local://";
constexpr int kMaxReplacements = 10;  // of a context's source by policies

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

}  // namespace

absl::StatusOr<std::optional<NamedContext>> NamedContext::Find(BuildContext& build, ImageResolver& images, const std::string& name,
                                                               NamedContextOptions options) {
  if (absl::EqualsIgnoreCase(name, "scratch") || absl::EqualsIgnoreCase(name, "context")) return std::nullopt;
  const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(name);
  if (!reference.ok()) return Annotate(reference.status(), absl::StrCat("invalid context name ", name));
  const std::string familiar(absl::StripSuffix(reference->familiar(), ":latest"));
  const oci::Platform platform = options.platform.has_value() ? *options.platform : build.bridge().default_platform();
  const std::string with_platform = absl::StrCat(familiar, "::", oci::FormatPlatform(platform, /*with_version=*/true));
  for (const std::string& key : {with_platform, familiar}) {
    if (build.options().contains(absl::StrCat("context:", key))) return NamedContext(build, images, familiar, key, std::move(options));
  }
  return std::nullopt;
}

std::string NamedContext::Named(absl::string_view what) const { return absl::StrCat("[context ", key_, "] ", what); }

absl::StatusOr<NamedContext::Loaded> NamedContext::Load() const {
  std::string input = Option(build_->options(), absl::StrCat("context:", key_));
  for (int i = 0; i <= kMaxReplacements; ++i) {
    const absl::StatusOr<Loaded> loaded = LoadFrom(input);
    const auto other = loaded.status().GetPayload(llb::kOtherSourcePayload);
    if (!other.has_value()) return loaded;
    input = std::string(*other);
    if (absl::StartsWith(input, kLocalScheme)) input.erase(kLocalScheme.find("//"), 2);
  }
  return Invalid("context recursion limit exceeded; this may indicate a cycle in the provided source policies: ", input);
}

absl::StatusOr<NamedContext::Loaded> NamedContext::LoadFrom(const std::string& input) const {
  const std::size_t colon = input.find(':');
  if (colon == std::string::npos) return Invalid("invalid context specifier ", input, " for ", key_);
  std::string kind = input.substr(0, colon);
  const std::string rest = input.substr(colon + 1);
  const std::string path(absl::StripPrefix(rest, "//"));
  if (absl::StartsWith(kind, "git@")) kind = "git";
  if (kind == "docker-image") return LoadImage(path);
  if (kind == "oci-layout") return LoadOciLayout(path);
  if (kind == "local") return LoadLocal(rest);
  if (kind == "input") return LoadInput(rest);
  if (kind != "git" && kind != "http" && kind != "https") return Invalid("unsupported context source ", kind, " for ", key_);
  ASSIGN_OR_RETURN(const std::optional<llb::State> git, GitContext(input, std::nullopt, /*commit_times=*/false));
  if (git.has_value()) return Loaded{*git, std::nullopt};
  if (kind == "git") return Invalid("invalid git context ", input);
  llb::HttpOptions options;
  options.filename = "context";
  options.constraints = llb::Constraints().Named(Named(input));
  return Loaded{llb::Http(input, options), std::nullopt};
}

absl::StatusOr<NamedContext::Loaded> NamedContext::LoadImage(const std::string& ref) const {
  if (ref == "scratch") return Loaded{llb::Scratch(), std::nullopt};
  ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::ParseNormalized(ref));
  llb::ResolveOptions resolve;
  resolve.platform = options_.platform;
  resolve.resolve_mode = options_.resolve_mode;
  resolve.log_name = Named(absl::StrCat("load metadata for ", ref));
  ASSIGN_OR_RETURN(const llb::ResolvedImage resolved, images_->Resolve(reference.str(), resolve));
  ASSIGN_OR_RETURN(oci::ImageConfig image, oci::ParseImageConfig(resolved.config));
  image.created.reset();
  llb::ImageOptions options;
  options.constraints.Named(Named(ref));
  if (options_.platform.has_value()) options.constraints.For(*options_.platform);
  ASSIGN_OR_RETURN(llb::State state, llb::Image(resolved.ref, options).WithImageConfig(resolved.config));
  return Loaded{std::move(state), std::move(image)};
}

absl::StatusOr<NamedContext::Loaded> NamedContext::LoadOciLayout(const std::string& ref) const {
  const std::size_t at = ref.find('@');
  std::string store = ref.substr(0, at);
  const std::size_t name_start = store.rfind('/') + 1;
  store.resize(std::min(store.size(), store.find(':', name_start)));  // without a tag
  if (at == std::string::npos) return Invalid("oci-layout reference ", GoQuote(ref), " has no digest");
  const absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(absl::string_view(ref).substr(at + 1));
  if (!digest.ok()) return Annotate(digest.status(), absl::StrCat("could not parse oci-layout reference ", GoQuote(ref)));
  // People know the image by the name of the context; the digest says which one it is.
  absl::StatusOr<oci::Reference> shown = oci::Reference::ParseNormalized(name_);
  if (!shown.ok()) return Annotate(shown.status(), absl::StrCat("could not parse oci-layout reference ", GoQuote(name_)));
  if (!absl::StrContains(absl::string_view(name_).substr(name_.rfind('/') + 1), ":")) shown->tag.clear();
  shown->digest = *digest;

  llb::ResolveOptions resolve;
  resolve.platform = options_.platform;
  resolve.store_id = store;
  resolve.log_name = Named(absl::StrCat("load metadata for ", shown->str()));
  ASSIGN_OR_RETURN(const llb::ResolvedImage resolved, images_->Resolve(shown->str(), resolve));
  absl::StatusOr<oci::ImageConfig> image = oci::ParseImageConfig(resolved.config);
  if (!image.ok()) return Annotate(image.status(), "could not parse oci-layout image config");
  llb::OciLayoutOptions options;
  options.session_id = build_->bridge().session();
  options.store_id = store;
  options.constraints.Named(Named("OCI load from client"));
  if (options_.platform.has_value()) options.constraints.For(*options_.platform);
  ASSIGN_OR_RETURN(llb::State state, llb::OciLayout(shown->str(), options).WithImageConfig(resolved.config));
  return Loaded{std::move(state), *std::move(image)};
}

absl::StatusOr<NamedContext::Loaded> NamedContext::LoadLocal(const std::string& name) const {
  llb::LocalOptions ignore;
  ignore.session_id = build_->SessionOf(name);
  ignore.follow_paths = {std::string(kIgnoreFile)};
  ignore.shared_key_hint = absl::StrCat("context:", key_, "-", kIgnoreFile);
  ignore.differ = "none";
  ignore.constraints.Named(Named(absl::StrCat("load ", kIgnoreFile)));
  ASSIGN_OR_RETURN(const llb::RefPtr ref, build_->Solve(llb::Local(name, ignore), /*evaluate=*/true));

  llb::LocalOptions options;
  options.session_id = build_->SessionOf(name);
  ASSIGN_OR_RETURN(const std::optional<std::string> text, build_->ReadIgnoreFile(ref, std::string(kIgnoreFile)));
  ASSIGN_OR_RETURN(options.exclude_patterns, ParseIgnoreFile(Named(kIgnoreFile), text.value_or("")));
  options.shared_key_hint = absl::StrCat("context:", key_, "-", Option(build_->options(), absl::StrCat("sharedkey:localdir:", key_)));
  options.constraints.Named(Named("load from client"));
  return Loaded{llb::Local(name,
                           [options, paths = options_.paths] {
                             llb::LocalOptions with_paths = options;
                             if (paths != nullptr) with_paths.follow_paths = FollowPaths(*paths);
                             return with_paths;
                           }),
                std::nullopt};
}

absl::StatusOr<NamedContext::Loaded> NamedContext::LoadInput(const std::string& name) const {
  if (!build_->inputs().contains(name)) return Invalid("invalid input ", name, " for ", key_);
  ASSIGN_OR_RETURN(llb::State state, build_->InputState(name));
  const std::string& metadata = Option(build_->options(), absl::StrCat("input-metadata:", name));
  if (metadata.empty()) return Loaded{std::move(state), std::nullopt};
  const nlohmann::json json = nlohmann::json::parse(metadata, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Invalid("failed to parse input metadata ", metadata);
  const auto member = json.find("containerimage.config");
  std::string config;
  if (member == json.end() || !member->is_string()) return Loaded{std::move(state), std::nullopt};
  if (!absl::Base64Unescape(member->get<std::string>(), &config)) return Invalid("failed to parse input metadata ", metadata);
  ASSIGN_OR_RETURN(state, state.WithImageConfig(config));
  absl::StatusOr<oci::ImageConfig> image = oci::ParseImageConfig(config);
  if (!image.ok()) return Annotate(image.status(), absl::StrCat("failed to parse image config for ", key_));
  return Loaded{std::move(state), *std::move(image)};
}

}  // namespace cachalot::dockerfile
