#include "espalier/io/byte_tokenizer.h"

#include "espalier/io/tokenizer_bpe.h"
#include "espalier/io/tokenizer_spec.h"

namespace espalier {

std::unique_ptr<Tokenizer> ByteTokenizer(bool bos) {
  constexpr int32_t kBytes = 256;
  TokenizerSpec spec;
  spec.origin = "bytes";
  for (int32_t byte = 0; byte < kBytes; ++byte)
    spec.tokens.push_back(TokenOfBytes(std::string(1, static_cast<char>(byte))));
  spec.steps = {{.kind = SplitStep::Kind::kByteLevel, .pattern = {}}};
  if (bos) {
    spec.added = {{.id = kBytes, .content = "<bos>"}};
    spec.bos = kBytes;
    spec.adds_bos = true;
  }
  return MakeTokenizer(std::move(spec));
}

}  // namespace espalier
