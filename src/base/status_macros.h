// Early return for absl::Status and absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the current function when `expr` (a Status) is not OK.
#define RETURN_IF_ERROR(expr)                                             \
  do {                                                                    \
    if (absl::Status cachalot_status_ = (expr); !cachalot_status_.ok()) { \
      return cachalot_status_;                                            \
    }                                                                     \
  } while (false)

#define CACHALOT_CONCAT_INNER_(a, b) a##b
#define CACHALOT_CONCAT_(a, b) CACHALOT_CONCAT_INNER_(a, b)

// ASSIGN_OR_RETURN(auto value, Expression()): assigns the value, or returns the error.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL_(CACHALOT_CONCAT_(cachalot_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) {                             \
    return std::move(tmp).status();            \
  }                                            \
  lhs = *std::move(tmp)
