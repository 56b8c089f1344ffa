"""Our chat template against ``apply_chat_template`` of transformers."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from llmkit.tokens import ChatTemplate, TokenizerError

CHATML = (
    "{% for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% endif %}"
    "{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}{{ messages | tojson }}"
)
TALKS = [
    [{"role": "user", "content": "你好,介紹一下你自己。"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  <b>hi</b> & 'bye' \n"},
        {"role": "assistant", "content": "{{ 7 * 7 }}"},
        {"role": "user", "content": "</script>"},
    ],
]


@pytest.mark.parametrize("template", [CHATML, LLAMA])
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("prompt", [True, False])
def test_agrees_with_the_reference(template: str, talk: list[dict[str, str]], prompt: bool, tmp_path: Path) -> None:
    reference = PreTrainedTokenizerFast(
        tokenizer_object=Reference(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")),
        bos_token="<s>",
        eos_token="</s>",
        chat_template=template,
    )
    reference.save_pretrained(tmp_path)
    ours = ChatTemplate.from_folder(tmp_path)
    assert ours is not None
    expected = reference.apply_chat_template(talk, tokenize=False, add_generation_prompt=prompt)
    assert ours.render(talk, add_generation_prompt=prompt) == expected


def test_a_template_inside_the_configuration_is_found(tmp_path: Path) -> None:
    config = {
        "bos_token": {"content": "<s>"},
        "chat_template": [{"name": "default", "template": "{{ bos_token }}!"}],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = ChatTemplate.from_folder(tmp_path)
    assert template is not None
    assert template.render([]) == "<s>!"


def test_a_box_without_a_template_has_none(tmp_path: Path) -> None:
    assert ChatTemplate.from_folder(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert ChatTemplate.from_folder(tmp_path) is None


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{% for %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[9]['role'] }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_fails_or_reaches_out_says_so(source: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        ChatTemplate(source=source, special_tokens={}).render(TALKS[0])
    assert caught.value.code == "chat_template_broken"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"chat_template": [3]}'])
def test_a_broken_configuration_says_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(TokenizerError) as caught:
        ChatTemplate.from_folder(tmp_path)
    assert caught.value.code == "tokenizer_broken"
