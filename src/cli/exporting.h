#pragma once
// What export and convert share: whose model it is, and what they print.
#include <boost/program_options.hpp>
#include <optional>
#include <string>

#include "espalier/export/export.h"

namespace espalier {

// `path` is a run's folder, one of its checkpoints, or any checkpoint. The tokenizer is that of `tokenizer`, else of
// the model that the run began with where it is still there, else the checkpoint's own.
ExportSource ResolveExportSource(const std::filesystem::path& path,
                                 const std::optional<std::filesystem::path>& tokenizer);
// The value of a flag, if it was given.
std::optional<std::string> Given(const boost::program_options::variables_map& parsed, const char* flag);
// --to, --type, --shard-size, --verify.
ExportOptions ReadExportOptions(const std::string& command, const boost::program_options::variables_map& parsed);
void PrintExported(const Exported& exported);

}  // namespace espalier
