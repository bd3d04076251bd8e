#include "client/call.h"

#include <algorithm>
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
#include "oci/go_json.h"

namespace cachalot::client {
namespace {

namespace control = moby::buildkit::v1;
namespace gateway = moby::buildkit::v1::frontend;
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
std::string ErrorText(const oci::Json& document) {
  absl::Status ignored;  // what cannot be read of the place is left out
  const auto member = [](const oci::Json& object, const char* name) {
    return object.is_object() && object.contains(name) ? object[name] : oci::Json(nullptr);
  };
  const oci::Json error = member(document, "buildError"), location = member(error, "location"), sources = member(document, "sources");
  const std::string text = oci::ObjectReader(error, "buildError", ignored).String("message");
  oci::ObjectReader place(location, "location", ignored);
  const std::int64_t index = place.Int("sourceIndex");
  if (!sources.is_array() || index < 0 || index >= static_cast<std::int64_t>(sources.size())) return text;
  errdefs::Source source;
  oci::ObjectReader file(sources[static_cast<std::size_t>(index)], "source", ignored);
  source.mutable_info()->set_filename(file.String("filename"));
  absl::Base64Unescape(file.String("data"), source.mutable_info()->mutable_data());
  place.Each("ranges", [&](const oci::Json& range, const std::string& where) {
    const oci::Json start = member(range, "start"), end = member(range, "end");
    pb::Range* added = source.add_ranges();
    added->mutable_start()->set_line(static_cast<std::int32_t>(oci::ObjectReader(start, where, ignored).Int("line")));
    added->mutable_end()->set_line(static_cast<std::int32_t>(oci::ObjectReader(end, where, ignored).Int("line")));
  });
  return source.ranges().empty() ? text : absl::StrCat(text, "\n", FormatSource(source));
}

absl::Status PrintCheck(const Answer& answer, std::ostream& out) {
  ASSIGN_OR_RETURN(const oci::Json document, oci::ParseJson(ValueOf(answer, "result.json"), "the frontend's answer to --check"));
  absl::Status status;
  oci::ObjectReader reader(document, "the frontend's answer to --check", status);
  std::size_t warnings = 0;
  reader.Each("warnings", [&](const oci::Json&, const std::string&) { ++warnings; });
  const oci::Json* const error = reader.Find("buildError");
  RETURN_IF_ERROR(status);
  const bool failed = error != nullptr && error->is_object();
  if (warnings > 0) out << "Check complete, " << (warnings == 1 ? "1 warning has" : absl::StrCat(warnings, " warnings have")) << " been found!\n";
  out << ValueOf(answer, "result.txt");
  if (failed) {
    if (warnings > 0) out << "\n";
    return absl::InvalidArgumentError(ErrorText(document));
  }
  if (warnings == 0) out << "Check complete, no warnings found.\n";
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
