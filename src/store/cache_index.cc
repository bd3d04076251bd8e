#include "store/cache_index.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace cachalot::store {

namespace {

// Inputs as text: "key NUL selector" joined by newline. Neither keys nor paths hold these.
constexpr char kInputSeparator = '\n';
constexpr char kSelectorSeparator = '\0';

std::string EncodeInputs(const CacheIndex::Link& link) {
  std::string text;
  for (std::size_t i = 0; i < link.input_keys.size(); ++i) {
    if (i > 0) text += kInputSeparator;
    text += link.input_keys[i];
    text += kSelectorSeparator;
    if (i < link.selectors.size()) text += link.selectors[i];
  }
  return text;
}

void DecodeInputs(const std::string& text, CacheIndex::Link* link) {
  if (text.empty()) return;
  for (absl::string_view input : absl::StrSplit(text, kInputSeparator)) {
    const std::size_t split = input.find(kSelectorSeparator);
    link->input_keys.emplace_back(input.substr(0, split));
    link->selectors.emplace_back(split == absl::string_view::npos ? "" : input.substr(split + 1));
  }
}

}  // namespace

absl::StatusOr<std::optional<std::string>> CacheIndex::ResultOf(const std::string& key) {
  std::optional<std::string> snapshot;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT snapshot FROM cache_results WHERE key = ?1"));
    query.Bind(key);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) snapshot = query.Text(0);
    return absl::OkStatus();
  }));
  return snapshot;
}

absl::Status CacheIndex::SaveResult(const std::string& key, const std::string& snapshot) {
  return database_->Write([&](Connection& connection) {
    return connection.Run("INSERT OR REPLACE INTO cache_results (key, snapshot, created_us) VALUES (?1, ?2, ?3)", key, snapshot,
                          absl::ToUnixMicros(absl::Now()));
  });
}

absl::Status CacheIndex::DropResult(const std::string& key) {
  return database_->Write([&](Connection& connection) { return connection.Run("DELETE FROM cache_results WHERE key = ?1", key); });
}

absl::StatusOr<std::string> CacheIndex::Alias(const std::string& definition_key) {
  std::string content_key;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT content_key FROM cache_aliases WHERE definition_key = ?1"));
    query.Bind(definition_key);
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) content_key = query.Text(0);
    return absl::OkStatus();
  }));
  return content_key;
}

absl::Status CacheIndex::SaveAlias(const std::string& definition_key, const std::string& content_key) {
  ASSIGN_OR_RETURN(const std::string known, Alias(definition_key));
  if (known == content_key) return absl::OkStatus();
  return database_->Write([&](Connection& connection) {
    return connection.Run("INSERT OR REPLACE INTO cache_aliases (definition_key, content_key) VALUES (?1, ?2)", definition_key, content_key);
  });
}

absl::Status CacheIndex::SaveLink(const std::string& key, const Link& link) {
  ASSIGN_OR_RETURN(const std::vector<Link> known, LinksOf(key));  // a cached build repeats its links: reading is cheaper
  for (const Link& other : known) {
    if (other == link) return absl::OkStatus();
  }
  return database_->Write([&](Connection& connection) {
    return connection.Run("INSERT OR IGNORE INTO cache_links (key, op_digest, output, inputs) VALUES (?1, ?2, ?3, ?4)", key, link.op_digest,
                          link.output, Bytes{EncodeInputs(link)});
  });
}

absl::StatusOr<std::vector<CacheIndex::Link>> CacheIndex::LinksOf(const std::string& key) {
  std::vector<Link> links;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT op_digest, output, inputs FROM cache_links WHERE key = ?1"));
    query.Bind(key);
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) return absl::OkStatus();
      Link link;
      link.op_digest = query.Text(0);
      link.output = static_cast<int>(query.Int(1));
      DecodeInputs(query.Text(2), &link);
      links.push_back(std::move(link));
    }
  }));
  return links;
}

absl::Status CacheIndex::DropSnapshot(Connection& connection, const std::string& snapshot) {
  RETURN_IF_ERROR(connection.Run("DELETE FROM cache_aliases WHERE content_key IN (SELECT key FROM cache_results WHERE snapshot = ?1)", snapshot));
  RETURN_IF_ERROR(connection.Run("DELETE FROM cache_links WHERE key IN (SELECT key FROM cache_results WHERE snapshot = ?1)", snapshot));
  return connection.Run("DELETE FROM cache_results WHERE snapshot = ?1", snapshot);
}

}  // namespace cachalot::store
