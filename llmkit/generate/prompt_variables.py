"""A prompt with variables, such as ``Is this review good? {text}``: which it names, and how they are filled in."""

import re
from collections.abc import Collection, Mapping

from llmkit.generate.trial_errors import TrialError

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}\n]{0,40})\}|[{}]")


def variables(template: str) -> tuple[str, ...]:
    """Return the names in braces, each once, in order; ``{{`` and ``}}`` are braces that stay.

    Raises:
        TrialError: ``prompt_brace`` where a brace has no partner, or nothing that can be a name in it.

    >>> variables("Who wrote {title}? {{not this}} {title} {year}")
    ('title', 'year')
    """
    return tuple(dict.fromkeys(_name(found) for found in _PIECE.finditer(template) if _is_variable(found)))


def require(template: str, known: Collection[str]) -> None:
    """Refuse a prompt that rows with these variables cannot fill.

    Raises:
        TrialError: ``prompt_empty_version``, ``prompt_brace``, ``prompt_unknown_variable``, or
            ``prompt_without_variable`` (every row would be asked the same).
    """
    if not template.strip():
        raise TrialError("prompt_empty_version")
    named = variables(template)
    unknown = [name for name in named if name not in known]
    listed = ", ".join(f"{{{name}}}" for name in known)
    if unknown:
        raise TrialError("prompt_unknown_variable", name=unknown[0], known=listed)
    if not named:
        raise TrialError("prompt_without_variable", known=listed)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put a row's values in; braces in the values are text.

    Raises:
        TrialError: ``prompt_brace``, or ``prompt_unknown_variable`` where a name has no value.

    >>> fill("{{a}} {a}", {"a": "{b}"})
    '{a} {b}'
    """

    def put(found: re.Match[str]) -> str:
        if not _is_variable(found):
            return found[0][0]
        name = _name(found)
        if name not in values:
            raise TrialError("prompt_unknown_variable", name=name, known=", ".join(f"{{{one}}}" for one in values))
        return values[name]

    return _PIECE.sub(put, template)


def _is_variable(found: re.Match[str]) -> bool:
    if found[0] in ("{{", "}}"):
        return False
    if found[0] in ("{", "}") or not _name(found):
        raise TrialError("prompt_brace", at=found.start() + 1, near=found.string[max(0, found.start() - 10) :][:20])
    return True


def _name(found: re.Match[str]) -> str:
    name: str = found[1].strip()
    return name
