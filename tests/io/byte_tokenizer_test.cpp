#include "espalier/io/byte_tokenizer.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace espalier {
namespace {

TEST(ByteTokenizer, GivesTheBytesOfATextAndTheTextBack) {
  const auto tokenizer = ByteTokenizer(false);
  const std::string text = "Weird fishes: \xC3\xA9\xE2\x82\xAC\n\t ok";
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  ASSERT_EQ(ids.size(), text.size());
  for (size_t i = 0; i < text.size(); ++i) EXPECT_EQ(ids[i], static_cast<unsigned char>(text[i]));
  EXPECT_EQ(tokenizer->Decode(ids), text);
  EXPECT_EQ(tokenizer->vocabulary_size(), 256);
  EXPECT_FALSE(tokenizer->bos().has_value());
}

TEST(ByteTokenizer, IsTheSameAfterItWasSaved) {
  for (const bool bos : {false, true}) {
    const TempFolder folder;
    const auto tokenizer = ByteTokenizer(bos);
    tokenizer->Save(folder.path());
    const auto read = Tokenizer::Open(folder.path());
    EXPECT_EQ(read->Encode("a<b> c"), tokenizer->Encode("a<b> c"));
    EXPECT_EQ(read->vocabulary_size(), bos ? 257 : 256);
    EXPECT_EQ(read->bos(), bos ? std::optional<int32_t>(256) : std::nullopt);
    EXPECT_EQ(read->Fingerprint(), tokenizer->Fingerprint());
  }
}

}  // namespace
}  // namespace espalier
