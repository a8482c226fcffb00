"""A signed record names its key, and a signature that is not its own is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import xai_core as xai
from tests.test_chain import bury, fields, reseal, sheet
from xai_core import chain, manifest, seal, signing
from xai_core.errors import SettingError
from xai_core.retention import remove

GIVEN = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
NAME = hashlib.sha256(GIVEN.public_key().public_bytes_raw()).hexdigest()[:32]


def pem(key: Any, password: bytes = b"") -> bytes:
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    return content


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key that everything is signed with."""
    place = tmp_path_factory.mktemp("keys") / "key.pem"
    place.write_bytes(pem(GIVEN))
    monkeypatch.setenv(signing.KEY, str(place))
    return place


@pytest.fixture
def signed(key: Path, tmp_path: Path) -> Path:
    return xai.save(sheet(), tmp_path / "signed")


def test_a_record_says_whether_it_is_signed_and_by_which_key(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = xai.verify(signed)
    assert report.ok
    assert report.signature == f"signed by ed25519 {NAME}"
    assert f"It is signed by ed25519 {NAME}. Whose key" in str(report)
    monkeypatch.delenv(signing.KEY)
    assert xai.verify(signed).signature == report.signature  # the reader needs no key
    unsigned = xai.verify(xai.save(sheet(), signed.parent / "unsigned"))
    assert unsigned.signature == "unsigned"
    assert "It is unsigned, so this finds accidents and careless edits" in str(unsigned)


def test_the_signature_is_over_the_text_without_two_lines(signed: Path) -> None:
    """A second reading of the format, by lines alone."""
    lines = (signed / "manifest.json").read_text("utf-8").splitlines()
    said = json.loads("\n".join(lines))["signature"]
    kept = [line.removesuffix(",") for line in lines[1:-1] if not line.startswith((' "sha256"', ' "signature"'))]
    lists = ",\n".join(kept).replace("[,\n", "[\n").replace(",\n ]", "\n ]")
    text = ("{\n" + lists + "\n}\n").encode()
    assert said["algorithm"] == "ed25519"
    assert said["public_key"] == GIVEN.public_key().public_bytes_raw().hex()
    GIVEN.public_key().verify(bytes.fromhex(said["value"]), text)
    with pytest.raises(InvalidSignature):
        GIVEN.public_key().verify(bytes.fromhex(said["value"]), text.replace(b"One.", b"Two."))


def test_the_hash_covers_the_signature(signed: Path) -> None:
    path = signed / "manifest.json"
    content = path.read_bytes()
    for at in range(content.index(b' "signature"'), len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        first = xai.verify(signed).files[0]
        assert (first.name, first.status) != ("manifest.json", "intact"), at


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "text": (lambda found: found.update(note="It was always so."), "not that of ed25519"),
    "value": (lambda found: found["signature"].update(value="0" * 128), "not that of ed25519"),
    "public key": (
        lambda found: found["signature"].update(public_key=OTHER.public_key().public_bytes_raw().hex()),
        "not that of ed25519",
    ),
    "no point": (lambda found: found["signature"].update(public_key="02" + "0" * 62), "not that of ed25519"),
    "algorithm": (lambda found: found["signature"].update(algorithm="none"), "of no kind that this version knows"),
    "nothing": (lambda found: found.update(signature=None), "of no kind that this version knows"),
    "empty": (lambda found: found.update(signature={}), "of no kind that this version knows"),
    "more": (lambda found: found["signature"].update(more=1), "of no kind that this version knows"),
    "upper case": (
        lambda found: found["signature"].update(value=found["signature"]["value"].upper()),
        "of no kind that this version knows",
    ),
    "short": (lambda found: found["signature"].update(value="00"), "of no kind that this version knows"),
    "number": (lambda found: found["signature"].update(value=3), "of no kind that this version knows"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_signature_of_something_else_is_named_though_the_hash_fits(name: str, signed: Path) -> None:
    change, words = FORGERIES[name]
    reseal(signed, change)
    report = xai.verify(signed)
    assert not report.ok
    assert report.signature == ""
    assert report.files[0].name == "manifest.json"
    assert words in report.files[0].detail


FIELD = 2**255 - 19
CURVE = -121665 * pow(121666, -1, FIELD) % FIELD


def added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of the curve (RFC 8032, 5.1.4, in plain coordinates)."""
    (x, y), (u, v) = one, other
    both = CURVE * x * u * y * v % FIELD
    return (
        (x * v + y * u) * pow(1 + both, -1, FIELD) % FIELD,
        (y * v + x * u) * pow(1 - both, -1, FIELD) % FIELD,
    )


def root(square: int) -> int:
    found = pow(square, (FIELD + 3) // 8, FIELD)
    return found if found * found % FIELD == square % FIELD else found * pow(2, (FIELD - 1) // 4, FIELD) % FIELD


def test_the_keys_that_are_refused_are_those_of_low_order() -> None:
    """Eight times each of them is nothing, and they are all that are so, however they are written."""
    heights = set[int]()
    for key in signing.LOW_ORDER:
        y = int.from_bytes(key, "little") % FIELD
        point = (root((y * y - 1) * pow(CURVE * y * y + 1, -1, FIELD)), y)
        assert (-(point[0] ** 2) + y * y - 1 - CURVE * point[0] ** 2 * y * y) % FIELD == 0  # on the curve
        for _ in range(3):
            point = added(point, point)
        assert point == (0, 1)
        heights.add(y)
    assert len(heights) == 5  # 1, -1, 0 and two of order eight; each with both signs
    written = {height + FIELD * k for height in heights for k in (0, 1) if height + FIELD * k < 2**255}
    assert {key.to_bytes(32, "little") for key in written} == signing.LOW_ORDER


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("low", sorted(signing.LOW_ORDER))
def test_a_key_that_fits_any_text_is_refused(low: bytes, sign: int, signed: Path) -> None:
    key = low[:-1] + bytes([low[-1] | sign])
    forged = {"algorithm": "ed25519", "public_key": key.hex(), "value": "01" + "00" * 63}
    reseal(signed, lambda found: found.update(signature=forged))
    assert "a key that fits any text" in xai.verify(signed).files[0].detail


def test_the_chain_counts_who_signed_and_names_a_false_signature(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = signed.parent
    xai.save(sheet(), store / "next")
    monkeypatch.delenv(signing.KEY)
    xai.save(sheet(), store / "last")
    report = chain.check(store)
    assert report.signatures == {f"signed by ed25519 {NAME}": 2, "unsigned": 1}
    assert str(report).endswith(f" 2 signed by ed25519 {NAME}, 1 unsigned.")
    remove(store / "next", "not by its owner")  # whose tombstone nobody signs
    report = chain.check(store)
    assert (report.ok, report.signatures["unsigned"]) == (True, 2)
    reseal(store / "last", lambda found: found.update(signature=json.loads(FALSE)))
    report = chain.check(store)
    assert not report.ok
    assert report.problems[0].startswith("last/manifest.json is changed: its signature is not that of ed25519")


FALSE = json.dumps({"algorithm": "ed25519", "public_key": "ab" * 32, "value": "ab" * 64})


def test_a_tombstone_that_is_signed_is_held_against_its_signature(signed: Path) -> None:
    xai.save(sheet(), signed.parent / "next")
    remove(signed, "of no use")
    [name] = chain.tombstone_names(signed.parent)
    path = signed.parent / chain.TOMBSTONES / name
    assert chain.read_tombstone(signed.parent, name).signature == f"signed by ed25519 {NAME}"
    path.write_bytes(seal.sealed({**json.loads(path.read_bytes()), "why": "of great use"}))
    assert "its signature is not that of" in chain.check(signed.parent).problems[0]


def test_a_signature_that_was_taken_away_makes_a_record_unsigned_and_breaks_the_chain(signed: Path) -> None:
    xai.save(sheet(), signed.parent / "next")
    assert chain.check(signed.parent).ok
    reseal(signed, lambda found: found.pop("signature"))
    assert xai.verify(signed).signature == "unsigned"
    assert chain.check(signed.parent).problems[0].startswith("next, number 2, does not continue signed: ")
    path = signed.parent / "next" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b' "signature": ', b' "signature_": '))
    assert xai.verify(path.parent).files[0].status == "changed"  # without a new hash it is damage


def test_somebody_elses_signature_has_another_name(signed: Path, key: Path) -> None:
    key.write_bytes(pem(OTHER))
    again = xai.verify(xai.save(sheet(), signed.parent / "again"))
    assert again.ok
    assert again.signature.startswith("signed by ed25519 ")
    assert again.signature != xai.verify(signed).signature


def test_a_tombstone_is_signed_too(signed: Path) -> None:
    place = bury(signed)
    found = json.loads(place.read_bytes())
    assert signing.signature_of(found) == f"signed by ed25519 {NAME}"
    assert chain.check(place.parent.parent).ok


def test_a_reader_without_the_package_is_told_that_nobody_looked(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    report = xai.verify(signed)
    assert report.ok
    assert report.signature == "signed, but that was not checked (`pip install cryptography` does)"
    assert "not a forger" in str(report)
    with pytest.raises(SettingError, match="the package that signs is not installed"):
        xai.save(sheet(), signed.parent / "more")
    assert not (signed.parent / "more").exists()


BROKEN: dict[str, Callable[[Path], object]] = {
    "is no private key": lambda place: place.write_text("garbage"),
    "is no private key in PEM": lambda place: place.write_bytes(
        GIVEN.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "is no private key in": lambda place: place.write_bytes(pem(GIVEN)[:60]),
    "is protected by a password": lambda place: place.write_bytes(pem(GIVEN, b"secret")),
    "is no Ed25519 key": lambda place: place.write_bytes(pem(ec.generate_private_key(ec.SECP256R1()))),
    "is no Ed25519": lambda place: place.write_bytes(pem(rsa.generate_private_key(65537, 2048))),
    "cannot be read": lambda place: place.unlink(),
    "cannot be": lambda place: (place.unlink(), place.mkdir()),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_key_is_one_sentence_before_the_work(reason: str, key: Path, tmp_path: Path) -> None:
    BROKEN[reason](key)
    for ask in (lambda: manifest.check_place(tmp_path / "out"), lambda: xai.save(sheet(), tmp_path / "out")):
        with pytest.raises(
            SettingError, match=rf"^The key key\.pem that SECOND_LOOK_SIGNING_KEY names {reason}"
        ) as said:
            ask()
        assert "\n" not in str(said.value)
        assert str(key.parent) not in str(said.value)
    assert list(tmp_path.iterdir()) == []


def test_a_command_stops_at_a_broken_key_before_it_loads_a_model(
    refused: Callable[..., str], key: Path, tmp_path: Path, png: bytes
) -> None:
    key.unlink()
    picture = tmp_path / "x.png"
    picture.write_bytes(png)
    words = ("explain", "--image", picture, "--model", "nonsense", "--method", "grad_cam", "--out", tmp_path / "out")
    assert refused(*words).startswith("The key key.pem that SECOND_LOOK_SIGNING_KEY names cannot be read (No such file")


def test_records_are_signed_alike_whatever_the_order_of_their_fields(key: Path) -> None:
    one = signing.signed({"b": 1, "a": [1, {"x": 1, "y": 2}]})
    assert one == signing.signed({"a": [1, {"y": 2, "x": 1}], "b": 1, "signature": "an older one", "sha256": "x"})
    assert seal.sealed(json.loads(one)) == one


def test_a_signed_record_moves_and_packs_like_any_other(signed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(signed, tmp_path / "elsewhere"))
    assert xai.verify(copy).signature == f"signed by ed25519 {NAME}"
    assert manifest.zip_record(copy) == manifest.zip_record(signed)
    assert fields(copy)["signature"]["algorithm"] == "ed25519"
