"""What rounding the layers and the LM head costs, beside transformers' own model with the same rounded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit import shelf
from llmkit.compress.head_cost import WHAT, run
from llmkit.compress.matrix import Scheme, quantise
from llmkit.generate.errors import GenerateError
from llmkit.jobs import DirectReport
from llmkit.reference import open_box

TEXT = "The movie was good, and this book is long. I read it twice and I would read it again."


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    return torch.from_numpy(quantise(weight.detach().numpy(), Scheme(bits=bits)).weights)


@pytest.mark.parametrize("bits", [2, 4])
def test_the_perplexity_is_transformers(tmp_path: Path, bits: int) -> None:
    told = run({"box": "gpt2-starter", "bits": bits, "kind": "symmetric", "text": TEXT}, DirectReport(tmp_path))
    ids = open_box("gpt2-starter").tokenizer.encode(TEXT).ids
    assert told["tokens"] == len(ids) - 1
    for what in WHAT:
        model = AutoModelForCausalLM.from_pretrained(shelf.locate("gpt2-starter"), dtype=torch.float32).eval()
        with torch.no_grad():
            if what in ("layers", "both"):
                for block in model.transformer.h:
                    for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                        part.weight.copy_(rounded(part.weight.T.contiguous(), bits).T)  # Conv1D: [in, out]
            if what in ("head", "both"):
                assert model.lm_head.weight is model.transformer.wte.weight
                model.lm_head.weight.copy_(rounded(model.lm_head.weight, bits))
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
        assert told["perplexity"][what] == pytest.approx(float(np.exp(loss)), rel=1e-4)
    assert told["tied"]
    assert told["bytes"]["head"] == 8192 * 192 * 4


def test_a_text_of_one_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerateError) as caught:
        run({"box": "gpt2-starter", "bits": 4, "kind": "symmetric", "text": ""}, DirectReport(tmp_path))
    assert caught.value.code == "prompt_empty"


@pytest.mark.registry
def test_an_encoder_has_no_head(tmp_path: Path, standard_kit: tuple[str, ...]) -> None:
    with pytest.raises(GenerateError) as caught:
        run({"box": "minilm-l6", "bits": 4, "kind": "symmetric", "text": TEXT}, DirectReport(tmp_path))
    assert caught.value.code == "no_next_token"
