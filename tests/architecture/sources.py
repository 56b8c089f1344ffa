"""Reading the project's own source: what the architecture tests look at, and the rules as functions.

Each rule takes source text and returns its findings, so that a test can also show it what it must catch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

CJK = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff01-\uff5e]")
WORD = re.compile(r"[A-Za-z]{2,}")
PROSE = re.compile(r"\b[A-Za-z][a-z']+,?(?: [A-Za-z][a-z']*,?){2,}")
QUOTED_SENTENCE = re.compile(r"""(["'`])[A-Z][a-z]+(?: [a-z]+)+[.!?…]?\1""")
TAG = re.compile(r"<!--.*?-->|<(style|script)\b.*?</\1>|</?[A-Za-z][^<>]*>?|^[^<>]*>", re.DOTALL)
SPOKEN_ATTRIBUTE = re.compile(r"""\b(?:alt|title|aria-label|placeholder)=["'][^"'\0]*[A-Za-z]{2,}""")

SHOWING = frozenset(
    (
        "write markdown title header subheader caption text info warning error success toast button checkbox "
        "radio selectbox multiselect slider select_slider number_input text_input text_area toggle pills "
        "segmented_control expander popover tabs metric download_button link_button form_submit_button "
        "spinner status chat_input file_uploader badge feedback divider html"
    ).split()
)
"""Calls whose first argument is read by the learner."""

SHOWN_KEYWORDS = frozenset(
    (
        "label help placeholder caption title alt question explanation hovertemplate texttemplate xaxis_title "
        "yaxis_title annotation_text subplot_titles description tooltip title_text"
    ).split()
)
"""Keywords whose value is read by the learner, whatever is called."""

DRAWING = frozenset(["go", "px", "np", "numpy", "pd", "pandas", "torch", "ff", "figure_factory"])
PLOT_KEYWORDS_FREE = frozenset(
    {"colorscale", "color_continuous_scale", "margin", "domain", "range", "tickvals", "dash"}
)
RANDOM = re.compile(r"\b(?:random\.\w+|default_rng|RandomState|torch\.rand\w*|randn\w*|randint\w*|rand_like)\s*\(")
DEPRECATED = re.compile(
    r"use_container_width|use_column_width|components\.v1|st\.experimental_|@st\.cache\b(?!_)|st\.cache\(|torch_dtype"
)
OUTSIDE = re.compile(
    r"""<(?:script|link|img|iframe|source|video|audio)\b[^>]*(?:src|href)\s*=\s*["']?(?:https?:)?//"""
    r"""|@import\s+(?:url\()?\s*["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//"""
    r"""|\b(?:fetch|import|importScripts|WebSocket|EventSource)\(\s*["'`](?:https?:|wss?:)?//"""
    r"""|\bimport\b[^;\n"'`]*["'`](?:https?:)?//""",
    re.IGNORECASE,
)


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of the given folders (or files), from the project's root."""
    found: list[Path] = []
    for name in folders:
        path = ROOT / name
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def string_text(node: ast.AST) -> str | None:
    """Return the text of a string or f-string, its values as NUL; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(piece.value) if isinstance(piece, ast.Constant) else "\0" for piece in node.values)
    return None


def bare_strings(source: str) -> list[str]:
    """Return the strings of `source` that a learner would read but that are not in the text files."""
    tree = ast.parse(source)
    silent = set(_silent_nodes(tree))
    shown = set(_shown_nodes(tree))
    findings: list[str] = []
    for node in ast.walk(tree):
        text = string_text(node)
        if text is None or id(node) in silent:
            continue
        if CJK.search(text) or (_reads_aloud(text) if id(node) in shown else _is_prose(text)):
            findings.append(f"line {getattr(node, 'lineno', 0)}: {text[:60]!r}")
    return findings


def _reads_aloud(text: str) -> bool:
    """Whether a string in a visible place holds a word: markup and number formats taken away."""
    plain = TAG.sub(" ", re.sub(r"%\{[^}]*\}", " ", text)).replace("\0", " ")
    plain = re.sub(r"&\w+;|:material/\w+:", " ", plain)
    return bool(WORD.search(plain) or SPOKEN_ATTRIBUTE.search(text))


def _is_prose(text: str) -> bool:
    """Whether a string anywhere else reads like a sentence: in markup, in a script, or plain."""
    if re.search(r"</?[a-z][^<>]*", text) and not re.search(r"=>|function\b", text):
        return _reads_aloud(text)
    if re.search(r"[{};=]|=>", text):
        return bool(QUOTED_SENTENCE.search(text))
    return bool(PROSE.search(text))


def _silent_nodes(tree: ast.AST) -> Iterator[int]:
    """Ids of strings that nobody sees: docstrings, annotations, messages of exceptions, parts of f-strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        elif isinstance(node, ast.Raise | ast.Assert):
            yield from (id(inner) for inner in ast.walk(node))
        elif isinstance(node, ast.JoinedStr):
            yield from (id(piece) for piece in node.values if isinstance(piece, ast.Constant))
        elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            yield from (id(inner) for inner in ast.walk(node.format_spec))


def _shown_nodes(tree: ast.AST) -> Iterator[int]:
    """Ids of strings that stand where the learner reads."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in SHOWING and node.args:
            yield from _visible(node.args[0])
        for keyword in node.keywords:
            if keyword.arg in SHOWN_KEYWORDS:
                yield from _visible(keyword.value)


def _visible(node: ast.AST) -> Iterator[int]:
    """Strings that an expression can turn into: through choices, sums and lists, not through further calls."""
    if string_text(node) is not None:
        yield id(node)
    elif isinstance(node, ast.IfExp):
        yield from _visible(node.body)
        yield from _visible(node.orelse)
    elif isinstance(node, ast.BinOp):
        yield from _visible(node.left)
        yield from _visible(node.right)
    elif isinstance(node, ast.List | ast.Tuple):
        for element in node.elts:
            yield from _visible(element)


def invented_data(source: str) -> list[str]:
    """Return where `source` draws random numbers or hands a list of literal numbers to a figure."""
    findings = [f"random: {match.group()}" for match in RANDOM.finditer(source)]
    tree = ast.parse(source)
    literals = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _number_count(node.value) > 3
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            findings += [f"random: import {name}" for name in names if name.split(".")[-1] in ("random", "secrets")]
        elif isinstance(node, ast.Call) and _draws(node.func):
            values = [*node.args, *(k.value for k in node.keywords if k.arg not in PLOT_KEYWORDS_FREE)]
            for value in values:
                named = literals.get(value.id) if isinstance(value, ast.Name) else None
                if _number_count(value) > 3 or named is not None:
                    findings.append(f"line {node.lineno}: literal numbers in a figure")
    return findings


def _draws(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute) and function.attr in ("figure", "shown", "plotly_chart"):
        return True
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in DRAWING


def _number_count(node: ast.AST) -> int:
    """How many literal numbers a list, tuple or dict holds, at any depth."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return sum(_number_count(element) for element in node.elts)
    if isinstance(node, ast.Dict):
        return sum(_number_count(value) for value in node.values)
    if isinstance(node, ast.UnaryOp):
        return _number_count(node.operand)
    return int(isinstance(node, ast.Constant) and type(node.value) in (int, float))


def said_keys(source: str) -> tuple[set[str], set[str]]:
    """Return the keys that `source` says outright (`say("tokens.title")`) and every key-like string or pattern in it.

    Patterns are f-strings with their values as NUL.
    """
    said: set[str] = set()
    mentioned: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        text = string_text(node)
        if text is not None and re.match(r"[a-z_]+\.\S+$", text):
            mentioned.add(text)
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            choices = [node.args[0]]
            if isinstance(node.args[0], ast.IfExp):
                choices = [node.args[0].body, node.args[0].orelse]
            if name == "say":
                said |= {c.value for c in choices if isinstance(c, ast.Constant) and isinstance(c.value, str)}
    return said, mentioned
