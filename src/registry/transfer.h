// One HTTP exchange over one libcurl handle pair.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "registry/http.h"

namespace cachalot::registry {

// A multi handle, which keeps connections alive between requests, and the easy handle that uses it. Not thread-safe.
class Channel {
 public:
  // `open_socket` may be null; else it outlives the channel.
  Channel(CURLSH* share, const HttpTransport::OpenSocket* open_socket);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Performs one hop: redirects are returned as responses. `url` and `headers` replace the request's.
  absl::Status Perform(const HttpRequest& request, const std::string& method, const std::string& url, const HttpHeaders& headers, bool send_body,
                       HttpResponse& response);

 private:
  CURLSH* const share_;
  const HttpTransport::OpenSocket* const open_socket_;
  CURLM* const multi_;
  CURL* const easy_;
};

// The kinds of curl failures as a Status; see HttpFailure.
absl::Status TransferError(CURL* easy, CURLcode code, const char* detail, const std::string& method, const std::string& url);

}  // namespace cachalot::registry
