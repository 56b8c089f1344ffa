"""What fires a neuron: the texts of the review sets, and in each the token, at which its activation is greatest.

A job reads a fixed sample of reviews once and keeps the strongest places of every neuron; any neuron can then be looked
up. A review counts once for each neuron, by its strongest token, so that one text cannot fill a whole list.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit import shelf
from llmkit.reference import Assembled, open_box
from llmkit.tokens import Encoding

if TYPE_CHECKING:
    from llmkit.jobs import Report

_ACTIVATIONS = re.compile(r"layers\.(\d+)\.feed_forward\.act")
_BATCH_TOKENS = 512
_TABLES, _ROWS = "firing.npz", "rows.json"


@dataclass(frozen=True, kw_only=True)
class SampledRow:
    """One text that was read.

    Args:
        source: the data box that it is from. text: the whole of it.
    """

    source: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Firing:
    """The strongest places of every neuron, strongest first.

    Args:
        values: [n_layers, d_mlp, top], activations with their sign, ranked by size; NaN where too few texts were read.
        rows: [n_layers, d_mlp, top], which text; -1 for none.
        places: [n_layers, d_mlp, top], which of the text's tokens, special ones counted.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int32]
    places: NDArray[np.int32]


def strongest_places(
    box: Assembled, texts: Sequence[Encoding], *, top: int, on_read: Callable[[int], None] = lambda _: None
) -> Firing:
    """Find, for every neuron of a box, the texts whose strongest token moves it most.

    Args:
        box: an opened box.
        texts: encoded texts, each at most the box's ``max_seq_len``. Special tokens are read, but do not count.
        top: places kept for each neuron.
        on_read: told after each batch how many texts have been read; what it raises ends the reading.
    """
    keeper = _Keeper(box, top)
    done = 0
    for batch in _batches(texts):
        keeper.begin(batch, texts)
        with torch.inference_mode():
            box.model(keeper.ids, attention_mask=keeper.real, tap=keeper)
        done += len(batch)
        on_read(done)
    return keeper.found()


def sample_rows(
    box: Assembled,
    sources: Sequence[str],
    *,
    each: int,
    max_tokens: int,
    seed: int,
    on_cut: Callable[[], None] = lambda: None,
) -> list[tuple[SampledRow, Encoding]]:
    """Draw whole texts of at most ``max_tokens`` tokens from data boxes, ``each`` from every one of them.

    ``on_cut`` is called before each text is cut; what it raises ends the drawing.

    Raises:
        ShelfError: ``box_missing`` when a data box is not on this machine.
    """
    drawn: list[tuple[SampledRow, Encoding]] = []
    for source in sources:
        rows = shelf.open_data(source).rows
        found: list[tuple[SampledRow, Encoding]] = []
        for at in random.Random(seed).sample(range(len(rows)), len(rows)):
            text = rows[at].text
            if len(text) > 8 * max_tokens:
                continue  # not worth cutting
            on_cut()
            encoding = box.tokenizer.encode(text)
            if len(encoding) <= max_tokens and not all(encoding.special):
                found.append((SampledRow(source=source, text=text), encoding))
            if len(found) == each:
                break
        drawn += found
    return drawn


def run(settings: Mapping[str, Any], report: "Report") -> dict[str, Any]:
    """Read a sample of reviews and keep every neuron's strongest places in the job's folder.

    Args:
        settings: ``box_id``; ``sources`` (ids of data boxes); ``each`` (texts from every one); ``max_tokens``;
            ``seed``; ``top``. ``fingerprint`` of the box and ``source_fingerprints`` only tell results apart.
        report: told how many texts have been read.

    Returns:
        ``texts`` read from each source, ``tokens`` in all; the tables are read by `read_firing`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    box = open_box(settings["box_id"], device=device)
    limit = min(settings["max_tokens"], box.config.max_seq_len)
    asked = settings["each"] * len(settings["sources"])
    drawn = sample_rows(
        box,
        settings["sources"],
        each=settings["each"],
        max_tokens=limit,
        seed=settings["seed"],
        on_cut=lambda: report(0, asked),
    )
    total = len(drawn)
    found = strongest_places(
        box, [encoding for _, encoding in drawn], top=settings["top"], on_read=lambda done: report(done, total)
    )
    folder = Path(report.folder)
    np.savez(folder / _TABLES, values=found.values, rows=found.rows, places=found.places)
    rows = [[row.source, row.text] for row, _ in drawn]
    (folder / _ROWS).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    texts = {source: sum(row.source == source for row, _ in drawn) for source in settings["sources"]}
    return {"texts": texts, "tokens": sum(len(encoding) for _, encoding in drawn)}


def read_firing(folder: Path) -> tuple[Firing, tuple[SampledRow, ...]]:
    """Read what `run` left in a job's folder: the tables, and the texts that their rows count."""
    with np.load(folder / _TABLES, allow_pickle=False) as tables:
        found = Firing(values=tables["values"], rows=tables["rows"], places=tables["places"])
    rows = json.loads((folder / _ROWS).read_text(encoding="utf-8"))
    return found, tuple(SampledRow(source=source, text=text) for source, text in rows)


def _batches(texts: Sequence[Encoding]) -> Iterator[list[int]]:
    """Indices of texts of about equal length, at most _BATCH_TOKENS with their padding."""
    batch: list[int] = []
    for at in sorted(range(len(texts)), key=lambda one: len(texts[one])):
        if batch and (len(batch) + 1) * len(texts[at]) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


class _Keeper:
    """A tap that keeps the greatest activations that pass, with the texts and tokens that made them."""

    def __init__(self, box: Assembled, top: int) -> None:
        shape = (top, box.config.d_mlp)
        layers = range(box.config.n_layers)
        self.device = box.device
        self.values = [torch.full(shape, torch.nan, dtype=box.dtype, device=box.device) for _ in layers]
        self.rows = [torch.full(shape, -1, dtype=torch.long, device=box.device) for _ in layers]
        self.places = [torch.full(shape, -1, dtype=torch.long, device=box.device) for _ in layers]

    def begin(self, batch: Sequence[int], texts: Sequence[Encoding]) -> None:
        """Lay out a batch, padded at the right: ids and real [B, T], heard [B, T, 1]."""
        width = max(len(texts[at]) for at in batch)
        pad = [width - len(texts[at]) for at in batch]
        rows = list(zip(batch, pad, strict=True))
        self.ids = torch.tensor([[*texts[at].ids, *[0] * gap] for at, gap in rows], device=self.device)
        self.real = torch.tensor([[1] * len(texts[at]) + [0] * gap for at, gap in rows], device=self.device)
        heard = [[not special for special in texts[at].special] + [False] * gap for at, gap in rows]
        self.heard = torch.tensor(heard, device=self.device)[..., None]
        self.batch = torch.tensor(batch, device=self.device)[:, None]

    def __call__(self, name: str, value: Tensor, /) -> Tensor:
        place = _ACTIVATIONS.fullmatch(name)
        if place:
            self._keep(int(place[1]), value)
        return value

    def found(self) -> Firing:
        def together(tables: list[Tensor]) -> NDArray[Any]:
            return np.ascontiguousarray(torch.stack(tables).transpose(1, 2).float().cpu().numpy())

        return Firing(
            values=together(self.values),
            rows=together(self.rows).astype(np.int32),
            places=together(self.places).astype(np.int32),
        )

    def _keep(self, layer: int, act: Tensor) -> None:
        """[B, T, d_mlp]: each text's strongest token joins those kept so far."""
        loudest = act.abs().masked_fill(~self.heard, -1).argmax(1, keepdim=True)  # [B, 1, d_mlp]
        value = torch.cat((self.values[layer], act.gather(1, loudest)[:, 0]))  # [top + B, d_mlp]
        rows = torch.cat((self.rows[layer], self.batch.expand(-1, act.shape[2])))
        places = torch.cat((self.places[layer], loudest[:, 0]))
        best = value.abs().nan_to_num(-1).topk(len(self.values[layer]), dim=0).indices
        self.values[layer], self.rows[layer] = value.gather(0, best), rows.gather(0, best)
        self.places[layer] = places.gather(0, best)
