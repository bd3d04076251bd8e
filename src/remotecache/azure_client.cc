#include "remotecache/azure_client.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "registry/retry.h"

namespace cachalot::remotecache {
namespace {

using registry::HttpHeaders;
using registry::HttpRequest;
using registry::HttpResponse;

constexpr int kNotFound = 404, kConflict = 409;
constexpr std::int64_t kBlockSize = 32 << 20;
constexpr char kVersion[] = "2021-12-02";

std::string Hmac(absl::string_view key, absl::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &length);
  return std::string(reinterpret_cast<const char*>(digest), length);
}

std::string HeaderOr(const HttpHeaders& headers, absl::string_view name) {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) return value;
  }
  return "";
}

std::string EscapePath(absl::string_view path) {
  std::string out;
  for (const char c : path) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-_.~/", c)) {
      out += c;
    } else {
      absl::StrAppend(&out, "%", absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(&c, 1))));
    }
  }
  return out;
}

// What keys of a kind begin with.
std::string Folder(const std::string& prefix, const std::string& folder) {
  const std::string path = CleanPath(absl::StrCat(prefix, prefix.empty() || folder.empty() ? "" : "/", folder));
  return path == "." ? "" : absl::StrCat(path, "/");
}

bool IsMissing(const HttpResponse& response) { return response.status == kNotFound; }

}  // namespace

absl::StatusOr<AzureConfig> AzureAttributes(const Attributes& attributes) {
  AzureConfig config;
  config.account_url = AttributeOr(attributes, "account_url", "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL");
  if (config.account_url.empty()) {
    return absl::InvalidArgumentError("either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache");
  }
  while (absl::EndsWith(config.account_url, "/")) config.account_url.pop_back();
  const std::string origin = registry::OriginOf(config.account_url);
  if (origin.empty() || absl::StrContains(config.account_url, '?')) {
    return absl::InvalidArgumentError(absl::StrCat("account_url ", registry::RedactUrl(config.account_url), " is not the URL of a storage account"));
  }
  config.account_name = AttributeOr(attributes, "account_name", "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME");
  if (config.account_name.empty()) {
    const std::string host = origin.substr(origin.find("://") + 3);
    config.account_name = host.substr(0, host.find_first_of(".:"));
  }
  if (!absl::Base64Unescape(ValueOf(attributes, "secret_access_key"), &config.account_key)) {
    return absl::InvalidArgumentError("secret_access_key is not base64, as keys of storage accounts are");
  }
  const std::string container = AttributeOr(attributes, "container", "BUILDKIT_AZURE_STORAGE_CONTAINER");
  if (!container.empty()) config.container = container;
  const std::string prefix = AttributeOr(attributes, "prefix", "BUILDKIT_AZURE_STORAGE_PREFIX");
  const auto folder = [&](const char* name, const char* otherwise) {
    const auto found = attributes.find(name);
    return Folder(prefix, found == attributes.end() ? otherwise : found->second);
  };
  config.layout.configs = folder("manifests_prefix", "manifests");
  config.layout.blobs = folder("blobs_prefix", "blobs");
  const auto names = attributes.find("name");
  config.layout.names = names == attributes.end() ? std::vector<std::string>{"buildkit"} : absl::StrSplit(names->second, ';');
  return config;
}

std::string SignAzure(const AzureConfig& config, const std::string& method, const std::string& url_path,
                      const std::map<std::string, std::string>& query, const HttpHeaders& headers, std::int64_t size) {
  std::string text = absl::StrCat(method, "\n", HeaderOr(headers, "Content-Encoding"), "\n", HeaderOr(headers, "Content-Language"), "\n",
                                  size > 0 ? absl::StrCat(size) : "", "\n");
  for (const char* name : {"Content-MD5", "Content-Type", "Date", "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"}) {
    absl::StrAppend(&text, HeaderOr(headers, name), "\n");
  }
  HttpHeaders sorted = headers;
  std::sort(sorted.begin(), sorted.end());
  for (const auto& [name, value] : sorted) {
    if (absl::StartsWith(name, "x-ms-")) absl::StrAppend(&text, name, ":", value, "\n");
  }
  absl::StrAppend(&text, "/", config.account_name, url_path);
  for (const auto& [name, value] : query) absl::StrAppend(&text, "\n", name, ":", value);
  return absl::StrCat("SharedKey ", config.account_name, ":", absl::Base64Escape(Hmac(config.account_key, text)));
}

absl::StatusOr<HttpRequest> AzureClient::Request(const Call& call, const CancelToken& cancel) {
  HttpRequest request;
  request.method = call.method;
  request.url = absl::StrCat(config_.account_url, "/", EscapePath(config_.container), call.key.empty() ? "" : "/", EscapePath(call.key));
  const std::string path = request.url.substr(request.url.find('/', request.url.find("://") + 3));
  char separator = '?';
  for (const auto& [name, value] : call.query) {
    absl::StrAppend(&request.url, std::string(1, std::exchange(separator, '&')), name, "=", registry::EscapeQuery(value));
  }
  request.headers = call.headers;
  request.headers.emplace_back("x-ms-version", kVersion);
  request.headers.emplace_back("x-ms-date", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()));
  if (!config_.account_key.empty()) {
    request.headers.emplace_back("Authorization", SignAzure(config_, call.method, path, call.query, request.headers, call.size));
  } else {
    ASSIGN_OR_RETURN(const std::string token, token_.Get(cancel));
    request.headers.emplace_back("Authorization", absl::StrCat("Bearer ", token));
  }
  request.body_size = call.size;
  request.body = call.body;
  request.cancel = cancel;
  return request;
}

absl::StatusOr<HttpResponse> AzureClient::Do(const Call& call, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const HttpRequest request, Request(call, cancel));
  return registry::DoWithRetries(*transport_, request);
}

absl::StatusOr<std::optional<std::string>> AzureClient::Read(const std::string& key, std::size_t max_bytes, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(HttpRequest request, Request({"GET", key, {}, {}, -1, nullptr}, cancel));
  request.max_body = max_bytes;
  ASSIGN_OR_RETURN(HttpResponse response, registry::DoWithRetries(*transport_, request));
  if (IsMissing(response)) return std::optional<std::string>();
  if (!response.ok()) return registry::UnexpectedStatus(response);
  return std::move(response.body);
}

absl::Status AzureClient::Fetch(const std::string& key, const std::function<absl::Status(absl::string_view)>& sink,
                                std::optional<absl::Duration>& pause, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(HttpRequest request, Request({"GET", key, {}, {}, -1, nullptr}, cancel));
  request.on_data = sink;
  return registry::FetchOnce(*transport_, request, pause);
}

absl::StatusOr<std::optional<absl::Time>> AzureClient::WrittenAt(const std::string& key, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const HttpResponse response, Do({"HEAD", key, {}, {}, -1, nullptr}, cancel));
  if (IsMissing(response)) return std::optional<absl::Time>();
  if (!response.ok()) return registry::UnexpectedStatus(response);
  absl::Time written;
  std::string error;
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", response.Header("Last-Modified"), &written, &error)) written = absl::Now();
  return written;
}

// Setting no metadata changes nothing but the time.
absl::Status AzureClient::Touch(const std::string& key, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const HttpResponse response, Do({"PUT", key, {{"comp", "metadata"}}, {}, 0, nullptr}, cancel));
  return response.ok() ? absl::OkStatus() : registry::UnexpectedStatus(response);
}

absl::Status AzureClient::MakeContainer(const CancelToken& cancel) {
  auto made = container_made_.Lock();  // others wait: they need it, too
  if (*made) return absl::OkStatus();
  ASSIGN_OR_RETURN(HttpResponse response, Do({"HEAD", "", {{"restype", "container"}}, {}, -1, nullptr}, cancel));
  if (IsMissing(response)) {
    ASSIGN_OR_RETURN(response, Do({"PUT", "", {{"restype", "container"}}, {}, 0, nullptr}, cancel));
    if (response.status == kConflict) response.status = 200;  // somebody was faster
  }
  if (!response.ok()) return Annotate(registry::UnexpectedStatus(response), absl::StrCat("cache container ", config_.container));
  *made = true;
  return absl::OkStatus();
}

absl::Status AzureClient::Write(const std::string& key, std::int64_t size, const std::string&, const Body& body, const CancelToken& cancel) {
  RETURN_IF_ERROR(MakeContainer(cancel));
  if (size > kBlockSize) return WriteBlocks(key, size, body, cancel);
  ASSIGN_OR_RETURN(const HttpResponse response,
                   Do({"PUT", key, {}, {{"Content-Type", "application/octet-stream"}, {"x-ms-blob-type", "BlockBlob"}}, size, body}, cancel));
  return response.ok() ? absl::OkStatus() : registry::UnexpectedStatus(response);
}

absl::Status AzureClient::WriteBlocks(const std::string& key, std::int64_t size, const Body& body, const CancelToken& cancel) {
  std::string list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
  for (std::int64_t start = 0; start < size; start += kBlockSize) {
    const std::string id = absl::Base64Escape(absl::StrFormat("block-%08d", start / kBlockSize));
    const std::int64_t length = std::min(kBlockSize, size - start);
    const Body block = [&body, start, length](std::int64_t offset, char* out, std::size_t room) {
      return body(start + offset, out, std::min(room, static_cast<std::size_t>(length - offset)));
    };
    ASSIGN_OR_RETURN(const HttpResponse response, Do({"PUT", key, {{"blockid", id}, {"comp", "block"}}, {}, length, block}, cancel));
    if (!response.ok()) return registry::UnexpectedStatus(response);
    absl::StrAppend(&list, "<Latest>", id, "</Latest>");
  }
  list += "</BlockList>";
  const Body text = [&list](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
    return list.copy(out, room, static_cast<std::size_t>(offset));
  };
  ASSIGN_OR_RETURN(
      const HttpResponse response,
      Do({"PUT", key, {{"comp", "blocklist"}}, {{"Content-Type", "application/xml"}}, static_cast<std::int64_t>(list.size()), text}, cancel));
  return response.ok() ? absl::OkStatus() : registry::UnexpectedStatus(response);
}

}  // namespace cachalot::remotecache
