#include "runtime/network.h"

namespace cachalot::runtime {
namespace {

class FixedNetwork final : public ContainerNetwork {
 public:
  explicit FixedNetwork(bool host) : host_(host) {}
  bool is_host() const override { return host_; }
  std::string namespace_path() const override { return ""; }

 private:
  const bool host_;
};

class FixedProvider final : public NetworkProvider {
 public:
  explicit FixedProvider(bool host) : host_(host) {}
  absl::StatusOr<std::unique_ptr<ContainerNetwork>> Attach(absl::string_view, absl::string_view) override {
    return std::make_unique<FixedNetwork>(host_);
  }

 private:
  const bool host_;
};

}  // namespace

std::unique_ptr<NetworkProvider> NewHostNetwork() { return std::make_unique<FixedProvider>(true); }
std::unique_ptr<NetworkProvider> NewNoNetwork() { return std::make_unique<FixedProvider>(false); }

}  // namespace cachalot::runtime
