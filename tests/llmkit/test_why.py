"""Why a token came, beside the whole lens and the reference's hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit.reference.box import open_folder
from llmkit.trace import TraceError, trace_model
from llmkit.trace.lens import LENS_PARTS, read_lens
from llmkit.trace.why import why
from tests.llmkit.random_box import random_box

TEXT = "The movie was good, 書"
CHOSEN = 77


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_it_is_the_lens_at_the_last_place(tmp_path: Path, family: str) -> None:
    folder = random_box(tmp_path, family, seed=4)
    box = open_folder(folder)
    ids = box.tokenizer.encode(TEXT, specials=False).ids
    found = why(box, ids, CHOSEN)
    lens = read_lens(box, trace_model(box, TEXT, parts=LENS_PARTS, specials=False))
    assert found.layers.tolist() == lens.ids[:, -1, 0].tolist()
    np.testing.assert_allclose(found.layer_probs, lens.probs[:, -1, 0], atol=1e-6)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        read = model(torch.tensor([list(ids)]), output_hidden_states=True)
        body = model.transformer.ln_f if family == "gpt2" else model.model.norm
        states = [body(state[0, -1]) for state in read.hidden_states[:-1]]  # the last one has been normed already
        probs = torch.stack([model.lm_head(state) for state in (*states, read.hidden_states[-1][0, -1])]).softmax(-1)
    np.testing.assert_allclose(found.logits, read.logits[0, -1].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.chosen_probs, probs[:, CHOSEN].numpy(), atol=1e-5)
    ranks = (probs > probs[:, CHOSEN : CHOSEN + 1]).sum(-1) + 1
    assert found.chosen_ranks.tolist() == ranks.tolist()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "g", "gpt2", seed=4))
    for ids, code in (((), "text_empty"), ((1,) * 65, "text_too_long")):
        with pytest.raises(TraceError) as caught:
            why(box, ids, 0)
        assert caught.value.code == code
    with pytest.raises(ValueError, match="predicts no next token"):
        why(open_folder(random_box(tmp_path / "b", "bert", seed=4)), (1,), 0)
