#include "daemon/history.h"

#include <future>
#include <thread>

#include "daemon/fake_engine_testing.h"
#include "daemon/timestamps.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::daemon {
namespace {

namespace control = moby::buildkit::v1;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";

class FakeClock final : public Clock {
 public:
  absl::Time Now() override { return now; }
  absl::Time now = absl::FromUnixSeconds(1000);
};

class HistoryTest : public testing::Test {
 protected:
  // A build from its begin to its end, with one vertex that was cached, one that was not, and a warning.
  void Build(const std::string& ref, absl::StatusOr<build::BuildResponse> result = build::BuildResponse{}) {
    build::BuildRequest request;
    request.ref = ref;
    request.frontend = "dockerfile.v0";
    clock_.now += absl::Seconds(1);
    ASSERT_TRUE(history_->Started(request, trace::Context{kTrace, "00f067aa0ba902b7"}));
    BuildRecording recording(engine_.blobs());
    build::ProgressBatch batch;
    solver::VertexEvent cached, ran;
    cached.digest = "sha256:1";
    cached.cached = true;
    cached.started = cached.completed = clock_.now;
    ran.digest = "sha256:2";
    ran.name = "RUN true";
    ran.started = clock_.now;
    batch.vertexes = {cached, ran};
    batch.warnings.resize(1);
    recording.Add(batch);
    ran.completed = clock_.now;
    recording.Add({{ran}, {}, {{"sha256:2", 1, "hello", clock_.now}}, {}});
    history_->Completed(ref, recording, result);
  }

  std::vector<control::BuildHistoryEvent> Listen(const control::BuildHistoryRequest& request) {
    std::vector<control::BuildHistoryEvent> events;
    control::BuildHistoryRequest early = request;
    early.set_earlyexit(true);
    const absl::Status status = history_->Listen(early,
                                                 [&](const control::BuildHistoryEvent& event) {
                                                   events.push_back(event);
                                                   return absl::OkStatus();
                                                 },
                                                 {});
    EXPECT_TRUE(status.ok()) << status;
    return events;
  }
  std::vector<std::string> Refs(const control::BuildHistoryRequest& request = {}) {
    std::vector<std::string> refs;
    for (const auto& event : Listen(request)) refs.push_back(event.record().ref());
    return refs;
  }
  control::BuildHistoryRecord Record(const std::string& ref) {
    control::BuildHistoryRequest request;
    request.set_ref(ref);
    const auto events = Listen(request);
    EXPECT_EQ(events.size(), 1u);
    return events.empty() ? control::BuildHistoryRecord() : events[0].record();
  }
  absl::Status Update(const std::string& ref, void (*change)(control::UpdateBuildHistoryRequest&)) {
    control::UpdateBuildHistoryRequest request;
    request.set_ref(ref);
    change(request);
    return history_->Update(request);
  }
  std::string Blob(const control::Descriptor& descriptor) {
    const auto digest = oci::Digest::Parse(descriptor.digest());
    const auto bytes = digest.ok() ? engine_.blobs().Read(*digest) : digest.status();
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.value_or("");
  }
  void Reopen(HistoryLimits limits) {
    history_.reset();
    history_.emplace(engine_, traces_, clock_, limits);
  }

  FakeEngine engine_;
  FakeClock clock_;
  trace::Recorder traces_{clock_};
  std::optional<History> history_{std::in_place, engine_, traces_, clock_, HistoryLimits{}};
};

TEST_F(HistoryTest, KeepsWhatABuildTold) {
  build::BuildResponse response;
  response.exporter_response["image.name"] = "app";
  const auto attestation = engine_.blobs().Put("{}");
  response.attestations["linux/amd64"] = {{.media_type = "application/vnd.in-toto+json", .digest = *attestation, .size = 2}};
  Build("r1", response);
  Reopen({});
  const auto record = Record("r1");
  EXPECT_EQ(record.frontend(), "dockerfile.v0");
  EXPECT_EQ(record.numtotalsteps(), 2);
  EXPECT_EQ(record.numcachedsteps(), 1);
  EXPECT_EQ(record.numcompletedsteps(), 2);
  EXPECT_EQ(record.numwarnings(), 1);
  EXPECT_EQ(record.exporterresponse().at("image.name"), "app");
  EXPECT_EQ(Blob(record.results().at("linux/amd64").attestations(0)), "{}");
  EXPECT_EQ(record.logs().media_type(), "application/vnd.buildkit.status.v0");
  std::string log;
  const auto replayed = history_->Replay("r1", [&](const control::StatusResponse& message) {
    for (const auto& entry : message.logs()) log += entry.msg();
    return absl::OkStatus();
  });
  EXPECT_EQ(replayed.value_or(false), true);
  EXPECT_EQ(log, "hello");
  EXPECT_EQ(history_->Replay("r2", nullptr).value_or(true), false);
}

TEST_F(HistoryTest, KeepsAFailureWithItsDetails) {
  absl::Status failure = absl::NotFoundError("no such stage");
  failure.SetPayload("github.com/moby/buildkit/errdefs.Subrequest+json", absl::Cord("{}"));
  Build("r1", failure);
  const auto record = Record("r1");
  EXPECT_EQ(record.error().message(), "no such stage");
  EXPECT_EQ(record.error().code(), 2);
  EXPECT_EQ(record.error().details_size(), 0);
  google::rpc::Status external;
  ASSERT_TRUE(external.ParseFromString(Blob(record.externalerror())));
  EXPECT_EQ(external.message(), "no such stage");
  EXPECT_EQ(external.details_size(), 1);
}

TEST_F(HistoryTest, ListsNewestFirstFilteredAndLimited) {
  for (const char* ref : {"r1", "r2", "r3"}) Build(ref);
  EXPECT_THAT(Refs(), ElementsAre("r3", "r2", "r1"));
  control::BuildHistoryRequest request;
  request.set_limit(2);
  EXPECT_THAT(Refs(request), ElementsAre("r3", "r2"));
  request.add_filter("ref!=r3");
  EXPECT_THAT(Refs(request), ElementsAre("r2", "r1"));
  request.set_activeonly(true);
  EXPECT_THAT(Refs(request), IsEmpty());
  request.set_limit(-1);
  EXPECT_EQ(history_->Listen(request, nullptr, {}).message(), "invalid limit -1");
}

TEST_F(HistoryTest, RecordsArePinnedAndDeleted) {
  Build("r1");
  ASSERT_TRUE(Update("r1", [](auto& request) { request.set_finalize(true); }).ok());
  ASSERT_TRUE(Update("r1", [](auto& request) { request.set_pinned(true); }).ok());
  EXPECT_TRUE(Record("r1").pinned());
  EXPECT_EQ(Record("r1").generation(), 3);
  ASSERT_TRUE(Update("r1", [](auto& request) { request.set_delete_(true); }).ok());
  EXPECT_THAT(Refs(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(Update("r1", [](auto& request) { request.set_delete_(true); })));
  EXPECT_TRUE(absl::IsNotFound(Update("r1", [](auto& request) { request.set_pinned(true); })));
}

TEST_F(HistoryTest, OldOnesBeyondTheLimitGo) {
  Reopen({1, absl::Seconds(10)});
  Build("r1");
  ASSERT_TRUE(Update("r1", [](auto& request) { request.set_pinned(true); }).ok());
  Build("r2");
  Build("r3");
  EXPECT_THAT(Refs(), ElementsAre("r3", "r2", "r1"));
  clock_.now += absl::Minutes(1);
  Build("r4");
  EXPECT_THAT(Refs(), ElementsAre("r4", "r1"));
}

TEST_F(HistoryTest, FinalizingSavesTheTraceWithTheClientsSpans) {
  Build("r1");
  EXPECT_FALSE(Record("r1").has_trace());
  trace::Span span;
  span.context = {kTrace, "00f067aa0ba902b7"};
  span.name = "buildctl";
  traces_.Add({span});
  ASSERT_TRUE(Update("r1", [](auto& request) { request.set_finalize(true); }).ok());
  const auto record = Record("r1");
  EXPECT_EQ(record.trace().media_type(), "application/vnd.buildkit.otlp.json.v0");
  const std::string json = Blob(record.trace());
  for (const char* name : {"\"RUN true\"", "\"buildctl\"", kTrace}) EXPECT_NE(json.find(name), std::string::npos) << name;
}

TEST_F(HistoryTest, InternalAndDoubledBuildsAreNotRecorded) {
  build::BuildRequest request;
  request.ref = "r1";
  request.internal = true;
  EXPECT_FALSE(history_->Started(request, {}));
  request.internal = false;
  EXPECT_TRUE(history_->Started(request, {}));
  EXPECT_FALSE(history_->Started(request, {}));
}

TEST_F(HistoryTest, ListenersSeeWhatHappens) {
  Build("r1");
  CancelSource stop;
  std::promise<void> listening;
  std::vector<std::string> seen;
  auto listener = std::async(std::launch::async, [&] {
    return history_->Listen(
        {},
        [&](const control::BuildHistoryEvent& event) {
          if (seen.empty()) listening.set_value();
          seen.push_back(control::BuildHistoryEventType_Name(event.type()) + " " + event.record().ref());
          if (event.type() == control::DELETED) stop.Cancel();
          return absl::OkStatus();
        },
        stop.token());
  });
  listening.get_future().wait();
  Build("r2");
  ASSERT_TRUE(Update("r2", [](auto& request) { request.set_delete_(true); }).ok());
  EXPECT_TRUE(absl::IsCancelled(listener.get()));
  EXPECT_THAT(seen, testing::IsSupersetOf({"COMPLETE r1", "STARTED r2", "COMPLETE r2", "DELETED r2"}));
}

// The database is held by a long write; somebody changes a record, and waits for it.
TEST_F(HistoryTest, BuildsBeginWhileRecordsAreWritten) {
  Build("a");
  std::promise<void> entered, leave;
  std::thread writer([&] {
    EXPECT_TRUE(engine_.database()
                    .Write([&](store::Connection&) {
                      entered.set_value();
                      leave.get_future().wait();
                      return absl::OkStatus();
                    })
                    .ok());
  });
  entered.get_future().wait();
  std::thread changer([&] { EXPECT_TRUE(Update("a", [](control::UpdateBuildHistoryRequest& r) { r.set_pinned(true); }).ok()); });
  auto begun = std::async(std::launch::async, [&] {
    for (int i = 0; i < 5000; ++i) {
      build::BuildRequest request;
      request.ref = std::to_string(i);
      EXPECT_TRUE(history_->Started(request, std::nullopt));
    }
  });
  EXPECT_EQ(begun.wait_for(std::chrono::seconds(20)), std::future_status::ready) << "builds wait for the database";
  leave.set_value();
  writer.join();
  changer.join();
  EXPECT_TRUE(Record("a").pinned());
}

}  // namespace
}  // namespace cachalot::daemon
