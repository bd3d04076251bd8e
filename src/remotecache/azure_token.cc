#include "remotecache/azure_token.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"
#include "registry/retry.h"

namespace cachalot::remotecache {
namespace {

constexpr absl::Duration kReserve = absl::Minutes(5);
constexpr char kResource[] = "https://storage.azure.com/";
constexpr char kMachineService[] = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=";

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// What an application proves itself with; empty when there is nothing of the kind.
absl::StatusOr<std::string> Proof() {
  if (const std::string secret = Variable("AZURE_CLIENT_SECRET"); !secret.empty()) {
    return absl::StrCat("&client_secret=", registry::EscapeQuery(secret));
  }
  const std::string path = Variable("AZURE_FEDERATED_TOKEN_FILE");
  if (path.empty()) return "";
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) return absl::FailedPreconditionError(absl::StrCat("cannot read AZURE_FEDERATED_TOKEN_FILE ", path));
  return absl::StrCat("&client_assertion_type=", registry::EscapeQuery("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                      "&client_assertion=", registry::EscapeQuery(text.str()));
}

}  // namespace

absl::StatusOr<std::string> AzureToken::Get(const CancelToken& cancel) {
  auto token = token_.Lock();  // others wait: they need it, too
  if (token->expires < absl::Now() + kReserve) {
    absl::StatusOr<Token> fresh = Ask(cancel);
    if (!fresh.ok()) {
      return Annotate(fresh.status(),
                      "no token for Azure Storage (set secret_access_key, or AZURE_TENANT_ID, AZURE_CLIENT_ID and "
                      "AZURE_CLIENT_SECRET of the daemon, or give the machine an identity)");
    }
    *token = *std::move(fresh);
  }
  return token->text;
}

absl::StatusOr<AzureToken::Token> AzureToken::Ask(const CancelToken& cancel) {
  registry::HttpRequest request;
  request.cancel = cancel;
  ASSIGN_OR_RETURN(const std::string proof, Proof());
  const std::string client = Variable("AZURE_CLIENT_ID"), tenant = Variable("AZURE_TENANT_ID");
  std::string form;
  if (!proof.empty() && !client.empty() && !tenant.empty()) {
    std::string authority = Variable("AZURE_AUTHORITY_HOST");
    if (authority.empty()) authority = "https://login.microsoftonline.com";
    request.method = "POST";
    request.url = absl::StrCat(absl::StripSuffix(authority, "/"), "/", registry::EscapeQuery(tenant), "/oauth2/v2.0/token");
    request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
    form = absl::StrCat("grant_type=client_credentials&client_id=", registry::EscapeQuery(client),
                        "&scope=", registry::EscapeQuery(absl::StrCat(kResource, ".default")), proof);
    registry::SetBody(request, form);
  } else {
    request.url = absl::StrCat(kMachineService, registry::EscapeQuery(kResource));
    if (!client.empty()) absl::StrAppend(&request.url, "&client_id=", registry::EscapeQuery(client));
    request.headers = {{"Metadata", "true"}};
    request.stall_timeout = absl::Seconds(5);
  }
  ASSIGN_OR_RETURN(const registry::HttpResponse response, registry::DoWithRetries(*transport_, request));
  if (!response.ok()) return registry::UnexpectedStatus(response);
  const nlohmann::json json = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.value("access_token", nlohmann::json()).is_string()) return absl::DataLossError("the answer has no access_token");
  // A number in one service's answers, text in the other's.
  const nlohmann::json lifetime = json.value("expires_in", nlohmann::json(0));
  std::int64_t seconds = 0;
  if (lifetime.is_number_integer()) seconds = lifetime.get<std::int64_t>();
  if (lifetime.is_string() && !absl::SimpleAtoi(lifetime.get<std::string>(), &seconds)) seconds = 0;
  return Token{json["access_token"], absl::Now() + absl::Seconds(seconds)};
}

}  // namespace cachalot::remotecache
