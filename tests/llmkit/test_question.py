"""A question that can be posted: nothing secret in it, nothing that breaks its shape, and what a draft lacks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from llmkit.question import Facts, Question, describe, found_in, missing, ready, redact, weighted_length, written
from llmkit.question.formats import X_MOST, cut_weighted, fenced
from tests.llmkit.random_box import random_box

WORDS = {
    name: name.upper()
    for name in "app title page tried expected happened error versions machine box form differ nothing".split()
}
FACTS = Facts(
    python="3.11.7",
    system="Linux 6.1",
    machine="2 × CPU, 24 GiB, no GPU",
    packages=(("torch", "2.13.0+cpu"), ("transformers", "5.23.0")),
    differ=(("regex", "1 ≠ 2"),),
    box="gpt2-starter (gpt2)",
    form="torch-float32",
)
ASKED = Question(
    tried="1. I pressed Run", expected="a picture", happened="an error", error="This text gives no token.",
    page="1-4 Attention", settings="attention?box=gpt2-starter&layer=2", facts=FACTS,
)  # fmt: skip
FAKE = "A1b2C3d4E5f6G7h8"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"login with hf_{FAKE}", "key"),
        (f"sk-proj-{FAKE} is mine", "key"),
        (f"ghp_{FAKE}", "key"),
        (f"AKIA{FAKE}", "key"),
        (f"Authorization: Bearer {FAKE}", "key"),
        (f"OPENAI_API_KEY={FAKE}", "key"),
        (f'{{"api_key": "{FAKE}"}}', "key"),
        ("password: 12345678", "key"),
        ("密碼：芝麻開門開門", "key"),
        (f"HF_TOKEN='{FAKE}'", "key"),
        (f"https://a.example/?token={FAKE}&x=1", "key"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def", "key"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "key"),
        ("the key is Zx9cV8bN7mL6kJ5hG4fD3sA2 there", "key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----", "key"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "key"),
        ("http://mei:geheim@host.example/x", "login"),
        ("write to mei.lin@example.com", "mail"),
        ("http://10.1.2.3:8000/v1", "address"),
        ("/home/mei/models/gpt2", "home"),
        ("/Users/Mei Lin/x", "home"),
        (r"C:\Users\mei\AppData", "home"),
        ("folder:/root/box", "home"),
        ('File "/opt/mei/box/a.py"', "home"),
        ("the value s3cr3tvalue was sent", "key"),
    ],
)
def test_what_must_not_be_posted_is_taken_out(text: str, hidden: str) -> None:
    environment = {"LLMKIT_HOME": "/opt/mei/", "MY_SECRET": "s3cr3tvalue", "SHORT_KEY": "no"}
    found = redact(text, environment)
    assert hidden in found.hidden
    for piece in (FAKE, "geheim", "mei", "12345678", "芝麻", "5f4d", "Zx9c", "MIIE", "cut off", "10.1.2.3", "s3cr3t"):
        assert piece not in found.text
    assert redact(found.text, environment).text == found.text  # once is enough


@pytest.mark.parametrize(
    "text",
    [
        "This text has 300 tokens; 256 fit. max_tokens=2048 tokens: 12, max_new_tokens = 64",
        "tokenizer: gpt2-starter, token_type_ids=None, author: Vaswani",
        "HuggingFaceTB/SmolLM2-135M-Instruct at http://127.0.0.1:8000/v1 or http://0.0.0.0:80",
        "torch 2.13.0+cpu, Python 3.11.7, Linux 6.18.44",
        "layers.3.feed_forward.act [B, T, d_mlp] 0.12345678901234567890",
        "https://example.com/home/page and a keyboard; the secret of attention",
        "這句話切不出任何詞元。",
        "",
    ],
)
def test_what_a_helper_needs_stays(text: str) -> None:
    assert redact(text, {"HOME": "/", "TOKENIZERS_PARALLELISM": "false"}).text == text


@pytest.mark.parametrize("text", ["a ``` b", "```\nx\n```", "`" * 12, "~~~", "", "```` and ```"])
def test_nothing_closes_a_fence(text: str) -> None:
    lines = fenced(text).split("\n")
    opened = re.fullmatch(r"(`{3,})text", lines[0])
    assert opened
    assert lines[-1] == opened[1]
    runs = [len(run) for line in lines[1:-1] for run in re.findall(r"`+", line)]
    assert all(run < len(opened[1]) for run in runs)


def test_each_place_gets_its_shape() -> None:
    forum, github = written(ASKED, "forum", WORDS), written(ASKED, "github", WORDS)
    assert forum.splitlines()[0] == github.splitlines()[0] == "# [APP 1-4] This text gives no token."
    for text in (forum, github):
        for piece in ("1. I pressed Run", "a picture", "1-4 Attention", "`attention?box=gpt2-starter&layer=2`"):
            assert piece in text
        for piece in ("Python 3.11.7", "torch 2.13.0+cpu", "gpt2-starter (gpt2)", "torch-float32", "regex 1 ≠ 2"):
            assert piece in text
    assert "<details><summary>VERSIONS</summary>\n\n```" in github  # Markdown inside needs the empty line
    assert "<details>" not in forum
    bare = written(replace(ASKED, error="", happened="", tried=""), "forum", WORDS)
    assert "## ERROR" not in bare
    assert bare.count("NOTHING") == 2
    assert bare.startswith("# [APP 1-4] TITLE")


@pytest.mark.parametrize(
    ("text", "weight"),
    [("", 0), ("abc", 3), ("é", 1), ("詞元", 4), ("、。", 4), ("‘’…", 4), ("😀", 2), ("Ж", 1), ("e\u0301", 1)],
)
def test_x_counts_as_x_counts(text: str, weight: int) -> None:
    """By the published table of X: a code point above 4351 counts twice but for a few marks; text is NFC first."""
    assert weighted_length(text) == weight


def test_x_counts_any_link_as_23() -> None:
    assert weighted_length("https://a.b/") == weighted_length("https://example.com/" + "x" * 300) == 23


@pytest.mark.parametrize("said", ["", "short", "長" * 500, "word " * 300, "😀" * 200, "https://a.example/" + "x" * 400])
@pytest.mark.parametrize("box", ["gpt2-starter", "folder:~/" + "盒" * 300])
def test_a_post_fits(said: str, box: str) -> None:
    text = written(replace(ASKED, happened=said, facts=replace(FACTS, box=box)), "x", WORDS)
    assert weighted_length(text) <= X_MOST
    assert text.startswith("APP 1-4 Attention:")
    assert box[:8] in text


@pytest.mark.parametrize("most", range(2, 12))
def test_a_cut_keeps_its_measure(most: int) -> None:
    assert weighted_length(cut_weighted("詞元 abc 詞元", most)) <= most
    assert cut_weighted("abc", 12) == "abc"


def test_every_answer_is_cleaned_and_the_fence_holds() -> None:
    wild = replace(
        ASKED,
        tried=f"HF_TOKEN=hf_{FAKE}",
        error=f"```\n/home/mei/x ```` Bearer {FAKE}",
        settings=f"attention?key={FAKE}&sentence=`x`&api_key={FAKE}",
        facts=replace(FACTS, box="folder:/home/mei/box"),
    )
    for kind in ("forum", "github", "x"):
        found = ready(wild, kind, WORDS, {})  # type: ignore[arg-type]
        assert "mei" not in found.text
        assert f"hf_{FAKE}" not in found.text
        assert f"api_key={FAKE}" not in found.text
        assert found.hidden["home"] == 2
        assert found.hidden["key"] >= 3
    assert "`````text\n" in ready(wild, "forum", WORDS, {}).text


def test_the_facts_are_this_machines(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    import streamlit
    import torch

    facts = describe("gpt2-starter", "torch-float32")
    assert facts.python == platform.python_version()
    assert dict(facts.packages)["torch"] == torch.__version__
    assert dict(facts.packages)["streamlit"] == streamlit.__version__
    assert facts.box == "gpt2-starter (gpt2)"
    folder = random_box(tmp_path / "box", "gpt2", seed=1)
    assert describe(f"folder:{folder}", "x").box == f"folder:{folder}"
    for nonsense in ("no such box", "hub:", "../..", "made:x y"):
        assert describe(nonsense, "x").box == nonsense


@pytest.mark.parametrize(
    ("draft", "lacks"),
    [
        ("", ("error", "did", "versions", "box", "expected")),
        ("不能用，救命", ("error", "did", "versions", "box", "expected")),
        ("RuntimeError: shapes do not match", ("did", "versions", "box", "expected")),
        ("我按跑跑看，畫面說「這句話切不出任何詞元。」", ("versions", "box", "expected")),
        ("1. open 1-4\n2. press Run\nIt said: error: no token. torch==2.13.0", ("box", "expected")),
        (
            "I pressed Run in 1-4 with gpt2-starter, Python 3.11, torch 2.13.\nValueError: x\nI expected a picture.",
            (),
        ),
        ("torch version 2.13 and transformers v5.23, python：3.11", ("error", "did", "box", "expected")),
        ("owner/some-model gives an empty page and/or nothing", ("error", "did", "versions", "expected")),
        ("I read about torches and pythons in 2026.", ("error", "did", "versions", "box", "expected")),
    ],
)
def test_a_draft_lacks_what_it_does_not_say(draft: str, lacks: tuple[str, ...]) -> None:
    assert missing(draft) == lacks
    for shown in found_in(draft).values():
        assert shown in draft


def test_a_box_here_is_known_by_its_name() -> None:
    assert "box" in missing("my-own-box is slow")
    assert found_in("my-own-box is slow", ["my-own-box"])["box"] == "my-own-box"


@pytest.mark.parametrize(
    "draft", ["<script>" * 2000, "\x00\x01", "a" * 100_000, "「" * 5000, "1. " * 3000, "." * 50_000]
)
def test_any_draft_is_read_soon(draft: str) -> None:
    missing(draft)
    redact(draft, {})
    written(replace(ASKED, happened=draft), "x", WORDS)
