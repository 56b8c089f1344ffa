"""Six ways to classify against transformers, sklearn and scipy; the rows they share; labels and texts of any kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy.stats import binomtest, bootstrap
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.neighbors import KNeighborsClassifier

from llmkit import shelf
from llmkit.generate import GenerateError
from llmkit.jobs import Cancelled, DirectReport
from llmkit.reference import open_box
from llmkit.tokens import Tokenizer
from llmkit.tune import labelled
from llmkit.tune.classifier import build_classifier, encode_examples, predict
from llmkit.tune.classifier_box import write_classifier
from llmkit.tune.data import prepared
from llmkit.tune.data.checks import normalise
from llmkit.tune.data.split import split
from llmkit.tune.errors import TuneError
from llmkit.tune.ways import measure, runner
from llmkit.tune.ways.asking import Asker, choose_shots, words
from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.few_shot import FewShot
from llmkit.tune.ways.finetuned import FineTuned
from llmkit.tune.ways.neighbours import KS, Neighbours
from llmkit.tune.ways.probe import CS, Probe
from llmkit.tune.ways.prompt import ZeroShot
from llmkit.tune.ways.similarity import SCALE, Similarity, label_texts
from llmkit.tune.ways.task import MOST_LABELS, SAMPLE, Task, open_task, short_labels, suited
from llmkit.tune.ways.way import silent
from tests.llmkit import random_box as boxes

FAMILIES = pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
HOSTILE = "</script><img src=x onerror=alert(1)>"
CONTEXT = 400


def text_of(at: int, label: str) -> str:
    return f"{'abcdefgh'[hash_of(label) % 8] * (1 + at % 5)} {at * 7919 % 1000} {label[:3]}"


def hash_of(label: str) -> int:
    return sum(map(ord, label))


def keep(rows: Sequence[tuple[str, str | None]]) -> str:
    """Keep rows as the page of data does, split by a seed; return the set's id."""
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    parts = split(texts, labels, seed=1, shares=(0.6, 0.2, 0.2))
    made = [
        prepared.PreparedRow(text=text, label=label, part=part, row=at)
        for at, (text, label, part) in enumerate(zip(texts, labels, parts, strict=True))
    ]
    more: dict[str, Any] = {"text": "t", "label": "l", "threshold": None, "mendings": (), "seed": 1}
    return prepared.keep(made, name="rows", shares=(0.6, 0.2, 0.2), **more).id


def labelled_rows(labels: Sequence[str], each: int) -> list[tuple[str, str | None]]:
    return [(text_of(at * len(labels) + n, label), label) for n, label in enumerate(labels) for at in range(each)]


def task_of(labels: Sequence[str] = ("negative", "positive"), each: int = 40, sample: int = 50) -> Task:
    data = keep(labelled_rows(labels, each))
    return open_task({"data": data, "sample": sample})


def texts(rows: Sequence[labelled.Labelled]) -> list[str]:
    return [row.text for row in rows]


# ---- how good, how sure


@pytest.mark.parametrize(("labels", "n"), [(2, 60), (5, 200), (50, 300), (3, 1)])
def test_scores_are_sklearns_and_scipys(labels: int, n: int) -> None:
    rng = np.random.default_rng(labels)
    truth = rng.integers(0, labels, n)
    judged = np.where(rng.random(n) < 0.6, truth, rng.integers(0, max(labels - 1, 1), n))  # the last is never said
    made = measure.score(truth, judged, labels=labels)
    assert made.accuracy == pytest.approx(accuracy_score(truth, judged))
    assert made.f1 == pytest.approx(f1_score(truth, judged, average="macro", zero_division=0))
    wilson = binomtest(made.right, n).proportion_ci(method="wilson")
    assert (made.low, made.high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert made.f1_low <= made.f1_high
    table = measure.confusion(truth, judged, labels=labels)
    assert (table == confusion_matrix(truth, judged, labels=range(labels))).all()


def test_bootstrap_is_scipys_but_for_the_draw() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 150)
    judged = np.where(rng.random(150) < 0.7, truth, rng.integers(0, 3, 150))

    def f1(rows: np.ndarray) -> float:
        return float(f1_score(truth[rows], judged[rows], average="macro", labels=[0, 1, 2], zero_division=0))

    found = bootstrap(
        (np.arange(150),), f1, n_resamples=400, method="percentile", vectorized=False, rng=np.random.default_rng(1)
    ).confidence_interval
    _, low, high = measure.bootstrap_f1(truth, judged, labels=3, resamples=4000, seed=0)
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.015)
    assert measure.bootstrap_f1(truth, judged, labels=3, resamples=50, seed=4) == measure.bootstrap_f1(
        truth, judged, labels=3, resamples=50, seed=4
    )


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (3, 3), (5, 17), (40, 12), (250, 180)])
def test_mcnemar_is_a_binomial_test(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c + [True] * 7 + [False] * 5)
    second = np.array([False] * b + [True] * c + [True] * 7 + [False] * 5)
    made = measure.duel(first, second)
    assert (made.only_first, made.only_second) == (b, c)
    assert made.p == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0, rel=1e-9)


def test_several_tests_are_corrected_for() -> None:
    assert measure.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))  # R: p.adjust
    rows = np.arange(100)
    right = {"a": rows < 50, "b": rows < 90, "c": (rows >= 1) & (rows < 90), "d": rows >= 10}
    made = measure.rank(right)
    assert made.winner == "b"
    assert made.tied == ("d",)
    assert made.unclear == ("c", "d")
    assert made.p["a"] < 1e-9


# ---- the rows


def test_the_rows_are_shared_and_never_leak(own_home: Path) -> None:
    task = task_of(("a", "b", "c"), each=60, sample=30)
    parts = [{normalise(text) for text in texts(rows)} for rows in (task.train, task.validation, task.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert len(task.test) == 30
    assert {row.label for row in task.test} == set(task.labels)


def test_a_sample_is_the_same_again_and_the_smaller_one_is_among_the_greater(own_home: Path) -> None:
    data = keep(labelled_rows(("a", "b"), 200))
    small, large = (open_task({"data": data, "sample": n}) for n in (20, 60))
    assert small == open_task({"data": data, "sample": 20})
    assert set(small.test) <= set(large.test)


def test_chance_is_the_commonest_label_of_the_training_rows(own_home: Path) -> None:
    data = keep([*labelled_rows(("a",), 90), *labelled_rows(("bb",), 30)])
    task = open_task({"data": data, "sample": SAMPLE})
    assert task.chance == pytest.approx(np.mean([row.label == "a" for row in task.test]))


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (labelled_rows(("same",), 40), "one_class"),
        ([(text, None) for text, _ in labelled_rows(("a", "b"), 20)], "no_labels"),
        ([(f"t {at}", f"label {at % (MOST_LABELS + 1)}") for at in range(200)], "too_many_labels"),
    ],
    ids=["one class", "no label at all", "texts as labels"],
)
def test_rows_that_cannot_be_learned_from(own_home: Path, rows: list[tuple[str, str | None]], code: str) -> None:
    with pytest.raises(TuneError) as raised:
        open_task({"data": keep(rows), "sample": 50})
    assert raised.value.code == code


def test_empty_texts_and_missing_labels_are_left_out_and_counted(own_home: Path) -> None:
    rows = [*labelled_rows(("a", "b"), 40), ("", "a"), ("   ", "b"), ("no label", None), ("none either", None)]
    task = open_task({"data": keep(rows), "sample": 500})
    assert (task.empty, task.unlabelled) == (2, 2)
    assert task.asked == 500 > len(task.test)
    assert all(text.strip() for text in texts((*task.train, *task.validation, *task.test)))


def test_labels_in_prompts_are_short_and_differ() -> None:
    made = short_labels(["x" * 1000, "x" * 999 + "y", "a\nb", HOSTILE, " ", "", "a  b"])
    assert len(set(made)) == len(made)
    assert max(map(len, made)) <= 43
    assert HOSTILE in made
    assert all("\n" not in label for label in made)


# ---- the ways


def reference_features(folder: Path, found: Sequence[str]) -> np.ndarray:
    """Mean of the last states, each text alone, by transformers."""
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).double().eval()
    tokenizer = Tokenizer.from_folder(folder)
    lines = []
    for text in found:
        with torch.no_grad():
            states = model(torch.tensor([tokenizer.encode(text).ids[:64]])).last_hidden_state[0]
        lines.append(torch.nn.functional.normalize(states.mean(0), dim=-1).numpy())
    return np.stack(lines)


@FAMILIES
def test_features_are_the_references(tmp_path: Path, family: str) -> None:
    folder = boxes.random_box(tmp_path / family, family, seed=3)
    reader = Reader(f"folder:{folder}")
    found = ["a", "longer text here", "x" * 100, "中文也可以"]
    features, cut = reader.read(found)
    assert np.abs(features - reference_features(folder, found)).max() < 2e-5
    assert cut == 1
    assert reader.limit == 64
    before = reader.reused_s
    assert reader.read(found)[0] is features
    assert reader.reused_s > before


def test_features_are_taken_over_only_for_the_same_texts(tmp_path: Path) -> None:
    folder = boxes.random_box(tmp_path / "box", "bert", seed=3)
    first, second = (Reader(f"folder:{folder}") for _ in range(2))
    features, _ = first.read(["a b", "c d"])
    first.keep(tmp_path, ["a b", "c d"])
    assert second.take(tmp_path, ["a b", "c d"])
    assert (second.read(["a b", "c d"])[0] == features).all()
    assert not second.take(tmp_path, ["only one"])
    assert not second.take(tmp_path / "nowhere", ["a b", "c d"])


@FAMILIES
def test_neighbours_and_probe_are_sklearns(own_home: Path, tmp_path: Path, family: str) -> None:
    folder = boxes.random_box(tmp_path / family, family, seed=5)
    task = task_of(("a", "bcd", "xy"), each=40)
    reader = Reader(f"folder:{folder}")
    x, truth = reader.read(texts(task.train))[0], task.numbers(task.train)
    test, validation = reader.read(texts(task.test))[0], reader.read(texts(task.validation))[0]
    near, probe = Neighbours(reader), Probe(reader)
    for way in (near, probe):
        way.learn(task, silent)
    votes = near.answer(texts(task.test), silent)
    assert near.dial == tuple(str(k) for k in KS)
    for at, k in enumerate(KS):
        theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(x.astype(np.float64), truth)
        assert np.abs(votes[at] - theirs.predict_proba(test.astype(np.float64))).max() < 1e-6
    probs = probe.answer(texts(task.test), silent)
    rights = []
    for at, c in enumerate(CS):
        theirs = LogisticRegression(C=c, max_iter=1000).fit(x, truth)
        assert np.abs(probs[at] - theirs.predict_proba(test)).max() < 1e-5
        rights.append(theirs.score(validation, task.numbers(task.validation)))
    assert rights[probe.place] == max(rights)


def test_a_label_without_a_training_row_is_never_likely(own_home: Path, tmp_path: Path) -> None:
    folder = boxes.random_box(tmp_path / "box", "bert", seed=5)
    whole = task_of(("a", "bcd", "xy"), each=40)
    train = tuple(row for row in whole.train if row.label != "bcd")
    task = Task(
        labels=whole.labels, train=train, validation=whole.validation, test=whole.test, lang="en", asked=whole.asked
    )
    probe = Probe(Reader(f"folder:{folder}"))
    probe.learn(task, silent)
    probs = probe.answer(texts(task.test), silent)
    assert (probs[:, :, 1] == 0).all()
    assert np.abs(probs.sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize("labels", [("negative", "positive"), ("a", "bcd", HOSTILE)])
def test_similarity_is_a_softmax_of_cosines(own_home: Path, tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = boxes.random_box(tmp_path / "box", "bert", seed=5)
    task = task_of(labels)
    way = Similarity(Reader(f"folder:{folder}"))
    way.learn(task, silent)
    found = texts(task.test)[:6]
    probs = way.answer(found, silent)
    rows = reference_features(folder, found)
    for at, names in enumerate(label_texts(task)):
        assert len(set(names)) == len(labels)
        theirs = torch.tensor(SCALE * rows @ reference_features(folder, names).T).softmax(-1).numpy()
        assert np.abs(probs[at] - theirs).max() < 5e-4


@pytest.fixture
def roomy_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GPT-2 of random weights that reads CONTEXT bytes."""
    config = transformers.GPT2Config(vocab_size=256, n_positions=CONTEXT, n_embd=24, n_layer=2, n_head=4)
    monkeypatch.setitem(boxes.CONFIGS, "gpt2", config)
    return boxes.random_box(tmp_path / "roomy", "gpt2", seed=8)


def reference_answers(folder: Path, prompt: str, answers: Sequence[str]) -> np.ndarray:
    """The labels' probabilities among themselves, prompt and answer read as one text by transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).double().eval()
    tokenizer = Tokenizer.from_folder(folder)
    start = len(tokenizer.encode(prompt))
    found = []
    for answer in answers:
        ids = torch.tensor([tokenizer.encode(prompt + answer).ids])
        with torch.no_grad():
            table = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
        found.append(table.gather(1, ids[0, start:, None]).sum())
    return torch.stack(found).softmax(-1).numpy()


@pytest.mark.parametrize("labels", [("negative", "positive"), ("a", "bcd", "bcx", HOSTILE)])
@pytest.mark.parametrize("count", [0, 4])
def test_prompts_are_answered_as_the_reference_does(
    own_home: Path, roomy_box: Path, labels: tuple[str, ...], count: int
) -> None:
    task = task_of(labels)
    asker = Asker(f"folder:{roomy_box}", wording="decide")
    way = FewShot(asker, shots=count, seed=2) if count else ZeroShot(asker)
    way.learn(task, silent)
    asked = texts(task.test)[:5]
    probs = way.answer(asked, silent)
    form = words(task, "decide")
    shots = choose_shots(task, count, seed=2)
    before = f"{form.instruction}\n\n" + "".join(
        form.ask(shot.text) + form.blank + form.labels[shot.label] + form.end for shot in shots
    )
    for text, line in zip(asked, probs[0], strict=True):
        theirs = reference_answers(roomy_box, before + form.ask(text), [form.blank + name for name in form.labels])
        assert np.abs(line - theirs).max() < 1e-4


def test_shots_come_from_training_rows_each_label_in_turn(own_home: Path) -> None:
    task = task_of(("a", "bcd", "xy"))
    shots = choose_shots(task, 6, seed=0)
    assert {(shot.text, task.labels[shot.label]) for shot in shots} <= {(row.text, row.label) for row in task.train}
    assert sorted(shot.label for shot in shots) == [0, 0, 1, 1, 2, 2]
    assert choose_shots(task, 6, seed=0) == shots
    assert any(choose_shots(task, 6, seed=seed) != shots for seed in (1, 2))


def test_long_texts_are_cut_and_counted_and_shots_give_way(own_home: Path, roomy_box: Path) -> None:
    rows = [(f"{label} {at} " + "word " * 200, label) for label in ("negative", "positive") for at in range(30)]
    task = open_task({"data": keep(rows), "sample": 50})
    asker = Asker(f"folder:{roomy_box}", wording="field")
    way = FewShot(asker, shots=16, seed=0)
    way.learn(task, silent)
    probs = way.answer(texts(task.test), silent)
    assert way.used < 16
    assert way.cut == len(task.test)
    assert way.limit < CONTEXT
    assert np.isfinite(probs).all()


def test_labels_that_fill_the_box_are_said(own_home: Path, tmp_path: Path) -> None:
    folder = boxes.random_box(tmp_path / "small", "gpt2", seed=8)  # reads 64 tokens
    task = task_of([f"label number {at}" for at in range(20)], each=10)
    way = ZeroShot(Asker(f"folder:{folder}", wording="field"))
    way.learn(task, silent)
    with pytest.raises(GenerateError) as raised:
        way.answer(texts(task.test)[:2], silent)
    assert raised.value.code == "prompt_too_long"


def test_an_encoder_cannot_be_prompted(tmp_path: Path) -> None:
    folder = boxes.random_box(tmp_path / "box", "bert", seed=8)
    with pytest.raises(GenerateError) as raised:
        Asker(f"folder:{folder}", wording="field")
    assert raised.value.code == "no_next_token"


def put_tuned(tmp_path: Path, labels: Sequence[str], **facts: Any) -> str:
    """A classifier of random weights on the shelf."""
    box = open_box(f"folder:{boxes.random_box(tmp_path / 'body', 'bert', seed=2)}")
    classifier = build_classifier(box, n_labels=len(labels), seed=1)
    torch.nn.init.normal_(classifier.head.weight, generator=torch.Generator().manual_seed(1))
    return shelf.put(
        "tuned",
        lambda folder: write_classifier(box, classifier, folder, labels=labels, facts={"max_tokens": 20, **facts}),
    )


def test_a_fine_tuned_box_answers_in_the_rows_order_of_labels(own_home: Path, tmp_path: Path) -> None:
    task = task_of(("a", "bcd", "xy"))
    box_id = put_tuned(tmp_path, ("xy", "a", "bcd"))
    way = FineTuned(box_id)
    way.learn(task, silent)
    asked = [*texts(task.test)[:7], "z" * 50]
    probs = way.answer(asked, silent)
    body = open_box(box_id)
    classifier = build_classifier(body, n_labels=3, seed=0)
    from llmkit.tune.classifier_box import open_classifier

    classifier.head.load_state_dict(open_classifier(box_id).classifier.head.state_dict())
    theirs = predict(classifier, encode_examples(body, asked, [0] * len(asked), max_tokens=20)).numpy()
    assert np.abs(probs[0] - theirs[:, [1, 2, 0]]).max() < 1e-5
    assert way.cut == 1
    assert way.limit == 20
    with pytest.raises(TuneError) as raised:
        way.learn(task_of(("a", "bcd")), silent)
    assert raised.value.code == "other_labels"


def test_only_boxes_tuned_on_these_rows_are_compared(own_home: Path, tmp_path: Path) -> None:
    data = keep(labelled_rows(("a", "b"), 20))
    mark = labelled.fingerprint(data)
    assert suited(data, mark, ("a", "b")) == ()
    box_id = put_tuned(tmp_path, ("b", "a"), data=data, data_fingerprint=mark)
    assert [one.box_id for one in suited(data, mark, ("a", "b"))] == [box_id]
    assert suited(data, "changed", ("a", "b")) == ()
    assert suited("other", mark, ("a", "b")) == ()
    assert suited(data, mark, ("a", "b", "c")) == ()


# ---- the jobs


def asked_of(data: str, folder: Path, ways: Sequence[str], **other: Any) -> dict[str, Any]:
    box_id = f"folder:{folder}"
    return {
        "data": data,
        "data_fingerprint": labelled.fingerprint(data),
        "sample": 50,
        "ways": list(ways),
        "box_id": box_id,
        "fingerprint": shelf.fingerprint(box_id),
        "device": "cpu",
        "wording": "spoken",
        "shots": 2,
        "seed": 0,
        **other,
    }


ODD = {
    "two": ("negative", "positive"),
    "markup": (HOSTILE, "<b>", "=1+1"),
    "long": ("y" * 1000, "y" * 999 + "z"),
    "fifty": tuple(f"class {at}" for at in range(50)),
}


@pytest.mark.parametrize("name", list(ODD))
def test_the_job_judges_every_row_by_every_way(own_home: Path, roomy_box: Path, tmp_path: Path, name: str) -> None:
    data = keep(labelled_rows(ODD[name], 10 if len(ODD[name]) > 9 else 60))
    task = open_task({"data": data, "sample": 50})
    ways = ("similarity", "prompt", "few_shot", "neighbours", "probe")
    report = DirectReport(tmp_path)
    made = runner.run(asked_of(data, roomy_box, ways), report)
    json.dumps(made)
    assert list(made["ways"]) == list(ways)
    assert made["rows"]["test"] == len(task.test)
    assert all(0 <= done <= total for done, total, _ in report.said)
    files = np.load(tmp_path / runner.FILE, allow_pickle=False)
    assert (files["truth"] == task.numbers(task.test)).all()
    for way, facts in made["ways"].items():
        probs = files[way]
        assert probs.shape == (len(facts["dial"]), len(task.test), len(task.labels))
        assert np.abs(probs.sum(-1) - 1).max() < 1e-4
        for place, score in enumerate(facts["scores"]):
            assert score["right"] == (probs[place].argmax(-1) == files["truth"]).sum()
        assert facts["peak_bytes"] > facts["weights_bytes"] > 0


def test_one_text_is_answered_as_it_was_among_the_rows(own_home: Path, roomy_box: Path, tmp_path: Path) -> None:
    data = keep(labelled_rows(("a", "bcd"), 60))
    ways = ("similarity", "few_shot", "neighbours", "probe")
    asked = asked_of(data, roomy_box, ways)
    made = runner.run(asked, DirectReport(tmp_path))
    files = np.load(tmp_path / runner.FILE, allow_pickle=False)
    row = open_task(asked).test[3]
    report = DirectReport(tmp_path)
    one = runner.run_one({"text": row.text, "asked": [asked]}, report)
    json.dumps(one)
    for way in ways:
        expected = files[way][made["ways"][way]["place"], 3]
        assert np.abs(np.array(one["ways"][way]["probs"]) - expected).max() < 1e-4
    assert all(first[0] <= second[0] for first, second in pairwise(report.said))
    assert list(report.partials[-1]["ways"]) == list(ways)


def test_a_job_can_be_cancelled_and_knows_changed_data(own_home: Path, roomy_box: Path, tmp_path: Path) -> None:
    data = keep(labelled_rows(("a", "bcd"), 60))
    report = DirectReport(tmp_path)
    report.cancelled = True
    with pytest.raises(Cancelled):
        runner.run(asked_of(data, roomy_box, ("probe",)), report)
    for wrong, code in ({"data_fingerprint": "x"}, "data_changed"), ({"fingerprint": "x"}, "box_changed"):
        with pytest.raises((TuneError, shelf.ShelfError), match=code):
            runner.run(asked_of(data, roomy_box, ("probe",), **wrong), DirectReport(tmp_path))


@pytest.mark.registry
def test_real_reviews_are_judged_better_than_chance(standard_kit: tuple[str, ...], tmp_path: Path) -> None:
    settings = asked_of("reviews-en", tmp_path, ("similarity", "neighbours", "probe"))
    settings |= {"box_id": "minilm-l6", "fingerprint": shelf.fingerprint("minilm-l6"), "sample": 50}
    made = runner.run(settings, DirectReport(tmp_path))
    for facts in made["ways"].values():
        assert facts["scores"][facts["place"]]["low"] > made["chance"]
