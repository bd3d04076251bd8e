#include "runtime/network.h"

#include <utility>

namespace cachalot::runtime {
namespace {

class FixedNetwork final : public ContainerNetwork {
 public:
  FixedNetwork(bool host, std::string path) : host_(host), path_(std::move(path)) {}
  bool is_host() const override { return host_; }
  std::string namespace_path() const override { return path_; }

 private:
  const bool host_;
  const std::string path_;
};

class FixedProvider final : public NetworkProvider {
 public:
  explicit FixedProvider(bool host) : host_(host) {}
  absl::StatusOr<std::unique_ptr<ContainerNetwork>> Attach(absl::string_view, absl::string_view) override {
    return std::make_unique<FixedNetwork>(host_, "");
  }

 private:
  const bool host_;
};

}  // namespace

std::unique_ptr<NetworkProvider> NewHostNetwork() { return std::make_unique<FixedProvider>(true); }
std::unique_ptr<NetworkProvider> NewNoNetwork() { return std::make_unique<FixedProvider>(false); }
std::unique_ptr<ContainerNetwork> JoinNetwork(std::string path) { return std::make_unique<FixedNetwork>(false, std::move(path)); }

}  // namespace cachalot::runtime
