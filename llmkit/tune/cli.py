"""``python -m llmkit pretrain``: train a box from nothing. Torch is loaded when the command runs, not before."""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llmkit.tune.corpus import Source
    from llmkit.tune.pretrain import Progress


def pretrain_command(
    out: Annotated[Path, typer.Option(help="Folder of the run: state, kept checkpoints, log; an old run goes on.")],
    text: Annotated[
        list[str], typer.Option(help="NAME=PATH[*REPEATS]: plain text (.xz too), a blank line between.")
    ] = [],  # noqa: B006
    data: Annotated[list[str], typer.Option(help="BOX[*REPEATS]: the text column of a data box.")] = [],  # noqa: B006
    about: Annotated[list[str], typer.Option(help="NAME=WORDS for the card: a text's origin, licence.")] = [],  # noqa: B006
    box: Annotated[Path | None, typer.Option(help="Folder for the finished box, with its model card.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train so long.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Train so many steps.")] = None,
    vocab_size: int = 8_192,
    d_model: int = 192,
    n_layers: int = 6,
    n_heads: int = 6,
    max_seq_len: int = 256,
    batch_size: int = 8,
    learning_rate: float = 3e-3,
    matrix_learning_rate: float = 8e-3,
    seed: int = 0,
    compiled: Annotated[bool, typer.Option(help="Fuse the step with torch.compile (needs a C++ compiler).")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: each step, then the folders.")
    ] = False,
) -> None:
    """Train a GPT-2 box from nothing on the text given; typed again, an interrupted run goes on."""
    from dataclasses import asdict

    from llmkit.tune.pretrain import PretrainConfig, Run

    try:
        if box is not None:
            from llmkit.tune.box import require_place

            require_place(box)
        config = PretrainConfig(
            vocab_size=vocab_size,
            d_model=d_model,
            n_layers=n_layers,
            n_heads=n_heads,
            max_seq_len=max_seq_len,
            batch_size=batch_size,
            learning_rate=learning_rate,
            matrix_learning_rate=matrix_learning_rate,
            max_steps=max_steps,
            minutes=minutes,
            seed=seed,
        )
        sources = tuple(_sources(text, data))
        if not sources:
            raise ValueError("give --text or --data: something must be read")
        run = Run(config, sources, out)
    except ValueError as error:  # a setting, or a text, that no run can be made of
        raise typer.BadParameter(str(error)) from error

    def report(progress: "Progress") -> None:
        if as_json:
            typer.echo(json.dumps(asdict(progress)))
        elif progress.held_out is not None or progress.step % 20 == 1:
            held_out = " ".join(f"{name} {loss:.3f}" for name, loss in (progress.held_out or {}).items())
            line = f"{progress.share:6.1%}  step {progress.step}  loss {progress.loss:.3f}  {held_out}"
            typer.echo(line, err=True)

    run.train(on_step=report, compiled=compiled)
    if box is not None:
        from llmkit.tune.box import write_box

        words = {name: rest for name, _, rest in (item.partition("=") for item in about)}
        write_box(run, box, command=typed(sys.argv[1:]), about=words)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "box": None if box is None else str(box)}))


def typed(arguments: Sequence[str]) -> str:
    """The command for the card. Of a full path only the last part is shown: the rest is the machine's own affair.

    >>> typed(["pretrain", "--text", "poems=/home/me/poems.txt*2", "--minutes", "5"])
    "python -m llmkit pretrain --text 'poems=poems.txt*2' --minutes 5"
    """
    shown = [re.sub(r"(^|(?<==))/(?:[^/]+/)*", "", argument) for argument in arguments]
    return f"python -m llmkit {shlex.join(shown)}"


def _sources(text: Sequence[str], data: Sequence[str]) -> "Iterator[Source]":
    from llmkit.tune.corpus import Source, read_text

    for item in text:
        name, _, rest = item.partition("=")
        path, repeats = _repeats(rest)
        if not name or not path:
            raise ValueError(f"--text takes NAME=PATH, not “{item}”")
        yield Source(name=name, documents=read_text(Path(path)), repeats=repeats)
    for item in data:
        from llmkit.shelf import open_data

        box_id, repeats = _repeats(item)
        yield Source(name=box_id, documents=tuple(row.text for row in open_data(box_id).rows), repeats=repeats)


def _repeats(item: str) -> tuple[str, int]:
    """``x*3`` → (``x``, 3); without a star once."""
    name, star, times = item.rpartition("*")
    if not star:
        return item, 1
    if not times.isdecimal():
        raise ValueError(f"after the * in “{item}” comes a whole number")
    return name, int(times)
