#pragma once
// The parts of the analysis page, in the order in which they appear; each is empty when there is nothing to show. With
// two models a table has a row for each of both, told apart by a first column.
#include <string>
#include <vector>

#include "espalier/report/phenomena_charts.h"

namespace espalier {

std::string AnalysisHero(const std::vector<Phenomena>& models, const std::vector<std::string>& flags);
std::string AnalysisTiles(const std::vector<Phenomena>& models);
std::string AnalysisComparison(const StyledModels& models);  // of two models

std::string NeuronTable(const StyledModels& models);  // linked to the rows of the two tables below
std::string SuperWeightTable(const StyledModels& models);
std::string AmplifierTable(const StyledModels& models);
std::string OutlierTable(const StyledModels& models);
std::string VocabularyParts(const StyledModels& models);
std::string HeadTable(const StyledModels& models);
std::string GateTable(const StyledModels& models);
std::string RegimeTable(const StyledModels& models);  // SiLU and post-norm of each block, folded
std::string BlockTable(const StyledModels& models);   // folded

// Heads and rows of such tables: the model's name first when there are several.
std::string ModelColumn(const StyledModels& models);
std::string ModelCell(const StyledModels& models, const StyledModel& model);

}  // namespace espalier
