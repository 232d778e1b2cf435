// SPDX-License-Identifier: Apache-2.0
// A checkpoint to a folder of packed layers.
//
// One file a layer: a layer is loaded by mapping its file alone, is written and checked alone, and can be copied alone;
// no header grows with the model. Files have their checksum in their name, so those of two conversions never meet;
// moekit.json says which of them count, and is renamed into place last.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <system_error>

#include "backend/backend.h"
#include "checkpoint/atomic_file.h"
#include "checkpoint/text.h"
#include "layer/choose_formats.h"
#include "layer/packed_layer.h"
#include "models/converted.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOperation = "convert";

bool begins_with(const std::string& text, std::string_view start) { return text.compare(0, start.size(), start) == 0; }

// "layer-00003-0123456789abcdef.safetensors" or an unfinished file: what a conversion leaves in its folder.
bool is_ours(const std::string& name) {
  constexpr std::string_view kEnd = ".safetensors";
  if (name == kManifest || begins_with(name, AtomicFile::kPrefix)) return true;
  if (!begins_with(name, "layer-") || name.size() < kEnd.size() ||
      name.compare(name.size() - kEnd.size(), kEnd.size(), kEnd) != 0)
    return false;
  const std::string middle = name.substr(6, name.size() - 6 - kEnd.size());
  const std::size_t dash = middle.find('-');
  return dash != std::string::npos && dash >= 5 && middle.find_first_not_of("0123456789") == dash &&
         middle.size() == dash + 17 && middle.find_first_not_of("0123456789abcdef", dash + 1) == std::string::npos;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error) checkpoint_error(kOperation, folder, error.message());
  return names;
}

/// The folder, and what was in it: on failure it is left as it was found.
class Target {
 public:
  Target(const std::string& path, const std::string& out, bool force) : folder_(out) {
    struct stat source {
    }, target{};
    const std::string source_folder = fs::is_directory(path) ? path : fs::path(path).parent_path().string();
    if (::stat(source_folder.empty() ? "." : source_folder.c_str(), &source) == 0 &&
        ::stat(out.c_str(), &target) == 0 && source.st_dev == target.st_dev && source.st_ino == target.st_ino)
      checkpoint_error(kOperation, out, "is the folder of the checkpoint, expected another one");
    for (const std::string& name : names_in(out)) {
      if (!is_ours(name))
        checkpoint_error(
            kOperation, out,
            "holds " + in_quotes(name) + ", which no conversion wrote; expected a folder that is empty or new");
      if (name == kManifest && !force)
        checkpoint_error(kOperation, out, "holds a converted model already; force replaces it");
    }
    // An old manifest that cannot be read protects nothing.
    try {
      if (is_converted(out))
        for (const ConvertedLayer& layer : converted_model(out).layers) kept_.insert(layer.file);
      kept_.insert(kManifest);
    } catch (const CheckpointError&) {
    }
    sweep();  // what a killed writer left
  }
  ~Target() {
    if (!committed_) sweep();
    if (!committed_ && folder_.created()) ::rmdir(folder_.path().c_str());
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  const LockedFolder& folder() const noexcept { return folder_; }
  void commit(const ConvertedModel& model) {
    const std::string text = manifest_text(model);
    AtomicFile manifest(folder_, kManifest, text.size());
    manifest.write(text.data(), text.size());
    manifest.commit();
    committed_ = true;
    kept_ = {kManifest};
    for (const ConvertedLayer& layer : model.layers) kept_.insert(layer.file);
    sweep();
  }

 private:
  // Removes files of conversions that no manifest counts on. A file that stays is swept next time.
  void sweep() const noexcept try {
    for (const std::string& name : names_in(folder_.path()))
      if (is_ours(name) && kept_.count(name) == 0) ::unlink((folder_.path() + "/" + name).c_str());
  } catch (...) {
  }

  LockedFolder folder_;
  std::set<std::string> kept_;
  bool committed_ = false;
};

ConvertedLayer convert_layer(const Checkpoint& checkpoint, const LayerName& name, const LayerOptions& options,
                             const Target& target) {
  const LoadedBlock block = load_block(checkpoint, name.layer, name.experts);
  const BlockFormats formats = choose_formats(block.config, block.tensors, options);
  const Backend& backend = choose_backend(block.config, formats, options, nullptr);
  const std::unique_ptr<PackedBlock> packed = backend.pack(block.config, block.tensors, formats, options.device);
  WrittenLayer written = write_packed_layer(target.folder(), name, block.tensors, *packed);
  return {name.layer,    name.experts, std::move(written.file), written.bytes, std::move(written.checksum),
          names(formats)};
}

}  // namespace

ConvertedModel convert_model(const std::string& path, const std::string& out, const ConvertOptions& options) {
  if (is_converted(path)) checkpoint_error(kOperation, path, "is converted already, expected a checkpoint");
  const ModelInfo info = inspect_model(path);
  if (info.moe_layers.empty()) checkpoint_error(kOperation, path, "has no layers with experts");
  LayerOptions layer_options;
  layer_options.dtype = options.dtype;
  layer_options.nonfinite_scales = options.nonfinite_scales;
  const Checkpoint checkpoint = Checkpoint::open(path);
  Target target(path, out, options.force);
  ConvertedModel model = {info.family, info.num_layers, {}};
  const auto total = static_cast<std::int64_t>(info.moe_layers.size());
  const std::vector<std::string> sets = info.expert_sets.empty() ? std::vector<std::string>{""} : info.expert_sets;
  std::int64_t done = 0;
  for (const std::int64_t layer : info.moe_layers) {
    for (const std::string& set : sets)
      model.layers.push_back(convert_layer(checkpoint, {info.family, layer, set}, layer_options, target));
    if (options.progress) options.progress(++done, total);
  }
  target.commit(model);
  return model;
}

}  // namespace moekit
