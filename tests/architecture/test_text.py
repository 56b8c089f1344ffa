"""The words of the guide: two languages, one meaning, none of it outside the text files."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from lessons import glossary, registry, words
from lessons.language import LANGUAGES, TEXT_FOLDER, read_catalogue
from tests.architecture.sources import CJK, QUOTED_SENTENCE, ROOT, bare_strings, python_files, said_keys

CATALOGUES = sorted(TEXT_FOLDER.glob("*.toml"))
SEEN = python_files("app.py", "pages", "components")

MAINLAND = {
    "信息": "資訊、訊息",
    "數據": "資料",
    "軟件": "軟體",
    "硬件": "硬體",
    "默認": "預設",
    "加載": "載入",
    "視頻": "影片",
    "質量": "品質",
    "網絡": "網路",
    "內存": "記憶體",
    "程序": "程式",
    "文件夾": "資料夾",
    "鼠標": "滑鼠",
    "屏幕": "螢幕",
    "代碼": "程式碼",
    "優化器": "最佳化器",
    "函數庫": "函式庫",
    "函數": "函式",
    "數組": "陣列",
    "字符": "字元",
    "緩存": "快取",
    "變量": "變數",
    "支持": "支援",
    "點擊": "點、按",
    "搜索": "搜尋",
    "激活": "啟動、活化",
    "概率": "機率",
    "服務器": "伺服器",
    "矢量": "向量",
    "隨機數": "亂數",
    "令牌": "詞元",
    "提示語": "提示詞",
    "反饋": "回饋",
    "運行": "執行",
    "教程": "教學",
}

ALSO_SIMPLIFIED = frozenset("个据体关机号万与")
"""Simplified forms that Big5 can write, because they are rare characters of their own."""


def entries() -> list[tuple[str, dict[str, str]]]:
    """Every text of the guide: the catalogues, and the glossary's terms and meanings."""
    told = [(f"{path.stem}.{key}", entry) for path in CATALOGUES for key, entry in read_catalogue(path).items()]
    for term in glossary.terms():
        told.append((f"glossary {term.key}", {"zh": term.zh, "en": term.en}))
        told.append((f"glossary {term.key}, meaning", {"zh": term.zh_means, "en": term.en_means}))
    return told


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_text_exists_in_every_language() -> None:
    columns = set(LANGUAGES.values())
    wrong = [key for key, entry in entries() if set(entry) != columns or not all(t.strip() for t in entry.values())]
    assert not wrong


def test_both_languages_name_the_same_values() -> None:
    assert not [key for key, entry in entries() if fields(entry["zh"]) != fields(entry["en"])]


def test_chinese_uses_taiwans_terms() -> None:
    wrong = [
        f"{key}: {term} → {better}"
        for key, entry in entries()
        for term, better in MAINLAND.items()
        if term in entry["zh"]
    ]
    assert not wrong


def test_chinese_has_no_simplified_characters() -> None:
    """Big5 is Taiwan's character set; what it cannot write is not written in Taiwan, nor are ALSO_SIMPLIFIED."""
    wrong = [f"{key}: {char}" for key, entry in entries() for char in entry["zh"] if is_simplified(char)]
    assert not wrong
    assert [char for char in "这个数据词元" if is_simplified(char)] == list("这个数据词")


def is_simplified(char: str) -> bool:
    if not "\u4e00" <= char <= "\u9fff":
        return False
    if char in ALSO_SIMPLIFIED:
        return True
    try:
        char.encode("big5")
    except UnicodeEncodeError:
        return True
    return False


def test_chinese_uses_full_width_punctuation() -> None:
    half = re.compile(r"[\u4e00-\u9fff][,;:!?]|[\u4e00-\u9fff]\.(?:\s|$)")
    assert not [key for key, entry in entries() if half.search(entry["zh"])]


def test_english_is_english() -> None:
    assert not [key for key, entry in entries() if CJK.search(entry["en"]) and not quotes(entry)]


def quotes(entry: dict[str, str]) -> bool:
    """Whether all Chinese in the English text is something that the Chinese text shows as well: an example."""
    return all(piece in entry["zh"] for piece in CJK.findall(entry["en"]))


def test_every_key_said_exists() -> None:
    known = set(words("en").texts)
    missing = [
        f"{path.relative_to(ROOT)}: {key}"
        for path in SEEN
        for key in said_keys(path.read_text(encoding="utf-8"))[0]
        if key not in known
    ]
    missing += [key for step in registry.available() for key in step.texts if key not in known]
    assert not missing


def test_every_text_is_used() -> None:
    mentioned = {text for path in SEEN for text in said_keys(path.read_text(encoding="utf-8"))[1]}
    patterns = [
        re.compile(".+".join(re.escape(piece) for piece in text.split("\0")) + "$")
        for text in mentioned
        if "\0" in text
    ]
    ours = {key for step in registry.STEPS for key in step.texts}
    unused = [
        key
        for key in words("en").texts
        if key not in mentioned and key not in ours and not any(pattern.match(key) for pattern in patterns)
    ]
    assert not unused


@pytest.mark.parametrize("path", SEEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_bare_strings(path: Path) -> None:
    assert not bare_strings(path.read_text(encoding="utf-8"))


def test_no_bare_strings_in_scripts() -> None:
    ours = [path for path in (ROOT / "components").rglob("*.js") if not path.name.endswith(".min.js")]
    text = {path.name: path.read_text(encoding="utf-8") for path in ours}
    assert not [name for name, script in text.items() if QUOTED_SENTENCE.search(script) or CJK.search(script)]


@pytest.mark.parametrize(
    "source",
    [
        'st.write("Hello there")',
        'st.write("Hello")',
        'st.write("你好")',
        'st.markdown(f"You have {n} tokens")',
        'st.button("Run" if ready else "Wait")',
        'page.shown(key="a", alt="A picture of tokens")',
        'slot.html("<p>Nothing here</p>")',
        'html = "<p>Nothing here</p>"',
        "html = f'<button aria-label=\"Next page\">{icon}</button>'",
        'message = "The sentence is too long"',
        "SCRIPT = \"node.textContent = 'Nothing to show';\"",
        'go.Figure(layout={"title": 1}).update_layout(title="Attention")',
        'st.tabs(["One", "Two"])',
    ],
)
def test_bare_strings_are_caught(source: str) -> None:
    assert bare_strings(source)


@pytest.mark.parametrize(
    "source",
    [
        'page.say("tokens.title")',
        'st.button(page.say("tokens.run"), key="tokens_run", type="primary")',
        'st.html(f"<p class=\\"lead\\">{escape(text)}</p>")',
        'raise ValueError("the sentence is too long for this box")',
        '"""A docstring, which nobody who learns will read."""',
        'CSS = ".kit { display: grid; gap: 1rem 2rem; }"',
        'figure.update_traces(hovertemplate="%{x} · %{y:.2f}<extra></extra>")',
        'st.slider(label, 0, 10, key="layer")',
    ],
)
def test_code_is_not_mistaken_for_text(source: str) -> None:
    assert not bare_strings(source)
