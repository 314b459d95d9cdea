#include "context_task.h"

namespace espalier {
namespace {

constexpr std::string_view kWords[] = {
    "anchor", "apple",  "arrow",  "basket", "beach",   "bell",   "blanket", "boat",    "bottle", "bread",  "bridge",
    "brush",  "bucket", "butter", "button", "camera",  "candle", "carpet",  "castle",  "chair",  "cheese", "cherry",
    "circle", "clock",  "cloud",  "coat",   "coffee",  "copper", "corner",  "cotton",  "cup",    "desert", "door",
    "drum",   "eagle",  "engine", "farmer", "feather", "fence",  "finger",  "flag",    "flower", "forest", "fork",
    "garden", "gate",   "glass",  "glove",  "gold",    "grass",  "guitar",  "hammer",  "harbor", "hat",    "hill",
    "honey",  "horse",  "hotel",  "island", "jacket",  "kettle", "key",     "kitchen", "ladder", "lake",   "lamp",
    "leaf",   "lemon",  "letter", "lion",   "map",     "market", "meadow",  "mirror",  "monkey", "moon",   "mountain",
    "mouse",  "needle", "nest",   "number", "ocean",   "orange", "oven",    "paint",   "paper",  "pencil", "piano",
    "pillow", "planet", "plate",  "pocket", "poem",    "potato", "queen",   "rabbit",  "rain",   "ring",   "river",
    "road",   "robot",  "rocket", "roof",   "rope",    "rose",   "sailor",  "salt",    "sand",   "school", "shadow",
    "sheep",  "shell",  "shirt",  "silver", "singer",  "smoke",  "snow",    "soap",    "spoon",  "square", "star",
    "stone",  "storm",  "street", "sugar",  "summer",  "table",  "tailor",  "temple",  "tent",   "ticket", "tiger",
    "tower",  "train",  "tree",   "tunnel", "valley",  "violin", "wagon",   "wall",    "water",  "wheel",  "whistle",
    "window", "winter", "wolf",   "wood",   "wool",    "yard",   "zebra"};

}  // namespace

std::string_view CommonWord(uint64_t index) {
  return kWords[index % std::size(kWords)];
}

uint64_t CommonWords() {
  return std::size(kWords);
}

}  // namespace espalier
