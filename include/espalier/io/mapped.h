#pragma once
// Tensors whose memory is a file: the kernel reads pages when they are used and may take them back.
#include <ATen/core/Tensor.h>

#include <filesystem>

#include "espalier/io/safetensors.h"

namespace espalier {

// A CPU tensor of zeros in a new file in `folder`, which has no name any more when this returns: the disk space is free
// again when the last tensor on it is gone, however the process ends. The space is taken at once: a full disk is an
// IoError here and not a signal later.
at::Tensor MapTemporary(at::IntArrayRef shape, at::ScalarType dtype, const std::filesystem::path& folder);

// Gives the memory of a part of such a tensor back: its values stay in the file and come again when they are read. Does
// nothing to any other tensor.
void LetGo(const at::Tensor& tensor);

// Read-only: writing to it ends the process. A file that somebody shortens while it is in use (AtomicFile replaces and
// does not) ends it too, with a line that says so (core/signals.h). The tensor's offset must be a multiple of its
// element's size, as in all files of ours.
at::Tensor MapStored(const SafetensorsFile& file, const StoredTensor& tensor);

}  // namespace espalier
