#include "build/cache_import.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "build/shown_vertex.h"

namespace cachalot::build {

CacheImport::CacheImport(std::string type, remotecache::Attributes attributes, remotecache::Places places, Clock* clock,
                         std::shared_ptr<solver::ProgressSink> progress, CancelToken cancel)
    : thread_(NewThread([this, type = std::move(type), attributes = std::move(attributes), places = std::move(places), clock,
                         progress = std::move(progress), cancel = std::move(cancel)] { Load(type, attributes, places, clock, progress, cancel); })) {}

CacheImport::~CacheImport() { thread_.join(); }

std::string CacheImport::NameOf(const std::string& type, const remotecache::Attributes& attributes) {
  const auto ref = attributes.find("ref");
  if (type == "registry" && ref != attributes.end() && !ref->second.empty()) return ref->second;
  std::string text;
  for (const auto& [key, value] : attributes) absl::StrAppend(&text, key.size(), ":", key, value.size(), ":", value);
  return absl::StrCat(type, ":", Sha256Hex(text).substr(0, 16));
}

void CacheImport::Load(const std::string& type, const remotecache::Attributes& attributes, const remotecache::Places& places, Clock* clock,
                       const std::shared_ptr<solver::ProgressSink>& progress, const CancelToken& cancel) {
  const std::string name = absl::StrCat("importing cache manifest from ", NameOf(type, attributes));
  ShownVertex vertex(clock, progress, name, name);
  std::unique_ptr<remotecache::ImportedCache> cache;
  const absl::Status status = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(remotecache::CacheOriginPtr origin, remotecache::NewCacheOrigin(type, attributes, places));
    ASSIGN_OR_RETURN(cache, remotecache::ImportedCache::Load(std::move(origin), cancel));
    if (cache->manifest_type().empty()) return absl::OkStatus();
    return vertex.Run(absl::StrCat("inferred cache manifest type: ", cache->manifest_type()), [] { return absl::OkStatus(); });
  }();
  if (!vertex.Finish(status).ok()) LogDebug(name, ": ", status.message());
  auto state = state_.Lock();
  state->done = true;
  state->cache = std::move(cache);
  state_.NotifyAll();
}

remotecache::ImportedCache* CacheImport::Get() {
  auto state = state_.Lock();
  state.Wait([](const State& s) { return s.done; });
  return state->cache.get();
}

}  // namespace cachalot::build
