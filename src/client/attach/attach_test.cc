// A client's attachables and the daemon's session, joined within the process.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "buildkit/auth.pb.h"
#include "client/attach/attachables.h"
#include "os/process.h"
#include "os/run.h"
#include "os/scratch_testing.h"
#include "session/session.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::client {
namespace {

namespace fs = std::filesystem;
namespace wire = moby::filesync::v1;
using testing::ElementsAre;
using testing::HasSubstr;

void Write(const std::string& path, const std::string& content) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << content;
}
std::string Read(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class AttachTest : public testing::Test {
 protected:
  AttachTest() { options_.docker_config_directory = scratch_ / "docker"; }
  ~AttachTest() override {
    session_.reset();
    quit_.Cancel();
    if (serving_.joinable()) {
      serving_.join();
      attached_.join();
    }
  }
  void Attach() {
    auto attachables = Attachables::Create(options_);
    ASSERT_TRUE(attachables.ok()) << attachables.status();
    attachables_ = *std::move(attachables);
    std::multimap<std::string, std::string> headers;
    for (const auto& [name, value] : attachables_->headers()) headers.emplace(name, value);
    auto metadata = session::SessionMetadata::Parse(headers);
    ASSERT_TRUE(metadata.ok()) << metadata.status();
    std::tie(near_, far_) = session::ByteStreamPair();
    serving_ = std::thread([this] { attachables_->Serve(*far_, quit_.token()).IgnoreError(); });
    attached_ = std::thread([this, metadata = *metadata] { hub_->Serve(metadata, *near_).IgnoreError(); });
    auto session = hub_->Find("vertex:" + attachables_->id(), absl::Seconds(30), CancelToken());
    ASSERT_TRUE(session.ok()) << session.status();
    session_ = *std::move(session);
  }

  os::Scratch scratch_;
  AttachOptions options_;
  std::unique_ptr<session::SessionHub> hub_ = session::SessionHub::Create();
  std::unique_ptr<Attachables> attachables_;
  std::unique_ptr<session::ByteStream> near_, far_;
  CancelSource quit_;
  std::thread serving_, attached_;
  session::SessionPtr session_;
};

TEST_F(AttachTest, SynchronisesNamedDirectories) {
  Write(scratch_ / "context/h\xc3\xa9/file", "f");
  Write(scratch_ / "context/skip", "s");
  fs::create_directory(scratch_ / "dest");
  options_.directories = {{"context", scratch_ / "context"}};
  options_.shared_key = "key";
  Attach();
  EXPECT_EQ(session_->shared_key(), "key");
  EXPECT_TRUE(session_->Offers("/moby.filesync.v1.FileSync/diffcopy"));
  std::int64_t last = 0;
  session::SyncRequest request;
  request.name = "context";
  request.include_patterns = {"h\xc3\xa9"};
  const auto stats = session_->SyncDirectory(
      request, scratch_ / "dest", [&](const session::SyncStats& s) { last = s.bytes; }, CancelToken());
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->files, 1);
  EXPECT_EQ(last, stats->bytes);
  EXPECT_EQ(Read(scratch_ / "dest/h\xc3\xa9/file"), "f");
  EXPECT_FALSE(fs::exists(scratch_ / "dest/skip"));
  request.name = "other";
  const auto refused = session_->SyncDirectory(request, scratch_ / "dest", nullptr, CancelToken());
  EXPECT_EQ(refused.status(), absl::NotFoundError("no access allowed to dir \"other\""));
}

TEST_F(AttachTest, SecretsFromFilesAndEnvironment) {
  Write(scratch_ / "secret", "from file");
  setenv("ATTACH_TEST_SECRET", "from environment", 1);
  options_.secrets = {{"f", scratch_ / "secret", ""}, {"e", "", "ATTACH_TEST_SECRET"}, {"ATTACH_TEST_SECRET", "", ""}};
  Attach();
  EXPECT_EQ(session_->Secret("f", CancelToken()).value(), "from file");
  EXPECT_EQ(session_->Secret("e", CancelToken()).value(), "from environment");
  EXPECT_EQ(session_->Secret("ATTACH_TEST_SECRET", CancelToken()).value(), "from environment");
  EXPECT_EQ(session_->Secret("none", CancelToken()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AttachTest, ContentStoresTakeWhatIsWholeAndGiveItBack) {
  options_.content_stores = {{"local:x", scratch_ / "layout"}};
  Attach();
  auto blobs = store::OpenMetadata(scratch_ / "root");
  ASSERT_TRUE(blobs.ok()) << blobs.status();
  auto source = store::LocalBlobs::Open(scratch_ / "root", blobs->get());
  ASSERT_TRUE(source.ok()) << source.status();
  const std::string data(3 << 20, 'x');
  const oci::Digest digest = *(*source)->Put(data);
  const oci::Descriptor blob{"text/plain", digest, static_cast<std::int64_t>(data.size())};
  EXPECT_TRUE(absl::IsNotFound(session_->BlobSize("local:x", digest, CancelToken()).status()));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(session_->UploadBlob("local:x", blob, **source, CancelToken()).ok()) << "what is there is not sent again";
  EXPECT_EQ(*session_->BlobSize("local:x", digest, CancelToken()), blob.size);
  std::string read;
  const auto sink = [&](absl::string_view bytes) { return absl::StrAppend(&read, bytes), absl::OkStatus(); };
  EXPECT_TRUE(session_->ReadBlob("local:x", digest, sink, CancelToken()).ok());
  EXPECT_EQ(read, data);
  EXPECT_TRUE(fs::is_empty(scratch_ / "layout/ingest"));
  EXPECT_TRUE(absl::IsNotFound(session_->BlobSize("local:y", digest, CancelToken()).status()));

  const oci::Descriptor wrong{"text/plain", *(*source)->Put(std::string(data.size(), 'y')), blob.size};
  Write((scratch_ / "root/blobs/sha256/") + std::string(wrong.digest.hex()), data);
  EXPECT_THAT(std::string(session_->UploadBlob("local:x", wrong, **source, CancelToken()).message()), HasSubstr("unexpected digest"));
  EXPECT_FALSE(fs::exists((scratch_ / "layout/blobs/sha256/") + std::string(wrong.digest.hex())));
  EXPECT_TRUE(fs::is_empty(scratch_ / "layout/ingest"));
}

// As of a shell's <(command): what comes through it is kept for every step that asks.
TEST_F(AttachTest, SecretsComeThroughPipes) {
  ASSERT_EQ(::mkfifo((scratch_ / "pipe").c_str(), 0600), 0);
  options_.secrets = {{"p", scratch_ / "pipe", ""}};
  std::thread writer([&] { Write(scratch_ / "pipe", "word"); });
  Attach();
  writer.join();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(*session_->Secret("p", CancelToken()), "word");
  const UniqueFd stop(::eventfd(1, EFD_CLOEXEC));
  options_.stop_fd = stop.get();
  EXPECT_EQ(Attachables::Create(options_).status().code(), absl::StatusCode::kCancelled) << "nobody writes";
}

TEST_F(AttachTest, RefusesLargeOrMissingSecrets) {
  Write(scratch_ / "large", std::string(512 * 1024, 'x'));
  options_.secrets = {{"l", scratch_ / "large", ""}};
  EXPECT_THAT(std::string(Attachables::Create(options_).status().message()), HasSubstr("too big"));
  options_.secrets = {{"m", scratch_ / "missing", ""}};
  EXPECT_EQ(Attachables::Create(options_).status().code(), absl::StatusCode::kNotFound);
}

int ConnectTo(const std::string& path, bool listening) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listening) {
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd, 5), 0);
  } else {
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << path;
  }
  return fd;
}
std::string Exchange(int fd, const std::string& request, std::size_t answer_size) {
  EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  std::string answer(answer_size, '\0');
  EXPECT_EQ(recv(fd, answer.data(), answer.size(), MSG_WAITALL), static_cast<ssize_t>(answer_size));
  return answer;
}
// Echoes on every connection until the listener is shut down.
void RunEcho(int listener) {
  for (;;) {
    const UniqueFd fd(accept(listener, nullptr, nullptr));
    if (!fd.valid()) return;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;) {
      send(fd.get(), buffer, static_cast<std::size_t>(n), MSG_NOSIGNAL);
    }
  }
}

TEST_F(AttachTest, ForwardsSshAgents) {
  const UniqueFd listener(ConnectTo(scratch_ / "agent", /*listening=*/true));
  std::thread echo([&] { RunEcho(listener.get()); });
  options_.ssh_agents = {{"raw", {scratch_ / "agent"}, true}, {"", {scratch_ / "agent"}, false}};
  Attach();
  EXPECT_TRUE(session_->CheckSshAgent("raw", CancelToken()).ok());
  EXPECT_TRUE(session_->CheckSshAgent("", CancelToken()).ok());
  EXPECT_THAT(std::string(session_->CheckSshAgent("none", CancelToken()).message()), HasSubstr("unset ssh forward key none"));
  {
    auto socket = session_->ForwardSsh("raw", getuid(), getgid(), 0600);
    ASSERT_TRUE(socket.ok()) << socket.status();
    struct stat st {};
    ASSERT_EQ(stat((*socket)->path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFSOCK | 0600u);
    const UniqueFd fd(ConnectTo((*socket)->path(), /*listening=*/false));
    EXPECT_EQ(Exchange(fd.get(), "hello", 5), "hello");
    EXPECT_EQ(Exchange(fd.get(), "again", 5), "again");
    shutdown(fd.get(), SHUT_WR);
    char rest;
    EXPECT_EQ(recv(fd.get(), &rest, 1, 0), 0);
  }
  std::string path;
  {
    auto socket = session_->ForwardSsh("", getuid(), getgid(), 0600);
    ASSERT_TRUE(socket.ok()) << socket.status();
    path = (*socket)->path();
    const UniqueFd fd(ConnectTo(path, /*listening=*/false));
    const std::string list({0, 0, 0, 1, 11}), remove_all({0, 0, 0, 1, 19}), failure({0, 0, 0, 1, 5});
    EXPECT_EQ(Exchange(fd.get(), list, 5), list);           // the echoing agent saw it
    EXPECT_EQ(Exchange(fd.get(), remove_all, 5), failure);  // and did not see this
    EXPECT_EQ(send(fd.get(), list.data(), 2, 0), 2);        // a request in two pieces
    EXPECT_EQ(Exchange(fd.get(), list.substr(2), 5), list);
  }
  EXPECT_FALSE(fs::exists(path));
  shutdown(listener.get(), SHUT_RDWR);
  echo.join();
}

TEST_F(AttachTest, ForwardsKeysOfFiles) {
  if (!os::FindProgram("ssh-keygen").ok()) GTEST_SKIP() << "needs ssh-keygen";
  const auto make_key = [&](const std::string& name, const std::string& passphrase) {
    os::Command command;
    command.argv = {"ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", scratch_ / name};
    const auto made = os::Run(std::move(command), {}, CancelToken());
    ASSERT_TRUE(made.ok() && made->exit.code == 0);
  };
  make_key("one", "");
  make_key("two", "");
  make_key("locked", "a passphrase");
  ASSERT_EQ(chmod(std::string(scratch_ / "one").c_str(), 0644), 0);
  options_.ssh_agents = {{"", {scratch_ / "one", scratch_ / "two"}, false}};
  Attach();
  auto socket = session_->ForwardSsh("", getuid(), getgid(), 0600);
  ASSERT_TRUE(socket.ok()) << socket.status();
  os::Command list;
  list.argv = {"ssh-add", "-L"};
  list.env = {"SSH_AUTH_SOCK=" + (*socket)->path(), "PATH=/usr/bin:/bin"};
  const auto listed = os::Run(std::move(list), {}, CancelToken());
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(listed->out, Read(scratch_ / "one.pub") + Read(scratch_ / "two.pub"));

  const auto error = [&](std::vector<std::string> paths, bool raw) {
    options_.ssh_agents = {{"x", std::move(paths), raw}};
    return std::string(Attachables::Create(options_).status().message());
  };
  EXPECT_THAT(error({scratch_ / "locked"}, false), HasSubstr("locked is no private key that can be used without a passphrase"));
  EXPECT_THAT(error({scratch_ / "one.pub"}, false), HasSubstr("one.pub is no private key"));
  EXPECT_THAT(error({scratch_ / "none"}, false), HasSubstr("none: no such file or directory"));
  EXPECT_THAT(error({scratch_ / "one"}, true), HasSubstr("raw mode only supported with socket paths"));
}

TEST_F(AttachTest, WritesOutputFiles) {
  std::map<std::string, std::string> seen;
  Output custom;
  custom.exporter_id = 1;
  custom.open = [&](const std::map<std::string, std::string>& metadata) -> absl::StatusOr<std::unique_ptr<OutputSink>> {
    seen = metadata;
    return nullptr;
  };
  options_.outputs = {FileOutput(0, scratch_ / "out.tar"), custom};
  Attach();
  auto sink = session_->OpenOutputFile({}, 0, CancelToken());
  ASSERT_TRUE(sink.ok()) << sink.status();
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string piece = absl::StrCat("piece ", i, std::string(1000, '.'));
    ASSERT_TRUE((*sink)->Write(piece).ok());
    expected += piece;
  }
  ASSERT_TRUE((*sink)->Close().ok());
  EXPECT_TRUE(Read(scratch_ / "out.tar") == expected);

  auto refused = session_->OpenOutputFile({{"containerimage.digest", "sha256:1"}}, 1, CancelToken());
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ((*refused)->Close(), absl::AlreadyExistsError("target already exists"));
  EXPECT_EQ(seen["containerimage.digest"], "sha256:1");
  auto unknown = session_->OpenOutputFile({}, 9, CancelToken());
  ASSERT_TRUE(unknown.ok());
  EXPECT_THAT(std::string((*unknown)->Close().message()), HasSubstr("exporter 9 not found"));
}

TEST_F(AttachTest, WritesOutputDirectories) {
  Write(scratch_ / "tree/bin/tool", "t");
  Write(scratch_ / "merged/kept", "k");
  Write(scratch_ / "mirrored/gone", "g");
  Output merged, mirrored;
  merged.directory = scratch_ / "merged";
  mirrored.directory = scratch_ / "mirrored";
  mirrored.exporter_id = 1;
  mirrored.mirror = true;
  options_.outputs = {merged, mirrored};
  Attach();
  session::OutputTree tree;
  tree.source = scratch_ / "tree";
  ASSERT_TRUE(session_->SendDirectory({tree}, 0, nullptr, CancelToken()).ok());
  EXPECT_EQ(Read(scratch_ / "merged/bin/tool"), "t");
  EXPECT_EQ(Read(scratch_ / "merged/kept"), "k");
  tree.subdirectory = "linux_amd64";
  tree.extra_files = {{"provenance.json", "{}"}};
  std::int64_t sent = 0;
  ASSERT_TRUE(session_
                  ->SendDirectory(
                      {tree}, 1, [&](std::int64_t bytes) { sent = bytes; }, CancelToken())
                  .ok());
  EXPECT_EQ(Read(scratch_ / "mirrored/linux_amd64/bin/tool"), "t");
  EXPECT_EQ(Read(scratch_ / "mirrored/linux_amd64/provenance.json"), "{}");
  EXPECT_FALSE(fs::exists(scratch_ / "mirrored/gone"));
  EXPECT_GT(sent, 0);
}

TEST_F(AttachTest, Uploads) {
  Attach();
  int left = 3;
  const std::string url = attachables_->AddUpload([&](std::string& chunk) -> absl::StatusOr<bool> {
    chunk.assign(2'500'000, 'u');
    return left-- > 0;
  });
  const std::string path = url.substr(std::string("http://buildkit-session").size());
  std::size_t received = 0;
  const auto sink = [&](absl::string_view bytes) {
    received += bytes.size();
    return absl::OkStatus();
  };
  ASSERT_TRUE(session_->PullUpload(path, sink, CancelToken()).ok());
  EXPECT_EQ(received, 7'500'000u);
  EXPECT_FALSE(session_->PullUpload(path, sink, CancelToken()).ok()) << "a stream is read once";
}

TEST_F(AttachTest, CredentialsFromDockersConfiguration) {
  Write(scratch_ / "docker/config.json", R"({
    "auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNz"}, "old.example/v2/": {"username": "u2", "password": "p2"},
              "token.example": {"identitytoken": "refresh"}, "ready.example": {"registrytoken": "bearer"}},
    "credHelpers": {"helped.example": "attach-test"}})");
  Write(scratch_ / "bin/docker-credential-attach-test",
        "#!/bin/sh\nread host\necho \"{\\\"Username\\\":\\\"h:$host\\\",\\\"Secret\\\":\\\"s\\\"}\"\n");
  chmod((scratch_ / "bin/docker-credential-attach-test").c_str(), 0755);
  setenv("PATH", absl::StrCat(scratch_ / "bin", ":", getenv("PATH")).c_str(), 1);
  Attach();
  const auto credentials = session_->credentials();
  const auto basic = [&](const std::string& host) {
    const auto found = credentials->ForHost(host);
    return found.ok() ? found->username + "/" + found->secret : std::string(found.status().message());
  };
  EXPECT_EQ(basic("registry-1.docker.io"), "user/pass");
  EXPECT_EQ(basic("old.example"), "u2/p2");
  EXPECT_EQ(basic("token.example"), "/refresh");
  EXPECT_EQ(basic("helped.example"), "h:helped.example/s");
  EXPECT_EQ(basic("unknown.example"), "/");
  registry::Credentials::TokenRequest request;
  request.host = "ready.example";
  EXPECT_EQ(credentials->FetchToken(request).value(), "bearer");
}

TEST_F(AttachTest, ProvesTokenAuthority) {
  Write(scratch_ / "docker/config.json", R"({"auths": {"a.example": {"auth": "dXNlcjpwYXNz"}}})");
  Attach();
  const auto key_of = [&](const std::string& host, const std::string& salt) {
    wire::GetTokenAuthorityRequest request;
    request.set_host(host);
    request.set_salt(salt);
    wire::GetTokenAuthorityResponse response;
    const auto bytes = session_->Call("/moby.filesync.v1.Auth/GetTokenAuthority", request.SerializeAsString(), absl::Minutes(1), CancelToken());
    EXPECT_TRUE(bytes.ok() && response.ParseFromString(*bytes));
    return response.publickey();
  };
  const std::string key = key_of("a.example", "salt");
  EXPECT_EQ(key.size(), 32u);
  EXPECT_EQ(key, key_of("a.example", "salt"));
  EXPECT_NE(key, key_of("a.example", "other"));
  EXPECT_EQ(key_of("anonymous.example", "salt"), key_of("anonymous2.example", "salt"));

  wire::VerifyTokenAuthorityRequest request;
  request.set_host("a.example");
  request.set_salt("salt");
  request.set_payload("challenge");
  wire::VerifyTokenAuthorityResponse response;
  const auto bytes = session_->Call("/moby.filesync.v1.Auth/VerifyTokenAuthority", request.SerializeAsString(), absl::Minutes(1), CancelToken());
  ASSERT_TRUE(bytes.ok() && response.ParseFromString(*bytes));
  ASSERT_EQ(response.signed_().substr(64), "challenge");
  EVP_PKEY* public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, reinterpret_cast<const unsigned char*>(key.data()), key.size());
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ASSERT_EQ(EVP_DigestVerifyInit(context, nullptr, nullptr, nullptr, public_key), 1);
  EXPECT_EQ(EVP_DigestVerify(context, reinterpret_cast<const unsigned char*>(response.signed_().data()), 64,
                             reinterpret_cast<const unsigned char*>("challenge"), 9),
            1);
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(public_key);
}

TEST_F(AttachTest, SessionEndsWithTheClient) {
  Attach();
  const CancelToken gone = session_->gone();
  quit_.Cancel();
  serving_.join();
  attached_.join();
  EXPECT_TRUE(gone.cancelled());
  EXPECT_EQ(session_->Secret("x", CancelToken()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(hub_->Find(attachables_->id(), absl::ZeroDuration(), CancelToken()).status().code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace cachalot::client
