#pragma once
// What a GGUF file holds before its data: metadata and tensor table, each number checked against the bytes that are
// there.
#include <map>
#include <string>
#include <vector>

#include "espalier/core/files.h"
#include "espalier/io/gguf.h"

namespace espalier {

struct GgufHeader {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, GgufPlace, std::less<>> places;  // of the values, type and all
  std::vector<GgufTensor> tensors;                       // in the order of the file, which is that of their data
};

GgufHeader ReadGgufHeader(const RandomAccessFile& file);  // IoError

}  // namespace espalier
