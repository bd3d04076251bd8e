#include "session/rpc/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/guarded.h"
#include "buildkit/secrets.pb.h"
#include "session/rpc/call.h"

namespace cachalot::session {
namespace {

using moby::buildkit::secrets::v1::GetSecretRequest;
using moby::buildkit::secrets::v1::GetSecretResponse;

// Both ends, joined within the process.
class RpcTest : public testing::Test {
 protected:
  void Serve(RpcHandlers handlers) {
    handlers_ = std::move(handlers);
    std::tie(near_, far_) = ByteStreamPair();
    connection_ = RpcConnection::Create(RpcConnection::Role::kCalls);
    serving_ = std::thread([this] { ServeRpc(*far_, handlers_, quit_.token()).IgnoreError(); });
    running_ = std::thread([this] { run_status_ = connection_->Run(*near_); });
  }
  void Quit() {
    quit_.Cancel();
    if (serving_.joinable()) {
      serving_.join();
      running_.join();
    }
  }
  void TearDown() override { Quit(); }

  RpcHandlers handlers_;
  std::unique_ptr<ByteStream> near_, far_;
  CancelSource quit_;
  std::shared_ptr<RpcConnection> connection_;
  std::thread serving_, running_;
  absl::Status run_status_;
};

absl::Status Echo(RpcStream& stream) {
  for (;;) {
    ASSIGN_OR_RETURN(const auto message, stream.Read());
    if (!message.has_value()) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(stream.Write(*message));
  }
}

TEST_F(RpcTest, UnaryCall) {
  Serve({{"/s/Get", UnaryHandler<GetSecretRequest, GetSecretResponse>([](const auto& request, auto* response) {
            response->set_data("<" + request.id() + ">");
            return absl::OkStatus();
          })}});
  GetSecretRequest request;
  request.set_id("a");
  const auto response = CallUnary<GetSecretResponse>(*connection_, "/s/Get", request, CancelToken(), absl::Seconds(60));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->data(), "<a>");
}

TEST_F(RpcTest, ErrorsCarryCodeTextAndDetails) {
  Serve({{"/s/Get", [](RpcStream&) {
            absl::Status status = absl::NotFoundError("100% missing: \xc3\xa9\n");
            status.SetPayload("example.com/Detail", absl::Cord(std::string("\0\xff", 2)));
            return status;
          }}});
  const auto response = CallUnary(*connection_, "/s/Get", "", CancelToken(), absl::Seconds(60));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(response.status().message(), "100% missing: \xc3\xa9\n");
  EXPECT_EQ(response.status().GetPayload("example.com/Detail"), absl::Cord(std::string("\0\xff", 2)));
  EXPECT_EQ(CallUnary(*connection_, "/s/None", "", CancelToken(), absl::Seconds(60)).status().code(), absl::StatusCode::kUnimplemented);
}

TEST_F(RpcTest, MetadataArrives) {
  Metadata seen;
  Serve({{"/s/M", [&](RpcStream& stream) {
            seen = stream.metadata();
            return absl::OkStatus();
          }}});
  Metadata sent = {{"one", "1"}, {"raw-bin", std::string("\0\x01", 2)}};
  AppendEncodedList("paths", {"a b", "c+\xc3\xa9"}, sent);
  AppendEncodedList("plain", {"x y", "%20"}, sent);
  auto call = RpcCall::Start(*connection_, "/s/M", sent, CancelToken());
  ASSERT_TRUE(call.ok());
  EXPECT_TRUE((*call)->Finish().ok());
  EXPECT_EQ(FindMetadata(seen, "one"), "1");
  EXPECT_EQ(FindMetadata(seen, "raw-bin"), std::string("\0\x01", 2));
  EXPECT_EQ(FindMetadata(seen, "paths-encoded"), "1");
  EXPECT_THAT(DecodedList(seen, "paths"), testing::ElementsAre("a b", "c+\xc3\xa9"));
  EXPECT_THAT(AllMetadata(seen, "plain"), testing::ElementsAre("x y", "%20"));
  EXPECT_THAT(DecodedList(seen, "plain"), testing::ElementsAre("x y", "%20"));
}

TEST_F(RpcTest, LongHeaderListsTravel) {
  std::size_t seen = 0;
  Serve({{"/s/M", [&](RpcStream& stream) {
            seen = AllMetadata(stream.metadata(), "p").size();
            return absl::OkStatus();
          }}});
  Metadata sent;
  for (int i = 0; i < 2000; ++i) {
    sent.emplace_back("p", std::string(200, 'x') + std::to_string(i));
  }
  auto call = RpcCall::Start(*connection_, "/s/M", sent, CancelToken());
  ASSERT_TRUE(call.ok());
  EXPECT_TRUE((*call)->Finish().ok());
  EXPECT_EQ(seen, 2000u);
}

TEST_F(RpcTest, StreamsLargerThanEveryWindow) {
  Serve({{"/s/Echo", Echo}});
  auto call = RpcCall::Start(*connection_, "/s/Echo", {}, CancelToken());
  ASSERT_TRUE(call.ok());
  constexpr int kMessages = 100;
  const std::string payload(1 << 20, 'p');
  std::thread writer([&] {
    for (int i = 0; i < kMessages; ++i) {
      EXPECT_TRUE((*call)->Write(payload).ok());
    }
    (*call)->CloseWrite();
  });
  int received = 0;
  for (;;) {
    const auto message = (*call)->Read();
    ASSERT_TRUE(message.ok()) << message.status();
    if (!message->has_value()) {
      break;
    }
    ASSERT_EQ((*message)->size(), payload.size());
    ++received;
  }
  writer.join();
  EXPECT_EQ(received, kMessages);
  EXPECT_TRUE((*call)->Finish().ok());
}

TEST_F(RpcTest, SlowReaderDoesNotHoldUpOtherCalls) {
  Serve({{"/s/Flood",
          [](RpcStream& stream) {
            for (int i = 0; i < 40; ++i) {
              RETURN_IF_ERROR(stream.Write(std::string(1 << 20, 'f')));
            }
            return absl::OkStatus();
          }},
         {"/s/Echo", Echo}});
  auto flood = RpcCall::Start(*connection_, "/s/Flood", {}, CancelToken());
  ASSERT_TRUE(flood.ok());
  const auto answer = CallUnary(*connection_, "/s/Echo", "ping", CancelToken(), absl::Seconds(60));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, "ping");
}

TEST_F(RpcTest, CancellationReachesBothEnds) {
  Guarded<absl::Status> at_server(absl::OkStatus());
  Serve({{"/s/Wait", [&](RpcStream& stream) {
            RETURN_IF_ERROR(stream.Write("here"));
            const absl::Status status = stream.Read().status();
            *at_server.Lock() = status;
            at_server.NotifyAll();
            return status;
          }}});
  CancelSource source;
  auto call = RpcCall::Start(*connection_, "/s/Wait", {}, source.token());
  ASSERT_TRUE(call.ok());
  ASSERT_TRUE((*call)->Read().ok());
  source.Cancel();
  EXPECT_EQ((*call)->Read().status().code(), absl::StatusCode::kCancelled);
  auto status = at_server.Lock();
  status.Wait([](const absl::Status& s) { return !s.ok(); });
  EXPECT_EQ(status->code(), absl::StatusCode::kCancelled);
}

TEST_F(RpcTest, DeadlinePasses) {
  Serve({{"/s/Wait", [](RpcStream& stream) { return stream.Read().status(); }}});
  auto call = RpcCall::Start(*connection_, "/s/Wait", {}, CancelToken(), absl::Milliseconds(20));
  ASSERT_TRUE(call.ok());
  EXPECT_EQ((*call)->Read().status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(RpcTest, CallsFailWhenTheOtherEndGoes) {
  Serve({{"/s/Wait", [](RpcStream& stream) { return stream.Read().status(); }}});
  auto call = RpcCall::Start(*connection_, "/s/Wait", {}, CancelToken());
  ASSERT_TRUE(call.ok());
  Quit();
  EXPECT_EQ((*call)->Read().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*call)->Write("x").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(CallUnary(*connection_, "/s/Wait", "", CancelToken(), absl::Seconds(1)).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RpcTest, ServerEndsWhileCallerWrites) {
  Serve({{"/s/Refuse", [](RpcStream&) { return absl::AlreadyExistsError("target already exists"); }}});
  auto call = RpcCall::Start(*connection_, "/s/Refuse", {}, CancelToken());
  ASSERT_TRUE(call.ok());
  absl::Status status;
  while (status.ok()) {
    status = (*call)->Write(std::string(1 << 16, 'x'));
  }
  EXPECT_EQ(status, absl::AlreadyExistsError("target already exists"));
}

TEST_F(RpcTest, OversizedMessageIsRefused) {
  Serve({{"/s/Big", [](RpcStream& stream) { return stream.Write(std::string(kMaxMessageBytes + 1, 'x')); }}});
  EXPECT_EQ(CallUnary(*connection_, "/s/Big", "", CancelToken(), absl::Seconds(60)).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(RpcConnectionTest, GarbageEndsTheConnection) {
  auto [near, far] = ByteStreamPair();
  ASSERT_TRUE(far->Write("HTTP/1.1 400 Bad Request\r\n\r\n and more of what is no HTTP/2 at all"));
  const auto connection = RpcConnection::Create(RpcConnection::Role::kCalls);
  EXPECT_FALSE(connection->Run(*near).ok());
}

}  // namespace
}  // namespace cachalot::session
