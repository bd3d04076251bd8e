// Layers with their files' times bounded (SOURCE_DATE_EPOCH with rewrite-timestamp).
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "snapshot/snapshots.h"
#include "store/blobs.h"

namespace cachalot::exporting {

// A copy of `layer`, whose blob is in the store, in which no file is younger than `epoch`, compressed as asked.
absl::StatusOr<snapshot::Layer> RewriteLayer(const snapshot::Layer& layer, absl::Time epoch, const snapshot::Compression& compression,
                                             store::BlobStore& blobs, const CancelToken& cancel);

}  // namespace cachalot::exporting
