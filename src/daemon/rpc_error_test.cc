#include "daemon/rpc_error.h"

#include <nlohmann/json.hpp>

#include "build/errors.h"
#include "gtest/gtest.h"

namespace cachalot::daemon {
namespace {

absl::Status FailedStep() {
  absl::Status error = absl::InvalidArgumentError("process \"/bin/false\" did not complete successfully: exit code: 1");
  build::SourceExcerpt excerpt;
  excerpt.filename = "Dockerfile";
  excerpt.data = "FROM scratch\nRUN /bin/false\n";
  excerpt.language = "Dockerfile";
  excerpt.ranges = {{2, 0, 2, 14}};
  build::AttachSource(error, excerpt);
  return error;
}

TEST(RpcError, CarriesSourcesAsClientsReadThem) {
  const grpc::Status status = ToBuildFailure(FailedStep());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  google::rpc::Status message;
  ASSERT_TRUE(message.ParseFromString(status.error_details()));
  EXPECT_EQ(message.code(), 2);
  EXPECT_EQ(message.message(), status.error_message());
  ASSERT_EQ(message.details_size(), 1);
  EXPECT_EQ(message.details(0).type_url(), "github.com/moby/buildkit/errdefs.Source+json");
  const auto json = nlohmann::json::parse(message.details(0).value());
  EXPECT_EQ(json["info"]["filename"], "Dockerfile");
  EXPECT_EQ(json["info"]["data"], "RlJPTSBzY3JhdGNoClJVTiAvYmluL2ZhbHNlCg==");
  EXPECT_EQ(json["ranges"][0]["start"]["line"], 2);
  EXPECT_EQ(json["ranges"][0]["end"]["character"], 14);
}

TEST(RpcError, CarriesTheDefinitionOfASource) {
  pb::Definition definition;
  definition.add_def("op");
  absl::Status error = absl::InternalError("failed");
  build::AttachSource(error, {"Dockerfile", "FROM scratch\n", "Dockerfile", definition.SerializeAsString(), {}});
  const google::rpc::Status message = EncodeError(error);
  ASSERT_EQ(message.details_size(), 1);
  EXPECT_EQ(nlohmann::json::parse(message.details(0).value())["info"]["definition"]["def"][0], "b3A=");
}

TEST(RpcError, PassesDetailsThroughThatAreInTheirFinalForm) {
  absl::Status error = absl::UnimplementedError("unsupported request x");
  error.SetPayload("github.com/moby/buildkit/errdefs.Subrequest+json", absl::Cord(R"({"name":"x"})"));
  error.SetPayload("cachalot/of-our-own", absl::Cord("y"));
  const google::rpc::Status message = EncodeError(error);
  ASSERT_EQ(message.details_size(), 1);
  EXPECT_EQ(message.details(0).type_url(), "github.com/moby/buildkit/errdefs.Subrequest+json");
  EXPECT_EQ(message.details(0).value(), R"({"name":"x"})");
}

TEST(RpcError, SaysWhyAPolicyDenied) {
  absl::Status error = absl::InternalError("source \"x\" not allowed by policy: action DENY");
  build::AttachDenyMessages(error, {"use \"y\""});
  const google::rpc::Status message = EncodeError(error);
  ASSERT_EQ(message.details_size(), 1);
  EXPECT_EQ(message.details(0).type_url(), "github.com/moby/buildkit/policysession.DecisionResponse+json");
  const auto json = nlohmann::json::parse(message.details(0).value());
  EXPECT_EQ(json["action"], "DENY");
  EXPECT_EQ(json["denyMessages"][0]["message"], "use \"y\"");
}

TEST(RpcError, RoundTripsThroughTheWire) {
  const absl::Status received = FromGrpcStatus(ToBuildFailure(FailedStep()));
  EXPECT_EQ(received.code(), absl::StatusCode::kUnknown);
  const WireDetails details = WireDetailsOf(received);
  ASSERT_EQ(details.sources.size(), 1u);
  EXPECT_EQ(details.sources[0].info().data(), "FROM scratch\nRUN /bin/false\n");
  EXPECT_EQ(details.sources[0].ranges(0).start().line(), 2);
  // What came over the wire goes out again: the frontend of a client returns the daemon's own errors.
  EXPECT_EQ(WireDetailsOf(FromGrpcStatus(ToGrpcStatus(received))).sources.size(), 1u);
}

TEST(RpcError, KeepsTheCodesThatClientsActOn) {
  EXPECT_EQ(ToBuildFailure(absl::CancelledError("context canceled")).error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(ToBuildFailure(absl::UnimplementedError("x")).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(ToBuildFailure(absl::NotFoundError("x")).error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("x")).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(RpcError, AGarbledDetailIsDropped) {
  const absl::Status status = FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "broken");
  EXPECT_TRUE(WireDetailsOf(status).sources.empty());
}

}  // namespace
}  // namespace cachalot::daemon
