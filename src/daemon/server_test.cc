#include "daemon/server.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "buildkit/control.grpc.pb.h"
#include "buildkit/gateway.grpc.pb.h"
#include "daemon/address.h"
#include "daemon/fake_engine_testing.h"
#include "daemon/rpc_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "opentelemetry/trace_service.grpc.pb.h"

namespace cachalot::daemon {
namespace {

namespace control = moby::buildkit::v1;
namespace gateway = moby::buildkit::v1::frontend;

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Start({}, engine_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    server_->Serve(UniqueFd(ends[0]));
    channel_ = grpc::CreateInsecureChannelFromFd("test", ends[1]);
    control_ = control::Control::NewStub(channel_);
    gateway_ = gateway::LLBBridge::NewStub(channel_);
  }

  static void NameBuild(grpc::ClientContext& context, const std::string& ref) { context.AddMetadata("buildkit-controlapi-buildid", ref); }

  FakeEngine engine_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<control::Control::Stub> control_;
  std::unique_ptr<gateway::LLBBridge::Stub> gateway_;
};

TEST_F(ServerTest, ListsTheWorker) {
  grpc::ClientContext context;
  control::ListWorkersResponse response;
  ASSERT_TRUE(control_->ListWorkers(&context, {}, &response).ok());
  ASSERT_EQ(response.record_size(), 1);
  EXPECT_EQ(response.record(0).id(), "worker-id");
  EXPECT_EQ(response.record(0).platforms(0).os(), "linux");

  grpc::ClientContext filtered;
  control::ListWorkersRequest request;
  request.add_filter("id==another");
  control::ListWorkersResponse none;
  ASSERT_TRUE(control_->ListWorkers(&filtered, request, &none).ok());
  EXPECT_EQ(none.record_size(), 0);
}

TEST_F(ServerTest, SolvesAndRemembers) {
  control::SolveRequest request;
  request.set_ref("r1");
  request.set_frontend("dockerfile.v0");
  (*request.mutable_frontendattrs())["build-arg:SOURCE_DATE_EPOCH"] = "7";
  request.set_exporterdeprecated("oci");
  request.mutable_cache()->add_importrefsdeprecated("r/c");
  control::SolveResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(control_->Solve(&context, request, &response).ok());
  EXPECT_EQ(response.exporterresponse().at("answer"), "dockerfile.v0");
  {
    auto requests = engine_.requests.Lock();
    ASSERT_EQ(requests->size(), 1u);
    EXPECT_EQ(requests->at(0).exports.at(0).type, "oci");
    EXPECT_EQ(requests->at(0).exports.at(0).attrs.at("source-date-epoch"), "7");
    EXPECT_EQ(requests->at(0).cache_imports.at(0).attrs.at("ref"), "r/c");
  }
  control::BuildHistoryRequest listen;
  listen.set_earlyexit(true);
  grpc::ClientContext listening;
  const auto reader = control_->ListenBuildHistory(&listening, listen);
  control::BuildHistoryEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.type(), control::COMPLETE);
  EXPECT_EQ(event.record().ref(), "r1");
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServerTest, FailuresKeepTheirMessage) {
  engine_.failure = absl::InvalidArgumentError("unknown instruction: FOO");
  control::SolveRequest request;
  request.set_ref("fail1");
  control::SolveResponse response;
  grpc::ClientContext context;
  const grpc::Status status = control_->Solve(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(status.error_message(), "unknown instruction: FOO");
}

TEST_F(ServerTest, RefusesTheSameCacheExportTwice) {
  control::SolveRequest request;
  for (int i = 0; i < 2; ++i) {
    auto* entry = request.mutable_cache()->add_exports();
    entry->set_type("registry");
    (*entry->mutable_attrs())["ref"] = "r/c";
  }
  control::SolveResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(control_->Solve(&context, request, &response).error_message(), "duplicate cache exports [registry]");
}

TEST_F(ServerTest, AClientThatLeavesCancelsItsBuild) {
  grpc::ClientContext context;
  std::thread client([&] {
    control::SolveRequest request;
    request.set_ref("wait1");
    control::SolveResponse response;
    EXPECT_EQ(control_->Solve(&context, request, &response).error_code(), grpc::StatusCode::CANCELLED);
  });
  engine_.requests.Lock().Wait([](auto& requests) { return !requests.empty(); });
  context.TryCancel();
  engine_.cancelled.Lock().Wait([](int& count) { return count == 1; });
  client.join();
}

TEST_F(ServerTest, ShutdownCancelsWhatRuns) {
  std::thread client([&] {
    grpc::ClientContext context;
    control::SolveRequest request;
    request.set_ref("wait2");
    control::SolveResponse response;
    EXPECT_FALSE(control_->Solve(&context, request, &response).ok());
  });
  engine_.requests.Lock().Wait([](auto& requests) { return !requests.empty(); });
  server_->Shutdown();
  EXPECT_EQ(*engine_.cancelled.Lock(), 1);
  client.join();
}

TEST_F(ServerTest, StreamsProgressInOrderAndEnds) {
  build::ProgressBatch first;
  solver::VertexEvent vertex;
  vertex.digest = "sha256:a";
  vertex.inputs = {"sha256:b"};
  vertex.name = "step";
  vertex.started = absl::FromUnixSeconds(5);
  first.vertexes.push_back(vertex);
  build::ProgressBatch second;
  for (int i = 0; i < 3; ++i) {
    second.logs.push_back({"sha256:a", 1, std::string(900'000, 'x'), absl::FromUnixNanos(7)});
  }
  engine_.progress = {first, second};
  grpc::ClientContext context;
  control::StatusRequest request;
  request.set_ref("r");
  const auto reader = control_->Status(&context, request);
  control::StatusResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.vertexes(0).name(), "step");
  EXPECT_EQ(message.vertexes(0).started().seconds(), 5);
  EXPECT_FALSE(message.vertexes(0).has_completed());
  int logs = 0;
  int messages = 0;
  while (reader->Read(&message)) {
    logs += message.logs_size();
    ++messages;
  }
  EXPECT_EQ(logs, 3);
  EXPECT_EQ(messages, 2);  // a third log would make the first message grow beyond its bound
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(context.GetServerInitialMetadata().count("buildkit-current-timestamp"), 1u);
}

TEST_F(ServerTest, ReportsUsageAndPruning) {
  snapshot::UsageRecord record;
  record.id = "s1";
  record.size = 12;
  record.label.record_type = "source.local";
  record.created_at = absl::Now();
  engine_.usage = {record};
  grpc::ClientContext context;
  control::DiskUsageResponse usage;
  ASSERT_TRUE(control_->DiskUsage(&context, {}, &usage).ok());
  EXPECT_EQ(usage.record(0).recordtype(), "source.local");
  grpc::ClientContext prune;
  const auto reader = control_->Prune(&prune, {});
  control::UsageRecord deleted;
  ASSERT_TRUE(reader->Read(&deleted));
  EXPECT_EQ(deleted.size(), 12);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ServerTest, RoutesTheGatewayByBuild) {
  gateway::PongResponse pong;
  grpc::ClientContext unnamed;
  EXPECT_FALSE(gateway_->Ping(&unnamed, {}, &pong).ok());
  grpc::ClientContext unknown;
  NameBuild(unknown, "nobody");
  EXPECT_EQ(gateway_->Ping(&unknown, {}, &pong).error_message(), "forwarding Ping: no such job nobody");
  grpc::ClientContext named;
  NameBuild(named, "gw");
  ASSERT_TRUE(gateway_->Ping(&named, {}, &pong).ok());
  EXPECT_GT(pong.frontendapicaps_size(), 10);
  EXPECT_GT(pong.llbcaps_size(), 40);
  EXPECT_EQ(pong.workers_size(), 1);
}

TEST_F(ServerTest, AFrontendInTheClientSolvesReadsAndReturns) {
  gateway::SolveRequest request;
  request.set_frontend("f");
  request.set_allowresultreturn(true);
  request.set_allowresultarrayref(true);
  gateway::SolveResponse response;
  grpc::ClientContext solve;
  NameBuild(solve, "gw");
  ASSERT_TRUE(gateway_->Solve(&solve, request, &response).ok());
  const std::string id = response.result().ref().id();
  EXPECT_EQ(id, "ref1");
  EXPECT_EQ(response.result().metadata().at("seen"), "f");

  gateway::ReadFileRequest read;
  read.set_ref(id);
  read.set_filepath("/etc/os-release");
  gateway::ReadFileResponse file;
  grpc::ClientContext reading;
  NameBuild(reading, "gw");
  ASSERT_TRUE(gateway_->ReadFile(&reading, read, &file).ok());
  EXPECT_EQ(file.data(), "/etc/os-release");

  read.set_ref("ref9");
  grpc::ClientContext missing;
  NameBuild(missing, "gw");
  EXPECT_EQ(gateway_->ReadFile(&missing, read, &file).error_message(), "no such ref: ref9");

  gateway::ReturnRequest result;
  result.mutable_result()->mutable_ref()->set_id(id);
  (*result.mutable_result()->mutable_metadata())["k"] = "v";
  gateway::ReturnResponse returned;
  grpc::ClientContext returning;
  NameBuild(returning, "gw");
  ASSERT_TRUE(gateway_->Return(&returning, result, &returned).ok());
  auto results = engine_.gateway->returned.Lock();
  ASSERT_EQ(results->size(), 1u);
  EXPECT_NE(results->at(0)->ref, nullptr);
  EXPECT_EQ(results->at(0)->metadata.at("k"), "v");
}

TEST_F(ServerTest, AnErrorThatAFrontendReturnsKeepsItsDetails) {
  gateway::ReturnRequest request;
  request.mutable_error()->set_code(3);
  request.mutable_error()->set_message("no");
  auto* detail = request.mutable_error()->add_details();
  detail->set_type_url("github.com/moby/buildkit/gatewayapi.ExitMessage+json");
  detail->set_value("{\"Code\":42}");
  gateway::ReturnResponse response;
  grpc::ClientContext context;
  NameBuild(context, "gw");
  ASSERT_TRUE(gateway_->Return(&context, request, &response).ok());
  auto results = engine_.gateway->returned.Lock();
  EXPECT_EQ(results->at(0).status().message(), "no");
  EXPECT_EQ(WireDetailsOf(results->at(0).status()).exit_code, 42);
}

TEST_F(ServerTest, TakesTraces) {
  const auto traces = opentelemetry::proto::collector::trace::v1::TraceService::NewStub(channel_);
  opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse response;
  grpc::ClientContext context;
  EXPECT_TRUE(traces->Export(&context, {}, &response).ok());
}

TEST_F(ServerTest, ASessionWithoutAnIdIsRefused) {
  grpc::ClientContext context;
  const auto stream = control_->Session(&context);
  control::BytesMessage message;
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, AnAttachedSessionIsFound) {
  grpc::ClientContext context;
  context.AddMetadata("x-docker-expose-session-uuid", "s1");
  context.AddMetadata("x-docker-expose-session-grpc-method", "/moby.filesync.v1.Auth/Credentials");
  const auto stream = control_->Session(&context);
  const auto session = engine_.sessions().Find("s1", absl::Seconds(20), {});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE((*session)->Offers("/moby.filesync.v1.Auth/Credentials"));
  context.TryCancel();
  const CancelToken gone = (*session)->gone();
  Guarded<bool> left;
  const auto wake = gone.OnCancel([&] {
    *left.Lock() = true;
    left.NotifyAll();
  });
  left.Lock().Wait([](bool& now) { return now; });
}

TEST(ListenUnix, ReplacesAStaleSocketOnly) {
  const std::string path = testing::TempDir() + "/cachalot_listen_test.sock";
  std::filesystem::remove(path);
  auto first = ListenUnix(path, -1);
  ASSERT_TRUE(first.ok()) << first.status();
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  EXPECT_EQ(ListenUnix(path, -1).status().code(), absl::StatusCode::kAlreadyExists);
  first->reset();
  EXPECT_TRUE(ListenUnix(path, -1).ok());
  std::filesystem::remove(path);
}

TEST(ParseAddress, KnowsItsSchemes) {
  EXPECT_EQ(ParseAddress("tcp://127.0.0.1:1234")->rest, "127.0.0.1:1234");
  EXPECT_EQ(ParseAddress("unix:///run/x")->rest, "/run/x");
  EXPECT_EQ(ParseAddress("/run/x").status().message(), "address /run/x does not contain proto, you meant unix:///run/x ?");
  EXPECT_EQ(ParseAddress("npipe://x").status().message(), "addr npipe://x not supported");
}

}  // namespace
}  // namespace cachalot::daemon
