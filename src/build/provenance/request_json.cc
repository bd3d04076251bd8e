#include "build/provenance/request_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/value_of.h"
#include "dockerfile/compile/git_ref.h"
#include "llb/definition.h"

namespace cachalot::build {
namespace {

using Json = nlohmann::ordered_json;
using Arguments = std::map<std::string, std::string>;

constexpr char kContext[] = "context";

// Arguments that say something about the build, not about this machine or this document.
Arguments PublicArguments(const Arguments& options) {
  static const std::set<std::string>* left_out = new std::set<std::string>{"cgroup-parent", "image-resolve-mode", "platform", "cache-imports"};
  std::string context_key = ValueOf(options, "contextkey");
  if (context_key.empty()) context_key = kContext;
  Arguments out;
  for (const auto& [name, value] : options) {
    if (left_out->count(name) > 0 || absl::StartsWith(name, "attest:")) continue;
    const bool address = name == context_key || absl::StartsWith(name, absl::StrCat(kContext, ":"));
    out[name] = address ? RedactUrl(value) : value;
  }
  return out;
}

// The repository's address with its ref and, if wanted, the directory in it; nothing for other addresses.
std::optional<std::string> GitAddress(const std::string& url, bool with_subdirectory) {
  const auto ref = dockerfile::ParseGitRef(url);
  if (!ref.ok() || !ref->has_value()) return std::nullopt;
  const std::string subdirectory = with_subdirectory ? RootedPath((*ref)->subdir).substr(1) : "";
  std::string out = (*ref)->remote;
  if (!(*ref)->ref.empty() || !subdirectory.empty()) absl::StrAppend(&out, "#", (*ref)->ref);
  if (!subdirectory.empty()) absl::StrAppend(&out, ":", subdirectory);
  return out;
}

// Where the recipe came from, with its digest if it is among the materials.
Json ConfigSource(const std::string& context, const Capture& capture) {
  Json source = Json::object();
  const std::string repository = GitAddress(context, /*with_subdirectory=*/false).value_or(context);
  for (const GitMaterial& git : capture.git) {
    if (git.url != repository) continue;
    source["uri"] = RedactUrl(GitAddress(context, /*with_subdirectory=*/true).value_or(context));
    source["digest"] = {{git.commit.size() == 64 ? "sha256" : "sha1", git.commit}};
    return source;
  }
  for (const HttpMaterial& http : capture.http) {
    if (http.url != repository) continue;
    source["uri"] = http.url;
    if (const auto digest = oci::Digest::Parse(http.digest); digest.ok()) {
      source["digest"] = {{std::string(digest->algorithm()), std::string(digest->hex())}};
    }
    return source;
  }
  source["uri"] = RedactUrl(context);
  return source;
}

// The requests that made the inputs. One that several different requests may have made is nobody's.
Json InputsJson(const FrontendRequest& request, const ProducerIndex& producers) {
  Json out = Json::object();
  for (const auto& [name, definition] : request.inputs) {
    const auto edge = llb::LoadDefinition(definition);
    if (!edge.ok() || edge->vertex == nullptr) continue;
    Json found;
    bool ambiguous = false;
    for (const auto& producer : producers.Find(edge->vertex->digest)) {
      Json json = ProducerJson(*producer, {}, /*with_root=*/false);
      ambiguous |= !found.is_null() && found != json;
      found = std::move(json);
    }
    if (!ambiguous && !found.is_null()) out[name] = std::move(found);
  }
  return out;
}

Json WithInputs(const FrontendRequest& request, const Capture& capture, const ProducerIndex& producers) {
  Json json = RequestJson(request, capture);
  if (Json inputs = InputsJson(request, producers); !inputs.empty()) json["request"]["inputs"] = std::move(inputs);
  return json;
}

}  // namespace

Json RequestJson(const FrontendRequest& request, const Capture& capture) {
  Arguments arguments = PublicArguments(request.options);
  std::string context_key = kContext;
  if (!ValueOf(arguments, "contextkey").empty()) {
    context_key = ValueOf(arguments, "contextkey");
  } else if (!ValueOf(arguments, "input:context").empty()) {
    context_key = "input:context";
  }
  Json source = Json::object();
  if (const std::string context = ValueOf(arguments, context_key); !context.empty()) {
    source = ConfigSource(context, capture);
    arguments.erase(context_key);
  }
  if (const std::string filename = ValueOf(arguments, "filename"); !filename.empty()) {
    source["path"] = filename;
    arguments.erase("filename");
  }
  Json body = Json::object();
  if (!request.frontend.empty()) body["frontend"] = request.frontend;
  for (const auto& [name, value] : arguments) body["args"][name] = value;
  return {{"configSource", std::move(source)}, {"request", std::move(body)}};
}

Json ProducerJson(const RequestTrace& producer, const Capture& capture, bool with_root) {
  if (!producer.request().has_value()) return RequestJson({}, capture);
  Json json = WithInputs(*producer.request(), capture, producer.producers());
  if (!with_root || producer.root().empty()) return json;
  Json root = WithInputs(producer.root(), capture, producer.producers());
  if (!root["request"].empty() && root != json) json["request"]["root"] = std::move(root);
  return json;
}

bool ScrubRequest(Json& request) {
  if (!request.is_object()) return false;
  bool incomplete = false;
  if (const auto args = request.find("args"); args != request.end()) {
    Json kept = Json::object();
    for (auto it = args->begin(); it != args->end(); ++it) {
      if (absl::StartsWith(it.key(), "build-arg:") || absl::StartsWith(it.key(), "label:")) {
        incomplete = true;
      } else {
        kept[it.key()] = *it;
      }
    }
    request["args"] = std::move(kept);
    if (request["args"].empty()) request.erase("args");
  }
  request.erase("secrets");
  request.erase("ssh");
  if (const auto inputs = request.find("inputs"); inputs != request.end()) {
    for (Json& input : *inputs) incomplete |= ScrubRequest(input["request"]);
  }
  if (const auto root = request.find("root"); root != request.end()) incomplete |= ScrubRequest((*root)["request"]);
  return incomplete;
}

}  // namespace cachalot::build
