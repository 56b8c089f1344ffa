"""What a picture's script does when newer data overtakes it: Streamlit then ends the older call after it has drawn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import ROOT

pytestmark = pytest.mark.browser

PREPARE = """const host = document.createElement("div");
  document.body.append(host);
  const parentElement = host.attachShadow({ mode: "open" });"""

MOUNT = f"""source => {{
  {PREPARE}
  const mount = new Function(`${{source}}; return mount;`)(), found = [];
  let built = 0, closed = 0, last = 0;
  const build = (root) => {{
    built += 1;
    root.append(document.createElement("p"));
    return {{ update: (data) => {{ last = data; }}, close: () => {{ closed += 1; }} }};
  }};
  const look = () => found.push([built, closed, parentElement.childElementCount, last]);
  const call = (data) => mount({{ parentElement, data }}, build);
  const [older, newer] = [call(1), call(2)];
  older();
  look();
  call(3);
  look();
  host.remove();
  newer();
  look();
  return found;
}}"""

STAGE = f"""source => {{
  {PREPARE}
  const draw = new Function(source.replace("export default", "return"))(), told = [], found = [];
  const words = {{ name: "", blank: "", timer: "", keys: "" }};
  const data = {{ on: false, link: "", picture: "", words, counts: [] }};
  const call = () => draw({{ parentElement, data, setTriggerValue: (...all) => told.push(all) }});
  const press = () => {{
    document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key: "p", bubbles: true }}));
    found.push(told.length);
  }};
  const [older, newer] = [call(), call()];
  older();
  press();
  host.remove();
  newer();
  press();
  return found;
}}"""

GLOSSARY = f"""source => {{
  {PREPARE}
  const whole = `const GLOSSARY = []; ${{source.replace("export default", "return")}}`;
  const draw = new Function(whole)(), found = [];
  const words = new Proxy({{}}, {{ get: (at, name) => (name === "toJSON" ? undefined : String(name)) }});
  const data = {{ lang: "en", families: {{}}, words, steps: {{}} }};
  const call = () => draw({{ parentElement, data }}), look = () => found.push(parentElement.childElementCount);
  const [older, newer] = [call(), call()];
  older();
  look();
  host.remove();
  newer();
  look();
  return found;
}}"""


def outcome(visit: Any, script: str, name: str) -> Any:
    return visit().page.evaluate(script, (ROOT / "components/js" / name).read_text(encoding="utf-8"))


def test_a_picture_stays_one_and_alive(visit: Any) -> None:
    assert outcome(visit, MOUNT, "attention_common.js") == [[1, 0, 1, 2], [1, 0, 1, 3], [1, 1, 1, 3]]


def test_the_stage_still_hears_its_key(visit: Any) -> None:
    assert outcome(visit, STAGE, "stage.js") == [1, 1]


def test_the_glossary_stays(visit: Any) -> None:
    assert outcome(visit, GLOSSARY, "glossary.js") == [1, 0]
