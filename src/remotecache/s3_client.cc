#include "remotecache/s3_client.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "registry/retry.h"

namespace cachalot::remotecache {
namespace {

using registry::HttpHeaders;
using registry::HttpRequest;
using registry::HttpResponse;

constexpr int kNotFound = 404;

// Everything but unreserved characters and slashes in percents, as signatures want it.
std::string EscapeKey(absl::string_view key) {
  std::string out;
  for (const char c : key) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || c == '~' || c == '/') {
      out += c;
    } else {
      absl::StrAppend(&out, "%", absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(&c, 1))));
    }
  }
  return out;
}

std::string Hmac(absl::string_view key, absl::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &length);
  return std::string(reinterpret_cast<const char*>(digest), length);
}

std::string UrlOf(const S3Config& config, const std::string& key) {
  std::string endpoint = config.endpoint_url;
  if (endpoint.empty()) endpoint = absl::StrCat("https://s3.", config.region, ".amazonaws.com");
  while (!endpoint.empty() && endpoint.back() == '/') endpoint.pop_back();
  const std::string path = absl::StrCat("/", EscapeKey(key));
  if (config.use_path_style) return absl::StrCat(endpoint, "/", EscapeKey(config.bucket), path);
  const std::size_t host = endpoint.find("://");
  if (host == std::string::npos) return absl::StrCat("https://", config.bucket, ".", endpoint, path);
  return absl::StrCat(endpoint.substr(0, host + 3), config.bucket, ".", endpoint.substr(host + 3), path);
}

absl::Status CheckPositive(const Attributes& attributes, const char* name) {
  const auto found = attributes.find(name);
  int number = 0;
  if (found == attributes.end() || (absl::SimpleAtoi(found->second, &number) && number > 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " must be a positive integer"));
}

}  // namespace

absl::StatusOr<S3Config> S3Attributes(const Attributes& attributes) {
  S3Config config;
  config.bucket = AttributeOr(attributes, "bucket", "AWS_BUCKET");
  if (config.bucket.empty()) return absl::InvalidArgumentError("bucket ($AWS_BUCKET) not set for s3 cache");
  config.region = AttributeOr(attributes, "region", "AWS_REGION");
  if (config.region.empty()) return absl::InvalidArgumentError("region ($AWS_REGION) not set for s3 cache");
  config.prefix = ValueOf(attributes, "prefix");
  if (attributes.count("manifests_prefix") > 0) config.manifests_prefix = ValueOf(attributes, "manifests_prefix");
  if (attributes.count("blobs_prefix") > 0) config.blobs_prefix = ValueOf(attributes, "blobs_prefix");
  if (attributes.count("name") > 0) config.names = absl::StrSplit(ValueOf(attributes, "name"), ';');
  // What cannot be read counts as absent, for these two.
  if (absl::Duration age; absl::ParseDuration(ValueOf(attributes, "touch_refresh"), &age)) config.touch_refresh = age;
  config.use_path_style = BoolAttribute(attributes, "use_path_style", false).value_or(false);
  config.endpoint_url = ValueOf(attributes, "endpoint_url");
  config.access_key = AttributeOr(attributes, "access_key_id", "AWS_ACCESS_KEY_ID");
  config.secret_key = AttributeOr(attributes, "secret_access_key", "AWS_SECRET_ACCESS_KEY");
  config.session_token = AttributeOr(attributes, "session_token", "AWS_SESSION_TOKEN");
  RETURN_IF_ERROR(CheckPositive(attributes, "upload_parallelism"));
  RETURN_IF_ERROR(CheckPositive(attributes, "retry_max_attempts"));
  return config;
}

ObjectLayout LayoutOf(const S3Config& config) {
  return {absl::StrCat(config.prefix, config.manifests_prefix), absl::StrCat(config.prefix, config.blobs_prefix), config.names, config.touch_refresh};
}

HttpHeaders SignS3(const S3Config& config, const std::string& method, const std::string& url, const std::string& body_sha256,
                   const HttpHeaders& headers, absl::Time now) {
  const std::string time = absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone());
  HttpHeaders all = headers;
  all.emplace_back("x-amz-content-sha256", body_sha256);
  all.emplace_back("x-amz-date", time);
  if (!config.session_token.empty()) all.emplace_back("x-amz-security-token", config.session_token);
  if (config.access_key.empty() || config.secret_key.empty()) return all;

  const absl::string_view rest = absl::string_view(url).substr(url.find("://") + 3);
  absl::string_view host = rest.substr(0, rest.find('/'));
  absl::ConsumeSuffix(&host, absl::StartsWith(url, "https:") ? ":443" : ":80");  // curl leaves out what the scheme implies
  HttpHeaders signed_headers = all;
  signed_headers.emplace_back("host", host);
  std::sort(signed_headers.begin(), signed_headers.end());
  std::vector<std::string> names;
  std::string lines;
  for (const auto& [name, value] : signed_headers) {
    names.push_back(name);
    absl::StrAppend(&lines, name, ":", value, "\n");
  }
  const std::string name_list = absl::StrJoin(names, ";");
  const std::string request = absl::StrCat(method, "\n", rest.substr(rest.find('/')), "\n\n", lines, "\n", name_list, "\n", body_sha256);
  const std::string day = time.substr(0, 8);
  const std::string scope = absl::StrCat(day, "/", config.region, "/s3/aws4_request");
  std::string key = Hmac(absl::StrCat("AWS4", config.secret_key), day);
  for (const std::string& part : {config.region, std::string("s3"), std::string("aws4_request")}) key = Hmac(key, part);
  const std::string signature = absl::BytesToHexString(Hmac(key, absl::StrCat("AWS4-HMAC-SHA256\n", time, "\n", scope, "\n", Sha256Hex(request))));
  all.emplace_back("authorization", absl::StrCat("AWS4-HMAC-SHA256 Credential=", config.access_key, "/", scope, ", SignedHeaders=", name_list,
                                                 ", Signature=", signature));
  return all;
}

HttpRequest S3Client::Request(const std::string& method, const std::string& key, const CancelToken& cancel) const {
  HttpRequest request;
  request.method = method;
  request.url = UrlOf(config_, key);
  request.headers = SignS3(config_, method, request.url, Sha256Hex(""), {}, absl::Now());
  request.cancel = cancel;
  return request;
}

absl::StatusOr<std::optional<std::string>> S3Client::Read(const std::string& key, std::size_t max_bytes, const CancelToken& cancel) {
  HttpRequest request = Request("GET", key, cancel);
  request.max_body = max_bytes;
  ASSIGN_OR_RETURN(HttpResponse response, registry::DoWithRetries(*transport_, request));
  if (response.status == kNotFound) return std::optional<std::string>();
  if (!response.ok()) return registry::UnexpectedStatus(response);
  return std::move(response.body);
}

absl::Status S3Client::Fetch(const std::string& key, const std::function<absl::Status(absl::string_view)>& sink, std::optional<absl::Duration>& pause,
                             const CancelToken& cancel) {
  HttpRequest request = Request("GET", key, cancel);
  request.on_data = sink;
  return registry::FetchOnce(*transport_, request, pause);
}

absl::StatusOr<std::optional<absl::Time>> S3Client::WrittenAt(const std::string& key, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const HttpResponse response, registry::DoWithRetries(*transport_, Request("HEAD", key, cancel)));
  if (response.status == kNotFound) return std::optional<absl::Time>();
  if (!response.ok()) return registry::UnexpectedStatus(response);
  absl::Time written;
  std::string error;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", response.Header("Last-Modified"), &written, &error)) written = absl::Now();
  return written;
}

absl::Status S3Client::Touch(const std::string& key, const CancelToken& cancel) {
  HttpRequest request = Request("PUT", key, cancel);
  const HttpHeaders copy = {{"x-amz-copy-source", EscapeKey(absl::StrCat(config_.bucket, "/", key))}, {"x-amz-metadata-directive", "REPLACE"}};
  request.headers = SignS3(config_, "PUT", request.url, Sha256Hex(""), copy, absl::Now());
  registry::SetBody(request, "");
  ASSIGN_OR_RETURN(const HttpResponse response, registry::DoWithRetries(*transport_, request));
  return response.ok() ? absl::OkStatus() : registry::UnexpectedStatus(response);
}

absl::Status S3Client::Write(const std::string& key, std::int64_t size, const std::string& sha256, const Body& body, const CancelToken& cancel) {
  HttpRequest request = Request("PUT", key, cancel);
  request.headers = SignS3(config_, "PUT", request.url, sha256, {}, absl::Now());
  request.body_size = size;
  request.body = body;
  ASSIGN_OR_RETURN(const HttpResponse response, registry::DoWithRetries(*transport_, request));
  return response.ok() ? absl::OkStatus() : registry::UnexpectedStatus(response);
}

}  // namespace cachalot::remotecache
