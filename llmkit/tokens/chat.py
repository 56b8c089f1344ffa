"""What is really sent to an instruct box: the messages, written into its chat template.

Matches ``apply_chat_template`` of ``transformers``. A template is a program from a box, so it runs in Jinja's
sandbox and can change nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmkit.tokens.errors import TokenizerError


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """One box's way to write a conversation as text.

    Args:
        source: the Jinja template.
        special_tokens: names that the template may use, such as ``bos_token``, with their text.

    Source: the same text as ``transformers``' ``apply_chat_template``.
    """

    source: str
    special_tokens: Mapping[str, str]

    @classmethod
    def from_folder(cls, folder: Path | str) -> "ChatTemplate | None":
        """Open the template of a model's folder; None when the box has none.

        Raises:
            TokenizerError: ``tokenizer_broken`` when a file that should hold it cannot be read.
        """
        folder = Path(folder)
        try:
            config_file = folder / "tokenizer_config.json"
            config = json.loads(config_file.read_bytes()) if config_file.exists() else {}
            jinja_file = folder / "chat_template.jinja"
            source = jinja_file.read_text("utf-8") if jinja_file.exists() else config.get("chat_template")
            if isinstance(source, list):
                source = next((t["template"] for t in source if t["name"] == "default"), None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TokenizerError("tokenizer_broken", f"chat template: {error}") from error
        if not source:
            return None
        texts = {key: _text(value) for key, value in config.items() if key.endswith("_token")}
        return cls(source=source, special_tokens={key: text for key, text in texts.items() if text is not None})

    def render(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Write a conversation as the text that is sent.

        Args:
            messages: each with ``role`` (system, user, assistant) and ``content``.
            add_generation_prompt: end where the assistant's answer begins.

        Raises:
            TokenizerError: ``chat_template_broken`` when the template fails or refuses the messages.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            return environment.from_string(self.source).render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, **self.special_tokens
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise TokenizerError("chat_template_broken", str(error)) from error


def _text(value: Any) -> str | None:
    """A special token's text; older files wrap it in an object."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
