"""Findings as probes give them, made by hand: plausible numbers, gaps, small groups, text that wants to be code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai_core.records import Finding, Frame, Passes, ProbeKind, Table

HOSTILE = "<b>site</b> $\\alpha_1$ %{x} [link](javascript:alert(1)) & <a href='x'>more</a>\n\u202e_of_ a very long name"
MODEL = {
    "name": "demo-xray-shortcut",
    "weights_sha256": "0123456789abcdef" * 4,
    "notice": "Synthetic demonstration model. Not for diagnosis.",
}
METHODS = ({"name": "grad_cam", "layer": "auto"}, {"name": "integrated_gradients", "steps": 32})
NAMES = tuple(one["name"] for one in METHODS)
INTERVAL = ("", "_low", "_high")
Lines = Sequence[Mapping[str, Any]]


def finding(
    kind: ProbeKind,
    probe: str,
    sentences: Sequence[str],
    tables: Mapping[str, Table],
    frames: Sequence[Frame] = (),
    pictures: int = 12,
    settings: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Finding:
    fields: dict[str, Any] = {
        "probe": {"name": probe, **(settings or {})},
        "kind": kind,
        "model": MODEL,
        "methods": METHODS,
        "pictures": tuple(f"{number:064x}" for number in range(1, pictures + 1)),
        "sentences": tuple(sentences),
        "tables": tables,
        "frames": tuple(frames),
        "seconds": 4.2,
        "passes": Passes(240, 80),
    }
    return Finding(**{**fields, **changes})


def frame(caption: str, seed: int = 0, *, values: bool = True, side: int = 32, **facts: Any) -> Frame:
    """Noise with a bright disc, a map that has found it, and a region around it that touches an edge."""
    chance, (y, x) = np.random.default_rng(seed), np.mgrid[:side, :side] / side
    disc = np.exp(-40 * ((x - 0.6) ** 2 + (y - 0.4) ** 2))
    pixels = np.clip(60 + 150 * disc[..., None] + chance.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
    region = np.zeros((side, side), bool)
    region[: side // 2, side // 2 :] = True
    drawn = ((0.2 + seed / 5) * disc - 0.05).astype(np.float32)
    return Frame(caption, pixels, drawn if values else None, region, facts)


def around(value: float | None, reach: float, name: str) -> dict[str, Any]:
    """A value with its interval under the names of its three columns."""
    ends = (value, None, None) if value is None or not reach else (value, value - reach, value + reach)
    return dict(zip((name + end for end in INTERVAL), ends, strict=True))


def words(**columns: str) -> dict[str, str]:
    """Names of columns with what they are called; one with an interval stands for three: `share_` for `share`."""
    found: dict[str, str] = {}
    for name, said in columns.items():
        if name.endswith("_"):
            found |= {name[:-1]: said, f"{name}low": f"{said}, lower end", f"{name}high": f"{said}, upper end"}
        else:
            found[name] = said
    return found


# ---- a dose ----------------------------------------------------------------------------------------------------------


def dose_finding(pictures: int = 12, methods: Sequence[str] = NAMES, steps: int = 6, strongest: float = 0.4) -> Finding:
    """Brightness: of one picture without intervals, of several with. The last dose has flat maps."""
    rows, flips = [], []
    for step in range(steps + 1):
        dose, far = strongest * step / steps, step / steps
        reach = 0.07 + 0.05 * far if pictures >= 5 else 0.0
        shared = {
            "dose": dose,
            "measured": 0.41 + 0.5 * dose,
            "n": pictures,
            "n_flip": pictures,
            **around(0.91 - 0.6 * far**2, reach, "probability"),
            **around(float(far > 0.6) if pictures == 1 else 0.75 * far**2, reach, "flip_rate"),
        }
        for place, method in enumerate(methods or ("",)):
            defined = bool(methods) and step < steps
            rows.append(
                {
                    **shared,
                    "method": method,
                    **around(1 - (0.5 + 0.3 * place) * far if defined else None, reach, "rank_correlation"),
                    **around(1 - 0.8 * far if defined else None, reach, "top_overlap"),
                    **around(12 * far if defined else None, 10 * reach, "centre_distance"),
                    **around(5 * far if defined else None, 10 * reach, "border_change"),
                    **around(None, 0, "background_change"),
                    "n_map": pictures if defined else 0,
                }
            )
    for number in range(1, pictures + 1):
        kept = number > 0.75 * pictures and pictures > 1
        flips.append(
            {
                "picture": number,
                "sha256": f"{number:064x}",
                "label": "fracture",
                "original": "fracture",
                "flip_low": None if kept else strongest * (0.55 + 0.02 * number),
                "flip_high": None if kept else strongest * (0.60 + 0.02 * number),
                "flipped_to": None if kept else "no finding",
            }
        )
    never = sum(line["flip_high"] is None for line in flips)
    half = [{**around(0.7 * strongest, 0.04 if pictures > 5 else 0, "dose"), "never": never, "n": pictures}]
    table = words(
        dose="Dose (of full white)",
        measured="Mean brightness, 0 to 1",
        probability_="Probability of the target",
        n="Pictures",
        flip_rate_="Share of decisions that flip",
        n_flip="Pictures with a decision",
        method="Method",
        rank_correlation_="Rank correlation with the map of the original",
        top_overlap_="Overlap of the highest tenth",
        centre_distance_="Distance of the centres (hundredths of the diagonal)",
        border_change_="Change of the border's share (points)",
        background_change_="Change of the background's share (points)",
        n_map="Pictures with a map",
    )
    flip = words(
        picture="Picture",
        sha256="SHA-256",
        label="True class",
        original="Decision on the original",
        flip_low="Last dose that keeps it",
        flip_high="First dose that flips it",
        flipped_to="Flips to",
    )
    frames = [
        frame(
            f"{strongest * step / steps:.2g} of full white",
            step,
            dose=strongest * step / steps,
            probability=0.91 - 0.6 * (step / steps) ** 2,
            predicted="fracture" if step < 5 else "no finding",
            unit="of full white",
        )
        for step in range(steps + 1)
    ]
    return finding(
        "dose",
        "brightness",
        ("The decision flips on 9 of 12 pictures, on half of them by a dose of 0.28 of full white.",),
        {
            "doses": Table.of("Dose and response", table, rows),
            "flips": Table.of("Where the decision flips", flip, flips),
            "half": Table.of(
                "Dose by which half have flipped", words(dose_="Dose", never="Never flip", n="Pictures"), half
            ),
        },
        frames,
        pictures,
        methods=tuple(one for one in METHODS if one["name"] in methods),
    )


# ---- groups ----------------------------------------------------------------------------------------------------------

GROUPS: tuple[tuple[str, int, float | None], ...] = (
    ("female", 60, 0.10),
    ("male", 58, 0.24),
    (HOSTILE, 31, 0.12),
    ("not said", 4, None),
)
REGIONS = ("eyes", "mouth", "border")
FEW = "not tested: fewer than 10 pictures to compare"


def group_finding(groups: Sequence[tuple[str, int, float | None]] = GROUPS, methods: Sequence[str] = NAMES) -> Finding:
    """Error rates of groups, the first the reference, and where the maps of each look; the last group is too small."""
    rates, differences, regions, shifts = [], [], [], []
    for place, (group, n, error) in enumerate(groups):
        small = n < 10
        rates.append(
            {
                "group": group,
                "n": n,
                "small": small,
                **around(error, 0.4 / n**0.5, "error_rate"),
                **around(None if error is None else 1 - error, 0.5 / n**0.5, "true_positive_rate"),
                "n_true_positive_rate": n // 2,
                **around(None if error is None else error / 2, 0.3 / n**0.5, "false_positive_rate"),
                "n_false_positive_rate": n - n // 2,
            }
        )
        if not place:
            continue
        known = None if small or error is None else 100 * (error - (groups[0][2] or 0))
        differences.append(
            {
                "rate": "error_rate",
                "group": group,
                "reference": groups[0][0],
                "n": n + groups[0][1],
                **around(known, 11, "difference"),
                **around(None if known is None else 1 + known / 10, 0.8, "ratio"),
                "p": None if known is None else 0.0015 if known > 10 else 0.62,
                "p_adjusted": None if known is None else 0.003 if known > 10 else 0.62,
                "detectable": None if known is None else 16.0,
                "note": FEW if small else "",
            }
        )
        for region in REGIONS:
            for method in methods:
                shift = None if small else 6.4 if (place, region) == (1, "border") else 0.7 - place
                shifts.append(
                    {
                        "group": group,
                        "reference": groups[0][0],
                        "region": region,
                        "method": method,
                        "n": n + groups[0][1],
                        **around(shift, 2.8, "difference"),
                        "standardised": None if shift is None else shift / 6,
                        "p": None if shift is None else 0.0002 if shift > 3 else 0.4,
                        "p_adjusted": None if shift is None else 0.0024 if shift > 3 else 1.0,
                        "detectable": None if shift is None else 4.0,
                        "matched": True,
                        "note": FEW if small else "",
                    }
                )
    for group, n, _ in groups:
        for number, region in enumerate(REGIONS):
            for method in methods:
                regions.append(
                    {
                        "group": group,
                        "region": region,
                        "method": method,
                        "n": n,
                        **around(0.2 + number / 10, 0.03, "share"),
                        "null": 0.1,
                    }
                )
    tables = {
        "rates": Table.of(
            "Rates per group",
            words(
                group="Group",
                n="Pictures",
                small="Too few to test",
                error_rate_="Error rate",
                true_positive_rate_="True-positive rate",
                n_true_positive_rate="Positives",
                false_positive_rate_="False-positive rate",
                n_false_positive_rate="Negatives",
            ),
            rates,
        ),
        "differences": Table.of(
            "Differences from the reference",
            words(
                rate="Rate",
                group="Group",
                reference="Reference",
                difference_="Difference (points)",
                ratio_="Ratio",
                p="p",
                p_adjusted="p, corrected",
                detectable="Could have been found (points)",
                n="Pictures",
                note="Note",
            ),
            differences,
        ),
        "regions": Table.of(
            "Where the maps look",
            words(
                group="Group",
                region="Region",
                method="Method",
                share_="Share of attribution",
                n="Pictures",
                null="Null",
            ),
            regions,
        ),
        "shifts": Table.of(
            "Attention shifts from the reference",
            words(
                group="Group",
                reference="Reference",
                region="Region",
                method="Method",
                difference_="Shift (points)",
                standardised="Standardised",
                p="p",
                p_adjusted="p, corrected",
                detectable="Could have been found (points)",
                matched="Matched",
                n="Pictures",
                note="Note",
            ),
            shifts,
        ),
    }
    return finding(
        "groups",
        "groups",
        ("The error rate of male is 14 points higher than that of female (3 to 25 points, p = 0.003 of 2 tests).",),
        tables,
        pictures=sum(n for _, n, _ in groups),
    )


def trend_finding(methods: Sequence[str] = NAMES) -> Finding:
    """Four buckets of pictures by a number: errors fall along it, and maps of one method leave the border."""
    made = group_finding([(f"{low} to {low + 25}", 30 + low, 0.3 - low / 400) for low in (0, 25, 50, 75)], methods)
    trends = [
        {
            "measure": "share" if method else "error_rate",
            "method": method,
            "region": region,
            **around(value, 0.1, "correlation"),
            "p": 0.001 if value < -0.2 else 0.4,
            "p_adjusted": 0.006 if value < -0.2 else 1.0,
            "detectable": 0.21,
            "n": 270,
            "note": "",
        }
        for method, region, value in [
            ("", "", -0.3),
            *((method, one, -0.24 if one == "border" else 0.02) for method in methods for one in REGIONS),
        ]
    ]
    table = words(
        measure="Measure",
        method="Method",
        region="Region",
        correlation_="Rank correlation with intensity",
        p="p",
        p_adjusted="p, corrected",
        detectable="Detectable correlation",
        n="Pictures",
        note="Note",
    )
    tables = {name: made.tables[name] for name in ("rates", "regions")}
    return finding(
        "groups",
        "expression_intensity",
        ("Error rate falls with intensity: rank correlation -0.30 (-0.40 to -0.20, n = 270), p = 0.006.",),
        {**tables, "trends": Table.of("Trends along intensity", table, trends)},
        pictures=270,
        methods=tuple(one for one in METHODS if one["name"] in methods),
    )


# ---- a shortcut ------------------------------------------------------------------------------------------------------

VERDICTS = (
    "used and shown",
    "used, not shown",
    "not used, but lit up",
    "not used, not lit up",
    "used, map not decided",
    "not used, map not decided",
    "use not decided",
    "cannot be shown",
)
ARTEFACTS = (
    ("marker", 21.0, True),
    ("ruler", 0.4, False),
    ("tint", 9.0, True),
    (HOSTILE, -0.2, False),
    ("pen mark", None, None),
)


def shortcut_finding(artefacts: Sequence[tuple[str, float | None, bool | None]] = ARTEFACTS) -> Finding:
    """One artefact that is used, some that are not, one that covers everything, one that could not be planted."""
    rows, maps = [], []
    for place, (artefact, change, used) in enumerate(artefacts):
        rows.append(
            {
                "artefact": artefact,
                "n": 0 if change is None else 24,
                **around(change, 3.1, "change"),
                "towards": "fracture" if used else None,
                **around(change, 4, "pull"),
                **around(None if change is None else 0.3 if used else 0.0, 0.1, "flip_rate"),
                "p": None if change is None else 0.0001 if used else 0.7,
                "p_adjusted": None if change is None else 0.0004 if used else 1.0,
                "used": used,
                "area": 1.0 if artefact == "tint" else 0.015,
            }
        )
        for number, method in enumerate(NAMES):
            hidden = artefact == "tint" or used is None
            detected = None if hidden else bool(used) if not number else place == 1
            verdict = VERDICTS[-1] if hidden else VERDICTS[(0 if detected else 1) if used else (2 if detected else 3)]
            maps.append(
                {
                    "artefact": artefact,
                    "method": method,
                    "share_with": None if hidden else 0.3 if detected else 0.02,
                    "share_without": None if hidden else 0.015,
                    **around(None if hidden else 28.0 if detected else 0.5, 4, "difference"),
                    "area": 1.0 if artefact == "tint" else 0.015,
                    "p": None if hidden else 0.0001 if detected else 0.4,
                    "p_adjusted": None if hidden else 0.0008 if detected else 1.0,
                    "detected": detected,
                    "verdict": verdict,
                }
            )
    tables = {
        "artefacts": Table.of(
            "What each artefact does to the prediction",
            words(
                artefact="Artefact",
                n="Pictures",
                change_="Change of the prediction (points)",
                towards="Towards",
                pull_="Gain of that class (points)",
                flip_rate_="Share of decisions that flip",
                p="p",
                p_adjusted="p, corrected",
                used="Used",
                area="Share of the picture",
            ),
            rows,
        ),
        "maps": Table.of(
            "Whether the maps point at it",
            words(
                artefact="Artefact",
                method="Method",
                share_with="Share with",
                share_without="Share without",
                difference_="Difference (points)",
                area="Area",
                p="p",
                p_adjusted="p, corrected",
                detected="Detected",
                verdict="Verdict",
            ),
            maps,
        ),
    }
    frames = [frame("Without", 0, probability=0.31, predicted="no finding")]
    frames += [
        frame(name, 1 + place, probability=0.9, predicted="fracture") for place, (name, _, _) in enumerate(artefacts)
    ]
    return finding(
        "shortcut",
        "shortcut",
        ("The model uses the marker: planting it changes the prediction by 21 points (18 to 24, 24 pictures).",),
        tables,
        frames,
        24,
        settings={"smallest": 5.0},
    )


# ---- background ------------------------------------------------------------------------------------------------------


def background_finding() -> Finding:
    """Two methods: one looks past the object, of the other nothing outside is defined."""
    rows = [
        {
            "method": method,
            "region": region,
            **around(None if number and place else 0.52 - 0.3 * place, 0.06, "share"),
            "null": 0.61 - 0.4 * place,
            "shifted": None if number else 0.40 - 0.2 * place,
            **around(None if number and place else 11.0, 6, "difference"),
            "p": None if number and place else 0.01,
            "p_adjusted": None if number and place else 0.02,
            "n": 0 if number and place else 12,
            "source": "mask of the data",
        }
        for number, method in enumerate(NAMES)
        for place, region in enumerate(("outside the object", "border"))
    ]
    table = words(
        method="Method",
        region="Region",
        share_="Share of attribution",
        null="Share of the picture",
        shifted="Share of attribution, shifted maps",
        difference_="More than the share of the picture, points",
        p="p",
        p_adjusted="p, corrected",
        n="Pictures",
        source="Object from",
    )
    return finding(
        "background",
        "background",
        ("Half of the attribution by Grad-CAM lies outside the object.",),
        {
            "prediction": Table.of(
                "The prediction without what surrounds the object",
                words(painted="Painted over", change_="Mean change of the probabilities, points", n="Pictures"),
                [{"painted": "outside the object", **around(7.5, 2, "change"), "n": 12}],
            ),
            "shares": Table.of("Where the maps lie", table, rows),
        },
        [frame(f"Picture {number}", number, values=False, predicted="fracture") for number in range(1, 4)],
    )
