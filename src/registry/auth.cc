#include "registry/auth.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "oci/go_json.h"
#include "registry/retry.h"

namespace cachalot::registry {
namespace {

constexpr char kClientId[] = "buildkit-client";
constexpr absl::Duration kDefaultTokenLife = absl::Seconds(60);
constexpr std::size_t kMaxAccessEntries = 100;

bool IsTokenChar(char c) { return absl::ascii_isgraph(c) && absl::string_view("\"(),/:;<=>?@[]\\{}").find(c) == absl::string_view::npos; }

void SkipSpace(absl::string_view& text) {
  while (!text.empty() && (absl::ascii_isspace(text.front()) || text.front() == ',')) text.remove_prefix(1);
}

std::string TakeToken(absl::string_view& text) {
  std::size_t end = 0;
  while (end < text.size() && IsTokenChar(text[end])) ++end;
  std::string out(text.substr(0, end));
  text.remove_prefix(end);
  return out;
}

std::string TakeValue(absl::string_view& text) {
  if (text.empty() || text.front() != '"') return TakeToken(text);
  text.remove_prefix(1);
  std::string out;
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\' && text.size() > 1) text.remove_prefix(1);
    out += text.front();
    text.remove_prefix(1);
  }
  if (!text.empty()) text.remove_prefix(1);
  return out;
}

void ParseChallenge(absl::string_view text, std::vector<Challenge>& out) {
  for (SkipSpace(text); !text.empty(); SkipSpace(text)) {
    const std::string name = absl::AsciiStrToLower(TakeToken(text));
    if (name.empty()) return;
    if (!text.empty() && text.front() == '=' && !out.empty()) {
      text.remove_prefix(1);
      out.back().parameters[name] = TakeValue(text);
    } else {
      out.push_back({.scheme = name, .parameters = {}});
    }
  }
}

std::string BasicHeader(const Credentials::Basic& basic) {
  return absl::StrCat("Basic ", absl::Base64Escape(absl::StrCat(basic.username, ":", basic.secret)));
}

absl::StatusOr<Credentials::Basic> BasicFor(const Host& host, const Options& options) {
  if (options.credentials == nullptr) return Credentials::Basic{};
  absl::StatusOr<Credentials::Basic> basic = options.credentials->ForHost(host.authority);
  if (absl::IsUnimplemented(basic.status()) || absl::IsNotFound(basic.status())) return Credentials::Basic{};
  return basic;
}

std::string OAuthForm(const Challenge& challenge, const std::vector<std::string>& scopes, const Credentials::Basic& basic) {
  std::string form = absl::StrCat("client_id=", kClientId, "&service=", EscapeQuery(challenge.Parameter("service")));
  if (!scopes.empty()) absl::StrAppend(&form, "&scope=", EscapeQuery(absl::StrJoin(scopes, " ")));
  if (basic.username.empty()) {
    absl::StrAppend(&form, "&grant_type=refresh_token&refresh_token=", EscapeQuery(basic.secret));
  } else {
    absl::StrAppend(&form, "&grant_type=password&username=", EscapeQuery(basic.username), "&password=", EscapeQuery(basic.secret));
  }
  return form;
}

}  // namespace

std::string Challenge::Parameter(const std::string& name) const { return ValueOf(parameters, name); }

std::vector<Challenge> ParseChallenges(const std::vector<std::string>& headers) {
  std::vector<Challenge> out;
  for (const std::string& header : headers) {
    std::vector<Challenge> of_header;
    ParseChallenge(header, of_header);
    out.insert(out.end(), of_header.begin(), of_header.end());
  }
  return out;
}

std::vector<std::string> NormalizeScopes(const std::vector<std::string>& scopes) {
  std::map<std::string, std::set<std::string>> actions;
  for (const std::string& list : scopes) {
    for (absl::string_view scope : absl::StrSplit(list, ' ', absl::SkipEmpty())) {
      const std::size_t colon = scope.rfind(':');
      if (colon == absl::string_view::npos) continue;
      for (absl::string_view action : absl::StrSplit(scope.substr(colon + 1), ',', absl::SkipEmpty())) {
        actions[std::string(scope.substr(0, colon))].emplace(action);
      }
    }
  }
  std::vector<std::string> out;
  for (const auto& [resource, allowed] : actions) out.push_back(absl::StrCat(resource, ":", absl::StrJoin(allowed, ",")));
  return out;
}

std::shared_ptr<Authorizer::Access> Authorizer::AccessTo(const Host& host, const Options& options) {
  auto access = access_.Lock();
  if (access->size() > kMaxAccessEntries) {
    std::erase_if(*access, [](const auto& entry) { return !entry.second->anonymous && entry.second->credentials.expired(); });
  }
  std::shared_ptr<Access>& entry = (*access)[{absl::StrCat(host.scheme, "://", host.authority), options.credentials.get()}];
  // Another object may live at the address of one that is gone.
  if (entry == nullptr || (!entry->anonymous && entry->credentials.expired())) {
    entry = std::make_shared<Access>();
    entry->credentials = options.credentials;
    entry->anonymous = options.credentials == nullptr;
  }
  return entry;
}

absl::StatusOr<std::string> Authorizer::Authorize(const Host& host, const std::vector<std::string>& scopes, const Options& options) {
  const std::shared_ptr<Access> access = AccessTo(host, options);
  const std::string scheme = access->known.Lock()->challenge.scheme;
  if (scheme == "basic") {
    ASSIGN_OR_RETURN(const Credentials::Basic basic, BasicFor(host, options));
    return basic.secret.empty() ? "" : BasicHeader(basic);
  }
  return scheme == "bearer" ? TokenFor(host, NormalizeScopes(scopes), *access, options) : std::string();
}

absl::StatusOr<std::string> Authorizer::TokenFor(const Host& host, const std::vector<std::string>& scopes, Access& access, const Options& options) {
  const std::string key = absl::StrJoin(scopes, " ");
  const CancelToken::Registration wake = options.cancel.OnCancel([&access] {
    access.known.Lock();  // whoever has looked at the token waits by now
    access.known.NotifyAll();
  });
  Challenge challenge;
  {
    auto known = access.known.Lock();
    known.Wait([&](const Access::Known& now) { return !now.fetching || options.cancel.cancelled(); });
    RETURN_IF_ERROR(options.cancel.status());
    if (const auto it = known->tokens.find(key); it != known->tokens.end() && it->second.expires > absl::Now()) return it->second.header;
    challenge = known->challenge;
    known->fetching = true;
  }
  absl::StatusOr<Access::Token> token = FetchToken(host, challenge, scopes, options);
  {
    auto known = access.known.Lock();
    known->fetching = false;
    if (token.ok()) known->tokens[key] = *token;
  }
  access.known.NotifyAll();
  if (!token.ok()) return Annotate(token.status(), "failed to authorize");
  return token->header;
}

absl::StatusOr<bool> Authorizer::Learn(const Host& host, const HttpResponse& refusal, const std::string& used, const std::vector<std::string>& scopes,
                                       const Options& options) {
  const std::vector<Challenge> challenges = ParseChallenges(refusal.AllHeaders("WWW-Authenticate"));
  const std::shared_ptr<Access> access = AccessTo(host, options);
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme != "bearer") continue;
    if (challenge.Parameter("realm").empty()) return absl::PermissionDeniedError("no realm specified for token auth challenge");
    auto known = access->known.Lock();
    const auto token = known->tokens.find(absl::StrJoin(NormalizeScopes(scopes), " "));
    const bool fresh = !used.empty() && token != known->tokens.end() && token->second.header == used;
    if (token != known->tokens.end() && token->second.header == used) known->tokens.erase(token);
    known->challenge = challenge;
    if (fresh && challenge.Parameter("error") == "insufficient_scope") {
      return absl::PermissionDeniedError("server message: insufficient_scope: authorization failed");
    }
    return true;
  }
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme != "basic" || !used.empty()) continue;
    ASSIGN_OR_RETURN(const Credentials::Basic basic, BasicFor(host, options));
    if (basic.username.empty() || basic.secret.empty()) return false;
    access->known.Lock()->challenge = challenge;
    return true;
  }
  return false;
}

absl::StatusOr<HttpResponse> Authorizer::SendTokenRequest(const Host& host, const Challenge& challenge, const std::vector<std::string>& scopes,
                                                          const Credentials::Basic& basic, bool oauth, const CancelToken& cancel) {
  HttpRequest request;
  request.url = challenge.Parameter("realm");
  request.tls = host.tls;
  request.cancel = cancel;
  request.headers = {{"User-Agent", kUserAgent}};
  std::string form;
  if (oauth) {
    request.method = "POST";
    form = OAuthForm(challenge, scopes, basic);
    request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    SetBody(request, form);
  } else {
    std::vector<std::string> query;
    if (const std::string service = challenge.Parameter("service"); !service.empty()) query.push_back(absl::StrCat("service=", EscapeQuery(service)));
    for (const std::string& scope : scopes) query.push_back(absl::StrCat("scope=", EscapeQuery(scope)));
    if (!query.empty()) absl::StrAppend(&request.url, absl::StrContains(request.url, "?") ? "&" : "?", absl::StrJoin(query, "&"));
    if (!basic.secret.empty()) request.headers.emplace_back("Authorization", BasicHeader(basic));
  }
  return DoWithRetries(transport_, request);
}

absl::StatusOr<Authorizer::Access::Token> Authorizer::FetchToken(const Host& host, const Challenge& challenge, const std::vector<std::string>& scopes,
                                                                 const Options& options) {
  if (options.credentials != nullptr) {
    absl::StatusOr<std::string> token = options.credentials->FetchToken({.client_id = kClientId,
                                                                         .host = host.authority,
                                                                         .realm = challenge.Parameter("realm"),
                                                                         .service = challenge.Parameter("service"),
                                                                         .scopes = scopes});
    if (token.ok()) return Access::Token{absl::StrCat("Bearer ", *token), absl::Now() + 0.9 * kDefaultTokenLife};
    if (!absl::IsUnimplemented(token.status()) && !absl::IsNotFound(token.status())) return token.status();
  }
  ASSIGN_OR_RETURN(const Credentials::Basic basic, BasicFor(host, options));
  const absl::string_view what = basic.secret.empty() ? "failed to fetch anonymous token" : "failed to fetch oauth token";
  bool oauth = basic.username.empty() && !basic.secret.empty();  // a refresh token
  absl::StatusOr<HttpResponse> response = SendTokenRequest(host, challenge, scopes, basic, oauth, options.cancel);
  // Not every token server takes GET; not every one takes POST.
  if (response.ok() && !oauth && !basic.secret.empty() && (response->status == 401 || response->status == 404 || response->status == 405)) {
    response = SendTokenRequest(host, challenge, scopes, basic, /*oauth=*/true, options.cancel);
  }
  if (!response.ok()) return Annotate(response.status(), what);
  if (!response->ok()) return Annotate(UnexpectedStatus(*response), what);
  absl::StatusOr<oci::Json> json = oci::ParseJson(response->body, "token response");
  if (!json.ok()) return Annotate(json.status(), what);
  absl::Status status;
  oci::ObjectReader reader(*json, "token response", status);
  std::string token = reader.String("access_token");
  if (token.empty()) token = reader.String("token");
  const std::int64_t seconds = reader.Int("expires_in");
  if (status.ok() && token.empty()) status = absl::UnauthenticatedError("authorization server did not include a token in the response");
  if (!status.ok()) return Annotate(status, what);
  const absl::Duration life = seconds > 0 ? absl::Seconds(seconds) : kDefaultTokenLife;
  return Access::Token{absl::StrCat("Bearer ", token), absl::Now() + 0.9 * life};
}

}  // namespace cachalot::registry
