"""A text as a Word file (DOCX): title, list and paragraphs as styles; all of it text, no field, no link, no macro."""

from datetime import UTC, datetime
from io import BytesIO

from docx import Document
from docx.oxml.ns import qn

from llmkit.write.blocks import blocks
from llmkit.write.brief import Lang

_STYLES = {"title": "Title", "point": "List Bullet", "number": "List Number", "paragraph": "Normal"}
_FONTS = {"en": "Calibri", "zh-TW": "Microsoft JhengHei"}


def to_docx(text: str, *, lang: Lang, title: str = "", now: datetime | None = None) -> bytes:
    """Return a text as the bytes of a DOCX file.

    Args:
        text: what was written. Control characters, which XML cannot hold, are left out.
        lang: of the text, for the speller and the font. title: in the file's properties. now: its date.
    """
    document = Document()
    now = now or datetime.now(UTC)
    about = document.core_properties
    about.author, about.title, about.language = "", _clean(title)[:255], lang
    about.comments, about.created, about.modified = "", now, now
    fonts = document.styles["Normal"].element.get_or_add_rPr().get_or_add_rFonts()
    for name in ("ascii", "hAnsi", "eastAsia"):
        fonts.set(qn(f"w:{name}"), _FONTS[lang])
    for block in blocks(text):
        document.add_paragraph(_clean(block.text), style=_STYLES[block.kind])
    out = BytesIO()
    document.save(out)
    return out.getvalue()


def _clean(text: str) -> str:
    """What XML 1.0 can hold (its production 2, Char): no control characters, no halves of surrogate pairs."""
    return "".join(
        char
        for char in text
        if char in "\t\n" or "\x20" <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"
    )
