// Requests as provenance has them.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "build/provenance/capture.h"
#include "build/provenance/request_trace.h"

namespace cachalot::build {

// {"configSource": {...}, "request": {"frontend": ..., "args": {...}}}: where the recipe came from, and the other arguments. Arguments
// about the host and about attestations are left out, credentials in addresses masked.
nlohmann::ordered_json RequestJson(const FrontendRequest& request, const Capture& capture);

// The same of the request behind `producer` with the requests that its inputs came from and, if it is another one, the client's own.
// An empty request for a tree that no frontend made.
nlohmann::ordered_json ProducerJson(const RequestTrace& producer, const Capture& capture, bool with_root);

// Removes build arguments, labels, secrets and agents from a request as above, nested ones included. Whether it is incomplete now.
bool ScrubRequest(nlohmann::ordered_json& request);

}  // namespace cachalot::build
