"""The same request as lines to copy: curl, Python with openai and with httpx, JavaScript. Whatever the text holds, it
stays a text: quoted for the shell, for Python and for JavaScript."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Literal

from llmkit.serve.client import base_address
from llmkit.serve.request import Request

Language = Literal["curl", "openai", "httpx", "javascript"]
KEY_VARIABLE = "LLMKIT_KEY"
"""The environment variable that the lines take the key from: a key is never among them."""

_OPENAI = {
    "/v1/completions": "client.completions.create",
    "/v1/chat/completions": "client.chat.completions.create",
    "/v1/embeddings": "client.embeddings.create",
}


def snippet(language: Language, address: str, request: Request, *, key: bool) -> str | None:
    """One request as lines to copy.

    Args:
        address: of the server. request: with a JSON body. key: whether the server wants one.

    Returns:
        None where the library has no such request: OpenAI's has no ``/classify``.

    Raises:
        SocketError: ``address_…``.
    """
    address, body = base_address(address), dict(request.body or {})
    if language == "curl":
        return _curl(address, request.path, body, key)
    if language == "openai":
        return _openai(address, request.path, body, key)
    if language == "httpx":
        return _httpx(address, request.path, body, key)
    return _javascript(address, request.path, body, key)


def _curl(address: str, path: str, body: Mapping[str, Any], key: bool) -> str:
    lines = [f"curl -sS{'N' if body.get('stream') else ''} {shlex.quote(address + path)}"]
    if key:
        lines.append(f'-H "Authorization: Bearer ${KEY_VARIABLE}"')
    lines += ['-H "Content-Type: application/json"', f"--data-raw {shlex.quote(as_literal(body))}"]
    return " \\\n  ".join(lines)


def _openai(address: str, path: str, body: Mapping[str, Any], key: bool) -> str | None:
    if path not in _OPENAI:
        return None
    given = f'os.environ["{KEY_VARIABLE}"]' if key else '"none"'
    lines = ["import os", ""] if key else []
    lines += ["from openai import OpenAI", "", f"client = OpenAI(base_url={address + '/v1'!r}, api_key={given})"]
    lines += [f"answer = {_OPENAI[path]}(", *(f"    {name}={value!r}," for name, value in body.items()), ")"]
    chat = "chat" in path
    if body.get("stream"):
        piece = "choices[0].delta.content" if chat else "choices[0].text"
        lines += [
            "for chunk in answer:",
            "    if chunk.choices:",
            f'        print(chunk.{piece} or "", end="", flush=True)',
        ]
    elif path == "/v1/embeddings":
        lines.append("print(answer.data[0].embedding)")
    else:
        lines.append(f"print(answer.{'choices[0].message.content' if chat else 'choices[0].text'})")
    return "\n".join(lines)


def _httpx(address: str, path: str, body: Mapping[str, Any], key: bool) -> str:
    lines = ["import os", ""] if key else []
    lines += ["import httpx", ""]
    given = [f"    {address + path!r},"]
    if key:
        given.append(f'    headers={{"Authorization": f"Bearer {{os.environ[\'{KEY_VARIABLE}\']}}"}},')
    given += [f"    json={dict(body)!r},", "    timeout=60,"]
    if body.get("stream"):
        lines += ["with httpx.stream(", '    "POST",', *given, ") as answer:"]
        lines += ["    for line in answer.iter_lines():", "        print(line)"]
    else:
        lines += ["answer = httpx.post(", *given, ")", "answer.raise_for_status()", "print(answer.json())"]
    return "\n".join(lines)


def _javascript(address: str, path: str, body: Mapping[str, Any], key: bool) -> str:
    headers = ['"Content-Type": "application/json"']
    if key:
        headers.append(f"Authorization: `Bearer ${{process.env.{KEY_VARIABLE}}}`")
    lines = [
        f"const answer = await fetch({_script(address + path)}, {{",
        '  method: "POST",',
        f"  headers: {{ {', '.join(headers)} }},",
        f"  body: JSON.stringify({_script(body)}),",
        "});",
    ]
    if body.get("stream"):
        lines += ["for await (const bytes of answer.body) {", "  console.log(new TextDecoder().decode(bytes));", "}"]
    else:
        lines.append("console.log(await answer.json());")
    return "\n".join(lines)


def as_literal(value: Any) -> str:
    r"""JSON that people can read: Chinese stays as it is, what cannot be seen is written as an escape.

    Characters that turn the direction of a line, zero bytes and halves of characters could be copied wrongly, or hide
    what the line does.

    >>> as_literal({"a": "書\x00\u202e"})
    '{"a": "書\\u0000\\u202e"}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _script(value: Any) -> str:
    """The same for JavaScript, and for lines that end up in a page: no tag can begin in it."""
    return as_literal(value).replace("<", "\\u003c")
