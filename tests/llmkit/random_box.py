"""Tiny boxes of each family with random weights, written by the reference library: a token for each byte."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

SIZES = {"vocab_size": 256, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "gpt2": transformers.GPT2Config(vocab_size=256, n_positions=64, n_embd=24, n_layer=2, n_head=4),
    "bert": transformers.BertConfig(**SIZES, intermediate_size=40, max_position_embeddings=64),
    "llama": transformers.LlamaConfig(**SIZES, intermediate_size=40, num_key_value_heads=2, max_position_embeddings=64),
}


def random_box(path: Path, family: str, *, seed: int) -> Path:
    """Write a box of the family into the folder and return the folder."""
    torch.manual_seed(seed)
    auto = transformers.AutoModelForMaskedLM if family == "bert" else transformers.AutoModelForCausalLM
    model = auto.from_config(CONFIGS[family])
    with torch.no_grad():  # biases start at 0 and positions hardly count, which would hide a mistake
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: at for at, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(path / "tokenizer.json"))
    return path
