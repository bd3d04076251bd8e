#include "daemon/gateway_service.h"

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "daemon/exec_stream.h"
#include "daemon/rpc_error.h"
#include "daemon/translate_container.h"
#include "daemon/translate_gateway.h"
#include "daemon/translate_progress.h"
#include "daemon/translate_solve.h"

namespace cachalot::daemon {

namespace {

namespace gateway = moby::buildkit::v1::frontend;

constexpr char kBuildIdKey[] = "buildkit-controlapi-buildid";

std::string BuildId(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kBuildIdKey);
  if (found == metadata.end() || metadata.count(kBuildIdKey) != 1) {
    return "";
  }
  return std::string(found->second.data(), found->second.size());
}

absl::StatusOr<llb::RefPtr> FindRef(build::GatewayBuild& build, const std::string& id) {
  if (id.empty()) {
    return absl::NotFoundError("no such ref: the id is empty");
  }
  ASSIGN_OR_RETURN(llb::RefPtr ref, build.Find(id));
  if (ref == nullptr) {
    return absl::NotFoundError(absl::StrCat("empty ref: ", id));
  }
  return ref;
}

absl::Status Solve(build::GatewayBuild& build, const gateway::SolveRequest& request, gateway::SolveResponse* response) {
  ASSIGN_OR_RETURN(const llb::SolveRequest decoded, DecodeGatewaySolve(request));
  ASSIGN_OR_RETURN(const llb::FrontendResult result, build.bridge().Solve(decoded));
  if (!result.refs.empty() && !request.allowresultreturn()) {
    return absl::FailedPreconditionError("solve did not return default result");
  }
  EncodeResult(result, request.allowresultarrayref(), build, response->mutable_result());
  if (!request.allowresultreturn()) {
    response->set_ref(request.allowresultarrayref() ? response->result().ref().id() : response->result().refdeprecated());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolveSourceMeta(llb::FrontendBridge& bridge, const gateway::ResolveSourceMetaRequest& request,
                               gateway::ResolveSourceMetaResponse* response) {
  if (!request.has_source()) {
    return absl::InvalidArgumentError("source is required");
  }
  const llb::SourceOp source{request.source().identifier(), {request.source().attrs().begin(), request.source().attrs().end()}};
  ASSIGN_OR_RETURN(const llb::ResolveOptions options, DecodeResolve(request));
  ASSIGN_OR_RETURN(const llb::ResolvedSource resolved, bridge.ResolveSource(source, options));
  EncodeSource(resolved, request, response);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<build::GatewayBuild>> GatewayService::FindBuild(const std::string& id, const char* method, const CancelToken& cancel) {
  if (only_ != nullptr) return only_;
  if (id.empty()) return absl::InvalidArgumentError(absl::StrCat("forwarding ", method, ": no buildid found in context"));
  auto build = engine_.Gateway(id, cancel);
  if (!build.ok()) return Annotate(build.status(), absl::StrCat("forwarding ", method));
  return build;
}

template <typename Work>
GatewayService::Unary GatewayService::WithGateway(Context* context, const char* method, Work work) {
  return RunUnary(calls_, [this, id = BuildId(*context), method, work = std::move(work)](const CancelToken& cancel) {
    const auto build = FindBuild(id, method, cancel);
    if (!build.ok()) return ToGrpcStatus(build.status());
    if constexpr (std::is_invocable_v<Work, build::GatewayBuild&, const CancelToken&>) {
      return ToBuildFailure(work(**build, cancel));
    } else {
      return ToBuildFailure(work(**build));
    }
  });
}

GatewayService::Unary GatewayService::Ping(Context* context, const gateway::PingRequest* request, gateway::PongResponse* response) {
  return WithGateway(context, "Ping", [this, response](build::GatewayBuild&) {
    EncodeCaps(response);
    EncodeWorker(engine_.worker(), response->add_workers());
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::Solve(Context* context, const gateway::SolveRequest* request, gateway::SolveResponse* response) {
  return WithGateway(context, "Solve", [=](build::GatewayBuild& build) { return daemon::Solve(build, *request, response); });
}

GatewayService::Unary GatewayService::ResolveImageConfig(Context* context, const gateway::ResolveImageConfigRequest* request,
                                                         gateway::ResolveImageConfigResponse* response) {
  return WithGateway(context, "ResolveImageConfig", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const llb::ResolveOptions options, DecodeResolve(*request));
    ASSIGN_OR_RETURN(llb::ResolvedImage image, build.bridge().ResolveImage(request->ref(), options));
    response->set_ref(std::move(image.ref));
    response->set_digest(image.digest.str());
    response->set_config(std::move(image.config));
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::ResolveSourceMeta(Context* context, const gateway::ResolveSourceMetaRequest* request,
                                                        gateway::ResolveSourceMetaResponse* response) {
  return WithGateway(context, "ResolveSourceMeta",
                     [=](build::GatewayBuild& build) { return daemon::ResolveSourceMeta(build.bridge(), *request, response); });
}

GatewayService::Unary GatewayService::ReadFile(Context* context, const gateway::ReadFileRequest* request, gateway::ReadFileResponse* response) {
  return WithGateway(context, "ReadFile", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const llb::RefPtr ref, FindRef(build, request->ref()));
    ASSIGN_OR_RETURN(*response->mutable_data(),
                     build.bridge().ReadFile(ref, request->filepath(), request->range().offset(), request->range().length()));
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::ReadDir(Context* context, const gateway::ReadDirRequest* request, gateway::ReadDirResponse* response) {
  return WithGateway(context, "ReadDir", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const llb::RefPtr ref, FindRef(build, request->ref()));
    ASSIGN_OR_RETURN(const auto entries, build.bridge().ReadDir(ref, request->dirpath(), request->includepattern()));
    for (const auto& entry : entries) {
      EncodeStat(entry, response->add_entries());
    }
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::StatFile(Context* context, const gateway::StatFileRequest* request, gateway::StatFileResponse* response) {
  return WithGateway(context, "StatFile", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const llb::RefPtr ref, FindRef(build, request->ref()));
    ASSIGN_OR_RETURN(const llb::FileStat stat, build.bridge().StatFile(ref, request->path()));
    EncodeStat(stat, response->mutable_stat());
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::Evaluate(Context* context, const gateway::EvaluateRequest* request, gateway::EvaluateResponse* response) {
  return WithGateway(context, "Evaluate", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const llb::RefPtr ref, FindRef(build, request->ref()));
    return ref->Evaluate(build.bridge().cancel());
  });
}

GatewayService::Unary GatewayService::Inputs(Context* context, const gateway::InputsRequest* request, gateway::InputsResponse* response) {
  return WithGateway(context, "Inputs", [=](build::GatewayBuild& build) -> absl::Status {
    for (const auto& [name, definition] : build.inputs()) {
      if (!(*response->mutable_definitions())[name].ParseFromString(definition)) {
        return absl::InvalidArgumentError(absl::StrCat("input ", name, " is not a definition"));
      }
    }
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::Return(Context* context, const gateway::ReturnRequest* request, gateway::ReturnResponse* response) {
  return WithGateway(context, "Return", [=](build::GatewayBuild& build) -> absl::Status {
    if (request->has_error() && request->error().code() != 0) {
      build.Return(DecodeError(request->error()));
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(llb::FrontendResult result, DecodeResult(request->result(), build));
    build.Return(std::move(result));
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::NewContainer(Context* context, const gateway::NewContainerRequest* request, gateway::NewContainerResponse*) {
  return WithGateway(context, "NewContainer", [=](build::GatewayBuild& build, const CancelToken& cancel) -> absl::Status {
    ASSIGN_OR_RETURN(build::ContainerRequest decoded, DecodeContainer(*request));
    return build.NewContainer(std::move(decoded), cancel);
  });
}

GatewayService::Unary GatewayService::ReleaseContainer(Context* context, const gateway::ReleaseContainerRequest* request,
                                                       gateway::ReleaseContainerResponse*) {
  return WithGateway(context, "ReleaseContainer", [=](build::GatewayBuild& build) { return build.ReleaseContainer(request->containerid()); });
}

GatewayService::Unary GatewayService::ReadFileContainer(Context* context, const gateway::ReadFileRequest* request,
                                                        gateway::ReadFileResponse* response) {
  return WithGateway(context, "ReadFileContainer", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const build::ContainerPtr container, build.FindContainer(request->ref()));
    ASSIGN_OR_RETURN(*response->mutable_data(),
                     container->ReadFile(request->mountindex(), request->filepath(), request->range().offset(), request->range().length()));
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::ReadDirContainer(Context* context, const gateway::ReadDirRequest* request, gateway::ReadDirResponse* response) {
  return WithGateway(context, "ReadDirContainer", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const build::ContainerPtr container, build.FindContainer(request->ref()));
    ASSIGN_OR_RETURN(const auto entries, container->ReadDir(request->mountindex(), request->dirpath(), request->includepattern()));
    for (const auto& entry : entries) {
      EncodeStat(entry, response->add_entries());
    }
    return absl::OkStatus();
  });
}

GatewayService::Unary GatewayService::StatFileContainer(Context* context, const gateway::StatFileRequest* request,
                                                        gateway::StatFileResponse* response) {
  return WithGateway(context, "StatFileContainer", [=](build::GatewayBuild& build) -> absl::Status {
    ASSIGN_OR_RETURN(const build::ContainerPtr container, build.FindContainer(request->ref()));
    ASSIGN_OR_RETURN(const llb::FileStat stat, container->StatFile(request->mountindex(), request->path()));
    EncodeStat(stat, response->mutable_stat());
    return absl::OkStatus();
  });
}

grpc::ServerBidiReactor<gateway::ExecMessage, gateway::ExecMessage>* GatewayService::ExecProcess(Context* context) {
  return RunBidi<ExecMessage, ExecMessage>(calls_, [this, id = BuildId(*context)](ExecCall& call) {
    const auto build = FindBuild(id, "ExecProcess", call.cancel());
    if (!build.ok()) return ToGrpcStatus(build.status());
    return ToGrpcStatus(ExecStream(**build, call, *calls_.pool).Run());
  });
}

GatewayService::Unary GatewayService::Warn(Context* context, const gateway::WarnRequest* request, gateway::WarnResponse* response) {
  return WithGateway(context, "Warn", [=](build::GatewayBuild& build) {
    build.bridge().Warn(DecodeWarning(*request));
    return absl::OkStatus();
  });
}

}  // namespace cachalot::daemon
