#include "runtime/cdi.h"

#include <dirent.h>

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "runtime/cdi_edits.h"
#include "runtime/yaml.h"

namespace cachalot::runtime {
namespace {

constexpr std::size_t kMaxSpecFile = 8 << 20;
constexpr char kClassAnnotation[] = "org.mobyproject.buildkit.device.class";
constexpr char kAllowAnnotation[] = "org.mobyproject.buildkit.device.autoallow";

std::string KindOf(absl::string_view name) { return std::string(name.substr(0, name.find('='))); }

// "vendor.com/class", of letters, digits and few signs.
bool IsKind(absl::string_view kind) {
  const std::vector<absl::string_view> parts = absl::StrSplit(kind, '/');
  if (parts.size() != 2) return false;
  return std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
    return !part.empty() && absl::ascii_isalpha(static_cast<unsigned char>(part[0])) &&
           absl::ascii_isalnum(static_cast<unsigned char>(part.back())) &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.'; });
  });
}

bool IsDeviceName(absl::string_view name) {
  return !name.empty() && absl::ascii_isalnum(static_cast<unsigned char>(name[0])) && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == ':';
  });
}

bool IsTrue(const std::string& text) {
  static const std::set<std::string> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
  return kTrue.count(text) > 0;
}

absl::StatusOr<std::string> RequiredText(const YamlNode& node, absl::string_view name) {
  const YamlNode* member = node.Find(name);
  if (member == nullptr || member->kind != YamlNode::Kind::kScalar || member->text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no ", name));
  }
  return member->text;
}

void ReadAnnotations(const YamlNode& node, std::map<std::string, std::string>& annotations) {
  const YamlNode* member = node.Find("annotations");
  if (member == nullptr) return;
  for (const auto& [name, value] : member->members) annotations[name] = value.text;
}

}  // namespace

std::vector<CdiDevice> CdiCatalog::List() const {
  std::vector<CdiDevice> devices;
  for (const auto& [name, entry] : entries_) devices.push_back(entry.device);
  return devices;
}

bool CdiCatalog::AutoAllowed(const std::string& name) const {
  const auto found = entries_.find(name);
  return found != entries_.end() && found->second.device.auto_allow;
}

absl::StatusOr<std::vector<std::string>> CdiCatalog::Find(const std::string& request, bool optional) const {
  std::vector<std::string> found;
  const std::string kind = KindOf(request), device = request.size() > kind.size() ? request.substr(kind.size() + 1) : "";
  if (absl::StrContains(kind, '/')) {
    for (const auto& [name, entry] : entries_) {
      if (KindOf(name) != kind || !(device.empty() || device == "*" || name == request)) continue;
      found.push_back(name);
      if (device.empty()) break;
    }
  }
  if (found.empty()) {
    for (const auto& [name, entry] : entries_) {
      const auto annotation = entry.device.annotations.find(kClassAnnotation);
      if (annotation != entry.device.annotations.end() && annotation->second == request) found.push_back(name);
    }
  }
  if (!found.empty()) return found;
  if (!optional) return absl::NotFoundError(absl::StrCat("required device \"", request, "\" is not registered"));
  LogWarning("optional device \"", request, "\" is not registered");
  return found;
}

DeviceEdits CdiCatalog::EditsOf(const std::vector<std::string>& names) const {
  DeviceEdits edits;
  std::set<const File*> files;
  std::set<std::string> done;
  for (const std::string& name : names) {
    const auto found = entries_.find(name);
    if (found == entries_.end() || !done.insert(name).second) continue;
    const Entry& entry = found->second;
    if (files.insert(entry.file.get()).second) edits.Append(entry.file->edits);
    edits.Append(entry.edits);
  }
  return edits;
}

bool CdiDevices::IsAutoAllowed(const CdiDevice& device) const {
  const auto listed = [&](const std::string& name) {
    return std::find(config_.auto_allowed.begin(), config_.auto_allowed.end(), name) != config_.auto_allowed.end();
  };
  const auto annotation = device.annotations.find(kAllowAnnotation);
  return listed(device.name) || listed(KindOf(device.name)) || (annotation != device.annotations.end() && IsTrue(annotation->second));
}

absl::Status CdiDevices::AddFile(const std::string& path, std::size_t priority, CdiCatalog& catalog) const {
  ASSIGN_OR_RETURN(const std::string text, os::ReadFile(path, kMaxSpecFile));
  ASSIGN_OR_RETURN(const YamlNode document, ParseYaml(text));
  RETURN_IF_ERROR(RequiredText(document, "cdiVersion").status());
  ASSIGN_OR_RETURN(const std::string kind, RequiredText(document, "kind"));
  if (!IsKind(kind)) return absl::InvalidArgumentError(absl::StrCat("\"", kind, "\" is not a kind of device"));
  const YamlNode* devices = document.Find("devices");
  if (devices == nullptr || devices->items.empty()) return absl::InvalidArgumentError("no devices");
  auto file = std::make_shared<CdiCatalog::File>();
  ASSIGN_OR_RETURN(file->edits, ReadDeviceEdits(document.Find("containerEdits")));
  std::vector<CdiCatalog::Entry> entries;
  for (const YamlNode& node : devices->items) {
    CdiCatalog::Entry& entry = entries.emplace_back();
    ASSIGN_OR_RETURN(const std::string name, RequiredText(node, "name"));
    if (!IsDeviceName(name)) return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a name of a device"));
    entry.device.name = absl::StrCat(kind, "=", name);
    ReadAnnotations(document, entry.device.annotations);
    ReadAnnotations(node, entry.device.annotations);
    entry.device.auto_allow = IsAutoAllowed(entry.device);
    ASSIGN_OR_RETURN(entry.edits, ReadDeviceEdits(node.Find("containerEdits")));
    entry.file = file;
    entry.priority = priority;
  }
  for (CdiCatalog::Entry& entry : entries) {
    CdiCatalog::Entry& known = catalog.entries_[entry.device.name];
    entry.conflict = known.file != nullptr && known.priority == priority;
    known = std::move(entry);
  }
  return absl::OkStatus();
}

CdiCatalog CdiDevices::Read() const {
  CdiCatalog catalog;
  if (config_.disabled) return catalog;
  for (std::size_t i = 0; i < config_.spec_dirs.size(); ++i) {
    absl::StatusOr<std::vector<os::DirectoryEntry>> files = os::ListDirectory(config_.spec_dirs[i]);
    if (!files.ok()) continue;
    std::sort(files->begin(), files->end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const os::DirectoryEntry& file : *files) {
      if (file.type == DT_DIR || !(absl::EndsWith(file.name, ".json") || absl::EndsWith(file.name, ".yaml"))) continue;
      const std::string path = absl::StrCat(config_.spec_dirs[i], "/", file.name);
      if (absl::Status status = AddFile(path, i, catalog); !status.ok()) LogWarning("devices of ", path, ": ", status.message());
    }
  }
  std::erase_if(catalog.entries_, [](const auto& entry) { return entry.second.conflict; });
  return catalog;
}

}  // namespace cachalot::runtime
