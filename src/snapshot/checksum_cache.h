#pragma once
#include "store/database.h"
namespace cachalot::snapshot {
class ChecksumCache {
 public:
  explicit ChecksumCache(store::Database* database) : database_(database) {}
 private:
  [[maybe_unused]] store::Database* database_;
};
}
