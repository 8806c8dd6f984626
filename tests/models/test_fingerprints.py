"""Which tensor differs."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
import torch

from knowedit.models import Fingerprint, LanguageModel, fingerprint, load, tensor_digest
from tests.models.oracles import PLACES


def test_digest_is_sha256_of_kind_shape_and_bytes():
    values = [1.0, -2.5, 3.25, 0.0, 7.0, 8.0]
    expected = hashlib.sha256(b"torch.float32 (2, 3) " + struct.pack("<6f", *values)).hexdigest()
    tensor = torch.tensor(values).reshape(2, 3)
    assert tensor_digest(tensor) == expected
    # The same matrix laid out otherwise in memory is the same matrix.
    assert tensor_digest(tensor.T.contiguous().T) == expected
    assert tensor_digest(tensor.T) != expected
    assert tensor_digest(torch.arange(6.0)[::2]) == tensor_digest(torch.tensor([0.0, 2.0, 4.0]))
    assert tensor_digest(tensor.reshape(3, 2)) != expected
    assert tensor_digest(tensor.double()) != expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_every_dtype(dtype):
    assert tensor_digest(torch.zeros(3, dtype=dtype)) != tensor_digest(torch.ones(3, dtype=dtype))
    assert tensor_digest(torch.zeros((), dtype=dtype)) != tensor_digest(torch.ones((), dtype=dtype))
    assert tensor_digest(torch.zeros(0, dtype=dtype)) == tensor_digest(torch.ones(0, dtype=dtype))


def test_names_and_shared_tensors(family: LanguageModel):
    found = fingerprint(family)
    assert list(found.tensors) == sorted(found.tensors)
    assert found.tensors.keys() == dict(family.model.named_parameters()).keys()
    gpt2 = family.model.config.model_type == "gpt2"
    assert ("lm_head.weight" in found.tensors) != gpt2
    assert f"{PLACES[family.model.config.model_type]['embedding']}.weight" in found.tensors


def test_saving_and_loading_keeps_it(tiny_folder: Path, request):
    lm = load(tiny_folder)
    given = request.getfixturevalue(f"tiny_{lm.model.config.model_type}")
    assert fingerprint(lm) == fingerprint(given)
    assert fingerprint(lm).digest == fingerprint(given).digest
    half = fingerprint(load(tiny_folder, dtype="float16"))
    assert half.differences(fingerprint(lm)) == list(half.tensors)


def test_one_changed_bit_is_named(fresh_lm, family: LanguageModel):
    lm = fresh_lm(family.model.config.model_type)
    base = fingerprint(lm)
    assert base == fingerprint(family)
    projection = lm.projection(2)
    with torch.no_grad():
        old = projection.weight[3, 5].clone()
        projection.weight[3, 5] = torch.nextafter(old, torch.tensor(9.0))
    changed = fingerprint(lm)
    assert changed.differences(base) == base.differences(changed) == [f"{projection.path}.weight"]
    assert changed.digest != base.digest
    with torch.no_grad():
        projection.weight[3, 5] = old
    assert fingerprint(lm) == base


def test_differences_in_the_names():
    a, b = Fingerprint({"x": "1", "y": "2"}), Fingerprint({"x": "1", "z": "2"})
    assert a.differences(b) == ["y", "z"]
    assert a.differences(a) == []
    assert a.digest != b.digest
    assert Fingerprint({"y": "2", "x": "1"}).digest == a.digest


def test_weights_stay_as_they_are(family: LanguageModel):
    before = {name: (p.data_ptr(), p._version) for name, p in family.model.named_parameters()}
    fingerprint(family)
    assert {name: (p.data_ptr(), p._version) for name, p in family.model.named_parameters()} == before
