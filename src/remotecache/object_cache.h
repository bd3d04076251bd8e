// Caches in object stores: layers under their digests, and the cache config, which describes them itself, under names.
#pragma once

#include <memory>

#include "base/cancel.h"
#include "remotecache/cache_destination.h"
#include "remotecache/cache_origin.h"
#include "remotecache/object_store.h"

namespace cachalot::remotecache {

// Imports the first of the layout's names.
CacheOriginPtr NewObjectOrigin(std::unique_ptr<ObjectStore> store, ObjectLayout layout, const Places& places);
std::unique_ptr<CacheDestination> NewObjectDestination(std::unique_ptr<ObjectStore> store, ObjectLayout layout, const Places& places,
                                                       const CancelToken& cancel);

}  // namespace cachalot::remotecache
