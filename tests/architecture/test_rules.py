"""The house's rules that a machine can check, each shown what it must catch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lessons import registry
from tests.architecture.sources import DEPRECATED, OUTSIDE, ROOT, invented_data, python_files

SEEN = python_files("app.py", "pages", "components")
SHIPPED = [
    path
    for folder in ("components", "pages", "lessons")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".js", ".css", ".html", ".svg", ".toml"}
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_door_is_short() -> None:
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_page_scripts_stand_in_chapters() -> None:
    """A script directly in pages/ would run without the frame on a fresh link."""
    assert not [path.name for path in (ROOT / "pages").glob("*.py")]
    registered = {ROOT / step.script for step in registry.STEPS}
    assert not [relative(path) for path in (ROOT / "pages").rglob("*.py") if path not in registered]


def test_nothing_is_named_triton() -> None:
    """It would shadow the triton module, and transformers would not import."""
    tops = [path for path in ROOT.iterdir() if path.is_dir()]
    assert not [path.name for path in tops if path.name == "triton"]
    assert not [relative(path) for top in tops if top.name in SOURCE_ROOMS for path in top.rglob("triton*")]


SOURCE_ROOMS = ("pages", "components", "lessons", "llmkit", "tests", "benchmarks")


@pytest.mark.parametrize("path", SEEN, ids=relative)
def test_no_number_is_invented(path: Path) -> None:
    assert not invented_data(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "z = np.random.rand(3, 3)",
        "import random",
        "from numpy import random",
        "z = torch.randn(4, 4)",
        "rng = np.random.default_rng(0)",
        "go.Heatmap(z=[[0.1, 0.2], [0.3, 0.4]])",
        "go.Bar(x=[1, 2, 3, 4])",
        "values = [1, 2, -3, 4.5]\ngo.Bar(y=values)",
        "np.array([1, 2, 3, 4])",
        "page.figure(fig, data=pd.DataFrame({'a': [1, 2], 'b': [3, 4]}))",
    ],
)
def test_invented_numbers_are_caught(source: str) -> None:
    assert invented_data(source)


@pytest.mark.parametrize(
    "source",
    [
        "go.Heatmap(z=trace.weights, colorscale=[[0, a], [0.3, b], [0.6, c], [1, d]])",
        "st.columns([1, 2, 3, 1])",
        "go.Layout(xaxis={'range': [0, 1]})",
        "page.figure(figure, data=frame)",
    ],
)
def test_true_numbers_pass(source: str) -> None:
    assert not invented_data(source)


@pytest.mark.parametrize("path", SEEN, ids=relative)
def test_no_deprecated_calls(path: Path) -> None:
    assert not DEPRECATED.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SHIPPED, ids=relative)
def test_nothing_is_fetched_from_another_machine(path: Path) -> None:
    assert not [match.group() for match in OUTSIDE.finditer(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/d3.js"></script>',
        "<link rel=stylesheet href=//fonts.example/a.css>",
        '<img src="http://example/x.png">',
        "@import url('https://fonts.example/a.css');",
        'fetch("https://example/data.json")',
        'import * as d3 from "https://cdn.example/d3";',
        "background: url(https://example/a.png)",
    ],
)
def test_outside_addresses_are_caught(text: str) -> None:
    assert OUTSIDE.search(text)


def test_a_link_to_a_paper_and_the_name_of_svg_pass() -> None:
    assert not OUTSIDE.search('<a href="https://arxiv.org/abs/1706.03762">1706.03762</a>')
    assert not OUTSIDE.search('<svg xmlns="http://www.w3.org/2000/svg">')


def test_no_package_registry_is_named() -> None:
    """A pinned address of a registry would tie the project to it."""
    hosts = [".".join(pieces) for pieces in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org"))]
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = []
    for name in filter(None, listed):
        path = ROOT / name
        if not path.is_file() or path.stat().st_size > 2_000_000:
            continue
        text = path.read_bytes()
        found += [f"{name}: {host}" for host in hosts if host.encode() in text]
    assert not found
