"""The milestones: whole, in both languages, each about a page of the guide."""

from __future__ import annotations

import re

from lessons import registry
from lessons.milestones import PARTS, milestones

PLANNED = {"quantise", "prune", "fast", "lora", "deploy"}
"""Pages of the third chapter: a paper about one that is not there yet has no link."""


def test_there_are_thirty_and_more_each_once() -> None:
    found = milestones()
    assert len(found) >= 30
    assert len({paper.title for paper in found}) == len(found)
    numbers = [paper.arxiv for paper in found if paper.arxiv]
    assert len(set(numbers)) == len(numbers)


def test_a_number_tells_the_year_it_appeared() -> None:
    for paper in milestones():
        if paper.arxiv:
            assert re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv), paper.title
            assert paper.year == 2000 + int(paper.arxiv[:2]), paper.title
            assert paper.address.endswith(paper.arxiv)
        else:
            assert paper.address == paper.url
            assert re.fullmatch(r"https://[a-z.-]+/[\w./-]+", paper.url), paper.title


def test_a_citation_says_it_all_and_bibtex_balances() -> None:
    assert len({paper.key for paper in milestones()}) == len(milestones())
    for paper in milestones():
        for piece in (paper.title, paper.authors, str(paper.year), paper.venue):
            assert piece in paper.citation
        assert paper.bibtex.startswith(f"@misc{{{paper.key},\n")
        assert paper.bibtex.count("{") == paper.bibtex.count("}")
        assert not re.search(r"(?<!\\)[&%$#_](?=[^}]*}\s*,\n  (?:author|year))", paper.bibtex)
    attention = next(paper for paper in milestones() if paper.arxiv == "1706.03762")
    assert attention.key == "vaswani2017attention"
    assert "author = {Ashish Vaswani and Noam Shazeer and " in attention.bibtex
    assert "eprint = {1706.03762}" in attention.bibtex
    many = next(paper for paper in milestones() if paper.authors.endswith("and others"))
    assert " and others}" in many.bibtex


def test_each_is_about_a_page_and_a_part_and_every_part_has_one() -> None:
    steps = {step.slug for step in registry.STEPS} | PLANNED
    assert {paper.step for paper in milestones()} <= steps
    assert {paper.part for paper in milestones()} == set(PARTS)


def test_both_languages_say_it() -> None:
    for paper in milestones():
        assert re.search(r"[\u4e00-\u9fff]", paper.zh), paper.title
        assert not re.search(r"[\u4e00-\u9fff]", paper.en), paper.title
        assert paper.zh.endswith(("。", "」"))
        assert paper.en.endswith(".")
