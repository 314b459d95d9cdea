#include "espalier/io/text.h"

#include <gtest/gtest.h>

#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "support/support.h"

namespace espalier {
namespace {

class TextTest : public testing::Test {
 protected:
  TextSource Write(const std::string& name, std::string_view content) {
    WriteFile(folder_ / name, content);
    return {folder_ / name, 0, std::nullopt};
  }
  std::string Where(const std::string& name) { return (folder_ / name).string(); }
  TempFolder folder_;
};

TEST_F(TextTest, ReadsOneDocumentALine) {
  const Corpus corpus =
      ReadCorpus(Write("a.jsonl", "{\"text\": \"one\\ntwo\", \"url\": 3}\n{\"text\": \"\"}\n{\"text\": \"é\"}"));
  EXPECT_EQ(corpus.documents, (std::vector<std::string>{"one\ntwo", "", "é"}));
  EXPECT_EQ(corpus.sha256, HashText(std::string_view("one\ntwo\0\0é", 11)));  // joined by zero bytes
}

TEST_F(TextTest, ReadsAWholeFileAsOneDocument) {
  for (const char* name : {"a.txt", "a.raw"}) {
    const Corpus corpus = ReadCorpus(Write(name, "one\n\ntwo\n"));
    EXPECT_EQ(corpus.documents, std::vector<std::string>{"one\n\ntwo\n"});
    EXPECT_EQ(corpus.sha256, HashFile(folder_ / name));
  }
}

TEST_F(TextTest, TakesARangeAndDoesNotLookAtOtherLines) {
  TextSource source = Write("a.jsonl", "not json\n{\"text\": \"b\"}\n{\"text\": \"c\"}\nnot json\n");
  source.first_document = 1;
  source.last_document = 3;
  EXPECT_EQ(ReadCorpus(source).documents, (std::vector<std::string>{"b", "c"}));
}

TEST_F(TextTest, SaysHowManyDocumentsThereAre) {
  TextSource source = Write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
  source.last_document = 3;
  EXPECT_EQ(MessageOf([&] { ReadCorpus(source); }),
            Where("a.jsonl") + ": documents 0 to 3 were asked for, but there are only 2");
  source.first_document = 2;
  source.last_document.reset();
  EXPECT_EQ(MessageOf([&] { ReadCorpus(source); }),
            Where("a.jsonl") + ": documents 2 to the end were asked for, but there are only 2");
  TextSource whole = Write("a.txt", "x");
  whole.first_document = 1;
  EXPECT_NE(MessageOf([&] { ReadCorpus(whole); }).find("there are only 1"), std::string::npos);
  source.first_document = 2;
  source.last_document = 2;
  EXPECT_NE(MessageOf([&] { ReadCorpus(source); }).find("expected 0 <= first < last"), std::string::npos);
}

TEST_F(TextTest, NamesTheLineThatIsNoDocument) {
  const std::string expected = "a.jsonl:2: expected a JSON object with a field \"text\" that is a string";
  for (const char* line : {"[1]", "{\"txt\": \"a\"}", "{\"text\": 3}", "7"}) {
    const TextSource source = Write("a.jsonl", std::string("{\"text\": \"a\"}\n") + line + "\n");
    EXPECT_NE(MessageOf([&] { ReadCorpus(source); }).find(expected), std::string::npos) << line;
  }
  for (const char* line : {"{\"text\": ", "", "{\"text\": \"\xFF\"}"}) {
    const TextSource source = Write("a.jsonl", std::string("{\"text\": \"a\"}\n") + line + "\n{}\n");
    EXPECT_NE(MessageOf([&] { ReadCorpus(source); }).find("a.jsonl:2: not valid JSON"), std::string::npos) << line;
  }
}

TEST_F(TextTest, RefusesWhatIsEmptyMissingOrOfAnotherKind) {
  for (const char* name : {"a.jsonl", "a.txt"}) {
    const TextSource source = Write(name, "");
    EXPECT_NE(MessageOf([&] { ReadCorpus(source); }).find("empty, expected at least one document"), std::string::npos);
  }
  EXPECT_NE(MessageOf([&] { ReadCorpus(Write("a.csv", "x")); }).find("the extension is '.csv'"), std::string::npos);
  EXPECT_THROW(ReadCorpus({folder_ / "none.txt", 0, std::nullopt}), IoError);
}

TEST_F(TextTest, ReadsLinesAcrossBlocksAndRefusesEndlessOnes) {
  const std::string big(3 << 20, 'x');  // three blocks of 1 MiB
  const Corpus corpus = ReadCorpus(Write("a.jsonl", "{\"text\": \"" + big + "\"}\n{\"text\": \"b\"}\n"));
  EXPECT_EQ(corpus.documents, (std::vector<std::string>{big, "b"}));
  const TextSource endless = Write("b.jsonl", "{\"text\": \"a\"}\n" + std::string((64 << 20) + 1, ' '));
  EXPECT_NE(MessageOf([&] { ReadCorpus(endless); }).find("b.jsonl:2: a line of more than 64 MiB"), std::string::npos);
}

TEST_F(TextTest, HashesDocumentsWithoutRegardToWhiteSpace) {
  const Corpus corpus = ReadCorpus(Write("a.jsonl", R"({"text": "a  b\n\tc "}
{"text": " a b c"}
{"text": "ab c"}
)"));
  EXPECT_EQ(corpus.document_hashes[0], HashText("a b c"));
  EXPECT_EQ(corpus.document_hashes[0], corpus.document_hashes[1]);
  EXPECT_NE(corpus.document_hashes[0], corpus.document_hashes[2]);
}

// Rows " = A = \n", " \n", "b\n", "\n", "c": the second and the fourth are empty, the last has no line feed to keep.
TEST_F(TextTest, JoinsRowsByTwoLineFeedsWithBlankRowsEmpty) {
  const Corpus corpus = ReadCorpus(Write("a.raw", " = A = \n \nb\n\nc"));
  EXPECT_EQ(GptqText(corpus),
            " = A = \n"
            "\n\n"
            ""
            "\n\n"
            "b\n"
            "\n\n"
            ""
            "\n\n"
            "c");
}

TEST_F(TextTest, JoinsABlankFirstAndLastRow) {
  EXPECT_EQ(GptqText(ReadCorpus(Write("a.raw", " \na\n \n"))),
            ""
            "\n\n"
            "a\n"
            "\n\n"
            "");
  EXPECT_EQ(GptqText(ReadCorpus(Write("a.raw", "a\n"))), "a\n");
}

TEST_F(TextTest, JoinsDocumentsByASpace) {
  EXPECT_EQ(GptqText(ReadCorpus(Write("a.jsonl", "{\"text\": \"a\\n\"}\n{\"text\": \"b\"}\n"))), "a\n b");
}

}  // namespace
}  // namespace espalier
