"""The guess of a paper's part: its words are words, its pages pages, and it is measured on papers that we know."""

from __future__ import annotations

import pytest

from lessons import registry
from lessons.milestones import PARTS, milestones
from lessons.part_words import guess, topics
from tests.lessons.test_milestones import PLANNED


def test_each_topic_is_about_a_page_and_a_part() -> None:
    assert {topic.step for topic in topics()} <= {step.slug for step in registry.STEPS} | PLANNED
    assert {topic.part for topic in topics()} == set(PARTS)
    for topic in topics():
        assert topic.words == tuple(dict.fromkeys(word.lower().strip() for word in topic.words))


def test_no_word_stands_for_two_topics() -> None:
    words = [word for topic in topics() for word in topic.words]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("title", "abstract", "step"),
    [
        ("4-bit models", "We study quantization.", "quantise"),
        ("A study", "We quantise key-value caches to INT4 and study low-bit attention.", "quantise"),
        ("Self-Attention heads", "", "attention"),
        ("MIXTURE OF\nEXPERTS", "", "feed_forward"),
        ("Ropewalk: a moebius", "", None),  # words end where they end
        ("A study", "One word: attention.", None),  # and one in an abstract is none
        ("", "", None),
        ("注意力", "詞元", None),
    ],
)
def test_a_guess_follows_the_words(title: str, abstract: str, step: str | None) -> None:
    found = guess(title, abstract)
    assert (found.step if found else None) == step


def test_on_papers_that_we_know_it_is_mostly_right() -> None:
    """Chance would be one in nine for the part. The page says how often it is right; here it may not get worse."""
    known = milestones()
    right = [paper for paper in known if (found := guess(paper.title)) and found.part == paper.part]
    assert len(right) / len(known) > 0.8
