#include "store/schema.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "store/durability.h"

namespace cachalot::store {

namespace {

// `durable`: see durability.h.
constexpr char kFirst[] = R"sql(
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE blobs (
  digest TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  durable INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX blobs_volatile ON blobs (durable) WHERE durable = 0;

-- Who needs a blob: "snapshot/<id>" or another owner's name. A blob without an owner is collected.
CREATE TABLE blob_owners (
  digest TEXT NOT NULL,
  owner TEXT NOT NULL,
  PRIMARY KEY (digest, owner)
) WITHOUT ROWID;
CREATE INDEX blob_owners_by_owner ON blob_owners (owner);

-- state: 0 active, 1 committed, 2 lazy (its files are not there yet).
-- deletes_elsewhere: 1 when the layer deletes what is not below it (a difference, to be applied elsewhere).
-- chain: what finds a layer again: its diff_id together with what is below.
CREATE TABLE snapshots (
  id TEXT PRIMARY KEY,
  directory TEXT NOT NULL,
  parent TEXT NOT NULL DEFAULT '',
  state INTEGER NOT NULL,
  deletes_elsewhere INTEGER NOT NULL DEFAULT 0,
  kept INTEGER NOT NULL DEFAULT 0,
  chain TEXT NOT NULL DEFAULT '',
  diff_id TEXT NOT NULL DEFAULT '',
  size INTEGER NOT NULL DEFAULT -1,
  created_us INTEGER NOT NULL,
  used_us INTEGER NOT NULL DEFAULT 0,
  usage_count INTEGER NOT NULL DEFAULT 0,
  description TEXT NOT NULL,
  record_type TEXT NOT NULL,
  durable INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX snapshots_volatile ON snapshots (durable) WHERE durable = 0;

CREATE TABLE snapshot_names (key TEXT PRIMARY KEY, snapshot TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX snapshot_names_by_snapshot ON snapshot_names (snapshot);

-- The blobs that hold a snapshot's own layer, one per form ("", "gzip", "zstd", or "gzip:9" for a level that was asked for).
CREATE TABLE snapshot_layers (
  snapshot TEXT NOT NULL,
  form TEXT NOT NULL,
  media_type TEXT NOT NULL,
  digest TEXT NOT NULL,
  size INTEGER NOT NULL,
  annotations TEXT NOT NULL,
  sources TEXT NOT NULL,
  PRIMARY KEY (snapshot, form)
) WITHOUT ROWID;

-- The file digests of a committed snapshot's tree, as one value (see snapshot/checksum_tree.h).
CREATE TABLE snapshot_checksums (snapshot TEXT PRIMARY KEY, tree BLOB NOT NULL) WITHOUT ROWID;

-- The solver's memory: results by key, definition keys that stand for content keys, how a key came to be.
CREATE TABLE cache_results (
  key TEXT PRIMARY KEY,
  snapshot TEXT NOT NULL,
  created_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX cache_results_by_snapshot ON cache_results (snapshot);
CREATE TABLE cache_aliases (definition_key TEXT PRIMARY KEY, content_key TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX cache_aliases_by_content ON cache_aliases (content_key);
CREATE TABLE cache_links (
  key TEXT NOT NULL,
  op_digest TEXT NOT NULL,
  output INTEGER NOT NULL,
  inputs TEXT NOT NULL,
  PRIMARY KEY (key, op_digest, output, inputs)
) WITHOUT ROWID;
)sql";

// Keys are made in another way now, and aliases hold what a vertex reads instead of its key.
constexpr char kKeysOfParts[] = R"sql(
DROP TABLE cache_aliases;
DROP TABLE cache_links;
DELETE FROM cache_results;
CREATE TABLE cache_aliases (key TEXT PRIMARY KEY, value TEXT NOT NULL, created_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX cache_aliases_by_age ON cache_aliases (created_us);
)sql";

// Aliases are cheap to find anew: they go when they are this old.
constexpr absl::Duration kAliasLife = absl::Hours(24 * 90);

// Builds that ended. A record's blobs are owned by "build/<ref>".
constexpr char kBuilds[] = R"sql(
CREATE TABLE builds (
  ref TEXT PRIMARY KEY,
  completed_us INTEGER NOT NULL,
  pinned INTEGER NOT NULL DEFAULT 0,
  record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX builds_by_completion ON builds (completed_us);
)sql";

// The repositories that are known to have a blob.
constexpr char kBlobSources[] = R"sql(
CREATE TABLE blob_sources (digest TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (digest, source)) WITHOUT ROWID;
)sql";

// A table without row ids is searched by reading whole rows, which is no good where rows are megabytes.
constexpr char kLargeRows[] = R"sql(
ALTER TABLE snapshot_checksums RENAME TO old_checksums;
CREATE TABLE snapshot_checksums (snapshot TEXT PRIMARY KEY, tree BLOB NOT NULL);
INSERT INTO snapshot_checksums SELECT snapshot, tree FROM old_checksums;
DROP TABLE old_checksums;
DROP INDEX builds_by_completion;
ALTER TABLE builds RENAME TO old_builds;
CREATE TABLE builds (
  ref TEXT PRIMARY KEY,
  completed_us INTEGER NOT NULL,
  pinned INTEGER NOT NULL DEFAULT 0,
  record BLOB NOT NULL
);
INSERT INTO builds SELECT ref, completed_us, pinned, record FROM old_builds;
DROP TABLE old_builds;
CREATE INDEX builds_by_completion ON builds (completed_us);
)sql";

constexpr char kChains[] = "CREATE INDEX snapshots_by_chain ON snapshots (chain) WHERE chain <> ''";

// The tree of an active snapshot is older than its files. noted: the directories ("" for the root) of which an entry has changed since it
// was written, each with a NUL. unfinished: changes that began and whose end was never told; above 0, anything may have changed.
constexpr char kNotedChanges[] = R"sql(
ALTER TABLE snapshot_checksums ADD COLUMN noted BLOB NOT NULL DEFAULT x'';
ALTER TABLE snapshot_checksums ADD COLUMN unfinished INTEGER NOT NULL DEFAULT 0;
DELETE FROM snapshot_checksums WHERE snapshot IN (SELECT id FROM snapshots WHERE state = 0);
)sql";

// What finds a key when only some of it is known. A part goes with what it belongs to.
constexpr char kCacheParts[] = R"sql(
CREATE TABLE cache_parts (part INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (part, key)) WITHOUT ROWID;
CREATE INDEX cache_parts_by_key ON cache_parts (key);
CREATE TRIGGER cache_result_gone AFTER DELETE ON cache_results BEGIN DELETE FROM cache_parts WHERE key = old.key; END;
CREATE TRIGGER cache_alias_gone AFTER DELETE ON cache_aliases BEGIN DELETE FROM cache_parts WHERE key = old.key; END;
)sql";

// rebased: 1 when all that the layer's directory holds is a change, because it was made elsewhere and put on its parent; else what is as in
// the parent's tree is none.
constexpr char kRebased[] = "ALTER TABLE snapshots ADD COLUMN rebased INTEGER NOT NULL DEFAULT 0";

absl::StatusOr<std::string> BootId() {
  ASSIGN_OR_RETURN(std::string id, os::ReadFile("/proc/sys/kernel/random/boot_id", 100));
  absl::StripAsciiWhitespace(&id);
  return id;
}

absl::StatusOr<std::string> Meta(Connection& connection, const char* key) {
  ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT value FROM meta WHERE key = ?1"));
  query.Bind(key);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  return found ? query.Text(0) : "";
}

absl::Status SetMeta(Connection& connection, const char* key, absl::string_view value) {
  return connection.Run("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2", key, value);
}

// Drops what is not known to be on disk after the sync of this number. A layer without its files can be unpacked again where its blob
// can be had. What stands on what is dropped, or names it, is dangling then.
absl::Status DropVolatile(Connection& connection, std::int64_t synced) {
  RETURN_IF_ERROR(connection.Run("DELETE FROM blobs WHERE durable = 0 OR durable > ?1", synced));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_layers WHERE sources = '' AND digest NOT IN (SELECT digest FROM blobs)"));
  RETURN_IF_ERROR(
      connection.Run("UPDATE snapshots SET state = 2, size = -1, durable = 0 WHERE state = 1 AND deletes_elsewhere = 0 AND "
                     "(durable = 0 OR durable > ?1) AND id IN (SELECT snapshot FROM snapshot_layers)",
                     synced));
  RETURN_IF_ERROR(
      connection.Run("DELETE FROM snapshots WHERE (state <> 2 AND (durable = 0 OR durable > ?1)) OR "
                     "(state = 2 AND id NOT IN (SELECT snapshot FROM snapshot_layers))",
                     synced));
  return absl::OkStatus();
}

absl::Status DropDangling(Connection& connection) {
  do {
    RETURN_IF_ERROR(connection.Run("DELETE FROM snapshots WHERE parent <> '' AND parent NOT IN (SELECT id FROM snapshots)"));
  } while (connection.changes() > 0);
  RETURN_IF_ERROR(connection.Run("DELETE FROM cache_results WHERE snapshot <> '' AND snapshot NOT IN (SELECT id FROM snapshots)"));
  RETURN_IF_ERROR(connection.Run("DELETE FROM blob_sources WHERE digest NOT IN (SELECT digest FROM blobs)"));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_names WHERE snapshot NOT IN (SELECT id FROM snapshots)"));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_layers WHERE snapshot NOT IN (SELECT id FROM snapshots)"));
  RETURN_IF_ERROR(connection.Run("DELETE FROM snapshot_checksums WHERE snapshot NOT IN (SELECT id FROM snapshots)"));
  RETURN_IF_ERROR(
      connection.Run("DELETE FROM builds WHERE ref IN "
                     "(SELECT substr(owner, 7) FROM blob_owners WHERE owner LIKE 'build/%' AND digest NOT IN (SELECT digest FROM blobs))"));
  RETURN_IF_ERROR(connection.Run("DELETE FROM blob_owners WHERE owner LIKE 'build/%' AND substr(owner, 7) NOT IN (SELECT ref FROM builds)"));
  return connection.Run("DELETE FROM blob_owners WHERE owner LIKE 'snapshot/%' AND substr(owner, 10) NOT IN (SELECT id FROM snapshots)");
}

absl::StatusOr<std::unique_ptr<Database>> OpenAt(const std::string& root, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(path, Migrations()));
  ASSIGN_OR_RETURN(const std::string boot, BootId());
  std::string last_boot;
  RETURN_IF_ERROR(database->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(last_boot, Meta(connection, "boot_id"));
    return absl::OkStatus();
  }));
  const bool rebooted = !last_boot.empty() && last_boot != boot;
  ASSIGN_OR_RETURN(const std::int64_t synced, LastSync(root, /*wait=*/rebooted));
  RETURN_IF_ERROR(database->WriteSetAside([&](Connection& connection) -> absl::Status {
    if (rebooted) RETURN_IF_ERROR(DropVolatile(connection, synced));
    RETURN_IF_ERROR(DropDangling(connection));
    RETURN_IF_ERROR(connection.Run("DELETE FROM cache_aliases WHERE created_us < ?1", absl::ToUnixMicros(absl::Now() - kAliasLife)));
    return SetMeta(connection, "boot_id", boot);
  }));
  if (rebooted) RETURN_IF_ERROR(database->Sync());
  return database;
}

}  // namespace

const std::vector<std::string>& Migrations() {
  static const auto* const migrations =
      new std::vector<std::string>{kFirst, kKeysOfParts, kBuilds, kBlobSources, kLargeRows, kChains, kNotedChanges, kCacheParts, kRebased};
  return *migrations;
}

absl::StatusOr<std::unique_ptr<Database>> OpenMetadata(const std::string& root) {
  RETURN_IF_ERROR(os::MakeDirectories(root, 0711));
  const std::string path = absl::StrCat(root, "/metadata.db");
  absl::StatusOr<std::unique_ptr<Database>> database = OpenAt(root, path);
  if (!absl::IsDataLoss(database.status())) return database;
  const std::string aside = absl::StrCat(path, ".broken-", absl::ToUnixSeconds(absl::Now()));
  LogError(path, " is broken and is moved to ", aside, "; the cache starts anew: ", database.status().message());
  RETURN_IF_ERROR(SetAside(path, aside));
  return OpenAt(root, path);
}

}  // namespace cachalot::store
