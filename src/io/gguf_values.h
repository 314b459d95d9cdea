#pragma once
// The metadata part of a GGUF file.
#include <map>
#include <string>

#include "byte_cursor.h"
#include "espalier/io/gguf.h"

namespace espalier {

// Strings of the file: a 64-bit length and that many bytes.
std::string ReadGgufString(ByteCursor& cursor, const char* what);

// Reads `count` key-value pairs. general.alignment must be a UINT32 here, because every offset depends on it; what the
// other keys should be is for their readers to say. `places` says where each value lies, from its type on.
std::map<std::string, GgufValue, std::less<>> ReadGgufMetadata(ByteCursor& cursor, int64_t count,
                                                               std::map<std::string, GgufPlace, std::less<>>& places);

}  // namespace espalier
