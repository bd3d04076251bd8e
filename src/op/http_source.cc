#include "op/http_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "op/attributes.h"
#include "op/cache_digest.h"
#include "op/result.h"
#include "op/tree_writer.h"
#include "store/cache_index.h"

namespace cachalot::op {
namespace {

constexpr char kHttpTime[] = "%a, %d %b %Y %H:%M:%S GMT";
// Nobody serves this host: a client offers the file over its session, once.
constexpr char kUploadHost[] = "http://buildkit-session";
constexpr absl::string_view kHeaderPrefix = "http.header.";
constexpr int kDefaultPermissions = 0600;

absl::StatusOr<int> ParseNumber(const std::string& name, const std::string& text) {
  // Decimal, octal ("0644", "0o644") or hexadecimal, as Go's ParseInt with base 0.
  std::string digits = text;
  int base = 10;
  if (absl::StartsWith(digits, "0o")) {
    base = 8, digits = digits.substr(2);
  } else if (absl::StartsWith(digits, "0x")) {
    base = 16, digits = digits.substr(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  char* end = nullptr;
  const long value = std::strtol(digits.c_str(), &end, base);
  if (digits.empty() || *end != '\0' || value < 0 || value > 0x7fffffff) return absl::InvalidArgumentError(absl::StrCat("invalid ", name, " ", text));
  return static_cast<int>(value);
}

std::optional<absl::Time> ParseHttpTime(const std::string& text) {
  absl::Time time;
  std::string error;
  if (text.empty() || !absl::ParseTime(kHttpTime, text, absl::UTCTimeZone(), &time, &error)) return std::nullopt;
  return time;
}

// An entity tag without the marks that a weak one or a compressing proxy adds.
std::string PlainTag(absl::string_view tag) {
  absl::ConsumePrefix(&tag, "W/");
  return std::string(tag);
}

}  // namespace

std::string HttpFilename(const std::string& url, const std::string& wanted, const std::string& content_disposition) {
  if (!wanted.empty()) return wanted;
  for (absl::string_view part : absl::StrSplit(content_disposition, ';')) {
    part = absl::StripAsciiWhitespace(part);
    if (!absl::ConsumePrefix(&part, "filename=")) continue;
    absl::ConsumePrefix(&part, "\"");
    absl::ConsumeSuffix(&part, "\"");
    const std::string base = BaseName(part);
    if (base != "." && base != "/" && base != "..") return base;
  }
  std::string path = url.substr(0, url.find_first_of("?#"));
  path = path.substr(std::min(path.size(), path.find("://") + 3));
  const std::size_t slash = path.find('/');
  const std::string base = slash == std::string::npos ? "" : BaseName(path.substr(slash));
  return base.empty() || base == "/" || base == "." || base == ".." ? "download" : base;
}

HttpSource::HttpSource(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}

absl::Status HttpSource::Parse() {
  const auto& op = std::get<llb::SourceOp>(vertex_->op);
  url_ = op.identifier;
  headers_.clear();
  for (const auto& [name, value] : op.attrs) {
    absl::string_view header = name;
    if (name == "http.checksum") {
      ASSIGN_OR_RETURN(expected_, oci::Digest::Parse(value));
    } else if (name == "http.filename") {
      filename_attr_ = value;
    } else if (name == "http.perm") {
      ASSIGN_OR_RETURN(perm_, ParseNumber(name, value));
    } else if (name == "http.uid") {
      ASSIGN_OR_RETURN(uid_, ParseNumber(name, value));
    } else if (name == "http.gid") {
      ASSIGN_OR_RETURN(gid_, ParseNumber(name, value));
    } else if (name == "http.authheadersecret") {
      auth_secret_ = value;
    } else if (absl::ConsumePrefix(&header, kHeaderPrefix)) {
      const std::string lower = absl::AsciiStrToLower(header);
      if (lower == "accept") headers_.emplace_back("Accept", value);
      if (lower == "user-agent") headers_.emplace_back("User-Agent", value);
    }
  }
  if (filename_attr_.find('/') != std::string::npos) return absl::InvalidArgumentError(absl::StrCat("invalid filename ", filename_attr_));
  std::sort(headers_.begin(), headers_.end());
  return absl::OkStatus();
}

std::string HttpSource::MemoryKey() const {
  return absl::StrCat("http:", oci::Digest::Of(oci::DumpGo(oci::Json{url_, filename_attr_, auth_secret_, headers_})).hex());
}

std::string HttpSource::CacheKey() const {
  oci::Json json = {{"Filename", resource_->filename}, {"Perm", perm_}, {"UID", uid_}, {"GID", gid_}, {"Checksum", resource_->digest.str()}};
  if (resource_->last_modified.has_value()) json["LastModTime"] = absl::FormatTime(kHttpTime, *resource_->last_modified, absl::UTCTimeZone());
  if (!auth_secret_.empty()) json["AuthHeaderSecret"] = auth_secret_;
  for (const auto& [name, value] : headers_) json["Header"].push_back(oci::Json{{"Name", name}, {"Value", value}});
  return oci::Digest::Of(oci::DumpGo(json)).str();
}

absl::StatusOr<registry::HttpRequest> HttpSource::NewRequest(const CancelToken& cancel) const {
  registry::HttpRequest request;
  request.url = url_;
  request.headers = headers_;
  request.cancel = cancel;
  if (auth_secret_.empty()) return request;
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(*environment_, "", cancel));
  absl::StatusOr<std::string> secret = session->Secret(auth_secret_, cancel);
  if (!secret.ok()) return Annotate(secret.status(), absl::StrCat("failed to retrieve HTTP auth secret ", auth_secret_));
  request.headers.emplace_back("Authorization", *secret);
  return request;
}

absl::StatusOr<bool> HttpSource::StillFresh(const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const std::string known, environment_->parts.index->Alias(MemoryKey()));
  // tag, digest, Last-Modified, filename
  const std::vector<std::string> fields = absl::StrSplit(known, '\n');
  if (fields.size() != 4 || fields[0].empty()) return false;
  ASSIGN_OR_RETURN(registry::HttpRequest request, NewRequest(cancel));
  request.method = "HEAD";
  request.headers.emplace_back("If-None-Match", fields[0]);
  const absl::StatusOr<registry::HttpResponse> response = environment_->parts.http->Do(request);
  RETURN_IF_ERROR(cancel.status());
  if (!response.ok() || (response->status != 200 && response->status != 304)) return false;
  const std::string tag = PlainTag(response->Header("ETag"));
  if (tag != fields[0] && !(tag.empty() && response->status == 304)) return false;
  HttpResource resource;
  ASSIGN_OR_RETURN(resource.digest, oci::Digest::Parse(fields[1]));
  resource.last_modified = ParseHttpTime(fields[2]);
  resource.filename = fields[3];
  resource_ = std::move(resource);
  return true;
}

absl::Status HttpSource::Receive(absl::string_view path, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(*environment_, "", cancel));
  ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> writer, environment_->parts.blobs->NewWriter());
  RETURN_IF_ERROR(session->PullUpload(
      std::string(path), [&](absl::string_view bytes) { return writer->Write(bytes); }, cancel));
  HttpResource resource;
  ASSIGN_OR_RETURN(resource.digest, writer->Commit());
  pin_ = environment_->parts.blobs->Pin(resource.digest);
  resource.filename = HttpFilename(url_, filename_attr_, "");
  resource_ = std::move(resource);
  return absl::OkStatus();
}

absl::Status HttpSource::Download(const CancelToken& cancel) {
  if (absl::string_view path = url_; absl::ConsumePrefix(&path, kUploadHost)) return Receive(path, cancel);
  ASSIGN_OR_RETURN(registry::HttpRequest request, NewRequest(cancel));
  ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> writer, environment_->parts.blobs->NewWriter());
  request.on_data = [&](absl::string_view bytes) { return writer->Write(bytes); };
  ASSIGN_OR_RETURN(const registry::HttpResponse response, environment_->parts.http->Do(request));
  if (!response.ok()) return absl::UnknownError(absl::StrCat("invalid response status ", response.status));
  HttpResource resource;
  ASSIGN_OR_RETURN(resource.digest, writer->Commit());
  pin_ = environment_->parts.blobs->Pin(resource.digest);
  resource.filename = HttpFilename(url_, filename_attr_, response.Header("Content-Disposition"));
  resource.last_modified = ParseHttpTime(response.Header("Last-Modified"));
  const std::string remembered =
      absl::StrCat(PlainTag(response.Header("ETag")), "\n", resource.digest.str(), "\n", response.Header("Last-Modified"), "\n", resource.filename);
  RETURN_IF_ERROR(environment_->parts.index->SaveAlias(MemoryKey(), remembered));
  resource_ = std::move(resource);
  return absl::OkStatus();
}

absl::Status HttpSource::Resolve(const CancelToken& cancel) {
  RETURN_IF_ERROR(Parse());
  if (!expected_.empty()) {
    // Known beforehand: nobody has to be asked when the file is cached.
    resource_ = HttpResource{expected_, HttpFilename(url_, filename_attr_, ""), std::nullopt};
    return absl::OkStatus();
  }
  const bool uploaded = absl::StartsWith(url_, kUploadHost);
  ASSIGN_OR_RETURN(const bool fresh, uploaded ? absl::StatusOr<bool>(false) : StillFresh(cancel));
  return fresh ? absl::OkStatus() : Download(cancel);
}

absl::StatusOr<solver::CacheMap> HttpSource::DescribeCache(const solver::OpContext& context) {
  RETURN_IF_ERROR(Resolve(context.cancel));
  solver::CacheMap map;
  map.op_digest = SourceOpDigest(CacheKey());
  return map;
}

absl::StatusOr<std::string> HttpSource::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a web source has no inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> HttpSource::Run(const std::vector<solver::ResultPtr>&, const solver::OpContext& context) {
  const Parts& parts = environment_->parts;
  if (pin_ == nullptr) {
    const std::optional<HttpResource> described = resource_;
    RETURN_IF_ERROR(Download(context.cancel));
    if (described.has_value() && resource_->digest != described->digest) {
      return absl::FailedPreconditionError(
          absl::StrCat("digest mismatch for ", url_, ": ", resource_->digest.str(), " (expected: ", described->digest.str(), ")"));
    }
    // The name is part of the key that was given.
    if (described.has_value()) resource_->filename = described->filename;
  }
  snapshot::Label label;
  label.description = absl::StrCat("http url ", url_);
  ASSIGN_OR_RETURN(const snapshot::SnapshotPtr active, parts.snapshots->Prepare(nullptr, label));
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<TreeWriter> tree, TreeWriter::Open(*parts.snapshots, active));
    ASSIGN_OR_RETURN(const TreeWriter::Place place, tree->MakeRoom(absl::StrCat("/", resource_->filename)));
    const UniqueFd to(::openat(place.parent, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!to.valid()) return ErrnoError(absl::StrCat("open ", place.name));
    ASSIGN_OR_RETURN(const UniqueFd from, parts.blobs->Open(resource_->digest));
    RETURN_IF_ERROR(CopyData(from.get(), to.get()));
    Attributes attributes;
    attributes.uid = static_cast<uid_t>(uid_);
    attributes.gid = static_cast<gid_t>(gid_);
    attributes.mode = static_cast<mode_t>(S_IFREG | (perm_ == 0 ? kDefaultPermissions : perm_));
    attributes.atime = attributes.mtime = TimeOf(resource_->last_modified.has_value() ? absl::ToUnixNanos(*resource_->last_modified) : 0);
    RETURN_IF_ERROR(SetAttributes(to.get(), "", attributes));
  }
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr committed, parts.snapshots->Commit(active));
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(std::move(committed))};
}

}  // namespace cachalot::op
