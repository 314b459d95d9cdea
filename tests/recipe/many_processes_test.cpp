// A recipe that several processes run together, started as a launcher would.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/calibrate/statistics.h"
#include "espalier/comm/comm.h"
#include "espalier/core/json.h"
#include "espalier/evaluate/losses.h"
#include "support/command.h"
#include "support/reference.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

class RunOfManyProcesses : public testing::Test {
 protected:
  void SetUp() override {
    if (!ManyProcesses()) GTEST_SKIP() << "built without Gloo's headers";
  }

  fs::path Recipe(const std::string& name, const std::string& score = "fisher") const {
    return run_.Recipe(name,
                       "prune:\n  units: [kv_group, ffn_channel]\n  score: " + score +
                           "\n"
                           "  budget: {remove: 0.2}\n  compensate: least_squares\n"
                           "evaluate:\n  - {suite: perplexity, data: " +
                           run_.Text().string() +
                           ", label: text, preset: strided, window: 32, stride: 16, windows: 300}\nallow_leak: true\n");
  }

  // All ranks end well, and those after the first say nothing.
  void RunBy(size_t ranks, const std::string& name) const {
    const std::vector<Outcome> outcomes =
        RunRanks(std::vector<std::vector<std::string>>(ranks, {"run", Recipe(name).string()}));
    for (const Outcome& rank : outcomes) ASSERT_EQ(rank.code, 0) << rank.err;
    EXPECT_NE(outcomes[0].out.find("report: "), std::string::npos);
    for (size_t rank = 1; rank < ranks; ++rank) EXPECT_EQ(outcomes[rank].out + outcomes[rank].err, "");
  }

  Statistics StatisticsOf(const std::string& name) const {
    return LoadStatistics(run_.Folder(name) / "calibrate/statistics.safetensors");
  }

  TinyRun run_;
};

TEST_F(RunOfManyProcesses, MeasuresAndPrunesLikeOneProcess) {
  RunBy(1, "one");
  const Statistics one = StatisticsOf("one");
  const Json plan = ReadJson(run_.Folder("one") / "plan.json");
  for (const size_t ranks : {2, 4}) {
    const std::string name = fmt::format("of-{}", ranks);
    RunBy(ranks, name);
    const Statistics many = StatisticsOf(name);
    EXPECT_EQ(many.sequences, one.sequences);
    EXPECT_EQ(many.gradient_tokens, one.gradient_tokens);
    for (size_t l = 0; l < one.blocks.size(); ++l) {
      for (const Role consumer : {Role::kO, Role::kDown}) {
        const Moments &a = one.blocks[l].At(consumer).counted, &b = many.blocks[l].At(consumer).counted;
        EXPECT_EQ(b.count, a.count);
        EXPECT_LT(RelativeDifference(b.mean, a.mean), 1e-6);
        EXPECT_LT(RelativeDifference(b.products, a.products), 1e-6);
        EXPECT_TRUE(at::equal(b.max_at, a.max_at)) << "block " << l;  // which window, of all
      }
      for (const auto& [kind, mass] : one.blocks[l].loss_mass)
        EXPECT_LT(RelativeDifference(many.blocks[l].loss_mass.at(kind), mass), 1e-5) << kind;
    }
    EXPECT_EQ(ReadJson(run_.Folder(name) / "plan.json").at("blocks"), plan.at("blocks")) << ranks << " ranks";
    const auto dense = [&](const std::string& of) {
      return LoadLosses(run_.Folder(of) / "evaluate/dense", "perplexity-text-strided").each;
    };
    EXPECT_TRUE(at::equal(dense(name), dense("one"))) << ranks << " ranks";
    for (const auto& entry : fs::directory_iterator(run_.Folder(name) / "calibrate"))
      EXPECT_EQ(entry.path().filename(), "statistics.safetensors");  // no parts are left
  }
}

TEST_F(RunOfManyProcesses, ReusesWhatOneProcessHasFinished) {
  RunBy(1, "again");
  const Json before = ReadJson(run_.Folder("again") / "manifest.json").at("stages");
  RunBy(2, "again");
  const Json after = ReadJson(run_.Folder("again") / "manifest.json").at("stages");
  for (const char* stage : {"calibrate", "plan", "prune", "evaluate.pruned"})
    EXPECT_EQ(after.at(stage), before.at(stage)) << stage;
}

TEST_F(RunOfManyProcesses, IsRefusedWhenTheirTextsDiffer) {
  const fs::path other = run_.Folder("other.txt");
  WriteFile(other, ReadFile(run_.Text()) + " and more");
  const std::string recipe = Recipe("differs").string();
  const std::vector<Outcome> ranks =
      RunRanks({{"run", recipe}, {"run", recipe, "data.calibration.path=" + other.string()}});
  for (const Outcome& rank : ranks) {
    EXPECT_EQ(rank.code, 2);
    EXPECT_NE(rank.err.find("arguments of run: rank 0 has"), std::string::npos) << rank.err;
  }
  EXPECT_FALSE(fs::exists(run_.Folder("differs") / "calibrate"));
}

TEST_F(RunOfManyProcesses, EndsAllOfThemWhenOneIsKilledAndGoesOnWhenStartedAgain) {
  const std::string recipe = Recipe("killed").string();
  const std::vector<Outcome> ranks =
      RunRanks({{"run", recipe}, {"run", recipe}}, [&] { return fs::exists(run_.Folder("killed") / "calibrate"); });
  EXPECT_EQ(ranks[1].code, 128 + 9);
  EXPECT_EQ(ranks[0].code, 2) << ranks[0].err;
  EXPECT_NE(ranks[0].err.find("another process ended or did not answer"), std::string::npos) << ranks[0].err;
  RunBy(2, "killed");
  RunBy(1, "whole");
  EXPECT_EQ(ReadJson(run_.Folder("killed") / "plan.json").at("blocks"),
            ReadJson(run_.Folder("whole") / "plan.json").at("blocks"));
}

class HealByManyProcesses : public RunOfManyProcesses {
 protected:
  fs::path Recipe(const std::string& name, const std::string& more = "") const {
    return run_.Recipe(name, "  healing: {path: " + run_.Text().string() +
                                 "}\nprune:\n  score: magnitude\n  budget: {remove: 0.3}\n  compensate: none\n"
                                 "heal: {method: full, tokens: 6144, length: 64, batch: 4, learning_rate: 0.001, "
                                 "validation_windows: 2, matmul: float32" +
                                 more + "}\nallow_leak: true\n");
  }
  Json Healed(size_t ranks, const std::string& name) const {
    const std::vector<std::string> command = {"run", Recipe(name).string(), "--until", "heal"};
    for (const Outcome& rank : RunRanks(std::vector<std::vector<std::string>>(ranks, command)))
      EXPECT_EQ(rank.code, 0) << rank.err;
    return ReadJson(run_.Folder(name) / "heal.json");
  }
  static bool HasState(const fs::path& folder) {
    if (!fs::exists(folder)) return false;
    for (const auto& entry : fs::directory_iterator(folder))
      if (const std::string name = entry.path().filename(); name.starts_with("heal-") && name.ends_with(".safetensors"))
        return true;
    return false;
  }
};

TEST_F(HealByManyProcesses, HasTheLossesOfOneWithTheSameBatch) {
  const Json one = Healed(1, "one");
  ASSERT_EQ(one.at("loss").size(), 24U);
  EXPECT_LT(one.at("loss").back().get<double>(), one.at("loss").front().get<double>() - 0.1);  // something was learned
  for (const size_t ranks : {2, 4}) {
    const Json many = Healed(ranks, fmt::format("of-{}", ranks));
    for (const char* curve : {"loss", "validation_loss"}) {
      ASSERT_EQ(many.at(curve).size(), one.at(curve).size());
      for (size_t i = 0; i < one.at(curve).size(); ++i)
        EXPECT_NEAR(many.at(curve)[i].get<double>(), one.at(curve)[i].get<double>(), 1e-4) << curve << " " << i;
    }
  }
}

TEST_F(HealByManyProcesses, GoesOnFromTheCheckpointOfTheFirstWhenOneWasKilled) {
  const Json whole = Healed(2, "whole");
  const std::vector<std::string> command = {"run", Recipe("killed", ", save_seconds: 0").string(), "--until", "heal"};
  const fs::path folder = run_.Folder("killed");
  const std::vector<Outcome> killed = RunRanks({command, command}, [&] { return HasState(folder); });
  EXPECT_EQ(killed[1].code, 128 + 9);
  EXPECT_EQ(killed[0].code, 2) << killed[0].err;
  for (const Outcome& rank : RunRanks({command, command})) EXPECT_EQ(rank.code, 0) << rank.err;
  EXPECT_EQ(ReadJson(folder / "heal.json").at("loss"), whole.at("loss"));  // to the bit
}

TEST_F(HealByManyProcesses, WithTheOptimizerInPartsTakesTheSameStepsToTheBitAlsoAfterAKill) {
  Healed(2, "whole");
  const std::vector<std::string> command = {"run", Recipe("parts", ", save_seconds: 0, shard_optimizer: true").string(),
                                            "--until", "heal"};
  const fs::path folder = run_.Folder("parts");
  EXPECT_EQ(RunRanks({command, command}, [&] { return HasState(folder); })[1].code, 128 + 9);
  for (const Outcome& rank : RunRanks({command, command})) EXPECT_EQ(rank.code, 0) << rank.err;
  EXPECT_EQ(ReadFile(folder / "healed" / "model.safetensors"),
            ReadFile(run_.Folder("whole") / "healed" / "model.safetensors"));
}

TEST_F(HealByManyProcesses, NeedsAWindowAStepForEachOfThem) {
  const std::vector<std::string> command = {"run", Recipe("few").string(), "heal.batch=1", "--until", "heal"};
  for (const Outcome& rank : RunRanks({command, command})) {
    EXPECT_EQ(rank.code, 2);
    EXPECT_NE(rank.err.find("1 windows a step for 2 processes"), std::string::npos) << rank.err;
  }
}

TEST_F(RunOfManyProcesses, RefusesTaylorSumsWhichCannotBeMerged) {
  for (const Outcome& rank :
       RunRanks({{"run", Recipe("taylor", "taylor").string()}, {"run", Recipe("taylor", "taylor").string()}})) {
    EXPECT_EQ(rank.code, 2);
    EXPECT_NE(rank.err.find("Taylor sums cannot be measured by several processes"), std::string::npos) << rank.err;
  }
}

}  // namespace
}  // namespace espalier
