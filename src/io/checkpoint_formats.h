#pragma once
// The two kinds of Checkpoint, made by Checkpoint::Open once it knows what the path is.
#include <filesystem>
#include <memory>

#include "espalier/io/checkpoint.h"

namespace espalier {

std::unique_ptr<Checkpoint> OpenGgufCheckpoint(const std::filesystem::path& file);
std::unique_ptr<Checkpoint> OpenCheckpointFolder(const std::filesystem::path& folder);

// "<path>: no tensor 'x'; nearest: ..."
[[noreturn]] void FailNoTensor(const Checkpoint& checkpoint, std::string_view name);

// What to do with a pickle file; completes "<path>: ".
inline constexpr std::string_view kPickleRefusal =
    "PyTorch pickle files are not read, because unpickling can run code; convert the model with transformers: "
    "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)";

}  // namespace espalier
