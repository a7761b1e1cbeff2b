import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.config import Architecture
from maskwright.data.duplicates import looks_of, thumbnail
from maskwright.data.groups import Groups, find_groups, merge_groups, prints_of_groups
from maskwright.data.pairs import Pair
from maskwright.data.reading import fingerprint_of
from maskwright.evaluation import unseen
from maskwright.evaluation.unseen import Known, Sieve
from maskwright.inference.model_file import ModelCard
from tests.car_names import ALONE


def groups_of(pairs: tuple[Pair, ...]) -> dict[str, str]:
    return {pair.name: Path(pair.name).name.split("_")[0] for pair in pairs}


def card_of(pairs: tuple[Pair, ...], *, learnt: int, chosen: int, pattern: str | None = None) -> ModelCard:
    prints = tuple(fingerprint_of(pair.image) for pair in pairs)
    thumbnails = np.stack([thumbnail(np.array(Image.open(pair.image))) for pair in pairs])
    return ModelCard(
        Architecture(),
        size=64,
        trained_on=prints[:learnt],
        chosen_on=prints[learnt : learnt + chosen],
        looks=tuple(looks_of(thumbnails)[:learnt]),
        groups=prints_of_groups([pair.name for pair in pairs[:learnt]], groups_of(pairs)),
        group=pattern,
    )


def alone(pairs: tuple[Pair, ...]) -> dict[str, str]:
    return {pair.name: pair.name for pair in pairs}


def passed_by(sieve: Sieve, pairs: tuple[Pair, ...]) -> tuple[list[Pair], int]:
    left_out: list[None] = []
    return list(sieve.passing(pairs, lambda: left_out.append(None))), len(left_out)


def save_again(pair: Pair) -> None:
    """Another file that looks the same."""
    stored = io.BytesIO()
    with Image.open(pair.image) as picture:
        picture.resize((128, 96)).save(stored, "JPEG", quality=80)
    pair.image.write_bytes(stored.getvalue())


def test_pictures_that_training_learnt_from_are_left_out_and_counted(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(card_of(ellipses, learnt=6, chosen=2), groups_of(ellipses))
    assert passed_by(sieve, ellipses) == (list(ellipses[6:]), 6)
    assert sieve.passed == list(ellipses[6:])
    assert sieve.leaks() == [
        f"Left out: 6 of 12 pictures, because training learnt from them, such as {ellipses[0].name}."
    ]
    assert sieve.remarks() == ["The best weights were chosen on 2 of these 6 pictures."]
    assert [sieve.is_validation(pair.name) for pair in ellipses] == [False] * 6 + [True] * 2 + [False] * 4


def test_everything_passes_where_it_is_asked_for_and_is_called_a_leak(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(card_of(ellipses, learnt=6, chosen=0), groups_of(ellipses), everything=True)
    assert passed_by(sieve, ellipses) == (list(ellipses), 0)
    assert sieve.leaks() == [f"LEAK: 6 of these 12 pictures: training learnt from them, such as {ellipses[0].name}."]
    assert not sieve.is_validation(ellipses[0].name)


def test_what_looks_like_a_training_picture_is_left_out(ellipses: tuple[Pair, ...]) -> None:
    card = card_of(ellipses, learnt=6, chosen=0)
    save_again(ellipses[2])
    sieve = Sieve(card, groups_of(ellipses))
    assert passed_by(sieve, ellipses[2:]) == (list(ellipses[6:]), 4)
    assert sieve.leaks()[1] == (
        "Left out: 1 of 10 pictures, because they look like copies of pictures that training learnt from, such as "
        f"{ellipses[2].name}."
    )
    everything = Sieve(card, groups_of(ellipses), everything=True)
    passed_by(everything, ellipses[2:])
    assert everything.leaks()[1].startswith("LEAK: 1 of these 10 pictures: they look like copies")


def test_a_picture_that_weights_were_chosen_on_passes_whatever_it_looks_like(ellipses: tuple[Pair, ...]) -> None:
    ellipses[6].image.write_bytes(ellipses[2].image.read_bytes())
    save_again(ellipses[6])
    sieve = Sieve(card_of(ellipses, learnt=6, chosen=1), groups_of(ellipses))
    assert passed_by(sieve, ellipses[6:]) == (list(ellipses[6:]), 0)
    assert sieve.is_validation(ellipses[6].name)
    unchosen = Sieve(card_of(ellipses, learnt=6, chosen=0), groups_of(ellipses))
    assert passed_by(unchosen, ellipses[6:]) == (list(ellipses[7:]), 1)


def test_other_pictures_of_a_group_pass_and_are_called_a_leak(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(card_of(ellipses, learnt=5, chosen=0), groups_of(ellipses))
    assert passed_by(sieve, ellipses[3:]) == (list(ellipses[5:]), 2)
    assert sieve.leaks()[1:] == [
        "LEAK: 1 of these 7 pictures belong to groups that training learnt from, such as "
        f"{ellipses[5].name}; on new groups, scores will be lower."
    ]


def test_the_pattern_of_training_finds_a_group_that_stands_alone_here(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(card_of(ellipses, learnt=5, chosen=0, pattern=r"(g\d)_"), alone(ellipses[5:6]))
    passed_by(sieve, ellipses[5:6])
    assert "belong to groups that training learnt from" in sieve.leaks()[0]


@pytest.mark.parametrize("above", ["", "clinic/", "val/clinic/"])
def test_folders_that_training_learnt_from_are_known_where_they_are_too_few_to_be_groups(above: str) -> None:
    learnt = [f"{above.replace('val', 'train')}patient_{n:02}/slice_{cut}" for n in range(20) for cut in range(3)]
    groups = prints_of_groups(learnt, find_groups(learnt).of)
    known_ones = [f"{above}patient_03/slice_{cut}" for cut in (7, 8)]
    new_ones = [f"{above}patient_21/slice_{cut}" for cut in (7, 8)]
    found = find_groups([*known_ones, *new_ones])
    assert found.rule == ALONE
    known = Known(ModelCard(Architecture(), size=64, groups=groups), found.of)
    assert [known.is_related(name) for name in [*known_ones, *new_ones]] == [True, True, False, False]


def test_a_picture_that_stands_alone_is_no_group_that_is_called_like_it() -> None:
    learnt = merge_groups(Groups({"img_1": "img_1", "img_2": "img_2"}, "alone"), [("img_1", "img_2")]).of
    card = ModelCard(Architecture(), size=64, groups=prints_of_groups(learnt, learnt))
    assert card.groups
    assert not Known(card, {"img_1": "img_1"}).is_related("img_1")


def test_a_picture_that_cannot_be_decoded_passes_and_is_a_problem_later(ellipses: tuple[Pair, ...]) -> None:
    card = card_of(ellipses, learnt=6, chosen=0)
    ellipses[7].image.write_text("not a picture")
    assert passed_by(Sieve(card, groups_of(ellipses)), ellipses[6:]) == (list(ellipses[6:]), 0)


def test_a_picture_that_takes_too_much_memory_passes_and_is_a_problem_later(
    ellipses: tuple[Pair, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    card = card_of(ellipses, learnt=6, chosen=0)
    monkeypatch.setattr(unseen, "read_image", run_out)
    assert passed_by(Sieve(card, groups_of(ellipses)), ellipses[6:]) == (list(ellipses[6:]), 0)


def test_pictures_of_one_colour_resemble_nothing(ellipses: tuple[Pair, ...]) -> None:
    for pair in ellipses[:8]:
        Image.new("RGB", (64, 48), "navy").save(pair.image)
    ellipses[7].image.write_bytes(ellipses[7].image.read_bytes() + b" ")
    sieve = Sieve(card_of(ellipses[:6], learnt=6, chosen=0), groups_of(ellipses))
    assert passed_by(sieve, ellipses[7:]) == (list(ellipses[7:]), 0)


def test_new_pictures_need_no_remark(ellipses: tuple[Pair, ...]) -> None:
    for everything in (False, True):
        sieve = Sieve(card_of(ellipses[:2], learnt=2, chosen=0), groups_of(ellipses), everything=everything)
        assert passed_by(sieve, ellipses[2:]) == (list(ellipses[2:]), 0)
        assert (sieve.leaks(), sieve.remarks()) == ([], [])


def test_of_an_imported_model_nothing_is_known(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(ModelCard(Architecture(), size=64), groups_of(ellipses))
    assert passed_by(sieve, ellipses) == (list(ellipses), 0)
    assert "Nothing is known of the pictures" in sieve.remarks()[0]


def test_an_older_model_file_says_that_it_knows_less(ellipses: tuple[Pair, ...]) -> None:
    card = ModelCard(Architecture(), size=64, trained_on=(fingerprint_of(ellipses[0].image),))
    sieve = Sieve(card, groups_of(ellipses))
    assert passed_by(sieve, ellipses) == (list(ellipses[1:]), 1)
    assert "knows exact copies" in sieve.remarks()[0]
