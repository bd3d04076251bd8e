#include "op/http_resource.h"

#include <algorithm>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "op/http_time.h"
#include "store/cache_index.h"

namespace cachalot::op {
namespace {

// Nobody serves this host: a client offers the file over its session, once.
constexpr char kUploadHost[] = "http://buildkit-session";
// Servers that treat builders in a way of their own know BuildKit by its name.
constexpr char kUserAgent[] = "cachalot (compatible; buildkit/v0)";
constexpr absl::string_view kHeaderPrefix = "http.header.";

// An entity tag without the mark of a weak one.
std::string PlainTag(absl::string_view tag) {
  absl::ConsumePrefix(&tag, "W/");
  return std::string(tag);
}

std::string HostnameOf(const std::string& url) {
  const std::string origin = registry::OriginOf(url);
  absl::string_view rest = origin;
  const std::size_t slashes = rest.find("://");
  if (slashes == absl::string_view::npos) return "";
  rest.remove_prefix(slashes + 3);
  if (absl::StartsWith(rest, "[")) return std::string(rest.substr(1, rest.find(']') - 1));
  return std::string(rest.substr(0, rest.find(':')));
}

// One attempt to have a resource, for one build.
class Inquiry {
 public:
  Inquiry(const HttpIdentifier& identifier, const Environment& environment, const CancelToken& cancel)
      : identifier_(identifier), environment_(environment), cancel_(cancel) {}

  absl::StatusOr<HttpResourcePtr> Run() {
    if (absl::string_view path = identifier_.url; absl::ConsumePrefix(&path, kUploadHost)) return Receive(path);
    ASSIGN_OR_RETURN(registry::HttpRequest request, NewRequest());
    ASSIGN_OR_RETURN(const bool remembered, Remember());
    if (remembered) {
      request.headers.emplace_back("If-None-Match", tag_);
      if (StillFresh(request)) return std::make_shared<HttpResource>(known_);
      RETURN_IF_ERROR(cancel_.status());
    }
    return Download(std::move(request));
  }

 private:
  std::string MemoryKey() const { return absl::StrCat("http:", identifier_.Key()); }

  // Finds the download of an earlier build, which stays while this holds it.
  absl::StatusOr<bool> Remember() {
    ASSIGN_OR_RETURN(const std::string text, environment_.parts.index->Alias(MemoryKey()));
    // tag, digest, Last-Modified, filename, snapshot
    const std::vector<std::string> fields = absl::StrSplit(text, '\n');
    if (fields.size() != 5 || fields[0].empty()) return false;
    tag_ = fields[0];
    ASSIGN_OR_RETURN(known_.digest, oci::Digest::Parse(fields[1]));
    known_.last_modified = ParseHttpTime(fields[2]);
    known_.filename = fields[3];
    ASSIGN_OR_RETURN(known_.tree, environment_.parts.snapshots->Get(fields[4]));
    return known_.tree != nullptr;
  }

  // Some servers mishandle If-None-Match: so a HEAD first, and a look at the tag of the answer.
  bool StillFresh(registry::HttpRequest request) {
    request.method = "HEAD";
    const absl::StatusOr<registry::HttpResponse> response = environment_.parts.http->Do(request);
    if (!response.ok() || (response->status != 200 && response->status != 304)) return false;
    return TagFits(*response);
  }

  bool TagFits(const registry::HttpResponse& response) const {
    const std::string tag = PlainTag(response.Header("ETag"));
    return tag == tag_ || (tag.empty() && response.status == 304);
  }

  absl::StatusOr<HttpResourcePtr> Download(registry::HttpRequest request) {
    ASSIGN_OR_RETURN(const std::unique_ptr<SingleFileWriter> writer, OpenWriter());
    request.on_data = [&](absl::string_view bytes) { return writer->Write(bytes); };
    ASSIGN_OR_RETURN(const registry::HttpResponse response, environment_.parts.http->Do(request));
    if (response.status == 304 && known_.tree != nullptr && TagFits(response)) return std::make_shared<HttpResource>(known_);
    if (!response.ok()) return absl::UnknownError(absl::StrCat("invalid response status ", response.status));
    const std::string time = response.Header("Last-Modified");
    ASSIGN_OR_RETURN(
        const HttpResourcePtr resource,
        Finish(*writer, HttpFilename(identifier_.url, identifier_.file.filename, response.Header("Content-Disposition")), ParseHttpTime(time)));
    const std::string tag = PlainTag(response.Header("ETag"));
    if (tag.empty() || absl::StrContains(tag, '\n')) return resource;
    RETURN_IF_ERROR(environment_.parts.index->SaveAlias(
        MemoryKey(), absl::StrCat(tag, "\n", resource->digest.str(), "\n", time, "\n", resource->filename, "\n", resource->tree->id())));
    return resource;
  }

  absl::StatusOr<HttpResourcePtr> Receive(absl::string_view path) {
    ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment_, "", cancel_));
    ASSIGN_OR_RETURN(const std::unique_ptr<SingleFileWriter> writer, OpenWriter());
    RETURN_IF_ERROR(session->PullUpload(
        std::string(path), [&](absl::string_view bytes) { return writer->Write(bytes); }, cancel_));
    return Finish(*writer, HttpFilename(identifier_.url, identifier_.file.filename, ""), std::nullopt);
  }

  absl::StatusOr<std::unique_ptr<SingleFileWriter>> OpenWriter() {
    return SingleFileWriter::Open(*environment_.parts.snapshots, absl::StrCat("http url ", registry::RedactUrl(identifier_.url)));
  }

  absl::StatusOr<HttpResourcePtr> Finish(SingleFileWriter& writer, const std::string& filename, std::optional<absl::Time> time) {
    auto resource = std::make_shared<HttpResource>();
    FileOptions options = identifier_.file;
    options.filename = resource->filename = filename;
    resource->last_modified = time;
    ASSIGN_OR_RETURN(resource->tree, writer.Commit(options, time.value_or(absl::UnixEpoch())));
    resource->digest = writer.digest();
    return resource;
  }

  absl::StatusOr<registry::HttpRequest> NewRequest() const {
    registry::HttpRequest request;
    request.url = identifier_.url;
    request.headers = identifier_.headers;
    const bool named = absl::c_any_of(request.headers, [](const auto& header) { return header.first == "User-Agent"; });
    if (!named) request.headers.emplace_back("User-Agent", kUserAgent);
    request.accept_gzip = true;
    request.cancel = cancel_;
    ASSIGN_OR_RETURN(const std::string authorization, Authorization());
    if (!authorization.empty()) request.headers.emplace_back("Authorization", authorization);
    return request;
  }

  // From the secret that the source names, or else from those that the client has for the host.
  absl::StatusOr<std::string> Authorization() const {
    const absl::StatusOr<session::SessionPtr> session = SessionFor(environment_, "", cancel_);
    const std::string& name = identifier_.auth_secret;
    if (!name.empty()) {
      absl::StatusOr<std::string> secret = session.ok() ? (*session)->Secret(name, cancel_) : session.status();
      if (!secret.ok()) return Annotate(OfTheClient(secret.status()), absl::StrCat("failed to retrieve HTTP auth secret ", name));
      return secret;
    }
    if (!session.ok()) return "";
    const std::string host = HostnameOf(identifier_.url);
    absl::StatusOr<std::string> token = (*session)->Secret(absl::StrCat("HTTP_AUTH_TOKEN_", host), cancel_);
    if (token.ok()) return absl::StrCat("Bearer ", *token);
    return (*session)->Secret(absl::StrCat("HTTP_AUTH_HEADER_", host), cancel_).value_or("");
  }

  const HttpIdentifier& identifier_;
  const Environment& environment_;
  const CancelToken& cancel_;
  std::string tag_;     // of the earlier download
  HttpResource known_;  // the earlier download
};

}  // namespace

std::string HttpFilename(const std::string& url, const std::string& wanted, const std::string& content_disposition) {
  if (!wanted.empty()) return SafeFileName(wanted);
  for (absl::string_view part : absl::StrSplit(content_disposition, ';')) {
    part = absl::StripAsciiWhitespace(part);
    if (!absl::ConsumePrefix(&part, "filename=")) continue;
    absl::ConsumePrefix(&part, "\"");
    absl::ConsumeSuffix(&part, "\"");
    if (!part.empty() && !absl::EndsWith(part, "/")) return SafeFileName(part);
  }
  std::string path = url.substr(0, url.find_first_of("?#"));
  path = path.substr(std::min(path.size(), path.find("://") + 3));
  const std::size_t slash = path.find('/');
  return SafeFileName(slash == std::string::npos ? "" : path.substr(slash));
}

absl::StatusOr<HttpIdentifier> HttpIdentifier::Parse(const llb::SourceOp& source) {
  HttpIdentifier identifier;
  identifier.url = source.identifier;
  for (const auto& [name, value] : source.attrs) {
    absl::string_view header = name;
    ASSIGN_OR_RETURN(const bool taken, ParseFileOption(name, value, identifier.file));
    if (taken) continue;
    if (name == "http.checksum") {
      ASSIGN_OR_RETURN(identifier.checksum, oci::Digest::Parse(value));
    } else if (name == "http.authheadersecret") {
      identifier.auth_secret = value;
    } else if (name == "http.sig.pubkey") {
      identifier.public_key = value;
    } else if (name == "http.sig.signature") {
      identifier.signature = value;
    } else if (absl::ConsumePrefix(&header, kHeaderPrefix)) {
      const std::string lower = absl::AsciiStrToLower(header);
      if (lower == "accept") identifier.headers.emplace_back("Accept", value);
      if (lower == "user-agent") identifier.headers.emplace_back("User-Agent", value);
    }
  }
  std::sort(identifier.headers.begin(), identifier.headers.end());
  if (identifier.public_key.empty() != identifier.signature.empty()) {
    return absl::InvalidArgumentError("http signature verification requires both pubkey and signature");
  }
  return identifier;
}

std::string HttpIdentifier::Key() const {
  const oci::Json json = {url, file.filename, file.perm, file.uid, file.gid, auth_secret, headers};
  return std::string(oci::Digest::Of(oci::DumpGo(json)).hex());
}

absl::StatusOr<HttpResourcePtr> HttpResources::Get(const HttpIdentifier& identifier, const Environment& environment, const CancelToken& cancel) {
  std::shared_ptr<Entry> entry;
  {
    std::lock_guard lock(mutex_);
    std::shared_ptr<Entry>& slot = entries_[identifier.Key()];
    if (slot == nullptr) slot = std::make_shared<Entry>();
    entry = slot;
  }
  std::lock_guard lock(entry->mutex);
  if (entry->resource == nullptr) {
    ASSIGN_OR_RETURN(entry->resource, Inquiry(identifier, environment, cancel).Run());
  }
  if (identifier.checksum.empty() || entry->resource->digest == identifier.checksum) return entry->resource;
  return absl::FailedPreconditionError(absl::StrCat("digest mismatch for ", registry::RedactUrl(identifier.url), ": ", entry->resource->digest.str(),
                                                    " (expected: ", identifier.checksum.str(), ")"));
}

}  // namespace cachalot::op
