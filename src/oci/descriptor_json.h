// Descriptors and platforms inside larger JSON documents. Only .cc files include this header.
#pragma once

#include "oci/go_json.h"
#include "oci/image.h"

namespace cachalot::oci {

Json ToJson(const Descriptor& descriptor);
Descriptor ReadDescriptor(const Json& value, const std::string& where, absl::Status& status);
// Adds the platform's members to `object`, in the specification's order.
void AddPlatform(const Platform& platform, Json& object);
Platform ReadPlatform(ObjectReader& reader);

}  // namespace cachalot::oci
