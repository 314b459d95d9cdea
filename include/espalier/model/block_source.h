#pragma once
// A model for code that works block by block and lets go of each: wholly in memory, or read as it goes.
#include "espalier/model/model.h"

namespace espalier {

class StreamedModel;  // model/load.h

// Refers to a model that must outlive it. Both kinds convert to it, so callers pass the model that they have.
class BlockSource {
 public:
  BlockSource(const Model& model) : model_(model) {}
  BlockSource(StreamedModel& streamed);

  // Configuration, embedding, final norm and head; of a streamed model only blocks that are held have tensors.
  const Model& model() const { return model_; }

  // A block is there while this lives. Errors as of LoadModel.
  class Held {
   public:
    Held(StreamedModel* streamed, int64_t block);
    ~Held();
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    StreamedModel* streamed_;
    int64_t block_;
  };
  Held Hold(int64_t block) const { return {streamed_, block}; }

 private:
  const Model& model_;
  StreamedModel* streamed_ = nullptr;  // null: wholly in memory
};

}  // namespace espalier
