// Text tables for people.
#pragma once

#include <string>
#include <vector>

namespace cachalot::dockerfile {

// Rows with their cells aligned in columns, `padding` blanks between them.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows, std::size_t padding);

}  // namespace cachalot::dockerfile
