#include "cachalot/llb/constraints.h"

namespace cachalot::llb {

Constraints& Constraints::For(oci::Platform wanted) {
  platform = std::move(wanted);
  return *this;
}

Constraints& Constraints::Named(std::string name) { return Described("llb.customname", std::move(name)); }

Constraints& Constraints::Described(std::string key, std::string value) {
  metadata.description[std::move(key)] = std::move(value);
  return *this;
}

Constraints& Constraints::IgnoreCache(bool ignore) {
  metadata.ignore_cache = ignore;
  return *this;
}

Constraints& Constraints::ExportCache(bool exported) {
  metadata.export_cache = exported;
  return *this;
}

Constraints& Constraints::InGroup(std::string id, std::string name, bool weak) {
  metadata.progress_group = solver::ProgressGroup{std::move(id), std::move(name), weak};
  return *this;
}

Constraints& Constraints::At(std::shared_ptr<const SourceInfo> file, std::vector<solver::SourceRange> ranges) {
  locations.push_back({std::move(file), std::move(ranges)});
  return *this;
}

Constraints& Constraints::Limited(LinuxResources limits) {
  metadata.linux_resources = std::move(limits);
  return *this;
}

}  // namespace cachalot::llb
