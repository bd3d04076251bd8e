#include "client/attach/docker_config.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "oci/go_json.h"
#include "os/file.h"
#include "os/process.h"

namespace cachalot::client {
namespace {

constexpr std::size_t kMaxConfigBytes = 8 << 20;
constexpr std::size_t kMaxAnswerBytes = 1 << 20;
// Docker Hub is named differently in the file than on the network.
constexpr char kDockerHubHost[] = "registry-1.docker.io";
constexpr char kDockerHubKey[] = "https://index.docker.io/v1/";
constexpr char kTokenUser[] = "<token>";

// "https://host/path" -> "host".
std::string HostOf(absl::string_view key) {
  absl::ConsumePrefix(&key, "http://") || absl::ConsumePrefix(&key, "https://");
  return std::string(key.substr(0, key.find('/')));
}

absl::StatusOr<std::string> RunCredentialProgram(const std::string& name, const std::string& key, const CancelToken& cancel) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0) {
    return ErrnoError("pipe");
  }
  UniqueFd in_read(in[0]), in_write(in[1]);
  if (pipe2(out, O_CLOEXEC) != 0) {
    return ErrnoError("pipe");
  }
  UniqueFd out_read(out[0]), out_write(out[1]);
  // A key fits into the pipe's buffer, so that nobody waits for anybody here.
  RETURN_IF_ERROR(os::WriteAll(in_write.get(), key, name));
  in_write.reset();
  os::Command command{.argv = {name, "get"}};
  command.stdin_fd = in_read.get();
  command.stdout_fd = out_write.get();
  ASSIGN_OR_RETURN(os::ChildProcess child, os::Spawner::Shared().Spawn(command));
  out_write.reset();
  const auto kill = cancel.OnCancel([&] { child.Kill(); });
  ASSIGN_OR_RETURN(const std::string answer, os::ReadAll(out_read.get(), kMaxAnswerBytes, name));
  ASSIGN_OR_RETURN(const os::ProcessExit exit, child.Wait());
  if (exit.code == 0) {
    return answer;
  }
  if (absl::StrContains(answer, "credentials not found")) {
    return absl::NotFoundError(answer);
  }
  return absl::UnknownError(absl::StrCat("error getting credentials: ", name, ": exit status ", exit.code, ", out: `", answer, "`"));
}

absl::StatusOr<RegistryLogin> AskProgram(const std::string& store, const std::string& key, const CancelToken& cancel) {
  const auto answer = RunCredentialProgram("docker-credential-" + store, key, cancel);
  if (absl::IsNotFound(answer.status()) && !absl::StrContains(answer.status().message(), "credentials not found")) {
    return absl::NotFoundError(absl::StrCat("error getting credentials: docker-credential-", store, " is not installed"));
  }
  if (absl::IsNotFound(answer.status())) {
    return RegistryLogin{};
  }
  RETURN_IF_ERROR(answer.status());
  ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(*answer, "answer of docker-credential-" + store));
  absl::Status status;
  oci::ObjectReader reader(json, "credentials", status);
  RegistryLogin login;
  login.username = reader.String("Username");
  const std::string secret = reader.String("Secret");
  RETURN_IF_ERROR(status);
  if (login.username == kTokenUser) {
    login.username.clear();
    login.identity_token = secret;
  } else {
    login.password = secret;
  }
  return login;
}

absl::StatusOr<RegistryLogin> LoginFrom(const oci::Json& entry, const std::string& key) {
  absl::Status status;
  oci::ObjectReader reader(entry, "auths." + key, status);
  RegistryLogin login;
  login.username = reader.String("username");
  login.password = reader.String("password");
  login.identity_token = reader.String("identitytoken");
  login.registry_token = reader.String("registrytoken");
  const std::string packed = reader.String("auth");
  RETURN_IF_ERROR(status);
  if (!packed.empty()) {
    std::string plain;
    const bool decoded = absl::Base64Unescape(packed, &plain);
    const std::size_t colon = plain.find(':');
    if (!decoded || colon == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("invalid auth configuration file: auths.", key));
    }
    login.username = plain.substr(0, colon);
    login.password = plain.substr(colon + 1);
    login.password.resize(login.password.find_last_not_of('\0') + 1);
  }
  return login;
}

}  // namespace

std::string DockerConfigDirectory(const std::string& configured) {
  if (!configured.empty()) {
    return configured;
  }
  const char* directory = std::getenv("DOCKER_CONFIG");
  const char* home = std::getenv("HOME");
  return directory != nullptr && *directory != '\0' ? directory : absl::StrCat(home == nullptr ? "" : home, "/.docker");
}

absl::StatusOr<RegistryLogin> FindLogin(const std::string& directory, const std::string& host, const CancelToken& cancel) {
  const std::string path = directory + "/config.json";
  const auto text = os::ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) {
    return RegistryLogin{};
  }
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const oci::Json config, oci::ParseJson(*text, path));
  absl::Status status;
  oci::ObjectReader reader(config, "config.json", status);
  const std::map<std::string, std::string> programs = reader.StringMap("credHelpers");
  const std::string store = reader.String("credsStore");
  const oci::Json* auths = reader.Find("auths");
  RETURN_IF_ERROR(status);

  const std::string key = host == kDockerHubHost ? kDockerHubKey : host;
  if (const auto program = programs.find(key); program != programs.end()) {
    return AskProgram(program->second, key, cancel);
  }
  if (!store.empty()) {
    return AskProgram(store, key, cancel);
  }
  if (auths == nullptr || !auths->is_object()) {
    return RegistryLogin{};
  }
  if (const auto exact = auths->find(key); exact != auths->end()) {
    return LoginFrom(*exact, key);
  }
  // Older files name registries by their whole URL.
  for (const auto& [name, entry] : auths->items()) {
    if (HostOf(name) == HostOf(key)) {
      return LoginFrom(entry, name);
    }
  }
  return RegistryLogin{};
}

}  // namespace cachalot::client
