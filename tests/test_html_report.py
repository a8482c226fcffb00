"""Reports: what stands in them is what the files hold, what was not tested is said, and no name becomes markup."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import html
import io
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import xai_core as xai
from tests.findings_made import HOSTILE, dose_finding, group_finding, words
from tests.test_audit_report import facts_of, written
from xai_core.audit_aggregate import AGGREGATE
from xai_core.decisions import Decisions
from xai_core.errors import RecordError
from xai_core.html_report import page, write_report
from xai_core.html_report.annex import ITEMS, OPEN, answered
from xai_core.html_report.blocks import Number, told, visible
from xai_core.html_report.pictures import WIDEST, embedded
from xai_core.html_report.story import SECTIONS
from xai_core.records import Check, Evidence, Image, Record, Sheet, Table, Target
from xai_core.statistics import share_of

# Markup, Markdown, mathematics, right to left, and signs that turn the direction of what follows.
NAME = "<img src=x onerror=alert(1)> *b* [l](javascript:x) $x^2$ \u202egnp.exe שלום {{ 7*7 }}"
SEEN = NAME.replace("\u202e", "\\u202e")


class Read(HTMLParser):
    """The page as its reader has it: tables by caption, text by section, every number with all its digits."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, list[float]]]]] = {}
        self.sections: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._caption, self._section, self._open = "", "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.tags.append((tag, own))
        if tag == "section":
            self._section = str(own["id"])
            self.sections[self._section] = ""
        if tag == "caption":
            self._caption, self._open = "", "caption"
        if tag == "tr" and self._caption:
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th") and self._caption:
            self.tables[self._caption][-1].append(("", []))
            self._open = "cell"
        if tag == "data" and self._open == "cell":
            self.tables[self._caption][-1][-1][1].append(float(str(own["value"])))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("caption", "td", "th"):
            self._open = ""
        if tag == "table":
            self._caption = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data
        if self._open == "caption":
            self._caption += data
        elif self._open == "cell":
            row = self.tables[self._caption][-1]
            row[-1] = (row[-1][0] + data, row[-1][1])

    def rows(self, caption: str) -> list[list[tuple[str, list[float]]]]:
        """The rows of a table but its head."""
        return self.tables[caption][1:]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audit of hostile names, with decisions of two people and the page of a gate beside it."""
    facts = facts_of(("demo-xray", NAME))
    facts["data"]["name"] = NAME
    facts["refused"] = [[NAME, f"it is {NAME}"]]
    folder = written(tmp_path_factory.mktemp("report") / "run", facts)
    book = Decisions(folder)
    for reviewer, reasons in (("Ada", "11212"), (NAME, "11222")):
        for picture, reason in enumerate(reasons):
            book.decide(reviewer, f"{picture:064x}", f"pictures/{picture}.png", flag=True, reason=reason, note=NAME)
    (folder / "gate.md").write_text(
        "# Gate\n\n**Not passed: 1 fail.**\n\n- Run: x\\_y\n\n| result | number |\n|---|---|\n| fail | a \\| b |\n",
        "utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def text(run: Path) -> str:
    return page(run)


@pytest.fixture(scope="module")
def read(text: str) -> Read:
    return Read(text)


def saved(tmp_path: Path, record: Any) -> str:
    """The page on a record."""
    return page(xai.save(record, tmp_path / "record"))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of two maps, one weighed, of a model with a hostile name."""
    from tests.conftest import convolutions, photograph, png_of, seeded, wrapped

    model = wrapped(seeded(convolutions), name=NAME)  # type: ignore[arg-type]
    image = xai.read_image(png_of(photograph()), "Bobsleigh.png")
    maps = tuple(xai.explain(model, image, name) for name in ("grad_cam", "saliency"))
    checks = (
        Check("placement", False, f"No better than chance: {NAME}.", 0.625, 0.05),
        Check("contrast", None, "Not asked."),
    )
    record = Record(maps, (xai.predict(model, image),), image.source, note=NAME, reviewer="Ada",
                    evidence=(Evidence("no evidence", checks), None))  # fmt: skip
    return xai.save(record, tmp_path_factory.mktemp("explained") / "record")


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_accuracies_and_their_intervals_are_those_of_the_results_to_the_last_digit(run: Path, read: Read) -> None:
    found = json.loads((run / "xai_results.json").read_text())["models"]
    rows = {(row[0][0], row[1][0]): row for row in read.rows("Over all pictures")}
    for model, shown in (("demo-xray", "demo-xray"), (NAME, SEEN)):
        for field in ("accuracy", "balanced_accuracy", "loss"):
            row, own = rows[shown, field.replace("_", " ")], found[model][field]
            assert row[2][1] == [own["mean"]]
            assert row[3][1] == ([own["low"], own["high"]] if own["low"] is not None else [])
            assert row[4][1] == [own["n"]]


def test_scores_are_those_of_the_results_with_unit_null_and_rank(run: Path, read: Read) -> None:
    found = [one for one in json.loads((run / "xai_results.json").read_text())["aggregate"] if one["model"] == NAME]
    found.sort(key=lambda one: ("deletion", "sparseness", "mean_focus_radius").index(one["metric"]))  # as asked
    rows = read.rows(f"Scores of the maps of {SEEN}")
    assert len(rows) == len(found) == 9
    for row, one in zip(rows, found, strict=True):
        assert row[2][1] == [one["mean"]] * (one["mean"] is not None)
        assert row[3][1] == [one["low"], one["high"]] * (one["low"] is not None)
        assert row[4][1] == [one["n"]]
        assert row[6][1] == [one["null"]] * (one["null"] is not None)
        assert row[7][1] == [one["rank"]] * (one["rank"] is not None)


def test_groups_are_counted_from_the_predictions(run: Path, read: Read) -> None:
    table = pd.read_parquet(run / "predictions.parquet")
    rows = {(row[0][0], row[2][0]): row for row in read.rows("Accuracy by group")}
    for model, shown in (("demo-xray", "demo-xray"), (NAME, SEEN)):
        for group in ("+east", "west"):
            own = table[(table["model"] == model) & (table["group.site"] == group)]["right"].dropna()
            by_hand = share_of(own.to_numpy(bool))
            row = rows[shown, group]
            assert row[3][1] == [own.mean()]
            assert row[4][1] == [by_hand.low, by_hand.high]
            assert row[5][1] == [len(own)]


def test_verdicts_are_counted_without_controls(run: Path, read: Read) -> None:
    weighed = pd.read_parquet(run / "evidence.parquet")
    for row in read.rows("How many maps got which verdict"):
        method = {"Grad-CAM": "grad_cam", "Saliency": "saliency"}[row[1][0]]
        own = weighed[(weighed["model"] == row[0][0].replace(SEEN, NAME)) & (weighed["method"] == method)]
        expected = [
            (own["verdict"] == one).sum() for one in ("supported", "weak", "no evidence", "not valid for this model")
        ]
        assert [cell[1] for cell in row[2:]] == [[count] for count in [*expected, len(own)]]
    assert "4 maps were weighed: 2 supported, 0 weak, 2 no evidence" in read.sections["summary"]


def test_verdicts_on_controls_are_not_counted_among_those_of_the_methods() -> None:
    from xai_core.html_report.audited import Audited

    audit = object.__new__(Audited)
    audit.methods = [{"name": "grad_cam", "family": "gradient"}, {"name": "random", "family": "control"}]
    counts = {"grad_cam": {"verdicts": {"weak": 2}}, "random": {"verdicts": {"weak": 5, "no evidence": 1}}}
    audit.found = {"methods": {"m": counts}}
    assert audit.verdicts("m") == {"weak": 2}


def test_agreement_of_reviewers_is_kappa_by_hand(read: Read) -> None:
    """11212 against 11222: 4 of 5 agree; by chance 3/5 * 2/5 + 2/5 * 3/5 = 0.48."""
    row = next(row for row in read.rows("How far reviewers agree") if row[2][0] == "reason")
    assert row[3][1] == [0.8]
    assert row[4][1] == pytest.approx([0.48])
    assert row[5][1] == pytest.approx([0.32 / 0.52])
    assert row[7][1] == [5]


def test_metrics_that_order_methods_the_opposite_way_are_counted() -> None:
    """Deletion is better low and ranks a before b; sparseness is better high and ranks b before a."""
    from xai_core.html_report.rankings import opposed

    lines = [
        {"method": method, "metric": metric, "mean": mean, "better": better, "rank": 1}
        for metric, better, means in (("deletion", "lower", (0.1, 0.2)), ("sparseness", "higher", (0.3, 0.4)),
                                      ("insertion", "higher", (0.9, 0.8)))
        for method, mean in zip(("grad_cam", "saliency"), means, strict=True)
    ]  # fmt: skip
    counts = {(row[0], row[1]): (row[2].value, row[3].value) for row in opposed(lines)}
    assert counts == {
        ("Deletion", "Sparseness"): (1, 1),
        ("Deletion", "Insertion"): (1, 0),
        ("Sparseness", "Insertion"): (1, 1),
    }


def test_a_mean_over_other_pictures_than_the_rivals_is_not_ranked(read: Read) -> None:
    """Saliency has fewer maps than Grad-CAM: its better mean is of other pictures."""
    assert (
        "Deletion puts them in this order, the best first: Grad-CAM. Not ranked: Saliency."
        in read.sections["disagreements"]
    )


def test_a_control_that_does_as_well_is_named_where_that_counts() -> None:
    from xai_core.html_report.rankings import controls_ahead

    def line(method: str, family: str, mean: float, metric: str = "deletion") -> dict[str, Any]:
        return {"method": method, "family": family, "mean": mean, "metric": metric, "better": "lower"}

    own = [line("grad_cam", "gradient", 0.5), line("random", "control", 0.5), line("uniform", "control", 0.6)]
    assert controls_ahead(own[0], own) == ["random"]
    assert controls_ahead(own[1], own) == []
    sparse = [line("grad_cam", "gradient", 0.5, "sparseness"), line("random", "control", 0.1, "sparseness")]
    assert controls_ahead(sparse[0], sparse) == []


def test_the_table_of_a_probe_is_the_one_that_was_saved(tmp_path: Path) -> None:
    found = dose_finding()
    read = Read(saved(tmp_path, found))
    table = found.tables["doses"]
    rows = read.rows(table.title)
    assert len(rows) == len(table.rows)
    heads = [cell[0] for cell in read.tables[table.title][0]]
    place = heads.index(table.words["probability"])
    for row, line in zip(rows, table.lines(), strict=True):
        assert row[place][1] == [line["probability"]]
        assert row[place + 1][1] == [line["probability_low"], line["probability_high"]]


def test_of_a_hash_a_table_shows_the_beginning(tmp_path: Path) -> None:
    found = dose_finding()
    rows = Read(saved(tmp_path, found)).rows(found.tables["flips"].title)
    assert [row[1][0] for row in rows] == [f"{line['sha256'][:12]}…" for line in found.tables["flips"].lines()]


def test_every_number_of_a_record_names_a_file_that_is_listed_with_its_hash(run: Path, read: Read, text: str) -> None:
    anchors = {own["id"] for tag, own in read.tags if tag == "tr" and own.get("id")}
    links = [str(own["href"]) for tag, own in read.tags if tag == "a"]
    assert {link[1:] for link in links} <= anchors | set(SECTIONS)
    assert text.count('<span class="from">') >= len(read.tables) - 2  # all but the words on verdicts and the files
    for row in read.rows("The files with which every number on this page can be checked"):
        content = (run / row[0][0]).read_bytes()
        assert row[2][0] == hashlib.sha256(content).hexdigest()
        assert row[1][0] == f"{len(content):,}"
        sealed = row[0][0] not in ("run.json", "gate.md", "decisions.sqlite")
        assert row[3][0].startswith("yes" if sealed else "no")


def test_a_number_keeps_all_its_digits_and_shows_three() -> None:
    assert told("{x}", x=Number(1 / 3)) == '<data value="0.3333333333333333">0.333</data>'
    assert told("{x}", x=Number(0.99999, "%")) == '<data value="0.99999">&gt; 99.9 %</data>'
    assert told("{x}", x=Number(None, why="<b>")) == "<bdi>&lt;b&gt;</bdi>"


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_sections_come_in_their_order_and_the_summary_first(read: Read) -> None:
    assert list(read.sections) == list(SECTIONS)
    assert next(iter(SECTIONS)) == "summary"
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_what_was_not_tested_is_said_of_an_audit(read: Read) -> None:
    said = read.sections["untested"]
    for words_ in ("2 of the 27", "Integrated gradients", "3 of 24", "robustness", "0 of 21", "Shortcut challenge",
                   "drawn at random", "(masks)", "no difference was tested", "fewer than 30 pictures: cat (n =",
                   "Even a failure that strikes 45.1 %", "not compared with an earlier version"):  # fmt: skip
        assert words_ in said, words_
    assert "A second reviewer" not in said


def test_what_beside_files_lack_is_said(tmp_path: Path) -> None:
    facts = facts_of(("demo-xray",))
    facts["data"] |= {"labelled": False, "columns": []}
    facts["weigh"] = "none"
    folder = written(tmp_path / "run", facts)
    said = Read(page(folder)).sections["untested"]
    for words_ in (
        "Labels: there are none",
        "no reviewer has decided",
        "not held against a policy",
        "the set names none",
    ):
        assert words_ in said, words_
    Decisions(folder).decide("Ada", "0" * 64, reason="1")
    assert "A second reviewer: one person alone" in Read(page(folder)).sections["untested"]


def test_random_weights_are_said_first_and_loud(text: str) -> None:
    alarm = text.index('class="alarm"')
    assert alarm < text.index('id="asked"')
    assert "Random weights" in text[alarm : alarm + 800]


def test_the_gate_is_read_from_its_page_and_said_to_be_unsealed(read: Read) -> None:
    assert "Not passed: 1 fail." in read.sections["summary"]
    assert [cell[0] for cell in read.rows("Not passed: 1 fail.")[0]] == ["fail", "a | b"]
    assert "It is not sealed" in read.sections["results"]


def test_verdicts_and_checks_of_a_record_stand_with_their_numbers(explained: Path) -> None:
    read = Read(page(explained))
    assert "1 map was weighed: 0 supported, 0 weak, 1 no evidence" in read.sections["summary"]
    [check, unasked] = read.rows("Map 1, Grad-CAM: no evidence")
    assert (check[1][0], check[2][1], check[3][1]) == ("failed", [0.625], [0.05])
    assert unasked[1][0] == "not asked"
    assert [row[2][0] for row in read.rows("The verdict on each map")] == ["no evidence", "not weighed"]
    assert "Ada" in read.sections["decisions"]
    assert "Bobsleigh" not in page(explained)


def test_the_prediction_of_a_record_is_the_saved_one(explained: Path) -> None:
    record = xai.open_record(explained)
    assert isinstance(record, Record) and record.prediction is not None  # noqa: PT018
    rows = Read(page(explained)).rows(f"The likeliest classes by {SEEN} (n = 1 picture)")
    shares = record.prediction.probabilities
    assert [row[1][1] for row in rows] == [[float(shares[i])] for i in record.prediction.order()]


def test_an_unweighed_record_says_that_nothing_can_be_believed(explained: Path, tmp_path: Path) -> None:
    record = xai.open_record(explained)
    assert isinstance(record, Record)
    bare = dataclasses.replace(record, evidence=(), manifest={})
    assert "No map was weighed" in Read(saved(tmp_path, bare)).sections["summary"]


@pytest.mark.parametrize("kind", ["scores", "decisions"])
def test_tables_that_are_records_are_reported(kind: Any, tmp_path: Path) -> None:
    table = Table(NAME, {"who": NAME, "value": "Value"}, ((NAME, 0.125), ("b", None)))
    sheet = Sheet(kind, {"title": NAME, "model": {"name": NAME}}, (NAME,), {"one": table}, note=NAME, reviewer=NAME)
    read = Read(saved(tmp_path, sheet))
    assert read.rows(SEEN)[0] == [(SEEN, []), ("0.125", [0.125])]
    assert SEEN in read.sections["results" if kind == "scores" else "decisions"]
    assert SEEN in read.sections["summary"]


def test_the_numbers_of_two_models_maps_are_those_of_the_comparison(tmp_path: Path, image: Image) -> None:
    """Of three models, every two by the same method: rank correlation, overlap, way of the centres, what both saw."""
    from tests.conftest import convolutions, seeded, wrapped
    from xai_core.comparison import differ

    models = [
        wrapped(seeded(convolutions, seed), name=f"{NAME} {seed}") for seed in range(3)  # type: ignore[arg-type]
    ]  # fmt: skip
    maps = tuple(xai.explain(model, image, name) for model in models for name in ("grad_cam", "saliency"))
    record = Record(maps, tuple(xai.predict(model, image) for model in models), image.source)
    rows = Read(saved(tmp_path, record)).rows("How far the maps of two models agree")
    assert [row[0][0] for row in rows] == ["1 and 3", "1 and 5", "2 and 4", "2 and 6", "3 and 5", "4 and 6"]
    size = image.pixels.shape[:2]
    for row in rows:
        first, second = (maps[int(number) - 1] for number in row[0][0].split(" and "))
        found = differ(first, second, (size[0], size[1]))
        expected = [found.rank_correlation, found.top_overlap, found.centre_distance, found.common]
        assert [cell[1] for cell in row[2:]] == [[] if one is None else [pytest.approx(one)] for one in expected]
    assert any(cell[1] for row in rows for cell in row[2:5])


def test_maps_that_cannot_be_compared_say_why(tmp_path: Path, image: Image) -> None:
    from tests.conftest import convolutions, seeded, wrapped

    models = [wrapped(seeded(convolutions, seed), name=f"m{seed}") for seed in range(2)]  # type: ignore[arg-type]
    maps = [xai.explain(model, image, "saliency") for model in models]
    record = Record((maps[0], dataclasses.replace(maps[1], box=None)), (), image.source)
    [row] = Read(saved(tmp_path, record)).rows("How far the maps of two models agree")
    assert all(cell[0].startswith("It was not recorded where in the picture") for cell in row[2:])


def test_what_a_probe_explained_is_said(tmp_path: Path) -> None:
    found = dose_finding()
    said = Read(page(xai.save(found, tmp_path / "predicted"))).sections["asked"]
    assert "Explainedof each picture, the class that the model predicts on the original" in " ".join(said.split("\n"))
    aimed = dataclasses.replace(found, target=Target(2, NAME, "contrast", 1, "normal"))
    assert f"Explained{SEEN} against normal" in Read(page(xai.save(aimed, tmp_path / "aimed"))).sections["asked"]


def test_metrics_of_a_score_table_are_held_against_each_other(tmp_path: Path) -> None:
    """Deletion (low is better) puts Grad-CAM first, sparseness Saliency; by deletion random is as good as Saliency."""
    table = Table.of("Methods by metrics", dict.fromkeys(AGGREGATE, "x"), score_lines())
    sheet = Sheet("scores", {"model": {"name": "m"}}, ("One.",), {"aggregate": table})
    read = Read(saved(tmp_path, sheet))
    said = read.sections["disagreements"]
    assert "Deletion puts them in this order, the best first: Grad-CAM, Saliency." in said
    assert "Sparseness puts them in this order, the best first: Saliency, Grad-CAM." in said
    assert "By Deletion, Random, which knows nothing of the model, does as well as Saliency or better." in said
    assert [cell[1] for cell in read.rows("Pairs of methods that two metrics order the opposite way")[0][2:]] == [
        [1],
        [1],
    ]
    bare = dataclasses.replace(sheet, tables={"own": table})
    assert "no means" in Read(page(xai.save(bare, tmp_path / "bare"))).sections["disagreements"]


def score_lines() -> list[dict[str, Any]]:
    """Means of two methods and a control by two metrics, as an aggregate has them."""
    means = {"grad_cam": (0.1, 0.3), "saliency": (0.2, 0.4), "random": (0.2, 0.2)}
    return [
        {
            **dict.fromkeys(AGGREGATE), "model": "m", "method": method, "metric": metric, "mean": pair[place],
            "family": "control" if method == "random" else "gradient", "better": better, "n": 5,
            "rank": None if method == "random" else 1.0,
        }
        for method, pair in means.items()
        for place, (metric, better) in enumerate((("deletion", "lower"), ("sparseness", "higher")))
    ]  # fmt: skip


def test_the_annex_has_the_nine_items_in_order_and_claims_nothing(read: Read) -> None:
    assert [one.number for one in ITEMS] == [str(n) for n in range(1, 10)]
    assert [len(one.parts) for one in ITEMS] == [8, 8, 0, 0, 0, 0, 0, 0, 0]
    said = read.sections["annex"]
    places = [said.index(f"{one.number}. {one.title}") for one in ITEMS]
    assert places == sorted(places)
    leaves = [leaf for one in answered({}) for leaf in (one.parts or (one,))]
    assert {leaf.status for leaf in leaves} == {OPEN}
    assert said.count("open: to be written by the provider") == len(leaves)
    for word in ("complies with the", "is compliant", "fulfils", "satisfies"):
        assert word not in said
    with pytest.raises(KeyError):
        answered({"10": "x"})


# ---- text from outside -----------------------------------------------------------------------------------------------


def check_hostile(text: str) -> None:
    """No name has become markup, and every one of them is there to be read."""
    read = Read(text)
    allowed = (
        "html head meta title style body a header p h1 h2 h3 h4 nav ol ul li main section span div table caption thead "
        "tbody tr th td dl dt dd figure img figcaption bdi wbr data code footer"
    )
    assert {tag for tag, _ in read.tags} <= set(allowed.split())
    for tag, own in read.tags:
        assert not [name for name in own if name.startswith("on")]
        if tag == "img":
            assert str(own["src"]).startswith("data:image/")
            assert own["alt"]
        if tag == "a":
            assert str(own["href"]).startswith("#")
    assert "\u202e" not in text
    assert html.escape(SEEN, quote=False).split(" $")[0] in text.replace("&#34;", '"')


def test_hostile_names_stay_text_in_the_report_of_an_audit(text: str, read: Read) -> None:
    check_hostile(text)
    for section in ("summary", "asked", "results", "evidence", "decisions", "untested", "card", "annex"):
        assert SEEN in read.sections[section], section


def test_hostile_names_stay_text_in_the_report_of_a_record(explained: Path) -> None:
    check_hostile(page(explained))


def test_hostile_names_stay_text_in_the_report_of_a_probe(tmp_path: Path) -> None:
    table = Table.of(HOSTILE, words(dose="Dose", site=HOSTILE), [{"dose": 1.0, "site": NAME}])
    usual = dose_finding()
    found = dataclasses.replace(
        usual, sentences=(NAME,), left_out=(NAME,), notes=(NAME,), note=NAME, tables={**usual.tables, "own": table}
    )
    text = saved(tmp_path, found)
    check_hostile(text)
    assert "\u202e" not in text


def test_every_name_from_outside_has_a_direction_of_its_own(text: str) -> None:
    body = text[text.index("<body>") :]
    shown = [place.start() for place in re.finditer(re.escape("שלום"), body)]
    assert shown
    for place in shown:
        before = body[:place]
        in_attribute = before.rfind('alt="') > max(before.rfind(">"), before.rfind('" '))
        assert in_attribute or before.rfind("<bdi>") > before.rfind("</bdi>")


def test_signs_without_a_shape_are_spelt_and_those_that_scripts_need_are_kept() -> None:
    assert visible("a\u202eb\x00c\ud800d\u2028e") == "a\\u202eb\\x00c\\ud800d\\u2028e"
    assert visible("می‌خواهم 👩‍⚕️ 骨折\n") == "می‌خواهم 👩‍⚕️ 骨折\n"


# ---- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["xai_results.json", "predictions.parquet", "manifest.json", "grids/demo-xray/grad_cam.png"]
)
def test_a_changed_file_is_refused_by_its_name(run: Path, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RecordError, match=re.escape(name)) as caught:
        write_report(folder, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    assert str(caught.value).count(". ") <= 1


def test_a_missing_file_and_an_unfinished_audit_are_refused(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "aggregate.csv").unlink()
    with pytest.raises(RecordError, match=r"aggregate\.csv is missing"):
        page(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(RecordError, match="not finished"):
        page(folder)
    with pytest.raises(RecordError, match="no folder"):
        page(tmp_path / "nothing")


def test_strangers_beside_a_record_are_named_and_not_read(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "evil.html").write_text("<script>alert(1)</script>")
    assert "evil.html" in Read(page(folder)).sections["files"]


def test_a_report_is_not_written_into_its_record(run: Path) -> None:
    with pytest.raises(RecordError, match="no longer match"):
        write_report(run, run / "report.html")
    assert xai.verify(run).ok


def test_the_command_writes_the_file_and_says_where(run: Path, tmp_path: Path) -> None:
    from xai_core.__main__ import app

    done = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "r.html")])
    assert done.exit_code == 0
    assert "r.html" in done.output
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(RecordError, match="Cannot write"):
        write_report(run, tmp_path / "no" / "r.html")


def test_the_page_asks_nothing_of_anybody(text: str) -> None:
    assert "default-src 'none'; img-src data:" in text
    without_pictures = re.sub(r'src="data:image/[^"]+"', "", text)
    assert not re.search(r"https?://|//cdn|@import|url\(|<script|<link|<iframe", without_pictures)


def test_wide_pictures_are_scaled_and_others_kept_to_the_byte() -> None:
    from tests.conftest import png_of

    small = png_of(np.zeros((20, 30, 3), np.uint8))
    kept = embedded(small, "a", "c", ("f",))
    import base64

    assert base64.b64decode(kept.address.partition(",")[2]) == small
    wide = embedded(png_of(np.zeros((200, 2 * WIDEST, 3), np.uint8)), "a", "c", ("f",))
    assert (wide.width, wide.height) == (WIDEST, 100)
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    assert embedded(png_of(noise), "a", "c", ("f",)).address.startswith("data:image/jpeg")


def test_a_table_for_a_spreadsheet_and_the_page_hold_the_same_groups(tmp_path: Path) -> None:
    found = group_finding()
    folder = xai.save(found, tmp_path / "record")
    read = Read(page(folder))
    for name, table in found.tables.items():
        lines = list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text("utf-8"))))
        assert len(read.rows(table.title)) == min(len(lines), 200)
