#include "client/attach/auth.h"

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "buildkit/auth.pb.h"
#include "client/attach/token_keys.h"
#include "oci/go_json.h"
#include "registry/retry.h"

namespace cachalot::client {
namespace {

namespace wire = moby::filesync::v1;

// Some cloud registries hand out logins that expire after five minutes.
constexpr absl::Duration kLoginLife = absl::Seconds(4 * 60 + 50);
constexpr int kDefaultTokenSeconds = 60;

struct Secret {
  std::string username, secret;  // a refresh token has no username
};

Secret SecretOf(const RegistryLogin& login) {
  return login.identity_token.empty() ? Secret{login.username, login.password} : Secret{"", login.identity_token};
}

bool ClientTokensDisabled() {
  const char* value = std::getenv("BUILDKIT_NO_CLIENT_TOKEN");
  return value != nullptr && (absl::EqualsIgnoreCase(value, "true") || absl::EqualsIgnoreCase(value, "t") || std::string(value) == "1");
}

// RFC 6749's resource owner password and refresh token grants.
std::string OAuthForm(const wire::FetchTokenRequest& request, const Secret& secret) {
  std::string form = absl::StrCat("client_id=buildkit-client&service=", registry::EscapeQuery(request.service()));
  if (request.scopes_size() > 0) {
    absl::StrAppend(&form, "&scope=", registry::EscapeQuery(absl::StrJoin(request.scopes(), " ")));
  }
  if (secret.username.empty()) {
    return absl::StrCat(form, "&grant_type=refresh_token&refresh_token=", registry::EscapeQuery(secret.secret));
  }
  return absl::StrCat(form, "&grant_type=password&username=", registry::EscapeQuery(secret.username),
                      "&password=", registry::EscapeQuery(secret.secret));
}

absl::StatusOr<registry::HttpResponse> Post(registry::HttpTransport& http, const wire::FetchTokenRequest& request, const Secret& secret) {
  registry::HttpRequest post;
  post.method = "POST";
  post.url = request.realm();
  post.headers = {{"User-Agent", registry::kUserAgent}, {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
  const std::string form = OAuthForm(request, secret);
  registry::SetBody(post, form);
  return registry::DoWithRetries(http, post);
}

absl::StatusOr<registry::HttpResponse> Get(registry::HttpTransport& http, const wire::FetchTokenRequest& request, const Secret& secret) {
  registry::HttpRequest get;
  std::vector<std::string> query;
  if (!request.service().empty()) {
    query.push_back(absl::StrCat("service=", registry::EscapeQuery(request.service())));
  }
  for (const std::string& scope : request.scopes()) {
    query.push_back(absl::StrCat("scope=", registry::EscapeQuery(scope)));
  }
  get.url = request.realm();
  if (!query.empty()) {
    absl::StrAppend(&get.url, absl::StrContains(get.url, "?") ? "&" : "?", absl::StrJoin(query, "&"));
  }
  get.headers = {{"User-Agent", registry::kUserAgent}};
  if (!secret.secret.empty()) {
    get.headers.emplace_back("Authorization", "Basic " + absl::Base64Escape(absl::StrCat(secret.username, ":", secret.secret)));
  }
  return registry::DoWithRetries(http, get);
}

absl::Status ReadToken(const std::string& body, wire::FetchTokenResponse* response) {
  ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(body, "token response"));
  absl::Status status;
  oci::ObjectReader reader(json, "token response", status);
  std::string token = reader.String("access_token");
  if (token.empty()) {
    token = reader.String("token");
  }
  const std::int64_t seconds = reader.Int("expires_in");
  const std::string issued = reader.String("issued_at");
  RETURN_IF_ERROR(status);
  if (token.empty()) {
    return absl::UnauthenticatedError("authorization server did not include a token in the response");
  }
  response->set_token(token);
  response->set_expiresin(seconds > 0 ? seconds : kDefaultTokenSeconds);
  if (const auto time = oci::ParseGoTime(issued); time.ok()) {
    response->set_issuedat(absl::ToUnixSeconds(*time));
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Auth> Auth::Create(const std::string& directory) { return std::unique_ptr<Auth>(new Auth(directory)); }

absl::StatusOr<RegistryLogin> Auth::LoginFor(const std::string& host) {
  auto logins = logins_.Lock();
  if (const auto known = logins->find(host); known != logins->end() && absl::Now() - known->second.since < kLoginLife) {
    return known->second.login;
  }
  ASSIGN_OR_RETURN(const RegistryLogin login, FindLogin(directory_, host));
  (*logins)[host] = {login, absl::Now()};
  return login;
}

absl::Status Auth::FetchToken(const wire::FetchTokenRequest& request, wire::FetchTokenResponse* response) {
  ASSIGN_OR_RETURN(const RegistryLogin login, LoginFor(request.host()));
  if (!login.registry_token.empty()) {
    response->set_token(login.registry_token);
    response->set_expiresin(kDefaultTokenSeconds);
    return absl::OkStatus();
  }
  const Secret secret = SecretOf(login);
  const bool anonymous = secret.secret.empty();
  const absl::string_view what = anonymous ? "failed to fetch anonymous token" : "failed to fetch oauth token";
  auto answer = anonymous ? Get(*http_, request, secret) : Post(*http_, request, secret);
  // Not every token server knows POST.
  if (answer.ok() && !anonymous && ((answer->status == 405 && !secret.username.empty()) || answer->status == 404 || answer->status == 401)) {
    answer = Get(*http_, request, secret);
  }
  RETURN_IF_ERROR(Annotate(answer.status(), what));
  return Annotate(answer->ok() ? ReadToken(answer->body, response) : registry::UnexpectedStatus(*answer), what);
}

void Auth::AddHandlers(session::RpcHandlers& handlers) {
  handlers["/moby.filesync.v1.Auth/Credentials"] = session::UnaryHandler<wire::CredentialsRequest, wire::CredentialsResponse>(
      [this](const wire::CredentialsRequest& request, wire::CredentialsResponse* response) -> absl::Status {
        ASSIGN_OR_RETURN(const RegistryLogin login, LoginFor(request.host()));
        const Secret secret = SecretOf(login);
        response->set_username(secret.username);
        response->set_secret(secret.secret);
        return absl::OkStatus();
      });
  handlers["/moby.filesync.v1.Auth/FetchToken"] = session::UnaryHandler<wire::FetchTokenRequest, wire::FetchTokenResponse>(
      [this](const wire::FetchTokenRequest& request, wire::FetchTokenResponse* response) { return FetchToken(request, response); });
  const auto key_for = [this](const std::string& host, const std::string& salt) -> absl::StatusOr<TokenKey> {
    if (ClientTokensDisabled()) {
      return absl::UnavailableError("client side tokens disabled");
    }
    ASSIGN_OR_RETURN(const RegistryLogin login, LoginFor(host));
    return TokenKey::Derive(directory_, host, salt, !SecretOf(login).secret.empty());
  };
  handlers["/moby.filesync.v1.Auth/GetTokenAuthority"] = session::UnaryHandler<wire::GetTokenAuthorityRequest, wire::GetTokenAuthorityResponse>(
      [key_for](const wire::GetTokenAuthorityRequest& request, wire::GetTokenAuthorityResponse* response) -> absl::Status {
        ASSIGN_OR_RETURN(const TokenKey key, key_for(request.host(), request.salt()));
        ASSIGN_OR_RETURN(*response->mutable_publickey(), key.PublicKey());
        return absl::OkStatus();
      });
  handlers["/moby.filesync.v1.Auth/VerifyTokenAuthority"] =
      session::UnaryHandler<wire::VerifyTokenAuthorityRequest, wire::VerifyTokenAuthorityResponse>(
          [key_for](const wire::VerifyTokenAuthorityRequest& request, wire::VerifyTokenAuthorityResponse* response) -> absl::Status {
            ASSIGN_OR_RETURN(const TokenKey key, key_for(request.host(), request.salt()));
            ASSIGN_OR_RETURN(*response->mutable_signed_(), key.Sign(request.payload()));
            return absl::OkStatus();
          });
}

}  // namespace cachalot::client
