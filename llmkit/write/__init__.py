"""A text that was ordered: the brief, whether a text keeps to it, what changed between two, and how it is taken away.

>>> from llmkit.write import Brief, check
>>> brief = Brief(lang="en", topic="our picnic", least=3, most=9, must_have=("Sunday",))
>>> [(one.kind, one.met) for one in check("Come to our picnic on sunday!", brief)][:3]
[('written', True), ('length', True), ('must', True)]
"""

from llmkit.write.brief import Brief, Line, lines, prompt
from llmkit.write.changes import Change, changes
from llmkit.write.demands import Demand, check
from llmkit.write.docx_file import to_docx
from llmkit.write.errors import WriteError
from llmkit.write.kept_texts import Kept, forget, keep, kept
from llmkit.write.markdown_file import to_markdown

__all__ = [
    "Brief",
    "Change",
    "Demand",
    "Kept",
    "Line",
    "WriteError",
    "changes",
    "check",
    "forget",
    "keep",
    "kept",
    "lines",
    "prompt",
    "to_docx",
    "to_markdown",
]
