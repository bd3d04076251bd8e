#include "llb/caps.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace cachalot::llb {
namespace {

// clang-format off
// "soruce.http.uidgid" is spelled so on the wire.
constexpr absl::string_view kLlbCaps[] = {
    "cache.azblob", "cache.gha", "cache.s3", "constraints", "diffop", "exec.cgroup", "exec.meta.base", "exec.meta.cdi", "exec.meta.cgroup.parent",
    "exec.meta.linux.resources", "exec.meta.network", "exec.meta.network.proxy", "exec.meta.proxyenv", "exec.meta.removemountstubs.recursive",
    "exec.meta.security", "exec.meta.security.devices.v1", "exec.meta.setsdefaultpath", "exec.meta.ulimit", "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput", "exec.mount.cache", "exec.mount.cache.content", "exec.mount.cache.sharing", "exec.mount.secret",
    "exec.mount.selector", "exec.mount.ssh", "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.secretenv", "exec.validexitcode",
    "exporter.image.annotations", "exporter.image.attestations", "exporter.multiple", "exporter.session", "exporter.sourcedateepoch", "file.base",
    "file.copy.alwaysreplaceexistingdestpaths", "file.copy.includeexcludepatterns", "file.copy.modestring", "file.copy.requiredpaths",
    "file.rm.nofollowsymlink", "file.rm.wildcard", "file.symlink.create", "gc.freespacefilter", "history.filter", "mergeop", "meta.description",
    "meta.exportcache", "meta.ignorecache", "passthroughop", "platform", "soruce.http.uidgid", "source.buildop.llbfilename", "source.git",
    "source.git.bundle", "source.git.checkoutbundle", "source.git.checksum", "source.git.fetchbycommit", "source.git.fullurl",
    "source.git.httpauth", "source.git.keepgitdir", "source.git.knownsshhosts", "source.git.mountsshsock", "source.git.mtime",
    "source.git.signatureverify", "source.git.skipsubmodules", "source.git.subdir", "source.http", "source.http.auth", "source.http.checksum",
    "source.http.header", "source.http.perm", "source.http.signatureverify", "source.image", "source.image.checksum", "source.image.layerlimit",
    "source.image.resolvemode", "source.imageblob", "source.local", "source.local.differ", "source.local.excludepatterns",
    "source.local.followpaths", "source.local.includepatterns", "source.local.metadatatransfer", "source.local.sessionid",
    "source.local.sharedkeyhint", "source.local.unique", "source.ocilayout", "source.policy", "source.policy.session"};
constexpr absl::string_view kGatewayCaps[] = {
    "frontend.caps", "frontend.inputs", "gateway.evaluate", "gateway.exec", "gateway.exec.extrahosts", "gateway.exec.filesystem",
    "gateway.exec.secretenv", "gateway.exec.signals", "gateway.solve.evaluate", "gateway.solve.metadata", "gateway.warnings", "importcaches",
    "proto.refarray", "readdir", "readfile", "reference.attestations", "reference.output", "resolveimage", "resolveimage.resolvemode", "return",
    "returnmap", "solve.base", "solve.inlinereturn", "source.metaresolver", "source.metaresolver.http.checksumrequest",
    "source.metaresolver.image.attestations", "statfile"};
// clang-format on

}  // namespace

const std::vector<absl::string_view>& LlbCaps() {
  static const auto& caps = *new std::vector<absl::string_view>(std::begin(kLlbCaps), std::end(kLlbCaps));
  return caps;
}

const std::vector<absl::string_view>& GatewayCaps() {
  static const auto& caps = *new std::vector<absl::string_view>(std::begin(kGatewayCaps), std::end(kGatewayCaps));
  return caps;
}

absl::Status CheckLlbCap(absl::string_view id) {
  if (std::binary_search(LlbCaps().begin(), LlbCaps().end(), id)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("unknown API capability ", id));
}

}  // namespace cachalot::llb
