"""The steps of the guide, in the order in which they are built. Data only; the words are in `lessons/text`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The folder that holds app.py; a step's script is given from here."""

TOOLS = ("clock", "computer", "network", "notebook", "patience")
"""The five tools to have at hand; each is a pictogram and a word of `common.toml` ("common.tool.clock")."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One line of a step's parts list.

    Args:
        key: its name's key in the step's text file ("part.token").
        number: its part number, as a manual prints it ("110-01").
        count: how many are needed, where that is fixed; None where the page counts them as it runs.
    """

    key: str
    number: str
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One assembly step: one page.

    Args:
        number: as printed on the sheet ("1-2").
        slug: its name in the address bar, and of its text file (`lessons/text/<slug>.toml`).
        script: the page's script, from the folder that holds app.py.
        chapter: the slug of its chapter.
        pictogram: a name that `components.pictograms` can draw.
        minutes: how long it takes.
        parts: its parts list.
        tools: which of TOOLS it needs.
        do: keys of its *do* steps in the text file, in order ("do.cut").
    """

    number: str
    slug: str
    script: str
    chapter: str
    pictogram: str
    minutes: int
    parts: tuple[Part, ...]
    tools: tuple[str, ...]
    do: tuple[str, ...]

    def key(self, name: str) -> str:
        """Return the full key of one of the step's texts: "title" → "tokens.title"."""
        return f"{self.slug}.{name}"

    @property
    def texts(self) -> tuple[str, ...]:
        """Keys that the frame itself reads from the step's file, beside those of its parts and do steps."""
        return (
            *(self.key(name) for name in ("title", "lead", "warning")),
            *(self.key(part.key) for part in self.parts),
            *(self.key(name) for name in self.do),
        )


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A chapter of the manual; its title is `common.chapter.<slug>`."""

    number: int
    slug: str


CHAPTERS = (
    Chapter(number=0, slug="unbox"),
    Chapter(number=1, slug="parts"),
    Chapter(number=2, slug="assemble"),
    Chapter(number=3, slug="strengthen"),
    Chapter(number=4, slug="use"),
    Chapter(number=5, slug="upkeep"),
    Chapter(number=6, slug="done"),
)

STEPS = (
    Step(
        number="0",
        slug="unbox",
        script="pages/unbox/kit.py",
        chapter="unbox",
        pictogram="box",
        minutes=10,
        parts=(
            Part(key="part.model_box", number="000-01"),
            Part(key="part.data_box", number="000-02"),
            Part(key="part.tool", number="000-03", count=len(TOOLS)),
        ),
        tools=("clock", "computer", "network"),
        do=("do.check", "do.tools", "do.get"),
    ),
    Step(
        number="1-1",
        slug="tokens",
        script="pages/parts/tokens.py",
        chapter="parts",
        pictogram="scissors",
        minutes=20,
        parts=(
            Part(key="part.tokenizer", number="110-01", count=1),
            Part(key="part.token", number="110-02"),
            Part(key="part.merge", number="110-03"),
        ),
        tools=("clock", "computer"),
        do=("do.cut", "do.merge", "do.compare"),
    ),
    Step(
        number="1-2",
        slug="embeddings",
        script="pages/parts/embeddings.py",
        chapter="parts",
        pictogram="brick",
        minutes=30,
        parts=(
            Part(key="part.table", number="120-01", count=1),
            Part(key="part.row", number="120-02"),
            Part(key="part.dimension", number="120-03"),
        ),
        tools=("clock", "computer", "notebook"),
        do=("do.look_up", "do.neighbours", "do.arithmetic"),
    ),
    Step(
        number="1-3",
        slug="positions",
        script="pages/parts/positions.py",
        chapter="parts",
        pictogram="label",
        minutes=30,
        parts=(
            Part(key="part.position", number="130-01"),
            Part(key="part.dimension", number="130-02"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.stretch", "do.turn", "do.shuffle"),
    ),
    Step(
        number="1-4",
        slug="attention",
        script="pages/parts/attention.py",
        chapter="parts",
        pictogram="connector",
        minutes=30,
        parts=(
            Part(key="part.layer", number="140-01"),
            Part(key="part.head", number="140-02"),
            Part(key="part.kv_head", number="140-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.hover", "do.head", "do.switch_off"),
    ),
    Step(
        number="1-5",
        slug="feed_forward",
        script="pages/parts/feed_forward.py",
        chapter="parts",
        pictogram="bulb",
        minutes=30,
        parts=(
            Part(key="part.layer", number="150-01"),
            Part(key="part.neuron", number="150-02"),
            Part(key="part.gate", number="150-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.point", "do.neuron", "do.switch_off"),
    ),
    Step(
        number="1-6",
        slug="engine",
        script="pages/parts/engine.py",
        chapter="parts",
        pictogram="engine",
        minutes=30,
        parts=(
            Part(key="part.block", number="160-01"),
            Part(key="part.norm", number="160-02"),
            Part(key="part.parameter", number="160-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.play", "do.open", "do.lens"),
    ),
    Step(
        number="1-7",
        slug="how",
        script="pages/parts/how.py",
        chapter="parts",
        pictogram="wheel",
        minutes=30,
        parts=(
            Part(key="part.token", number="170-01"),
            Part(key="part.checkpoint", number="170-02"),
            Part(key="part.task", number="170-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.guess", "do.train", "do.ask"),
    ),
    Step(
        number="1-8",
        slug="prompts",
        script="pages/parts/prompts.py",
        chapter="parts",
        pictogram="pencil",
        minutes=30,
        parts=(
            Part(key="part.instruction", number="180-01"),
            Part(key="part.shot", number="180-02"),
            Part(key="part.token", number="180-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.shots", "do.precise", "do.template"),
    ),
    Step(
        number="2-1",
        slug="build",
        script="pages/assemble/build.py",
        chapter="assemble",
        pictogram="box",
        minutes=30,
        parts=(
            Part(key="part.placed", number="210-01"),
            Part(key="part.layer", number="210-02"),
            Part(key="part.parameter", number="210-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.choose", "do.load", "do.swap"),
    ),
    Step(
        number="2-2",
        slug="material",
        script="pages/assemble/material.py",
        chapter="assemble",
        pictogram="data",
        minutes=30,
        parts=(
            Part(key="part.model_box", number="220-01"),
            Part(key="part.data_box", number="220-02"),
            Part(key="part.row", number="220-03"),
        ),
        tools=("clock", "computer", "notebook"),
        do=("do.choose", "do.check", "do.split"),
    ),
    Step(
        number="2-3",
        slug="classify",
        script="pages/assemble/classify.py",
        chapter="assemble",
        pictogram="label",
        minutes=30,
        parts=(
            Part(key="part.way", number="230-01", count=6),
            Part(key="part.row", number="230-02"),
            Part(key="part.label", number="230-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.run", "do.cell", "do.own"),
    ),
    Step(
        number="2-4",
        slug="generate",
        script="pages/assemble/generate.py",
        chapter="assemble",
        pictogram="write",
        minutes=30,
        parts=(
            Part(key="part.token", number="240-01"),
            Part(key="part.filter", number="240-02"),
            Part(key="part.candidate", number="240-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.slide", "do.write", "do.branch", "do.beams", "do.compare", "do.cache"),
    ),
    Step(
        number="2-5",
        slug="finetune",
        script="pages/assemble/finetune.py",
        chapter="assemble",
        pictogram="sliders",
        minutes=30,
        parts=(
            Part(key="part.row", number="250-01"),
            Part(key="part.label", number="250-02"),
            Part(key="part.adapter", number="250-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.lora", "do.train", "do.ask"),
    ),
    Step(
        number="2-6",
        slug="pretrain",
        script="pages/assemble/pretrain.py",
        chapter="assemble",
        pictogram="patience",
        minutes=30,
        parts=(
            Part(key="part.token", number="260-01"),
            Part(key="part.layer", number="260-02"),
            Part(key="part.parameter", number="260-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.text", "do.depth", "do.train"),
    ),
    Step(
        number="3-1",
        slug="quantise",
        script="pages/strengthen/quantise.py",
        chapter="strengthen",
        pictogram="pinch",
        minutes=30,
        parts=(
            Part(key="part.weight", number="310-01"),
            Part(key="part.scale", number="310-02"),
            Part(key="part.code", number="310-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.round", "do.point", "do.head", "do.bench"),
    ),
    Step(
        number="3-2",
        slug="prune",
        script="pages/strengthen/prune.py",
        chapter="strengthen",
        pictogram="scissors",
        minutes=30,
        parts=(
            Part(key="part.weight", number="320-01"),
            Part(key="part.head", number="320-02"),
            Part(key="part.neuron", number="320-03"),
            Part(key="part.layer", number="320-04"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.cliff", "do.order", "do.cost", "do.recover"),
    ),
    Step(
        number="3-3",
        slug="fast",
        script="pages/strengthen/fast.py",
        chapter="strengthen",
        pictogram="engine",
        minutes=30,
        parts=(
            Part(key="part.operator", number="330-01"),
            Part(key="part.input", number="330-02"),
            Part(key="part.output", number="330-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.export", "do.look", "do.race", "do.open", "do.take"),
    ),
    Step(
        number="3-4",
        slug="lora",
        script="pages/strengthen/lora.py",
        chapter="strengthen",
        pictogram="snow",
        minutes=30,
        parts=(
            Part(key="part.frozen", number="340-01"),
            Part(key="part.adapter", number="340-02"),
            Part(key="part.direction", number="340-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.train", "do.rank", "do.strength", "do.memory"),
    ),
    Step(
        number="3-5",
        slug="deploy",
        script="pages/strengthen/deploy.py",
        chapter="strengthen",
        pictogram="network",
        minutes=30,
        parts=(
            Part(key="part.box", number="350-01", count=1),
            Part(key="part.server", number="350-02"),
            Part(key="part.request", number="350-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.start", "do.ask", "do.probe"),
    ),
    Step(
        number="3-6",
        slug="socket",
        script="pages/strengthen/socket.py",
        chapter="strengthen",
        pictogram="connector",
        minutes=30,
        parts=(
            Part(key="part.request", number="360-01"),
            Part(key="part.test", number="360-02"),
            Part(key="part.user", number="360-03"),
        ),
        tools=("clock", "computer", "network"),
        do=("do.send", "do.wrong", "do.smoke", "do.load"),
    ),
    Step(
        number="4-1",
        slug="chatbot",
        script="pages/use/chatbot.py",
        chapter="use",
        pictogram="chat",
        minutes=30,
        parts=(
            Part(key="part.turn", number="410-01"),
            Part(key="part.token", number="410-02"),
            Part(key="part.branch", number="410-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.say", "do.why", "do.branch", "do.fall"),
    ),
    Step(
        number="4-2",
        slug="content",
        script="pages/use/content.py",
        chapter="use",
        pictogram="write",
        minutes=20,
        parts=(
            Part(key="part.line", number="420-01"),
            Part(key="part.demand", number="420-02"),
            Part(key="part.draft", number="420-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.brief", "do.drafts", "do.keep", "do.export"),
    ),
    Step(
        number="4-3",
        slug="analysis",
        script="pages/use/analysis.py",
        chapter="use",
        pictogram="data",
        minutes=30,
        parts=(
            Part(key="part.row", number="430-01"),
            Part(key="part.column", number="430-02"),
            Part(key="part.step", number="430-03"),
        ),
        tools=("clock", "computer", "notebook"),
        do=("do.ask", "do.read", "do.compare", "do.save"),
    ),
    Step(
        number="4-4",
        slug="prompt_tuning",
        script="pages/use/prompt_tuning.py",
        chapter="use",
        pictogram="sliders",
        minutes=25,
        parts=(
            Part(key="part.fact", number="440-01"),
            Part(key="part.row", number="440-02"),
            Part(key="part.version", number="440-03"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.nonsense", "do.edit", "do.try", "do.keep"),
    ),
    Step(
        number="5-1",
        slug="papers",
        script="pages/upkeep/papers.py",
        chapter="upkeep",
        pictogram="paper",
        minutes=20,
        parts=(
            Part(key="part.milestone", number="510-01"),
            Part(key="part.new", number="510-02"),
            Part(key="part.read", number="510-03"),
        ),
        tools=("clock", "network", "notebook"),
        do=("do.year", "do.open", "do.pick"),
    ),
    Step(
        number="5-2",
        slug="community",
        script="pages/upkeep/community.py",
        chapter="upkeep",
        pictogram="people",
        minutes=10,
        parts=(
            Part(key="part.place", number="520-01"),
            Part(key="part.fits", number="520-02"),
            Part(key="part.hidden", number="520-03"),
        ),
        tools=("network", "notebook", "patience"),
        do=("do.step", "do.fill", "do.take"),
    ),
    Step(
        number="5-3",
        slug="notebook",
        script="pages/upkeep/notebook.py",
        chapter="upkeep",
        pictogram="notebook",
        minutes=10,
        parts=(
            Part(key="part.day", number="530-01"),
            Part(key="part.note", number="530-02"),
        ),
        tools=("clock", "notebook", "patience"),
        do=("do.write", "do.plan", "do.save"),
    ),
    Step(
        number="✓",
        slug="done",
        script="pages/done/machine.py",
        chapter="done",
        pictogram="check",
        minutes=10,
        parts=(
            Part(key="part.stage", number="600-01"),
            Part(key="part.figure", number="600-02"),
        ),
        tools=("clock", "computer", "patience"),
        do=("do.look", "do.print", "do.export"),
    ),
)


def step(slug: str) -> Step:
    """Return the step called `slug`.

    Raises:
        KeyError: no step has that name.
    """
    for candidate in STEPS:
        if candidate.slug == slug:
            return candidate
    raise KeyError(slug)


def available() -> tuple[Step, ...]:
    """Return the steps that can be opened."""
    return tuple(filter(can_open, STEPS))


def can_open(one: Step) -> bool:
    """Whether a step's script and words are both there."""
    return (ROOT / one.script).is_file() and (ROOT / "lessons/text" / f"{one.slug}.toml").is_file()


def neighbours(current: Step) -> tuple[Step | None, Step | None]:
    """Return the step before and the step after `current` among those that can be opened."""
    steps = available()
    at = steps.index(current)
    return (steps[at - 1] if at > 0 else None, steps[at + 1] if at + 1 < len(steps) else None)


def plan(minutes: int, done: frozenset[str]) -> tuple[Step, ...]:
    """Return the next steps that fit into `minutes`: in order, without those `done`, at least one if any is left.

    >>> [step.number for step in plan(30, frozenset({"unbox"}))][:1]
    ['1-1']
    """
    chosen: list[Step] = []
    left = minutes
    for candidate in available():
        if candidate.slug in done:
            continue
        if chosen and candidate.minutes > left:
            break
        chosen.append(candidate)
        left -= candidate.minutes
    return tuple(chosen)
