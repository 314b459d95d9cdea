"""F32 GGUF files of the tiny models, after the conventions of llama.cpp's converter (its conversion/ folder).

What it does: tensors are named by gguf-py's map; Llama's q and k rows go from half-split to interleaved pairs, those of
Qwen and Gemma stay; Gemma's norms are stored as 1 + w; a tied head is left out; Llama-3 scaling becomes the tensor
rope_freqs.weight, the divisors of the frequencies. Gemma 3 gets the theta of its full layers and the window only; which
layers slide (all but every 6th), their theta (10000) and the attention scale (1/sqrt(key_length)) are llama.cpp's
defaults. There is no tokenizer: tokenizer.ggml.model is "none".
"""

import tempfile
from pathlib import Path

import gguf
import torch
from transformers import AutoModelForCausalLM

from make_parity_dump import AGREEMENT, fail

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
}


def add_keys(writer: gguf.GGUFWriter, config):
    writer.add_name(f"tiny {writer.arch}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if getattr(config, "head_dim", None):  # Qwen2's converter writes none
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if writer.arch == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if writer.arch == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows [head, half, pair] of a q or k projection as [head, pair, half]."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def stored(name: str, weight: torch.Tensor, arch: str, config) -> torch.Tensor:
    if arch == "llama" and ".q_proj." in name:
        return interleaved(weight, config.num_attention_heads)
    if arch == "llama" and ".k_proj." in name:
        return interleaved(weight, config.num_key_value_heads)
    return 1 + weight if arch == "gemma3" and "norm" in name else weight


def rope_divisors(model) -> torch.Tensor:
    """[D/2]: the frequencies without scaling over those with it. The converter computes them from the factors."""
    D = model.config.head_dim
    plain = 1 / model.config.rope_parameters["rope_theta"] ** (torch.arange(0, D, 2, dtype=torch.float32) / D)
    return plain / model.model.rotary_emb.inv_freq


def write_gguf(path: Path, model, taps: dict):
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    add_keys(writer, config)
    if config.rope_parameters.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(model).numpy())
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(new, stored(name, weight, writer.arch, config).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_gguf(path, model, taps)
    print(f"{path.parent.name}/{path.name}: {path.stat().st_size} bytes")


@torch.inference_mode()
def check_gguf(path: Path, model, taps: dict):
    """transformers' own GGUF reader must give the same logits. It knows nothing of rope_freqs.weight, Gemma's layer
    types and thetas, so it gets the config that it should have read."""
    with tempfile.TemporaryDirectory() as folder:  # without the config.json beside the file
        (Path(folder) / path.name).symlink_to(path.resolve())
        again = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=path.name, config=model.config, dtype=torch.float32, attn_implementation="eager"
        )
    difference = (again.eval()(taps["input_ids"], use_cache=False).logits - taps["logits"]).abs().max().item()
    if difference > AGREEMENT * max(1.0, taps["logits"].abs().max().item()):
        fail(f"{path} read back gives logits that differ by {difference:.3g}")
