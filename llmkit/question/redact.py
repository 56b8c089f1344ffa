"""Take out of a text what must not be posted: keys, passwords, who and where its writer is."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_IS = r"[\"']?\s*[:=：]\s*[\"']?"
_NAMES = r"api[-_ ]?key|access[-_ ]?key|secret|passw(?:or)?d|pwd|credentials?|authorization|金鑰|密碼|權杖"
_SECRET = rf"(?:{_NAMES})(?:[_-][\w-]*)?{_IS}"
_TOKEN = rf"token{_IS}(?=[^\s\"'&,;]*[A-Za-z])(?=[^\s\"'&,;]*\d)"
"""Much is called a token here; what opens a door has letters and digits."""
_VALUE = r"(?!<)[^\s\"'&,;<>)]{4,}"
_UNIX_HOME = r"(?:/home|/Users|/var/home)/[^/\\\s:\"'<>|]+|/root\b"
_WINDOWS_HOME = r"[A-Za-z]:[\\/]+Users[\\/]+[^\\/\s:\"'<>|]+"
_HOMES = rf"(?<![\w.-])(?:{_UNIX_HOME}|{_WINDOWS_HOME})"
_PREFIXES = r"hf_|sk-|sk_|pk_|rk_|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|AIza|npm_|dop_v1_|AKIA|ASIA"
_PRIVATE = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("key", re.compile(_PRIVATE, re.DOTALL), "<key>"),
    ("login", re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"), "<login>"),
    ("key", re.compile(r"\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), "<key>"),
    ("key", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), "<key>"),
    ("key", re.compile(rf"\b(?:{_PREFIXES})[\w-]{{8,}}"), "<key>"),
    ("key", re.compile(rf"((?:{_SECRET}|{_TOKEN})){_VALUE}", re.IGNORECASE), r"\1<key>"),
    ("mail", re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"), "<mail>"),
    ("address", re.compile(r"(?<=://)(?!127\.|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"), "<address>"),
    ("home", re.compile(_HOMES), "~"),
)
_LONG = re.compile(r"(?<![\w/.-])[A-Za-z0-9_-]{24,}(?![\w/.-])")
_LEAST_SECRET = 6


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """A text that may be posted, and how often each kind of thing was taken out of it.

    Args:
        hidden: "key", "login", "mail", "address" (of a machine) or "home" (a folder that tells a name) → how often.
    """

    text: str
    hidden: Mapping[str, int]


def redact(text: str, environment: Mapping[str, str] | None = None) -> Redacted:
    """Return a text without secrets.

    What looks like a key goes, as does whatever stands in a variable of the environment that is named like a secret.
    It errs towards hiding: a long mix of letters and digits is taken for a key.

    Args:
        environment: this process's own where none is given.

    >>> redact("token=hf_abcdefghij in /home/mei/box", {}).text
    'token=<key> in ~/box'
    """
    known = os.environ if environment is None else environment
    hidden: Counter[str] = Counter()
    for value in sorted(_secrets(known), key=len, reverse=True):
        hidden["key"] += text.count(value)
        text = text.replace(value, "<key>")
    for home in _own_homes(known):
        pattern = re.compile(re.escape(home) + r"(?![\w-])")
        text, count = pattern.subn("~", text)
        hidden["home"] += count
    for kind, rule, instead in _RULES:
        text, count = rule.subn(instead, text)
        hidden[kind] += count

    def hide(match: re.Match[str]) -> str:
        if not _is_like_a_key(match.group()):
            return match.group()
        hidden["key"] += 1
        return "<key>"

    return Redacted(text=_LONG.sub(hide, text), hidden={kind: many for kind, many in hidden.items() if many})


def _secrets(environment: Mapping[str, str]) -> set[str]:
    named = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
    return {value for name, value in environment.items() if named.search(name) and len(value) >= _LEAST_SECRET}


def _own_homes(environment: Mapping[str, str]) -> list[str]:
    """The folders that tell who this is; not the root of the disk."""
    given = {environment.get("LLMKIT_HOME", ""), environment.get("HOME", ""), environment.get("USERPROFILE", "")}
    given.add(str(Path.home()) if environment is os.environ else "")
    return sorted((path.rstrip("/\\") for path in given if len(path.rstrip("/\\")) > 3), key=len, reverse=True)


def _is_like_a_key(word: str) -> bool:
    """Whether nobody would write this word: hexadecimal, or digits among letters of both cases."""
    if re.fullmatch(r"[0-9a-fA-F]{32,}", word):
        return True
    kinds = (re.search(r"\d", word), re.search(r"[a-z]", word), re.search(r"[A-Z]", word))
    return all(kinds) and len(re.findall(r"\d", word)) >= 3
