#include "client/image_layout.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "base/value_of.h"
#include "os/file.h"

namespace cachalot::client {
namespace {

constexpr char kImageName[] = "io.containerd.image.name";
constexpr char kRefName[] = "org.opencontainers.image.ref.name";
constexpr std::size_t kMaxIndexBytes = 8 << 20;

std::string IndexPath(const std::string& directory) { return absl::StrCat(directory, "/index.json"); }

absl::StatusOr<oci::Index> ReadIndex(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string json, os::ReadFile(IndexPath(directory), kMaxIndexBytes));
  absl::StatusOr<oci::Index> index = oci::ParseIndex(json);
  return index.ok() ? index : Annotate(index.status(), IndexPath(directory));
}

bool Replaces(const oci::Descriptor& added, const oci::Descriptor& old) {
  const std::string image = ValueOf(added.annotations, kImageName), tag = ValueOf(added.annotations, kRefName);
  if (image.empty() && tag.empty()) return added.digest == old.digest && ValueOf(old.annotations, kRefName).empty();
  return image == ValueOf(old.annotations, kImageName) && tag == ValueOf(old.annotations, kRefName);
}

void AddEntry(oci::Index& index, oci::Descriptor descriptor, const LayoutName& name) {
  if (!name.image.empty()) descriptor.annotations[kImageName] = name.image;
  if (!name.tag.empty()) descriptor.annotations[kRefName] = name.tag;
  std::erase_if(index.manifests, [&](const oci::Descriptor& old) { return Replaces(descriptor, old); });
  index.manifests.push_back(std::move(descriptor));
}

}  // namespace

std::string BlobPathInLayout(const std::string& directory, const oci::Digest& digest) {
  return absl::StrCat(directory, "/blobs/", digest.algorithm(), "/", digest.hex());
}

absl::StatusOr<oci::Descriptor> FindInLayout(const std::string& directory, const std::string& tag) {
  ASSIGN_OR_RETURN(const oci::Index index, ReadIndex(directory));
  const std::string wanted = tag.empty() ? "latest" : tag;
  for (const oci::Descriptor& manifest : index.manifests) {
    if (ValueOf(manifest.annotations, kRefName) == wanted || ValueOf(manifest.annotations, kImageName) == wanted) return manifest;
  }
  if (tag.empty() && index.manifests.size() == 1) return index.manifests.front();
  return absl::NotFoundError(absl::StrCat(IndexPath(directory), ": nothing is called \"", wanted, "\""));
}

absl::Status NameInLayout(const std::string& directory, const oci::Descriptor& descriptor, const std::vector<LayoutName>& names) {
  // Builds beside this one may write into the same directory.
  ASSIGN_OR_RETURN(const UniqueFd lock, os::OpenDirectory(directory));
  if (::flock(lock.get(), LOCK_EX) != 0) return ErrnoError(absl::StrCat("lock ", directory));
  absl::StatusOr<oci::Index> index = ReadIndex(directory);
  if (absl::IsNotFound(index.status())) index = oci::Index();
  RETURN_IF_ERROR(index.status());
  for (const LayoutName& name : names) AddEntry(*index, descriptor, name);
  if (names.empty()) AddEntry(*index, descriptor, {});
  RETURN_IF_ERROR(os::WriteFileAtomic(absl::StrCat(directory, "/oci-layout"), R"({"imageLayoutVersion":"1.0.0"})"));
  return os::WriteFileAtomic(IndexPath(directory), Serialize(*index));
}

}  // namespace cachalot::client
