// SPDX-License-Identifier: Apache-2.0
// Diffusion Gemma: the block of Gemma 4, in an encoder and a decoder that share their weights. Files hold the
// decoder's.
#include "models/family.h"

namespace moekit {

Family diffusion_gemma() {
  Family family = gemma4();
  family.name = "diffusion_gemma";
  family.aliases = {"diffusion_gemma_text"};
  family.layer_prefixes.insert(family.layer_prefixes.begin(), {"model.decoder.layers.", "decoder.layers."});
  return family;
}

}  // namespace moekit
