"""A note as Markdown: what it may show, and that whatever it holds can do nothing."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest

from components.note_markdown import as_html

TAGS = set("div p strong em s a ul ol li code pre blockquote table thead tbody tr th td hr br".split())
ATTRIBUTES = {"class", "dir", "href", "title", "target", "rel", "style", "start"}
CELLS = {"text-align:left", "text-align:center", "text-align:right"}


class Look(HTMLParser):
    """What a browser would read: tags, links, text; it fails on whatever could act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(as_html(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        assert dict(attrs).get("style") in CELLS | {None}
        self.tags.append(tag)
        if tag == "a":
            given = dict(attrs)
            assert (given["target"], given["rel"]) == ("_blank", "noopener noreferrer")
            self.links.append(str(given["href"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_markdown_is_shown() -> None:
    look = Look(
        "**粗** *斜* `code` ~~no~~\nsecond line\n\n- a\n- b\n\n> said\n\n| h | i |\n|---|--:|\n| 1 | 2 |\n\n---\n"
    )
    assert {"strong", "em", "code", "s", "br", "ul", "li", "blockquote", "table", "td", "hr"} <= set(look.tags)
    assert "second line" in look.text


@pytest.mark.parametrize("text", ["# One", "###### Six ##", "Set\n===", "Set\n---", "> # In a quote", "- # In a list"])
def test_a_heading_is_bold_and_no_heading(text: str) -> None:
    look = Look(text)
    assert "strong" in look.tags
    assert "#" not in look.text
    assert "===" not in look.text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<div>\n<style>*{display:none}</style>\n</div>",
        "<!-- -->\n<iframe src='//evil.example'>",
        "a <b onclick=alert(1)>b</b> &lt;i&gt;",
        "</div></div><h1>x",
        '``` " onload=alert(1) x=\n<svg/onload=alert(1)>\n```',
        "```<img>\nx",
    ],
)
def test_html_stays_text(text: str) -> None:
    look = Look(text)
    assert set(look.tags) <= {"div", "p", "code", "pre", "br"}
    assert look.links == []


@pytest.mark.parametrize(
    "text",
    [
        "![a](https://evil.example/x.png)",
        "\\![a](https://evil.example/x.png)",
        "![a][r]\n\n[r]: https://evil.example/x.png",
        "![r][]\n\n[r]: https://evil.example/x.png",
        "![r]\n\n[r]: https://evil.example/x.png",
        "[![a](https://evil.example/x.png)](https://evil.example)",
        "![![a](https://evil.example/1)](https://evil.example/2)",
    ],
)
def test_no_picture_is_fetched(text: str) -> None:
    look = Look(text)
    assert "img" not in look.tags
    assert all(link.startswith("https://evil.example") for link in look.links)


@pytest.mark.parametrize(
    "text",
    [
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](&#106;avascript:alert(1))",
        "[a](javascript&colon;alert(1))",
        "[a](\x01javascript:alert(1))",
        "[a](java\tscript:alert(1))",
        "[a](data:text/html,x)",
        "[a](data:image/png;base64,x)",
        "[a](vbscript:x)",
        "[a](file:///etc/passwd)",
        "[a](//evil.example)",
        "[a](/tokens?x=1)",
        "[a](#notes)",
        "<javascript:alert(1)>",
        "<ftp://evil.example>",
        "[a][r]\n\n[r]: javascript:alert(1)",
        '[a](https:evil.example "t")',
    ],
)
def test_other_links_are_text(text: str) -> None:
    assert Look(text).links == []


def test_links_to_the_web_and_to_a_mail_open_elsewhere() -> None:
    look = Look(
        '[a](https://a.example/?q=1&r="2" "say \\"x\\"") <http://b.example> <me@c.example> [d](mailto:d@e.example)'
    )
    assert look.links == [
        "https://a.example/?q=1&r=%222%22",
        "http://b.example",
        "mailto:me@c.example",
        "mailto:d@e.example",
    ]


@pytest.mark.parametrize("fence", ["```\n{}\n```", "~~~python\n{}\n~~~", "    {}"])
def test_code_is_readable_as_it_stands(fence: str) -> None:
    code = "# ![x](y) <img src=x> :material/home: $a$ **b** &amp; \\["
    look = Look(fence.format(code))
    assert look.text.strip() == code
    assert set(look.tags) == {"div", "pre", "code"}


def test_what_streamlit_would_read_as_its_own_is_text() -> None:
    text = ":material/home: :red[x] :streamlit: $a^2$ $$b$$ :+1:"
    assert Look(text).text.strip() == text


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "😀注意力\u202e\u2066\x07\x1b[31m" * 1_000,
        "[" * 20_000,
        "*a **" * 5_000,
        "`" * 20_000,
        "> " * 10_000,
        "- " * 10_000,
        "![" * 10_000,
        "<" * 20_000,
        "|a" * 5_000 + "\n" + "|-" * 5_000 + "\n" + "|b" * 5_000,
        "[a](" * 5_000,
        "",
    ],
)
def test_any_text_is_shown_in_a_moment(text: str) -> None:
    begun = time.perf_counter()
    Look(text)
    assert time.perf_counter() - begun < 5
