#include "client/call.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "base/value_of.h"
#include "buildkit/gateway.grpc.pb.h"
#include "client/build_options.h"
#include "client/build_report.h"

namespace cachalot::client {
namespace {

namespace control = moby::buildkit::v1;
namespace gateway = moby::buildkit::v1::frontend;
using Json = nlohmann::json;
using Answer = std::map<std::string, std::string>;

constexpr char kBuildIdHeader[] = "buildkit-controlapi-buildid";
constexpr char kCapability[] = "moby.buildkit.frontend.subrequests";

gateway::SolveRequest RequestOf(const Call& call, const control::SolveRequest& request) {
  gateway::SolveRequest asked;
  asked.set_frontend(request.frontend());
  *asked.mutable_frontendopt() = request.frontendattrs();
  (*asked.mutable_frontendopt())["requestid"] = absl::StrCat("frontend.", call.name);
  (*asked.mutable_frontendopt())["frontend.caps"] = kCapability;
  asked.set_allowresultreturn(true);
  asked.set_allowresultarrayref(true);
  if (request.has_sourcepolicy()) *asked.add_sourcepolicies() = request.sourcepolicy();
  return asked;
}

// The client's part of a build whose frontend runs in the client: it asks the daemon's frontend and hands on what that says.
class Frontend {
 public:
  Frontend(Connection& connection, const std::string& ref, gateway::SolveRequest request)
      : stub_(gateway::LLBBridge::NewStub(connection.channel())), request_(std::move(request)) {
    solve_.AddMetadata(kBuildIdHeader, ref);
    return_.AddMetadata(kBuildIdHeader, ref);
  }

  void Run() {
    gateway::SolveResponse response;
    const grpc::Status status = stub_->Solve(&solve_, request_, &response);
    gateway::ReturnRequest returned;
    if (status.ok()) {
      for (const auto& [name, value] : response.result().metadata()) answer_[name] = value;
      *returned.mutable_result() = std::move(*response.mutable_result());
    } else if (!returned.mutable_error()->ParseFromString(status.error_details()) || returned.error().code() == 0) {
      returned.mutable_error()->set_code(status.error_code());
      returned.mutable_error()->set_message(status.error_message());
    }
    gateway::ReturnResponse ignored;
    stub_->Return(&return_, returned, &ignored);  // when it fails, so does the build
  }
  // Ends Run(), also when there will be no build to ask.
  void Cancel() {
    solve_.TryCancel();
    return_.TryCancel();
  }
  const Answer& answer() const { return answer_; }

 private:
  std::unique_ptr<gateway::LLBBridge::Stub> stub_;
  grpc::ClientContext solve_, return_;
  const gateway::SolveRequest request_;
  Answer answer_;
};

// The place of an error of a check, in its document.
std::string ErrorText(const Json& document) {
  const Json error = document.value("buildError", Json::object());
  const Json location = error.value("location", Json::object());
  std::string text = error.value("message", "");
  const Json sources = document.value("sources", Json::array());
  const std::size_t index = location.value("sourceIndex", std::size_t{0});
  if (!location.contains("ranges") || index >= sources.size()) return text;
  errdefs::Source source;
  source.mutable_info()->set_filename(sources[index].value("filename", ""));
  absl::Base64Unescape(sources[index].value("data", ""), source.mutable_info()->mutable_data());
  for (const Json& range : location["ranges"]) {
    pb::Range* added = source.add_ranges();
    added->mutable_start()->set_line(range.value("start", Json::object()).value("line", 0));
    added->mutable_end()->set_line(range.value("end", Json::object()).value("line", 0));
  }
  return absl::StrCat(text, "\n", FormatSource(source));
}

absl::Status PrintCheck(const Answer& answer, std::ostream& out) {
  const Json document = Json::parse(ValueOf(answer, "result.json"), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return absl::DataLossError("the frontend's answer to --check is no JSON object");
  const Json warnings = document.value("warnings", Json());
  const bool failed = document.contains("buildError") && document["buildError"].is_object();
  if (!warnings.empty()) {
    out << "Check complete, " << (warnings.size() == 1 ? "1 warning has" : absl::StrCat(warnings.size(), " warnings have")) << " been found!\n";
  }
  out << ValueOf(answer, "result.txt");
  if (failed) {
    if (!warnings.empty()) out << "\n";
    return absl::InvalidArgumentError(ErrorText(document));
  }
  if (warnings.empty()) out << "Check complete, no warnings found.\n";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Call> ParseCall(const std::string& text) {
  Call call;
  ASSIGN_OR_RETURN(const auto fields, ParseFields(text));
  for (const Field& field : fields) {
    if (!field.value.has_value() && call.name.empty()) {
      call.name = field.key;
    } else if (field.key == "format" && field.value.has_value()) {
      if (*field.value != "json" && *field.value != "text")
        return absl::InvalidArgumentError(absl::StrCat("invalid format \"", *field.value, "\" in --call ", text));
      call.json = *field.value == "json";
    } else if (field.key != "ignorestatus" || !field.value.has_value() || !absl::SimpleAtob(*field.value, &call.ignore_status)) {
      return absl::InvalidArgumentError(absl::StrCat("invalid --call ", text, ": expected NAME[,format=json][,ignorestatus=true]"));
    }
  }
  if (call.name == "build") call.name.clear();
  if (call.name == "check") call.name = "lint";
  return call;
}

absl::StatusOr<Answer> Ask(const Call& call, Connection& connection, control::SolveRequest request, Attachables& attachables,
                           const std::function<void(const build::ProgressBatch&)>& on_progress, const CancelToken& cancel) {
  Frontend frontend(connection, request.ref(), RequestOf(call, request));
  // The build itself has neither a frontend nor results.
  request.clear_frontend();
  request.clear_frontendattrs();
  request.clear_exporters();
  request.clear_cache();
  std::thread asking = NewThread([&frontend] { frontend.Run(); });
  const auto outcome = Solve(connection, std::move(request), attachables, on_progress, cancel);
  frontend.Cancel();
  asking.join();
  RETURN_IF_ERROR(outcome.status());
  return frontend.answer();
}

absl::StatusOr<int> PrintAnswer(const Call& call, const Answer& answer, std::ostream& out) {
  if (call.json) {
    out << ValueOf(answer, "result.json") << "\n";
  } else if (call.name == "lint") {
    RETURN_IF_ERROR(PrintCheck(answer, out));
  } else {
    out << ValueOf(answer, "result.txt");
  }
  int code = 0;
  if (call.ignore_status || !absl::SimpleAtoi(ValueOf(answer, "result.statuscode"), &code)) return 0;
  return code;
}

}  // namespace cachalot::client
