#include "build/provenance/capture.h"

#include <algorithm>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/value_of.h"
#include "oci/reference.h"

namespace cachalot::build {
namespace {

constexpr absl::string_view kMask = "xxxxx";

std::string NormalizedRef(const std::string& text) {
  const absl::StatusOr<oci::Reference> ref = oci::Reference::ParseNormalized(text);
  return ref.ok() ? ref->str() : text;
}

oci::Digest DigestOrNone(const std::string& text) {
  absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(text);
  return digest.ok() ? *std::move(digest) : oci::Digest();
}

void CaptureGit(const llb::SourceOp& source, absl::string_view rest, const std::string& pin, Capture& capture) {
  const std::size_t hash = std::min(rest.find('#'), rest.size());
  GitMaterial material;
  std::string remote = ValueOf(source.attrs, "git.fullurl");
  if (remote.empty()) remote = absl::StrCat("https://", rest.substr(0, hash));
  material.url = RedactUrl(remote);
  absl::string_view fragment = rest.substr(hash);
  absl::ConsumePrefix(&fragment, "#");
  const absl::string_view ref = fragment.substr(0, fragment.find(':'));
  if (!ref.empty()) absl::StrAppend(&material.url, "#", ref);
  material.commit = pin;
  material.bundle = ValueOf(source.attrs, "git.bundle");
  const auto same = [&](const GitMaterial& known) { return known.url == material.url && known.bundle == material.bundle; };
  if (std::none_of(capture.git.begin(), capture.git.end(), same)) capture.git.push_back(std::move(material));
  for (const char* name : {"git.authtokensecret", "git.authheadersecret"}) {
    if (const std::string id = ValueOf(source.attrs, name); !id.empty()) capture.AddSecret(id, /*optional=*/true);
  }
  if (const std::string id = ValueOf(source.attrs, "git.mountsshsock"); !id.empty()) capture.AddSsh(id, /*optional=*/true);
}

void CaptureSource(const llb::Vertex& vertex, const std::string& pin, Capture& capture) {
  const auto& source = std::get<llb::SourceOp>(vertex.op);
  const std::size_t colon = source.identifier.find("://");
  if (colon == std::string::npos) return;
  const absl::string_view scheme = absl::string_view(source.identifier).substr(0, colon);
  const absl::string_view rest = absl::string_view(source.identifier).substr(colon + 3);
  if (scheme == "docker-image" || scheme == "oci-layout") {
    capture.AddImage({NormalizedRef(std::string(rest)), vertex.platform, DigestOrNone(pin), scheme == "oci-layout"});
  } else if (scheme == "docker-image+blob" || scheme == "oci-layout+blob") {
    capture.blobs.push_back({std::string(rest), DigestOrNone(pin), scheme == "oci-layout+blob"});
  } else if (scheme == "git") {
    CaptureGit(source, rest, pin, capture);
  } else if (scheme == "http" || scheme == "https") {
    capture.AddHttp({RedactUrl(source.identifier), pin});
  } else if (scheme == "local") {
    capture.locals.insert(std::string(rest));
  }
}

void CaptureExec(const llb::ExecOp& exec, Capture& capture) {
  for (const llb::Mount& mount : exec.mounts) {
    if (mount.type == llb::MountType::kSecret) capture.AddSecret(mount.secret.id, mount.secret.optional);
    if (mount.type == llb::MountType::kSsh) capture.AddSsh(mount.ssh.id, mount.ssh.optional);
  }
  for (const llb::SecretEnv& secret : exec.secret_env) capture.AddSecret(secret.id, secret.optional);
  if (exec.network != llb::NetMode::kNone) capture.network_access = true;
}

// A page that redirects to a material is one, too.
void AddRedirects(const std::vector<op::ProxyRecord>& records, std::map<std::string, std::string> digests, Capture& capture) {
  for (bool added = true; added;) {
    added = false;
    for (const op::ProxyRecord& record : records) {
      const auto target = digests.find(record.redirect);
      if (record.redirect.empty() || target == digests.end() || !digests.emplace(record.url, target->second).second) continue;
      capture.AddHttp({record.url, target->second});
      added = true;
    }
  }
}

void CaptureProxied(const llb::Vertex& vertex, op::ProxyUse& proxy, Capture& capture) {
  capture.proxied = true;
  std::vector<op::ProxyRecord> records;
  {
    auto all = proxy.records.Lock();
    if (const auto found = all->find(vertex.digest.str()); found != all->end()) records = found->second;
  }
  std::map<std::string, std::string> digests;
  for (const op::ProxyRecord& record : records) {
    if (!record.digest.empty() && digests.emplace(record.url, record.digest).second) capture.AddHttp({record.url, record.digest});
    if (record.gap.empty()) continue;
    const std::string command = absl::StrJoin(std::get<llb::ExecOp>(vertex.op).meta.args, " ");
    capture.proxy_gaps.push_back({vertex.digest.str(), command, record.method, record.url, record.gap});
    capture.incomplete = true;
  }
  AddRedirects(records, std::move(digests), capture);
}

void AddNeed(const std::string& id, bool optional, std::map<std::string, bool>& needs) {
  const auto [known, is_new] = needs.emplace(id, optional);
  if (!is_new && !optional) known->second = false;
}

bool SamePlatform(const std::optional<oci::Platform>& a, const std::optional<oci::Platform>& b) {
  if (!a.has_value() || !b.has_value()) return a.has_value() == b.has_value();
  return a->os == b->os && a->architecture == b->architecture && a->variant == b->variant && a->os_version == b->os_version;
}

template <typename Items, typename Key>
void SortBy(Items& items, Key key) {
  std::stable_sort(items.begin(), items.end(), [key](const auto& a, const auto& b) { return a.*key < b.*key; });
}

}  // namespace

void Capture::AddImage(const ConsultedImage& image) {
  const auto same = [&](const ConsultedImage& known) {
    return known.ref == image.ref && known.local == image.local && SamePlatform(known.platform, image.platform);
  };
  if (std::none_of(images.begin(), images.end(), same)) images.push_back(image);
}

void Capture::AddHttp(const HttpMaterial& material) {
  const auto same = [&](const HttpMaterial& known) { return known.url == material.url; };
  if (std::none_of(http.begin(), http.end(), same)) http.push_back(material);
}

void Capture::AddSecret(const std::string& id, bool optional) { AddNeed(id, optional, secrets); }

void Capture::AddSsh(const std::string& id, bool optional) { AddNeed(id.empty() ? "default" : id, optional, ssh); }

void Capture::Merge(const Capture& other) {
  for (const ConsultedImage& image : other.images) AddImage(image);
  const auto add_new = [](auto& to, const auto& from, auto same) {
    for (const auto& item : from) {
      if (std::none_of(to.begin(), to.end(), [&](const auto& known) { return same(known, item); })) to.push_back(item);
    }
  };
  add_new(blobs, other.blobs, [](const BlobMaterial& a, const BlobMaterial& b) { return a.ref == b.ref && a.local == b.local; });
  add_new(git, other.git, [](const GitMaterial& a, const GitMaterial& b) { return a.url == b.url && a.bundle == b.bundle; });
  for (const HttpMaterial& material : other.http) AddHttp(material);
  add_new(proxy_gaps, other.proxy_gaps, [](const ProxyGap& a, const ProxyGap& b) {
    return std::tie(a.op, a.method, a.url, a.reason) == std::tie(b.op, b.method, b.url, b.reason);
  });
  locals.insert(other.locals.begin(), other.locals.end());
  for (const auto& [id, optional] : other.secrets) AddSecret(id, optional);
  for (const auto& [id, optional] : other.ssh) AddSsh(id, optional);
  network_access |= other.network_access;
  proxied |= other.proxied;
  incomplete |= other.incomplete;
}

void Capture::Tidy() {
  const auto tagged_name = [](const oci::Reference& ref) { return absl::StrCat(ref.name(), ":", ref.tag.empty() ? "latest" : ref.tag); };
  std::set<std::string> by_tag;
  for (const ConsultedImage& image : images) {
    const absl::StatusOr<oci::Reference> ref = oci::Reference::ParseNormalized(image.ref);
    if (ref.ok() && ref->digest.empty()) by_tag.insert(tagged_name(*ref));
  }
  images.erase(std::remove_if(images.begin(), images.end(),
                              [&](const ConsultedImage& image) {
                                const absl::StatusOr<oci::Reference> ref = oci::Reference::ParseNormalized(image.ref);
                                return ref.ok() && !ref->digest.empty() && by_tag.count(tagged_name(*ref)) > 0;
                              }),
               images.end());
  SortBy(images, &ConsultedImage::ref);
  SortBy(blobs, &BlobMaterial::ref);
  SortBy(git, &GitMaterial::url);
  SortBy(http, &HttpMaterial::url);
}

Capture CaptureGraph(const llb::Edge& edge, const PinOf& pin_of, op::ProxyUse* proxy) {
  Capture capture;
  std::unordered_set<const llb::Vertex*> seen;
  std::vector<const llb::Vertex*> pending;
  const auto visit = [&](const llb::VertexPtr& vertex) {
    if (vertex != nullptr && seen.insert(vertex.get()).second) pending.push_back(vertex.get());
  };
  visit(edge.vertex);
  while (!pending.empty()) {
    const llb::Vertex* vertex = pending.back();
    pending.pop_back();
    for (const llb::Edge& input : vertex->inputs) visit(input.vertex);
    if (std::holds_alternative<llb::SourceOp>(vertex->op)) {
      CaptureSource(*vertex, pin_of(*vertex), capture);
    } else if (const auto* exec = std::get_if<llb::ExecOp>(&vertex->op)) {
      CaptureExec(*exec, capture);
      if (proxy != nullptr && exec->network != llb::NetMode::kNone) CaptureProxied(*vertex, *proxy, capture);
    } else if (std::holds_alternative<llb::BuildOp>(vertex->op)) {
      capture.incomplete = true;  // nobody looks into the graph that it builds
    }
  }
  return capture;
}

std::string RedactUrl(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const std::size_t begin = scheme + 3;
  const std::string authority = url.substr(begin, url.find_first_of("/?#", begin) - begin);
  const std::size_t at = authority.rfind('@');
  if (at == std::string::npos || at == 0) return url;
  const std::size_t colon = authority.substr(0, at).find(':');
  std::string user;
  if (colon != 0) user = std::string(kMask);
  if (colon != std::string::npos) absl::StrAppend(&user, ":", kMask);
  return absl::StrCat(url.substr(0, begin), user, url.substr(begin + at));
}

}  // namespace cachalot::build
