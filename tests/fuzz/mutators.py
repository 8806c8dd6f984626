"""Ways to damage a file: of bytes, of JSON, of lines, of tensors and of arrays; some with a seal that fits again."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from knowedit.tensorfile import PREFIX, Kind

DEEP = 100_000
DIGITS = 5_000
RAW = "@raw:{}@"
"""Stands for a token that no Python value has, such as a number of 5,000 digits, until the text is made."""
TOKENS = (
    *("9" * DIGITS, "-" + "9" * DIGITS, "1e400", "NaN", "Infinity", "-Infinity", "0." + "3" * DIGITS),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, '"\\ud800"', "[", '"', "tru", "1.5.2", ""),
)
ENDS = ("x", " ", '"', "É")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.5, -0.5, 1e308, -1e308, 5e-324, 2**31, 2**63, 2**64, 10**30, 10**400),
    *("", " ", "a", "{}", "../a", "/", "a\nb", "\x00", "\x1b[31m", "‮", "a" * 70_000, "nan", "1", "float32"),
    *([], [[]], [None], [1, 2, 3], ["a"], [[1.5]], [True], {}, {"a": 1}, {"": {}}, {"a": [{}]}, [0] * 50),
)


def damaged(form: str, data: bytes, rng: Random) -> bytes:
    """The content of a file of some form with one or a few defects."""
    own = FORMS[form]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choice(BYTES) if rng.random() < 0.25 else rng.choice(own)
        try:
            data = change(data, rng)
        except Exception:  # it was damaged before, so that it has no structure any more
            data = rng.choice(BYTES)(data, rng)
    return data


# Bytes


def _flip(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(max(1, len(data)))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :] if data else b"\x00"


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _insert(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def _chunk(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 512)))


def _remove(data: bytes, rng: Random) -> bytes:
    start, stop = _chunk(data, rng)
    return data[:start] + data[stop:]


def _double(data: bytes, rng: Random) -> bytes:
    start, stop = _chunk(data, rng)
    return data[:stop] + data[start:]


def _zero(data: bytes, rng: Random) -> bytes:
    start, stop = _chunk(data, rng)
    return data[:start] + bytes(stop - start) + data[stop:]


def _whole(data: bytes, rng: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return rng.choice(
        (
            b"",
            b"\n",
            b"\x00",
            b"\xef\xbb\xbf" + data,
            text.encode("utf-16"),
            text.encode("utf-16-le", "replace"),
            text.encode("utf-32"),
            text.encode("latin-1", "replace"),
            data.replace(b"\n", b"\r\n"),
            data + data,
            data + b"\n\n",
            rng.randbytes(200),
            b"\x80\x04\x95" + data[:40],
            b"PK\x03\x04" + data[:40],
            b"\x1f\x8b\x08" + data[:40],
            b"\x93NUMPY" + data[:40],
        )
    )


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _insert, _remove, _double, _zero, _whole)


# JSON


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in inner for place in _places(part, (*at, key)))]


def changed(value: Any, rng: Random) -> Any:
    """A JSON value with another value, one more, one less, or a renamed one somewhere in it."""
    place = rng.choice(_places(value))
    if not place:
        return _other(value, rng) if rng.random() < 0.7 else {"a": value}
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    _change(holder, place[-1], rng)
    return value


def _change(holder: Any, key: Any, rng: Random) -> None:
    act, old = rng.random(), holder[key]
    if act < 0.7:
        holder[key] = _other(old, rng)
    elif act < 0.8:
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(key, old if act < 0.9 else _other(old, rng))
    elif act < 0.9:
        holder[f"{key}{rng.choice(ENDS)}"] = holder.pop(key)
    else:
        holder[rng.choice(("a", "kind", "error", "condemned", "subject", "layer"))] = _other(old, rng)


def _other(old: Any, rng: Random) -> Any:
    act = rng.random()
    if act < 0.2:
        return RAW.format(rng.randrange(len(TOKENS)))
    if act < 0.3:
        return [old]
    if act < 0.4 and isinstance(old, bool | int | float):
        return rng.choice((-old, old + 1, old * 10**6, old + 0.5, str(old), bool(old), float(old)))
    if act < 0.4 and isinstance(old, str):
        return rng.choice((old + old, old[:-1], old.upper(), f" {old}", list(old[:3])))
    return rng.choice(VALUES)


def text_of(value: Any, rng: Random, **options: Any) -> str:
    """A value as text, its placeholders as what they stand for, and now and then a key twice."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, **options)
    for number, token in enumerate(TOKENS):
        text = text.replace(f'"{RAW.format(number)}"', token)
    if rng.random() < 0.05 and '{"' in text:
        at = text.index('{"') + 1
        text = text[:at] + '"a":1,"a":2,' + text[at:]
    return text


def _json(data: bytes, rng: Random) -> bytes:
    return text_of(changed(json.loads(data), rng), rng).encode("utf-8", "surrogatepass")


def _manifest(data: bytes, rng: Random) -> bytes:
    """A manifest that was changed and sealed again."""
    found = json.loads(data)
    found.pop("sha256", None)
    state, found = rng.getstate(), changed(found, rng)
    seal = hashlib.sha256(text_of(found, Random(2)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    rng.setstate(state)
    if isinstance(found, dict):
        found["sha256"] = seal
    return (text_of(found, Random(2), indent=1) + "\n").encode("utf-8", "surrogatepass")


# Lines


def _lines(data: bytes, rng: Random) -> bytes:
    """Lines that are cut, missing, there twice, or in another order."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    line = lines[at]
    lines[at : at + 1] = rng.choice(
        (
            [],
            [line, line],
            [line[: rng.randrange(len(line))]],
            [line[: rng.randrange(len(line))] + b"\n"],
            [line.rstrip(b"\n")],
            [b"\n", line],
            [line, b"x\n"],
            [line.replace(b"\n", b"\r\n")],
            [lines[-1]],
        )
    )
    if rng.random() < 0.1:
        rng.shuffle(lines)
    return b"".join(lines)


def _line(data: bytes, rng: Random) -> bytes:
    """A line whose JSON was changed; of a run, sealed again."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    found = json.loads(lines[at])
    sealed = isinstance(found, dict) and found.pop("sha256", None) is not None
    found = changed(found, rng)
    text = text_of(found, Random(2), **({"sort_keys": True, "separators": (",", ":")} if sealed else {}))
    if sealed:
        text = text.replace("\\ud800", "\\ud800")
        seal = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        text = f'{text[:-1]},"sha256":"{seal}"}}'
    lines[at] = text.encode("utf-8", "surrogatepass") + b"\n"
    return b"".join(lines)


# Tensors


def _header(data: bytes, rng: Random) -> bytes:
    """A safetensors file whose header was changed."""
    size = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.1:
        size = rng.choice((0, 1, size - 1, size + 1, 2**32, 2**63, 2**64 - 1))
        return struct.pack("<Q", size) + data[8:]
    text = text_of(changed(header, rng), rng).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + rest


def _described(data: bytes) -> tuple[Kind, dict[str, Any], dict[str, str], dict[str, str]]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with safe_open(file.name, "np") as container:
            stored = dict(container.metadata())
            arrays = {name: container.get_tensor(name) for name in container.keys()}  # noqa: SIM118
    entries = json.loads(stored["knowedit"]) if set(stored) == {"knowedit"} else stored
    own = {name.removeprefix(PREFIX): text for name, text in entries.items() if name.startswith(PREFIX)}
    kind = Kind(own.pop("kind"), own.pop("schema"), "", "")
    own.pop("sha256", None)
    return kind, arrays, {k: v for k, v in entries.items() if not k.startswith(PREFIX)}, own


def resealed(kind: Kind, arrays: dict[str, Any], metadata: dict[str, str], own: dict[str, str]) -> bytes:
    """A file of ours with anything in it, and a digest that fits: written without the checks of `write_tensors`."""
    own = {**own, "kind": kind.name, "schema": kind.schema}
    entries = {**metadata, **{PREFIX + name: text for name, text in own.items()}}
    arrays = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    digest = hashlib.sha256(json.dumps([sorted(entries.items()), shapes]).encode())
    for array in arrays.values():
        digest.update(array.tobytes())
    entries[PREFIX + "sha256"] = digest.hexdigest()
    text = json.dumps(dict(sorted(entries.items())), separators=(",", ":"))
    return bytes(save(arrays, {"knowedit": text}))


def _entries(data: bytes, rng: Random) -> bytes:
    """One of our files with another entry and a digest that fits."""
    kind, arrays, entries, own = _described(data)
    group = rng.choice([part for part in (entries, own) if part])
    name = rng.choice(list(group))
    try:
        value = json.loads(group[name])
    except ValueError:
        value = group[name]
    if rng.random() < 0.1:
        del group[name]
    elif group is own or not isinstance(value, dict | list):
        group[name] = rng.choice((*(str(v) for v in VALUES), *TOKENS[:8]))
    else:
        group[name] = text_of(changed(value, rng), rng)
    return resealed(kind, arrays, entries, own)


def _arrays(data: bytes, rng: Random) -> bytes:
    """One of our files with another tensor and a digest that fits."""
    kind, arrays, entries, own = _described(data)
    name = rng.choice(sorted(arrays))
    array = arrays.pop(name)
    act = rng.randrange(12)
    if act == 0:
        arrays[name + "x"] = array
    elif act > 1:
        arrays[name] = _array(array, act, rng)
    return resealed(kind, arrays, entries, own)


def _array(array: Any, act: int, rng: Random) -> Any:
    if act < 5:
        worst = array.astype(np.float64) if array.dtype.kind != "f" else array.copy()
        at = rng.randrange(worst.size) if worst.size else 0
        worst.reshape(-1)[at : at + 1] = rng.choice((np.nan, np.inf, -np.inf, 1e308, -1.0, 5e-324))
        return worst
    if act < 8:
        shape = rng.choice(
            ((0,), (0, 0), (1, 0), (0, 3), (3, 0, 2), (), (1,), (2, 2), (1, 1, 1), (5,), (0, *array.shape))
        )
        return np.zeros(shape, array.dtype)
    if act < 10:
        return array.astype(rng.choice(("f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", "u4")))
    return rng.choice((array[:-1], array[..., :-1], array[None], array.T, array.reshape(-1), array * 0))


# Arrays


def _npy(data: bytes, rng: Random) -> bytes:
    """An ``.npy`` file with another header."""
    version = 1 if data[6] == 1 else 2
    at, shape = (10, "<H") if version == 1 else (12, "<I")
    size = struct.unpack(shape, data[8:at])[0]
    header, rest = data[at : at + size].decode("latin-1"), data[at + size :]
    old = rng.choice(("'<f8'", "'<f4'", "False", "'descr'", "'shape'", "(", ")", ",", "{", header))
    new = rng.choice(
        (
            *(
                "'|O'",
                "'<U5'",
                "'|V8'",
                "'<i8'",
                "'<f2'",
                "'<c16'",
                "'<M8[s]'",
                "[('a', '<f8')]",
                "True",
                "None",
            ),
            *(
                "(0, 0)",
                "(-1, 5)",
                "(9999999999999,)",
                f"({'9' * DIGITS},)",
                "(1.5,)",
                "((1,),)",
                "[3]",
                "''",
            ),
            *("(" * 500, "-" * 5000 + "1", "{" * 300, "'a'\0", "{}", "", "1", "f'{1}'", "(True,)"),
        )
    )
    text = header.replace(old, new, 1).encode("latin-1")
    if rng.random() < 0.15:
        return data[:6] + bytes([rng.randrange(5), rng.randrange(2)]) + data[8:]
    if len(text) > 65_000 or version == 2:
        return data[:6] + b"\x02\x00" + struct.pack("<I", len(text)) + text + rest
    return data[:8] + struct.pack("<H", len(text)) + text + rest


def _npz(data: bytes, rng: Random) -> bytes:
    """An ``.npz`` file with another array in it, without one, or with another name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(files))
    content, act = files.pop(name), rng.random()
    if act < 0.6:
        files[name] = _npy(content, rng)
    elif act < 0.8:
        files[name] = rng.choice(BYTES)(content, rng)
    elif act < 0.9:
        files[rng.choice(("a.npy", "../a.npy", "mom2.mom2"))] = content
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for own, part in files.items():
            archive.writestr(own, part)
    return target.getvalue()


FORMS: dict[str, tuple[Callable[[bytes, Random], bytes], ...]] = {
    "json": (_json,),
    "manifest": (_manifest, _manifest, _json),
    "lines": (_lines, _line, _line),
    "tensors": (_entries, _entries, _arrays, _header),
    "weights": (_header,),
    "npz": (_npz,),
    "npy": (_npy,),
    "text": BYTES,
}
"""By form the changes that respect it; those of bytes are made to all."""
