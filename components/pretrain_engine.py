"""What the page of training from nothing computes: the text, what follows from its depth, how long it takes, runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components import engine
from components.engine import Made

if TYPE_CHECKING:
    from llmkit.jobs import Job
    from llmkit.tune.own_text import Cut, OwnText
    from llmkit.tune.recipe import Recipe

KIND = "pretrain"
SPEED_DEPTH = 4
"""The depth whose steps are timed; other depths are told from it by what they have to multiply."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the text comes from: a data box's id or ``file:<digest>``, its fingerprint, a file's encoding if asked."""

    source: str
    fingerprint: str
    encoding: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that can be started.

    Args:
        source: of the text. cut, vocab_size: how it becomes tokens. depth: the dial. seed, prompt: of the run.
        asked: what shall not follow from the depth, by the names of `Recipe`, sorted.
        recipe: what follows.
    """

    source: Source
    cut: Cut
    vocab_size: int
    depth: int
    seed: int
    prompt: str
    asked: tuple[tuple[str, float], ...]
    recipe: Recipe

    @property
    def settings(self) -> dict[str, Any]:
        """The job's settings: everything that changes what comes of it."""
        return {
            "source": self.source.source,
            "fingerprint": self.source.fingerprint,
            "encoding": self.source.encoding,
            "cut": self.cut,
            "vocab_size": self.vocab_size if self.cut == "bpe" else 0,
            "depth": self.depth,
            "seed": self.seed,
            "prompt": self.prompt,
            "asked": dict(self.asked),
        }


@engine.remembered(max_entries=4)
def _text(source: str, fingerprint: str, encoding: str | None) -> OwnText:
    from llmkit.tune.own_text import open_text

    return open_text(source, encoding)


def text(source: Source) -> OwnText:
    """Return the text of a source, split.

    Raises:
        Exception: with a `.code`, where it cannot be read or is no text.
    """
    return _text(source.source, source.fingerprint, source.encoding).value


@engine.remembered(max_entries=8)
def _character_vocab(source: str, fingerprint: str, encoding: str | None) -> int:
    from llmkit.tune.own_text import make_tokenizer

    return int(make_tokenizer(_text(source, fingerprint, encoding).value, "characters", 0).get_vocab_size())


def character_vocab(source: Source) -> int:
    """Return how many tokens a tokenizer of the text's characters has, bytes and end of text among them."""
    return _character_vocab(source.source, source.fingerprint, source.encoding).value


@engine.remembered(max_entries=1)
def speed() -> float:
    """Return how many multiplications and additions a second a step does here, measured on a few steps."""
    from llmkit.tune.pretrain_job import seconds_a_step
    from llmkit.tune.recipe import from_depth

    recipe = from_depth(SPEED_DEPTH, vocab_size=512)
    return recipe.flops_a_token * recipe.tokens_a_step / seconds_a_step(recipe)


def seconds(recipe: Recipe) -> Made[float]:
    """Return about how long all steps of a recipe take here."""
    made = speed()
    return Made(value=recipe.flops_a_token * recipe.tokens_a_step * recipe.max_steps / made.value, badge=made.badge)


def begin(plan: Plan) -> None:
    """Start a run, or let one that was stopped go on."""
    from llmkit.tune import resumable

    resumable.begin(KIND, plan.settings)


def stop(plan: Plan, job: Job) -> None:
    """Stop a run after its step; one that still waits is taken back."""
    from llmkit.tune import resumable

    resumable.stop(job, plan.settings)


def stopping(plan: Plan, job: Job) -> bool:
    """Return whether a run was asked to stop and has not yet."""
    from llmkit.tune import resumable

    return resumable.stopping(job, plan.settings)


def forget(plan: Plan, job: Job) -> None:
    """Throw a run away: its job, its state, and what it put on the shelf."""
    from llmkit.tune import resumable

    resumable.forget(job, plan.settings)


def is_kept(plan: Plan) -> bool:
    """Return whether a run has a state that it can go on from."""
    from llmkit.tune import run_folder

    return run_folder.is_kept(plan.settings)


def so_far(plan: Plan, job: Job | None) -> dict[str, Any] | None:
    """Return what a run has shown so far, as `pretrain_job.told` says it; None where it has not begun."""
    if job is not None and job.result is not None:
        found: dict[str, Any] = job.result
        return found
    if job is not None and job.partial is not None:
        partial: dict[str, Any] = job.partial
        return partial
    from llmkit.tune.pretrain_job import kept, told

    rows = kept(plan.settings)
    return told(rows, plan.recipe, {}) if rows else None
