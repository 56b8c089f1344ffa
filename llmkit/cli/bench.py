"""``python -m llmkit bench``: forms of a box measured beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmkit.cli.errors import sentence
from llmkit.cli.output import Json, print_json, print_table, size, tell

if TYPE_CHECKING:
    from llmkit.compress.row import Row, Spread


def bench_command(
    box: Annotated[str, typer.Argument(help="A model box on this machine: see python -m llmkit list.")],
    forms: Annotated[
        str, typer.Option(help="Which forms, comma between. Default: all that the box can take here.")
    ] = "",
    prompt: Annotated[str | None, typer.Option(help="What every form goes on with.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds and less text.")] = False,
    as_json: Json = False,
) -> None:
    """Measure forms of a box in turns: size, memory, speed, and how much of the original they keep."""
    from llmkit.compress.bench import QUICK, Plan, bench, default_forms

    asked = [one.strip() for one in forms.split(",") if one.strip()] or default_forms(box)
    told: list[str] = []

    def on_rows(done: float, total: float, note: str, _rows: Sequence[Row]) -> None:
        if not told or told[-1] != note:
            told.append(note)
            tell(f"{note} {done / total:.0%}")

    rows = bench(box, asked, prompt=prompt, plan=QUICK if quick else Plan(), on_rows=on_rows)
    if as_json:
        print_json({"box": box, "rows": rows})
    else:
        _print(rows)


def _print(rows: Sequence[Row]) -> None:
    from llmkit.compress.errors import FormError

    measured = [row for row in rows if row.missing is None]
    head = ["form", "disk", "peak", "read 1", "read 8", "write 1", "write 8", "first ms", "ppl", "95 %", "KL", "top-1"]
    if measured and measured[0].cosine is not None:
        head = ["form", "disk", "peak", "read 1", "read 8", "cosine", "95 %"]
    table = [_cells(row) for row in measured]
    if table:
        print_table(head, table, right=range(1, len(head)))
        typer.echo("read, write: tokens a second, 1 and 8 texts at once; medians of runs in turns")
    for row in measured:
        if row.text is not None:
            typer.echo(f"{row.form}: {row.text!r}")
        if row.noisy:
            share = float(row.about.get("others_share", 0.0))
            typer.echo(f"{row.form}: others took {share:.0%} of the processor meanwhile; its times say little")
    for row in rows:
        if row.missing is not None:
            error = FormError(row.missing["code"], **{"form": row.form, "box": row.box, **row.missing["values"]})
            typer.echo(f"{row.form}: {sentence(error)}")


def _cells(row: Row) -> list[str]:
    speeds = [_number((row.prefill_tokens_s or {}).get(rows)) for rows in ("1", "8")]
    cells = [row.form, size(row.size_bytes or 0), size(row.peak_memory_bytes or 0), *speeds]
    if row.cosine is not None:
        return [*cells, f"{row.cosine.median:.5f}", f"{row.cosine.low:.5f}–{row.cosine.high:.5f}"]
    cells += [_number((row.decode_tokens_s or {}).get(rows)) for rows in ("1", "8")]
    ppl = row.perplexity
    return [
        *cells,
        _number(row.first_token_ms),
        _number(ppl),
        "–" if ppl is None else f"{ppl.low:.4g}–{ppl.high:.4g}",
        "–" if row.kl_nats is None else f"{row.kl_nats.median:.4f}",
        "–" if row.top1_agreement is None else f"{row.top1_agreement.median:.1%}",
    ]


def _number(spread: Spread | None) -> str:
    return "–" if spread is None else f"{spread.median:.4g}"
