// ExecProcess as a client sees it.
#include "daemon/exec_stream.h"

#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>

#include "buildkit/gateway.grpc.pb.h"
#include "daemon/fake_engine_testing.h"
#include "daemon/server.h"
#include "gtest/gtest.h"

namespace cachalot::daemon {
namespace {

namespace gateway = moby::buildkit::v1::frontend;
using gateway::ExecMessage;

class ExecStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start({}, engine_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    server_->Serve(UniqueFd(ends[0]));
    gateway_ = gateway::LLBBridge::NewStub(grpc::CreateInsecureChannelFromFd("test", ends[1]));
    Name(context_);
    for (const char* id : {"c", "running"}) {
      gateway::NewContainerRequest request;
      request.set_containerid(id);
      grpc::ClientContext context;
      Name(context);
      gateway::NewContainerResponse response;
      ASSERT_TRUE(gateway_->NewContainer(&context, request, &response).ok());
    }
    stream_ = gateway_->ExecProcess(&context_);
  }
  static void Name(grpc::ClientContext& context) { context.AddMetadata("buildkit-controlapi-buildid", "gw"); }

  void Init(const std::string& id, const std::vector<std::uint32_t>& fds, const std::string& container = "c") {
    ExecMessage message;
    message.set_processid(id);
    message.mutable_init()->set_containerid(container);
    message.mutable_init()->mutable_meta()->add_args("arg");
    for (const std::uint32_t fd : fds) message.mutable_init()->add_fds(fd);
    ASSERT_TRUE(stream_->Write(message));
  }
  void Input(const std::string& id, const std::string& data, bool eof) {
    ExecMessage message;
    message.set_processid(id);
    message.mutable_file()->set_data(data);
    message.mutable_file()->set_eof(eof);
    ASSERT_TRUE(stream_->Write(message));
  }
  // The next message, of that process.
  ExecMessage Next(const std::string& id) {
    ExecMessage message;
    EXPECT_TRUE(stream_->Read(&message));
    EXPECT_EQ(message.processid(), id);
    return message;
  }
  // All until Done; what was printed goes to `out` and `err`.
  gateway::ExitMessage ReadToDone(const std::string& id, std::string* out = nullptr, std::string* err = nullptr) {
    gateway::ExitMessage exit;
    EXPECT_TRUE(Next(id).has_started());
    ExecMessage message;
    while (stream_->Read(&message) && !message.has_done()) {
      if (message.has_exit()) exit = message.exit();
      std::string* const text = message.file().fd() == 1 ? out : err;
      if (message.has_file() && text != nullptr) *text += message.file().data();
    }
    EXPECT_TRUE(message.has_done());
    return exit;
  }
  grpc::Status Finish() {
    stream_->WritesDone();
    return stream_->Finish();
  }

  FakeEngine engine_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<gateway::LLBBridge::Stub> gateway_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<ExecMessage, ExecMessage>> stream_;
};

TEST_F(ExecStreamTest, PassesInputAndOutput) {
  Init("p", {0, 1, 2});
  Input("p", "hello ", false);
  Input("p", "world", true);
  std::string out, err;
  EXPECT_EQ(ReadToDone("p", &out, &err).code(), 0u);
  EXPECT_EQ(out, "hello world");
  EXPECT_EQ(err, "arg");
  EXPECT_TRUE(Finish().ok());
}

TEST_F(ExecStreamTest, LaterProcessesAreAnnouncedBeforeTheyStart) {
  *FakeContainer::may_start.Lock() = false;
  Init("p", {0, 1}, "running");
  Input("p", "hello", true);
  Init("q", {0}, "running");
  Input("q", "", true);
  std::set<std::string> announced;
  for (int i = 0; i < 2; ++i) {
    ExecMessage message;
    ASSERT_TRUE(stream_->Read(&message) && message.has_started());
    announced.insert(message.processid());
  }
  EXPECT_EQ(announced.size(), 2u);
  *FakeContainer::may_start.Lock() = true;
  FakeContainer::may_start.NotifyAll();
  std::string out;
  for (int done = 0; done < 2;) {
    ExecMessage message;
    ASSERT_TRUE(stream_->Read(&message));
    out += message.file().data();
    done += message.has_done() ? 1 : 0;
  }
  EXPECT_EQ(out, "hello");
  EXPECT_TRUE(Finish().ok());
}

TEST_F(ExecStreamTest, SignalsAndResizesReachTheProcess) {
  Init("p", {0});
  ExecMessage signal;
  signal.set_processid("p");
  signal.mutable_signal()->set_name("HUP");
  ASSERT_TRUE(stream_->Write(signal));
  Input("p", "", true);
  EXPECT_EQ(ReadToDone("p").code(), 129u);
  Init("q", {0});
  ExecMessage resize;
  resize.set_processid("q");
  resize.mutable_resize()->set_cols(80);
  ASSERT_TRUE(stream_->Write(resize));
  Input("q", "", true);
  EXPECT_EQ(ReadToDone("q").error().message(), "exit code: 80");
  EXPECT_TRUE(Finish().ok());
}

TEST_F(ExecStreamTest, WhatCannotStartEnds) {
  ExecMessage message;
  message.set_processid("p");
  message.mutable_init()->set_containerid("c");
  message.mutable_init()->mutable_meta()->add_args("sh");
  message.mutable_init()->set_security(pb::INSECURE);
  ASSERT_TRUE(stream_->Write(message));
  const gateway::ExitMessage exit = ReadToDone("p");
  EXPECT_EQ(exit.code(), 255u);
  EXPECT_EQ(exit.error().message(), "security.insecure is not allowed");
  EXPECT_TRUE(Finish().ok());
}

TEST_F(ExecStreamTest, BrokenProtocolEndsTheCall) {
  Init("p", {0, 1});
  EXPECT_TRUE(Next("p").has_started());
  Input("p", "", true);
  Input("another", "", true);
  ExecMessage message;
  while (stream_->Read(&message)) {
  }
  const grpc::Status status = stream_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "IO for process \"another\" not found");
}

TEST_F(ExecStreamTest, UnknownContainersAndSignals) {
  Init("p", {}, "nothing");
  ExecMessage message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_EQ(stream_->Finish().error_message(), "container \"nothing\" previously released or not created");
}

TEST_F(ExecStreamTest, TheClientLeaving) {
  Init("p", {0, 1});
  EXPECT_TRUE(Next("p").has_started());
  context_.TryCancel();
  ExecMessage message;
  while (stream_->Read(&message)) {
  }
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_.reset();  // waits for the call
}

TEST_F(ExecStreamTest, FilesOfContainers) {
  grpc::ClientContext context;
  Name(context);
  gateway::ReadFileRequest request;
  request.set_ref("c");
  request.set_filepath("/f");
  request.set_mountindex(2);
  gateway::ReadFileResponse response;
  ASSERT_TRUE(gateway_->ReadFileContainer(&context, request, &response).ok());
  EXPECT_EQ(response.data(), "2/f");
  grpc::ClientContext unknown;
  Name(unknown);
  request.set_ref("d");
  EXPECT_FALSE(gateway_->ReadFileContainer(&unknown, request, &response).ok());
  EXPECT_TRUE(Finish().ok());
}

}  // namespace
}  // namespace cachalot::daemon
