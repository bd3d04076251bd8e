#include "op/proxy/exec_proxy.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "oci/digest.h"
#include "op/proxy/ca_bundle.h"
#include "os/file.h"
#include "os/scratch_testing.h"
#include "registry/fake_server_testing.h"

namespace cachalot::op {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class ExecProxyTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to enter a network namespace";
    authority_ = *ProxyAuthority::Create();
    Start(nullptr);
  }
  void Start(ProxyCheck check) {
    ExecProxy::Options options;
    options.authority = authority_.get();
    options.listen_namespace = "/proc/self/ns/net";
    options.open_socket = [](int family, int type, int protocol) { return ::socket(family, type, protocol); };
    options.check = std::move(check);
    proxy_ = *ExecProxy::Start(std::move(options));
  }
  UniqueFd Connect() {
    const std::string url = proxy_->env()[0];
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(url.substr(url.rfind(':') + 1), &port)) << url;
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // What comes back on a connection that ends with the answer.
  std::string Ask(const std::string& text) {
    const UniqueFd fd = Connect();
    EXPECT_TRUE(os::WriteAll(fd.get(), text, "request").ok());
    return os::ReadAll(fd.get(), 1 << 24, "answer").value_or("(broken)");
  }
  std::vector<std::string> Records() {
    std::vector<std::string> lines;
    for (const ProxyRecord& record : proxy_->records()) lines.push_back(absl::StrCat(record.method, " ", record.url, " ", record.status));
    return lines;
  }

  registry::FakeServer server_{[](const registry::FakeRequest& request) {
    if (request.target == "/chunked")
      return registry::FakeReply{200, {{"Transfer-Encoding", "chunked"}, {"Content-Length", "999"}}, "3\r\nabc\r\n0\r\n\r\n"};
    if (request.target == "/missing") return registry::FakeReply{404, {}, "nothing"};
    if (request.target == "/away") return registry::FakeReply{302, {{"Location", "/else"}}, ""};
    const bool secret = request.headers.count("proxy-authorization") > 0;
    return registry::FakeReply{200, {}, absl::StrCat(request.method, " ", request.target, " ", request.body, secret ? " leaked" : "")};
  }};
  std::unique_ptr<ProxyAuthority> authority_;
  std::unique_ptr<ExecProxy> proxy_;
};

TEST_F(ExecProxyTest, PassesRequestsOnAndRecordsThem) {
  const std::string get = Ask(absl::StrCat("GET ", server_.url(), "/a?x=1 HTTP/1.0\r\nHost: h\r\nProxy-Authorization: x\r\n\r\n"));
  EXPECT_THAT(get, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get, EndsWith("\r\n\r\nGET /a?x=1 "));
  const std::string post = Ask(absl::StrCat("POST ", server_.url(), "/b HTTP/1.1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"));
  EXPECT_THAT(post, EndsWith("POST /b body"));
  const std::string chunks = Ask(absl::StrCat(
      "PUT ", server_.url(), "/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nch\r\n5\r\nunked\r\n0\r\n\r\n"));
  EXPECT_THAT(chunks, EndsWith("PUT /c chunked"));
  EXPECT_THAT(Records(), testing::ElementsAre(absl::StrCat("GET ", server_.url(), "/a?x=1 200"), absl::StrCat("POST ", server_.url(), "/b 200"),
                                              absl::StrCat("PUT ", server_.url(), "/c 200")));
}

TEST_F(ExecProxyTest, KnowsWhatIsAMaterial) {
  (void)Ask(absl::StrCat("GET ", server_.url(), "/a HTTP/1.0\r\n\r\n"));
  (void)Ask(absl::StrCat("GET ", server_.url(), "/chunked HTTP/1.0\r\n\r\n"));
  (void)Ask(absl::StrCat("GET ", server_.url(), "/part HTTP/1.0\r\nRange: bytes=0-1\r\n\r\n"));
  (void)Ask(absl::StrCat("POST ", server_.url(), "/post HTTP/1.0\r\n\r\n"));
  (void)Ask(absl::StrCat("GET ", server_.url(), "/missing HTTP/1.0\r\n\r\n"));
  (void)Ask(absl::StrCat("GET ", server_.url(), "/away HTTP/1.0\r\n\r\n"));
  const std::vector<ProxyRecord> records = proxy_->records();
  ASSERT_EQ(records.size(), 6u);
  EXPECT_EQ(records[0].digest, oci::Digest::Of("GET /a ").str());
  EXPECT_EQ(records[0].gap, "");
  EXPECT_EQ(records[1].digest, oci::Digest::Of("abc").str());
  EXPECT_EQ(records[2].gap, "partial_response");
  EXPECT_EQ(records[3].gap, "method_not_materializable");
  EXPECT_EQ(records[4].gap, "unsuccessful_response");
  EXPECT_EQ(records[5].gap, "");
  EXPECT_EQ(records[5].redirect, server_.url() + "/else");
  for (std::size_t i = 2; i < records.size(); ++i) EXPECT_EQ(records[i].digest, "") << i;
}

TEST_F(ExecProxyTest, RedirectsAreTheClientsOwn) {
  EXPECT_THAT(Ask(absl::StrCat("GET ", server_.url(), "/away HTTP/1.0\r\n\r\n")), StartsWith("HTTP/1.1 302 "));
}

TEST_F(ExecProxyTest, ConnectionsAreKept) {
  const std::string request = absl::StrCat("GET ", server_.url(), "/k HTTP/1.1\r\n\r\n");
  const std::string last = absl::StrCat("GET ", server_.url(), "/l HTTP/1.1\r\nConnection: close\r\n\r\n");
  const std::string answers = Ask(absl::StrCat(request, last));
  EXPECT_THAT(answers, HasSubstr("GET /k HTTP/1.1 200"));
  EXPECT_THAT(answers, EndsWith("GET /l "));
}

TEST_F(ExecProxyTest, NoServerIsABadGateway) {
  const std::string answer = Ask("GET http://nowhere.invalid:80/x HTTP/1.1\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_THAT(Records(), testing::ElementsAre("GET http://nowhere.invalid/x 502"));
}

TEST_F(ExecProxyTest, NonsenseIsABadRequest) {
  EXPECT_THAT(Ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Ask("GET / HTTP/1.1\r\n folded: x\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(ExecProxyTest, RequestsCanBeRefusedAndRewritten) {
  Start([this](const std::string& method, const std::string& url) -> absl::StatusOr<std::string> {
    if (absl::EndsWith(url, "/denied")) return absl::PermissionDeniedError("no");
    return absl::EndsWith(url, "/old") ? server_.url() + "/new" : url;
  });
  EXPECT_THAT(Ask(absl::StrCat("GET ", server_.url(), "/denied HTTP/1.1\r\n\r\n")), StartsWith("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_THAT(Ask(absl::StrCat("GET ", server_.url(), "/old HTTP/1.0\r\n\r\n")), EndsWith("GET /new "));
  EXPECT_THAT(server_.log(), testing::ElementsAre("GET /new"));
}

TEST_F(ExecProxyTest, LooksIntoTls) {
  const UniqueFd fd = Connect();
  ASSERT_TRUE(os::WriteAll(fd.get(), "CONNECT nowhere.invalid:443 HTTP/1.1\r\nHost: nowhere.invalid:443\r\n\r\n", "request").ok());
  const std::string expected = "HTTP/1.1 200 Connection Established\r\n\r\n";
  std::string established(expected.size(), ' ');
  ASSERT_EQ(::recv(fd.get(), established.data(), established.size(), MSG_WAITALL), static_cast<ssize_t>(expected.size()));
  EXPECT_EQ(established, expected);
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  const std::unique_ptr<BIO, int (*)(BIO*)> pem(BIO_new_mem_buf(authority_->certificate().data(), -1), BIO_free);
  const std::unique_ptr<X509, void (*)(X509*)> root(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr), X509_free);
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
  SSL_set1_host(ssl.get(), "nowhere.invalid");
  SSL_set_fd(ssl.get(), fd.get());
  ASSERT_EQ(SSL_connect(ssl.get()), 1) << "the certificate is for the host, by the authority";
  const std::string request = "GET /x HTTP/1.1\r\nHost: nowhere.invalid\r\n\r\n";
  ASSERT_GT(SSL_write(ssl.get(), request.data(), static_cast<int>(request.size())), 0);
  std::string answer(4096, ' ');
  answer.resize(static_cast<std::size_t>(std::max(0, SSL_read(ssl.get(), answer.data(), static_cast<int>(answer.size())))));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_THAT(Records(), testing::ElementsAre("GET https://nowhere.invalid/x 502"));
}

TEST_F(ExecProxyTest, EndsWithOpenConnections) {
  const UniqueFd idle = Connect();
  proxy_.reset();
  EXPECT_EQ(os::ReadAll(idle.get(), 100, "answer").value_or(""), "");
}

TEST(AddedCertificateTest, LeavesTheBundleAsItWas) {
  os::Scratch scratch;
  ASSERT_TRUE(os::MakeDirectories(scratch / "etc/ssl/certs").ok());
  ASSERT_TRUE(os::MakeDirectories(scratch / "usr/share").ok());
  ASSERT_TRUE(os::WriteFileAtomic(scratch / "usr/share/all.crt", "one", 0640).ok());
  ASSERT_EQ(::symlink("/usr/share/all.crt", (scratch / "etc/ssl/certs/ca-certificates.crt").c_str()), 0);
  const struct stat before = *os::Lstat(scratch / "usr/share/all.crt"), directory = *os::Lstat(scratch / "usr/share");
  AddedCertificate added = *AddedCertificate::Add(scratch.path(), "PEM\n");
  EXPECT_EQ(*os::ReadFile(scratch / "usr/share/all.crt", 1000), "one\n\n# buildkit proxy CA begin\nPEM\n# buildkit proxy CA end\n");
  ASSERT_TRUE(added.Remove().ok());
  EXPECT_EQ(*os::ReadFile(scratch / "usr/share/all.crt", 1000), "one");
  const struct stat after = *os::Lstat(scratch / "usr/share/all.crt");
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(os::Lstat(scratch / "usr/share")->st_mtim.tv_nsec, directory.st_mtim.tv_nsec);
}

TEST(AddedCertificateTest, KeepsWhatTheStepChanges) {
  os::Scratch scratch;
  ASSERT_TRUE(os::MakeDirectories(scratch / "etc/ssl").ok());
  const std::string bundle = scratch / "etc/ssl/cert.pem";
  ASSERT_TRUE(os::WriteFileAtomic(bundle, "one\n").ok());
  AddedCertificate added = *AddedCertificate::Add(scratch.path(), "PEM\n");
  ASSERT_TRUE(os::WriteFileAtomic(bundle, *os::ReadFile(bundle, 1000) + "two\n").ok());
  ASSERT_TRUE(added.Remove().ok());
  EXPECT_EQ(*os::ReadFile(bundle, 1000), "one\ntwo\n");
  // Without a bundle there is nothing to do.
  ASSERT_EQ(::unlink(bundle.c_str()), 0);
  EXPECT_TRUE(AddedCertificate::Add(scratch.path(), "PEM\n")->Remove().ok());
}

// The clean-up of the certificate was led outside of the step's root, or blocked.
TEST(AddedCertificateTest, Ghsa2f5p_x9ph_g97x) {
  for (const char* trick : {"file", "directory", "pipe", "loop"}) {
    os::Scratch scratch;
    const std::string root = scratch / "root", outside = scratch / "outside", bundle = root + "/etc/ssl/cert.pem";
    ASSERT_TRUE(os::MakeDirectories(root + "/etc/ssl").ok());
    ASSERT_TRUE(os::MakeDirectories(outside).ok());
    ASSERT_TRUE(os::WriteFileAtomic(bundle, "one\n").ok());
    AddedCertificate added = *AddedCertificate::Add(root, "PEM\n");
    const std::string with = *os::ReadFile(bundle, 1000);
    ASSERT_TRUE(os::WriteFileAtomic(outside + "/cert.pem", with).ok());
    ASSERT_EQ(::unlink(bundle.c_str()), 0);
    const std::string kind = trick;
    if (kind == "file") {
      ASSERT_EQ(::symlink((outside + "/cert.pem").c_str(), bundle.c_str()), 0);
    }
    if (kind == "pipe") {
      ASSERT_EQ(::mkfifo(bundle.c_str(), 0644), 0);
    }
    if (kind == "loop") {
      ASSERT_EQ(::symlink("cert.pem", bundle.c_str()), 0);
    }
    if (kind == "directory") {
      ASSERT_EQ(::rmdir((root + "/etc/ssl").c_str()), 0);
      ASSERT_EQ(::symlink(outside.c_str(), (root + "/etc/ssl").c_str()), 0);
    }
    (void)added.Remove();
    EXPECT_EQ(*os::ReadFile(outside + "/cert.pem", 1000), with) << trick;
    EXPECT_EQ(os::ListDirectory(outside)->size(), 1u) << trick;
  }
}

std::size_t OpenDescriptors() { return os::ListDirectory("/proc/self/fd")->size(); }

// A step holds more connections than it may: the process keeps its descriptors, and who waits is served when others end.
TEST_F(ExecProxyTest, ConnectionsAreBounded) {
  const std::size_t before = OpenDescriptors();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 220; ++i) clients.push_back(Connect());
  const auto served = [&] { return OpenDescriptors() - before - clients.size(); };
  while (served() < 100) std::this_thread::yield();
  for (int i = 0; i < 1000; ++i) {
    std::this_thread::yield();
    ASSERT_LE(served(), 128U + 8U);
  }
  const UniqueFd last = std::move(clients.back());
  clients.clear();
  ASSERT_TRUE(os::WriteAll(last.get(), absl::StrCat("GET ", server_.url(), "/last HTTP/1.0\r\n\r\n"), "request").ok());
  EXPECT_THAT(os::ReadAll(last.get(), 1 << 20, "answer").value_or("(broken)"), EndsWith("GET /last "));
}

}  // namespace
}  // namespace cachalot::op
