#pragma once
// Models from and to disk.
#include <filesystem>

#include "espalier/model/model.h"

namespace espalier {

class Tokenizer;

// "float32" or "bfloat16"; RecipeError otherwise.
at::ScalarType ParseDtype(std::string_view name);
std::string_view DtypeName(at::ScalarType dtype);
// "cpu", "cuda", "cuda:1"; RecipeError when LibTorch cannot use it.
at::Device ParseDevice(const std::string& name);

// Reads configuration and every tensor, checks shapes and that all values are finite (NumericError names tensor and
// index).
Model LoadModel(const std::filesystem::path& path, at::ScalarType dtype, at::Device device);
// Configuration and shapes from headers alone: the tensors are on LibTorch's meta device and hold no data.
Model LoadShapes(const std::filesystem::path& path, at::ScalarType dtype);

// Writes config.json, model.safetensors and the tokenizer's files into `folder`, which appears only when all is
// written.
void SaveModel(const Model& model, const Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace espalier
