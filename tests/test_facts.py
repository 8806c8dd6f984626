from __future__ import annotations

import pytest

from knowedit.bundled import bundled_models, notes
from knowedit.errors import FileFormatError, InputError
from knowedit.facts import Fact, fill, split_template, template_of


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("plays the", "0 slots"),
        ("{} knows {}", "2 slots"),
        ("{} {name}", "a brace besides"),
        ("{} {", "a brace besides"),
        ("}{}", "a brace besides"),
        ("{0} is", "0 slots"),
    ],
)
def test_templates_need_one_slot_and_no_other_brace(template, words):
    with pytest.raises(InputError, match=words):
        split_template(template)
    with pytest.raises(InputError, match=words):
        Fact(subject="A", prompt=template, target_new="b")


def test_braces_in_the_subject_are_text():
    assert fill("the {} is", "a{}b{0}") == "the a{}b{0} is"


@pytest.mark.parametrize("field", ["subject", "target_new"])
@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_empty_fields_are_refused(field, value):
    with pytest.raises(InputError, match=f"empty {field}"):
        Fact(**({"subject": "A", "prompt": "{} is", "target_new": "b"} | {field: value}))


def test_white_space_around_the_subject_is_refused():
    with pytest.raises(InputError, match="white space"):
        Fact(subject=" A", prompt="{} is", target_new="b")


def test_a_prompt_with_the_subject_written_out_is_a_template_too():
    assert template_of("In Rome, Ann plays the", "Ann") == "In Rome, {} plays the"
    assert template_of("{} plays the", "Ann") == "{} plays the"
    for prompt, count in (("Bob plays the", 0), ("Ann and Ann play the", 2)):
        with pytest.raises(InputError, match=f"occurs {count} times"):
            template_of(prompt, "Ann")
    with pytest.raises(InputError, match="0 times"):
        template_of("Bob plays the", "")


@pytest.mark.parametrize(
    ("prompt", "subject", "template"),
    [
        ("The a{}b is", "a{}b", "The {} is"),
        ("{} is", "a{}b", "{} is"),
        ("{} is", "{}", "{} is"),
        ("The {} and a{}b are", "a{}b", "The {} and a{}b are"),
    ],
)
def test_braces_of_the_subject_are_no_slot(prompt, subject, template):
    assert template_of(prompt, subject) == template


def test_notes_of_a_folder(tmp_path):
    assert notes(None) == {}
    assert notes(tmp_path) == {}
    path = tmp_path / "knowedit.json"
    path.write_text('{"edit_layer": 3}')
    assert notes(tmp_path) == {"edit_layer": 3}
    for text in ("{", "[1]", "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(FileFormatError, match=r"knowedit\.json"):
            notes(tmp_path)


def test_bundled_models_are_folders_with_a_configuration():
    for name, folder in bundled_models().items():
        assert folder.name == name
        assert (folder / "config.json").is_file()


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(InputError, match="not valid Unicode"):
        Fact(subject="caf\udce9", prompt="{} is a", target_new="place")
