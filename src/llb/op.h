// The operations of the build graph as plain C++ values: what proto/buildkit/ops.proto says on the wire.
// Field meanings are the protocol's; defaults are the wire's zero values unless stated.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "oci/digest.h"
#include "oci/platform.h"
#include "solver/progress.h"

namespace cachalot::llb {

// -- exec -----------------------------------------------------------------------------------------------------------
enum class NetMode { kSandbox = 0, kHost = 1, kNone = 2 };
enum class SecurityMode { kSandbox = 0, kInsecure = 1 };
enum class MountType { kBind = 0, kSecret = 1, kSsh = 2, kCache = 3, kTmpfs = 4 };
enum class CacheSharing { kShared = 0, kPrivate = 1, kLocked = 2 };
enum class ContentCache { kDefault = 0, kOn = 1, kOff = 2 };

struct ProxyEnv {
  std::string http_proxy, https_proxy, ftp_proxy, no_proxy, all_proxy;
  friend bool operator==(const ProxyEnv&, const ProxyEnv&) = default;
};
struct HostIp {
  std::string host, ip;
};
struct Ulimit {
  std::string name;
  std::int64_t soft = 0, hard = 0;
};
struct SecretEnv {
  std::string id, name;
  bool optional = false;
};
struct CdiDevice {
  std::string name;
  bool optional = false;
};

// The process of an exec operation or of a gateway container.
struct ProcessMeta {
  std::vector<std::string> args;
  std::vector<std::string> env;  // NAME=value
  std::string cwd;
  std::string user;  // name or id, with an optional ":group"
  std::optional<ProxyEnv> proxy;
  std::vector<HostIp> extra_hosts;
  std::string hostname;
  std::vector<Ulimit> ulimits;
  std::string cgroup_parent;
  bool remove_mount_stubs_recursive = false;
  std::vector<int> valid_exit_codes;  // empty: only 0
};

struct SecretMount {
  std::string id;
  std::uint32_t uid = 0, gid = 0, mode = 0;
  bool optional = false;
};
using SshMount = SecretMount;
struct CacheMount {
  std::string id;
  CacheSharing sharing = CacheSharing::kShared;
};

struct Mount {
  int input = -1;  // index of the operation's input, -1 for none (an empty tree)
  std::string selector;
  std::string dest;
  int output = -1;  // negative: none. What this mount's content becomes is told by has_output().
  bool readonly = false;
  MountType type = MountType::kBind;
  std::int64_t tmpfs_size = 0;  // bytes, 0 unlimited
  CacheMount cache;
  SecretMount secret;
  SshMount ssh;
  std::string result_id;  // gateway containers: the ref to mount
  ContentCache content_cache = ContentCache::kDefault;

  // Whether the content becomes an output of the operation. Outputs count in the order of their mounts, whatever `output` says: BuildKit's rule.
  bool has_output() const { return output >= 0 && (type == MountType::kBind || (type == MountType::kCache && input >= 0)); }
};

struct ExecOp {
  ProcessMeta meta;
  std::vector<Mount> mounts;
  NetMode network = NetMode::kSandbox;
  SecurityMode security = SecurityMode::kSandbox;
  std::vector<SecretEnv> secret_env;
  std::vector<CdiDevice> cdi_devices;
};

// -- source ---------------------------------------------------------------------------------------------------------
struct SourceOp {
  std::string identifier;  // "docker-image://docker.io/library/busybox:latest", "local://context", ...
  std::map<std::string, std::string> attrs;
};

// -- file -----------------------------------------------------------------------------------------------------------
struct UserRef {  // by name (looked up in input `input`'s tree) or by id
  std::optional<std::string> name;
  int input = -1;
  std::uint32_t id = 0;
};
struct Chown {
  std::optional<UserRef> user, group;
};

struct FileCopy {
  std::string src, dest;
  Chown owner;
  int mode = -1;          // -1: unchanged
  std::string mode_text;  // symbolic, wins over mode
  bool follow_symlink = false;
  bool dir_copy_contents = false;
  bool attempt_unpack = false;
  bool create_dest_path = false;
  bool allow_wildcard = false;
  bool allow_empty_wildcard = false;
  bool always_replace_existing = false;
  std::int64_t timestamp_ns = -1;  // -1: as in the source
  std::vector<std::string> include_patterns, exclude_patterns, required_paths;
};
struct FileMkfile {
  std::string path, data;
  int mode = 0;
  Chown owner;
  std::int64_t timestamp_ns = -1;
};
struct FileMkdir {
  std::string path;
  int mode = 0;
  bool make_parents = false;
  Chown owner;
  std::int64_t timestamp_ns = -1;
};
struct FileRm {
  std::string path;
  bool allow_not_found = false;
  bool allow_wildcard = false;
};
struct FileSymlink {
  std::string oldpath, newpath;
  Chown owner;
  std::int64_t timestamp_ns = -1;
};
// Indices below the number of the operation's inputs mean inputs, the following ones results of earlier actions.
struct FileAction {
  int input = -1;            // the tree to change, -1: an empty one
  int secondary_input = -1;  // the tree to copy from, -1: none
  int output = -1;           // the operation's output that the result becomes, -1: intermediate
  std::variant<FileCopy, FileMkfile, FileMkdir, FileRm, FileSymlink> action;
};
struct FileOp {
  std::vector<FileAction> actions;
};

// -- the rest -------------------------------------------------------------------------------------------------------
struct MergeOp {
  std::vector<int> inputs;  // lowest first
};
struct DiffOp {
  int lower = -1, upper = -1;  // -1: an empty tree
};
struct BuildOp {
  int builder = -1;
  std::map<std::string, int> inputs;  // name to input index
  std::string definition;             // serialized pb.Definition or empty
  std::map<std::string, std::string> attrs;
};
struct PassthroughOp {
  std::string id;
  std::vector<int> outputs;
};

// -- vertices -------------------------------------------------------------------------------------------------------
struct SourceInfo {  // a source file that vertices come from (a Dockerfile)
  std::string filename, data, language;
  std::string definition;  // serialized pb.Definition or empty
};
struct SourceLocation {
  std::shared_ptr<const SourceInfo> info;
  std::vector<solver::SourceRange> ranges;
};

// Limits for the processes of an exec operation. Metadata: no part of the digest.
struct LinuxResources {
  std::int64_t memory = 0, memory_swap = 0;  // bytes, 0 unlimited
  std::uint64_t cpu_shares = 0, cpu_period = 0;
  std::int64_t cpu_quota = 0;
  std::string cpuset_cpus, cpuset_mems;
  friend bool operator==(const LinuxResources&, const LinuxResources&) = default;
};

struct OpMetadata {
  bool ignore_cache = false;
  std::map<std::string, std::string> description;  // "llb.customname" names the vertex for people
  std::optional<bool> export_cache;
  std::map<std::string, bool> caps;
  std::optional<solver::ProgressGroup> progress_group;
  std::optional<LinuxResources> linux_resources;
};

struct Vertex;
using VertexPtr = std::shared_ptr<const Vertex>;

struct Edge {
  VertexPtr vertex;
  int output = 0;
};

// One checked node of a definition. Immutable and shared between the graphs that contain it.
struct Vertex {
  oci::Digest digest;
  std::string op_bytes;  // the serialized pb.Op that `digest` is of
  std::variant<ExecOp, SourceOp, FileOp, MergeOp, DiffOp, BuildOp, PassthroughOp> op;
  std::vector<Edge> inputs;
  std::optional<oci::Platform> platform;
  std::vector<std::string> constraints;
  OpMetadata metadata;
  std::vector<SourceLocation> locations;

  // Releases the inputs one by one, so that a long chain needs no deep stack.
  ~Vertex();

  // For people: the custom name, else one made from the operation ("/bin/sh -c make", "copy /a /b", the source's identifier,
  // "merge (a, b)"). At most 4 KiB: a merge of merges names all its inputs.
  std::string Name() const;
  // How many outputs the operation has: inputs name them by index below this.
  int OutputCount() const;
};

}  // namespace cachalot::llb
