// Caches in S3 buckets: layers under their digests, and the cache config, which describes them itself, under names.
#pragma once

#include <memory>

#include "base/cancel.h"
#include "remotecache/cache_destination.h"
#include "remotecache/cache_origin.h"
#include "remotecache/s3_client.h"

namespace cachalot::remotecache {

CacheOriginPtr NewS3Origin(S3Config config, const Places& places);
std::unique_ptr<CacheDestination> NewS3Destination(S3Config config, const Places& places, const CancelToken& cancel);

}  // namespace cachalot::remotecache
