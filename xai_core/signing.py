"""Who sealed a record: an Ed25519 signature by the key of whoever saved it, where there is one.

A hash finds what was changed by accident. Who changes a record on purpose makes a new hash too, but cannot sign it
with another person's key. A signature says which key it was, by its fingerprint: whose key that is, and whether the
record had to be signed at all, the reader must know from elsewhere.

    openssl genpkey -algorithm ed25519 -out key.pem        SECOND_LOOK_SIGNING_KEY=key.pem
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xai_core.errors import SettingError
from xai_core.seal import Damage, sealed, shown, signed_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = "SECOND_LOOK_SIGNING_KEY"  # names a file that holds a private key in PEM
ALGORITHM = "ed25519"
MOST_OF_A_KEY = 64 * 2**10  # bytes of its file
NAMED_BY = 32  # hexadecimal digits of a fingerprint
UNSIGNED = "unsigned"
SIGNED_BY = f"signed by {ALGORITHM} "  # and the fingerprint of the key
INSTALL = "`pip install cryptography`"
# Public keys of low order, the sign bit cleared: anybody can make a signature that fits one of them and any text (RFC
# 8032, 5.1; Cremers and Jackson, "Prime, Order Please!", 2019, table 2, https://doi.org/10.1109/CSF.2019.00013).
LOW_ORDER = frozenset(
    bytes.fromhex(key)
    for key in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def signed(fields: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest, as `sealed`, signed where a key is named. Raises as `sealed`, and SettingError."""
    key = signing_key()
    body = {name: value for name, value in fields.items() if name != "signature"}
    if key is None:
        return sealed(body)
    signature = {
        "algorithm": ALGORITHM,
        "public_key": key.public_key().public_bytes_raw().hex(),
        "value": key.sign(signed_text(body)).hex(),
    }
    return sealed({**body, "signature": signature})


def signing_key() -> Ed25519PrivateKey | None:
    """The key of whoever saves, or None where none is named. Raises SettingError for one that cannot be used."""
    place = os.environ.get(KEY, "")
    if not place:
        return None
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise SettingError(
            f"{KEY} names a key, but the package that signs is not installed: {INSTALL}, or unset {KEY}."
        ) from None
    try:
        key = load_pem_private_key(_content(place), password=None)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or type(error).__name__})"
    except TypeError:
        reason = "is protected by a password"
    except Exception:  # what is no key makes the library raise anything, none of it for a person to read
        reason = "is no private key in PEM"
    else:
        if isinstance(key, Ed25519PrivateKey):
            return key
        reason = "is no Ed25519 key"
    # The name of the file alone: where a person keeps a key is nobody's business.
    raise SettingError(
        f"The key {shown(os.path.basename(place))} that {KEY} names {reason}. Make one with `openssl genpkey "
        f"-algorithm ed25519 -out key.pem`, or unset {KEY} to save unsigned."
    )


def _content(place: str) -> bytes:
    if not stat.S_ISREG(os.stat(place).st_mode):  # a pipe would be waited for
        raise OSError(None, "it is no file")
    with open(place, "rb") as file:
        return file.read(MOST_OF_A_KEY)


def signature_of(fields: Mapping[str, Any]) -> str:
    """What a manifest's signature comes to, in words: whose it is, that there is none, or that it was not checked.

    Raises Damage for one that is not by the key it names, or not of this text.
    """
    if "signature" not in fields:
        return UNSIGNED
    given = fields["signature"]
    known = isinstance(given, dict) and set(given) == {"algorithm", "public_key", "value"}
    if not known or given["algorithm"] != ALGORITHM:
        raise Damage("unverifiable", "its signature is of no kind that this version knows")
    public, value = (str(given[name]) for name in ("public_key", "value"))
    if not re.fullmatch("[0-9a-f]{64}", public) or not re.fullmatch("[0-9a-f]{128}", value):
        raise Damage("unverifiable", "its signature is of no kind that this version knows")
    key = bytes.fromhex(public)
    if key[:-1] + bytes([key[-1] & 0x7F]) in LOW_ORDER:
        raise Damage("changed", "its signature names a key that fits any text")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return f"signed, but that was not checked ({INSTALL} does)"
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(value), signed_text(fields))
    except (InvalidSignature, ValueError):
        raise Damage(
            "changed", f"its signature is not that of {ALGORITHM} {fingerprint(public)} on this text"
        ) from None
    return SIGNED_BY + fingerprint(public)


def fingerprint(public_key: str) -> str:
    """What a public key, in hexadecimal digits, is called: the first half of its sha256, as `sha256sum` writes it.

    128 bits: nobody can make a second key of that name.
    """
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:NAMED_BY]
