from maskwright.config import Architecture
from maskwright.data.pairs import Pair
from maskwright.data.reading import fingerprint_of
from maskwright.evaluation.unseen import Sieve
from maskwright.inference.model_file import ModelCard


def card_of(pairs: tuple[Pair, ...], *, learnt: int, chosen: int) -> ModelCard:
    prints = tuple(fingerprint_of(pair.image) for pair in pairs)
    return ModelCard(
        Architecture(), size=64, trained_on=prints[:learnt], chosen_on=prints[learnt - 1 : learnt + chosen]
    )


def passed_by(sieve: Sieve, pairs: tuple[Pair, ...]) -> tuple[list[Pair], int]:
    left_out: list[None] = []
    return list(sieve.passing(pairs, lambda: left_out.append(None))), len(left_out)


def test_pictures_that_training_learnt_from_are_left_out_and_counted(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(card_of(ellipses, learnt=5, chosen=2))
    assert passed_by(sieve, ellipses) == (list(ellipses[5:]), 5)
    assert sieve.passed == list(ellipses[5:])
    assert sieve.remarks() == [
        "Left out: 5 of 12 pictures, because training learnt from them.",
        "The best weights were chosen on 2 of these 7 pictures.",
    ]


def test_everything_passes_where_it_is_asked_for_and_is_called_a_leak(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(card_of(ellipses, learnt=5, chosen=0), everything=True)
    assert passed_by(sieve, ellipses) == (list(ellipses), 0)
    assert sieve.remarks() == ["LEAK: training learnt from 5 of these 12 pictures."]


def test_new_pictures_need_no_remark(ellipses: tuple[Pair, ...]) -> None:
    for everything in (False, True):
        sieve = Sieve(card_of(ellipses[:2], learnt=2, chosen=0), everything=everything)
        assert passed_by(sieve, ellipses[2:]) == (list(ellipses[2:]), 0)
        assert sieve.remarks() == []


def test_of_an_imported_model_nothing_is_known(ellipses: tuple[Pair, ...]) -> None:
    sieve = Sieve(ModelCard(Architecture(), size=64))
    assert passed_by(sieve, ellipses) == (list(ellipses), 0)
    assert "Nothing is known of the pictures" in sieve.remarks()[0]
