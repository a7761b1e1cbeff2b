import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter

from maskwright.config import MaskSettings
from maskwright.data.formats.class_lists import VOC_CLASSES, parse_classes
from maskwright.data.label_survey import (
    Decision,
    LabelOptions,
    decide_labels,
    decide_names,
    labels_for_model,
    read_options,
)
from maskwright.data.labels import LabelMap, apply_labels
from maskwright.data.mask_facts import MaskFacts, look_at
from maskwright.data.pairs import ClassEntry, ClassList
from maskwright.errors import InputError

ASK_NOTHING = LabelOptions()


def flat(*values: object, suffix: str = ".png", dtype: Any = np.uint8) -> MaskFacts:
    """What a mask of stripes holds, one stripe of 16x8 for each value or colour."""
    return look_at(np.repeat(np.array([values], dtype), 16, axis=0).repeat(8, axis=1), Path(f"mask{suffix}"))


def decide(*facts: MaskFacts, **options: Any) -> Decision:
    return decide_labels(facts, LabelOptions(**options))


def questions(decision: Decision) -> list[str]:
    return [remark.sentence for remark in decision.remarks if remark.kind == "question"]


# --- One mask


@pytest.mark.parametrize(
    ("facts", "storage"),
    [
        (flat(0), "empty"),
        (flat(0, 1), "grey"),
        (flat(0, 255), "grey"),
        (flat(1), "grey"),
        (flat(0, 65535, dtype=np.uint16), "grey"),
        (flat(0, 2, 254, 255, suffix=".jpg"), "grey"),
        (flat(0, 1, 2, suffix=".jpg"), "grey"),
        (flat(0, 128, 255), "levels"),
        (flat(0, 1, 2), "indices"),
        (flat(0, 300, dtype=np.uint16), "indices"),
        (flat((0, 0, 0), (0, 255, 0)), "colours"),
        (flat((0, 0, 0), (255, 250, 240), suffix=".jpg"), "grey"),
        (flat((0, 0, 0, 0), (0, 0, 0, 255)), "grey"),
    ],
)
def test_what_a_mask_holds_is_recognised(facts: MaskFacts, storage: str) -> None:
    assert facts.storage == storage


def test_soft_edges_are_no_levels() -> None:
    soft = np.zeros((32, 32), np.uint8)
    soft[8:24, 8:24] = 255
    soft[8, 8:24] = np.linspace(60, 200, 16).astype(np.uint8)
    assert look_at(soft, Path("a.png")).storage == "grey"


def test_a_cutouts_alpha_is_its_mask() -> None:
    cutout = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    cutout[..., 3] = 0
    cutout[:8, :, 3] = 255
    facts = look_at(cutout, Path("a.png"))
    assert facts.storage == "grey"
    assert facts.light == 0.25


def test_a_noisy_colour_mask_is_counted_in_few_entries() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert len(look_at(noise, Path("a.png")).counts) <= 32**3


def rectangles(seed: int, values: Sequence[int], *, background: int = 0) -> NDArray[np.uint8]:
    """A mask of overlapping areas, a few for each value."""
    rng = np.random.default_rng(seed)
    mask = np.full((96, 128), background, np.uint8)
    for value in rng.permutation(np.repeat(values, 3)):
        top, left = rng.integers(0, 80), rng.integers(0, 110)
        mask[top : top + rng.integers(6, 40), left : left + rng.integers(6, 40)] = value
    return mask


def softened(mask: NDArray[np.uint8], *, enlarged: int = 1) -> NDArray[np.uint8]:
    """Black and white areas with edges as a blur leaves them."""
    soft = np.array(Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2)))
    return soft.repeat(enlarged, axis=0).repeat(enlarged, axis=1)


@pytest.mark.parametrize(
    "values", [[7, 8, 11, 33], [1, 4, 17, 90], [2, 3, 6, 127], [3, 5, 20, 150], range(1, 151, 3), [7, 8, 60, 61, 255]]
)
def test_numbers_in_areas_are_no_grey_scale(values: Sequence[int]) -> None:
    for seed in range(5):
        assert look_at(rectangles(seed, values), Path("a.png")).storage == "indices"


def test_edges_of_black_and_white_areas_are_a_grey_scale() -> None:
    for seed in range(5):
        mask = rectangles(seed, [1])
        jpeg = io.BytesIO()
        Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)).save(jpeg, "JPEG", quality=40)
        noisy = np.array(Image.open(jpeg))
        faint = np.asarray(softened(mask) * 0.4, np.uint8)
        for shades in (softened(mask), softened(mask, enlarged=8), noisy, faint, noisy.astype(np.uint16) * 257):
            assert look_at(shades, Path("a.png")).storage == "grey"


def test_the_places_of_a_coloured_palette_are_no_greys() -> None:
    palette = tuple((index, 255 - index, 0) for index in range(256))
    assert look_at(np.array([[0, 60, 200]], np.uint8), Path("a.png"), palette).storage == "indices"
    assert look_at(np.array([[0, 200]], np.uint8), Path("a.png"), palette).storage == "indices"
    assert look_at(np.array([[0, 255]], np.uint8), Path("a.png"), palette).storage == "grey"
    assert look_at(np.array([[0, 1]], np.uint8), Path("a.png"), palette).storage == "grey"


# --- Black and white


def test_black_and_white_masks_need_no_word() -> None:
    decision = decide(flat(0), flat(0, 255), flat(0, 1), flat(0, 0, 0, 255))
    assert decision.labels == LabelMap()
    assert questions(decision) == []


def test_stray_transparent_pixels_make_no_cutout_of_a_black_and_white_mask() -> None:
    stray = np.zeros((40, 40, 4), np.uint8)
    stray[10:20, 10:20, :3] = 255
    stray[..., 3] = 255
    stray[0, :3] = (255, 255, 255, 0)
    decision = decide(*[flat(0, 0, 255)] * 9, look_at(stray, Path("a.png")))
    assert decision.labels == LabelMap()
    classes = apply_labels(decision.labels, stray, Path("a.png"))
    assert np.array_equal(classes == 1, stray.min(axis=2) == 255)


def test_one_odd_file_among_black_and_white_ones_is_no_class() -> None:
    decision = decide(flat(0, 0, 255), flat(0, 0, 255), flat(0, 1, 2))
    assert decision.labels.kind == "grey"


def test_masks_that_are_mostly_white_up_to_their_borders_are_asked_about() -> None:
    inverted = [flat(255, 255, 0, 255)] * 3
    assert "--foreground dark" in questions(decide(*inverted))[0]
    assert decide(*inverted).labels.foreground == "light"
    for answer in ("light", "dark"):
        decision = decide(*inverted, foreground=answer)
        assert decision.labels.foreground == answer
        assert questions(decision) == []


def test_two_names_are_those_of_black_and_white() -> None:
    decision = decide(flat(0, 0, 255), classes=parse_classes("road,crack"))
    assert decision.labels == LabelMap(class_names=("road", "crack"))


def test_a_single_name_is_that_of_the_foreground() -> None:
    assert decide(flat(0, 255), classes=ClassList((ClassEntry("car"),), "classes.txt")).labels.class_names == (
        "background",
        "car",
    )
    with pytest.raises(InputError, match="names 3 classes"):
        decide(flat(0, 255), classes=ClassList((ClassEntry("a"), ClassEntry("b"), ClassEntry("c")), "classes.txt"))


def test_flat_levels_are_classes_and_a_question() -> None:
    trimaps = [flat(0, 128, 255)] * 2
    decision = decide(*trimaps)
    assert decision.labels.values == ((0,), (128,), (255,))
    assert len(questions(decision)) >= 1
    two = decide(*trimaps, classes=parse_classes("background,foreground"))
    assert two.labels.kind == "grey"
    ignoring = decide(*trimaps, ignore=("128",))
    assert ignoring.labels == LabelMap(ignore=(128,))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_255_is_white_where_wide_masks_hold_nothing_else(dtype: Any) -> None:
    masks = [flat(0, 0, 255, dtype=dtype), flat(0, 255), flat(0, dtype=dtype), flat(0, 0, 0, 255, dtype=dtype)]
    stored = np.array([[0, 255, 0]], dtype)
    decision = decide(*masks)
    assert decision.labels.class_names == ("background", "foreground")
    assert questions(decision) == []
    assert apply_labels(decision.labels, stored, Path("a.png")).tolist() == [[0, 1, 0]]
    assert apply_labels(decision.labels, stored.astype(np.uint8), Path("b.png")).tolist() == [[0, 1, 0]]
    dark = decide(*masks, foreground="dark")
    assert apply_labels(dark.labels, stored, Path("a.png")).tolist() == [[1, 0, 1]]
    assert decide(*masks, classes=parse_classes("road,crack")).labels.class_names == ("road", "crack")
    inverted = [flat(255, 255, 0, 255, dtype=dtype)] * 3
    assert "--foreground dark" in questions(decide(*inverted))[0]


def test_255_among_numbers_of_many_bits_is_no_white() -> None:
    decision = decide(*[flat(0, 255, dtype=np.uint16)] * 3, flat(0, 1, 255, dtype=np.uint16))
    assert decision.labels.ignore == (255,)
    assert decision.labels.values == ((0,), (1,))


def test_flat_areas_of_a_grey_in_a_few_black_and_white_masks_are_asked_about() -> None:
    masks = [flat(0, 128, 255), *[flat(0, 255)] * 6, flat(0, 64, 255), flat(0, 128, 255)]
    decision = decide(*masks)
    assert decision.labels == LabelMap()
    (question,) = questions(decision)
    assert "mask.png and 2 more of the masks hold flat areas of the greys 64, 128" in question
    assert "--ignore 64,128 " in question
    assert "'class 0=0,class 64=64,class 128=128,class 255=255'" in question
    assert "mask.png holds" in questions(decide(*masks[:5]))[0]
    assert questions(decide(*masks, ignore=("64", "128"))) == []
    assert questions(decide(*masks, classes=parse_classes("background,foreground"))) == []
    assert questions(decide(*masks, classes=parse_classes("nothing=0,perhaps=128,dim=64,car=255"))) == []


# --- Numbers


def test_unnamed_numbers_are_classes_and_one_question() -> None:
    decision = decide(flat(0, 1, 2), flat(0, 2, 3))
    assert decision.labels.kind == "indices"
    assert decision.labels.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert len(questions(decision)) == 1
    assert "--ignore 3" in questions(decision)[0]


def test_fractions_are_no_numbers_of_classes() -> None:
    with pytest.raises(InputError, match="no class but the background"):
        decide(flat(0.5, 2.5, dtype=np.float32))


def test_masks_of_150_classes_are_read_whatever_few_of_them_a_file_holds() -> None:
    rng = np.random.default_rng(0)
    masks = [rectangles(seed, rng.integers(0, 151, rng.integers(1, 25)).tolist()) for seed in range(60)]
    masks += [np.where(mask > 100, 255, mask) for mask in masks[:3]]  # with what does not count
    labels = decide(*[look_at(mask, Path(f"{place}.png")) for place, mask in enumerate(masks)]).labels
    assert labels.ignore == (255,)
    for mask in masks:
        apply_labels(labels, mask, Path("a.png"))


def test_an_ignored_number_answers_the_question() -> None:
    decision = decide(flat(0, 1, 2, 11), ignore=("11",))
    assert decision.labels.ignore == (11,)
    assert decision.labels.num_classes == 3
    assert questions(decision) == []


def test_the_usual_void_is_ignored_and_said() -> None:
    decision = decide(flat(0, 1, 255), flat(0, 1, 2, 255))
    assert decision.labels.ignore == (255,)
    assert decision.labels.num_classes == 3
    assert any("255" in remark.sentence for remark in decision.remarks if remark.kind == "note")


def test_minus_one_marks_what_does_not_count() -> None:
    for facts in ([flat(-1, 0, 1, dtype=np.int64)], [flat(0, 1), flat(-1, 0, 1, dtype=np.int8), flat(0)]):
        decision = decide(*facts)
        assert decision.labels.class_names == ("background", "foreground")
        assert decision.labels.ignore == (-1,)
        assert any("-1" in remark.sentence for remark in decision.remarks if remark.kind == "note")
    named = decide(flat(-1, 0, dtype=np.int32), classes=parse_classes("nothing=-1,something=0"))
    assert named.labels.values == ((-1,), (0,))


def test_names_are_given_to_numbers_in_order() -> None:
    decision = decide(flat(0, 2), flat(0, 1), classes=parse_classes("background,road,car"))
    assert decision.labels.class_names == ("background", "road", "car")
    assert decision.labels.values == ((0,), (1,), (2,))
    assert questions(decision) == []


def test_names_are_given_to_the_numbers_that_are_said() -> None:
    decision = decide(flat(1, 2, 3), classes=parse_classes("background=2,pet=1"), ignore=("3",))
    assert decision.labels.class_names == ("background", "pet")
    assert apply_labels(decision.labels, np.array([[1, 2, 3]], np.uint8), Path("a.png")).tolist() == [[1, 0, 255]]


def test_a_class_may_be_ignored_by_its_name() -> None:
    decision = decide(flat(0, 1, 2), classes=parse_classes("sky=0,road=1,void=2"), ignore=("void",))
    assert decision.labels.class_names == ("sky", "road")
    assert decision.labels.ignore == (2,)


def with_palette(values: NDArray[np.uint8], colours: list[Any]) -> MaskFacts:
    return look_at(values, Path("a.png"), tuple(colours))


def test_the_palette_of_voc_names_its_classes() -> None:
    palette = [entry.colour for entry in VOC_CLASSES]
    decision = decide(with_palette(np.array([[0, 15, 255]], np.uint8), palette))
    assert decision.labels.class_names[15] == "person"
    assert decision.labels.colours[15] == palette[15]
    assert decision.labels.ignore == (255,)


def test_colours_of_a_list_are_looked_up_in_the_palette() -> None:
    facts = with_palette(np.array([[0, 1, 2]], np.uint8), [(0, 0, 0), (9, 9, 200), (250, 9, 9)])
    decision = decide(facts, classes=parse_classes("background=#000000,red=#fa0909,blue=#0909c8"))
    assert decision.labels.values == ((0,), (2,), (1,))


# --- Palettes


INK, ROSE, LEAF, SNOW = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)
BITS = np.array([[0, 1]], np.uint8)


def test_palettes_that_disagree_are_read_as_colours_and_asked_about() -> None:
    decision = decide(with_palette(BITS, [INK, ROSE]), with_palette(BITS, [ROSE, INK]))
    assert decision.labels.kind == "colours"
    assert decision.labels.class_names == ("background", "red")
    assert "a.png" in questions(decision)[0]
    assert "--classes 'class 0=0,class 1=1'" in questions(decision)[0]


@pytest.mark.parametrize(
    ("values", "palettes"),
    [
        ([[0, 1], [0, 2]], [[INK, ROSE], [INK, ROSE, LEAF]]),
        ([[0, 1], [0, 2]], [[INK, ROSE, INK], [INK, ROSE, LEAF]]),  # an entry that fills up
        ([[0, 1, 2], [0, 1]], [[INK, ROSE, LEAF], [INK, ROSE, (9, 9, 9)]]),
        ([[0, 1, 2], [0, 7]], [[INK, ROSE, LEAF], [INK, ROSE]]),
        ([[0, 1, 2], [0, 1]], [[INK, ROSE, LEAF], [(grey,) * 3 for grey in range(8)]]),
    ],
)
def test_palettes_that_agree_on_what_is_in_use_leave_numbers_what_they_are(
    values: list[list[int]], palettes: list[list[Any]]
) -> None:
    facts = [with_palette(np.array([some], np.uint8), palette) for some, palette in zip(values, palettes, strict=True)]
    decision = decide(*facts)
    assert decision.labels.kind == "indices"


def test_a_palette_of_greys_may_disagree_as_well() -> None:
    coloured = with_palette(np.array([[0, 1, 2]], np.uint8), [INK, SNOW, ROSE])
    grey = with_palette(np.array([[0, 255]], np.uint8), [INK, SNOW])  # as the reader resolves it
    assert decide(coloured, grey).labels.class_names == ("background", "red", "white")


def test_a_list_settles_what_palettes_disagree_on() -> None:
    facts = with_palette(BITS, [INK, ROSE]), with_palette(BITS, [ROSE, INK])
    by_number = decide(*facts, classes=parse_classes("soil=0,weed=1"))
    assert by_number.labels.values == ((0,), (1,))
    by_colour = decide(*facts, classes=parse_classes("soil=#000000,weed=#ff0000"))
    assert by_colour.labels.values == ((INK,), (ROSE,))
    assert questions(by_number) == questions(by_colour) == []
    with pytest.raises(InputError, match=r"palettes of a.png and a.png .* --classes soil=#000000, .* --classes soil=0"):
        decide(*facts, classes=parse_classes("soil,weed"))


def test_palettes_that_disagree_and_tell_nothing_apart_are_refused() -> None:
    twice = with_palette(np.array([[0, 1, 2]], np.uint8), [INK, ROSE, ROSE])
    with pytest.raises(InputError, match="several numbers alike; export all masks with one palette"):
        decide(twice, with_palette(BITS, [ROSE, INK]))


def test_a_listed_colour_that_no_palette_has_takes_no_number() -> None:
    facts = with_palette(np.array([[0, 1, 2]], np.uint8), [(0, 0, 0), (0, 0, 255), (255, 0, 0)])
    listed = parse_classes("background=#000000,car=#ff0000,tree=#00ff00,water=#0000ff")
    decision = decide(facts, classes=listed)
    assert decision.labels.class_names == ("background", "car", "tree", "water")
    assert decision.labels.values == ((0,), (2,), (), (1,))
    assert apply_labels(decision.labels, np.array([[0, 1, 2]], np.uint8), Path("a.png")).tolist() == [[0, 3, 1]]
    ignoring = decide(facts, classes=listed, ignore=("tree",))
    assert ignoring.labels.class_names == ("background", "car", "water")


def test_listed_colours_are_looked_up_in_the_palettes_of_all_masks() -> None:
    classes = parse_classes("background=#000000,leaf=#00ff00,rose=#ff0000")
    short, long = [INK, ROSE], [INK, ROSE, LEAF]
    masks = with_palette(np.array([[0, 1]], np.uint8), short), with_palette(np.array([[0, 2]], np.uint8), long)
    assert decide(*masks, classes=classes).labels.values == ((0,), (2,), (1,))
    # What a mask holds counts more than what another's palette has in store.
    other = with_palette(np.array([[0]], np.uint8), [INK, LEAF, ROSE])
    assert decide(other, *masks, classes=classes).labels.values == ((0,), (2,), (1,))
    assert decide(other, masks[0], classes=classes).labels.values == ((0,), (), (1,))


def test_listed_colours_are_in_the_order_of_the_numbers_where_nothing_draws_these() -> None:
    greys = with_palette(np.array([[0, 1, 2]], np.uint8), [(grey,) * 3 for grey in range(256)])
    classes = parse_classes("background=#000000,car=#ff0000,pole=#c0c0c0")
    for facts in (greys, flat(0, 1, 2)):
        assert decide(facts, classes=classes).labels.values == ((0,), (1,), (2,))


def test_an_ignored_colour_is_the_number_that_palettes_draw_in_it() -> None:
    facts = with_palette(np.array([[0, 1, 2]], np.uint8), [INK, ROSE, LEAF])
    for classes in (None, parse_classes("soil=0,weed=1,crop=2"), parse_classes("soil=#000,weed=#f00,crop=#0f0")):
        labels = decide(facts, classes=classes, ignore=("#00ff00",)).labels
        assert labels.ignore == (2,)
        assert labels.num_classes == 2
    listed = ClassList((ClassEntry("soil", 0), ClassEntry("weed", 1)), "classes.json", ignore=(LEAF, (9, 9, 9)))
    assert decide(facts, classes=listed).labels.ignore == (2,)


def test_an_ignored_grey_is_its_value() -> None:
    for masks in ([flat(0, 128, 255)] * 2, [flat(0, 255)] * 3 + [flat(0, 128, 255)]):
        assert decide(*masks, ignore=("#808080",)).labels == LabelMap(ignore=(128,))
    assert decide(flat(0, 1, 2, 11), ignore=("#0b0b0b",)).labels.ignore == (11,)


@pytest.mark.parametrize(
    "facts",
    [
        flat(0, 255),
        flat(0, 128, 255),
        flat(0, 255, dtype=np.uint16),
        flat(0, 1, 2),
        look_at(np.array([[0, 1, 2]], np.uint8), Path("a.png"), ((0, 0, 0), (255, 0, 0), (0, 255, 0))),
    ],
)
def test_an_ignored_colour_that_masks_of_numbers_or_greys_lack_is_refused(facts: MaskFacts) -> None:
    with pytest.raises(InputError, match=r"--ignore #0102fe is a colour, .* value of these pixels instead, such as"):
        decide(facts, ignore=("#0102fe",))


# --- Colours


def test_colours_are_named_with_black_first() -> None:
    decision = decide(flat((255, 0, 0), (0, 0, 0)), flat((0, 255, 0), (0, 0, 0)), flat(0))
    assert decision.labels.class_names == ("background", "green", "red")
    assert questions(decision) == []


def test_colours_are_named_whoever_asked_for_them_before() -> None:
    ImageColor.getrgb("white")  # from then on Pillow's table holds something else
    assert decide(flat((255, 0, 0), (255, 255, 255))).labels.class_names == ("red", "white")


def test_listed_colours_keep_their_order_and_names() -> None:
    decision = decide(
        flat((255, 0, 0), (0, 0, 0), (0, 255, 0)), classes=parse_classes("soil=#000000,weed=#ff0000,crop=#00ff00")
    )
    assert decision.labels.class_names == ("soil", "weed", "crop")


def test_names_without_colours_are_no_guess() -> None:
    with pytest.raises(InputError, match="--classes soil=#000000,crop=#00ff00"):
        decide(flat((0, 255, 0), (0, 0, 0)), classes=parse_classes("soil,crop"))


def test_an_ignored_colour_is_no_class() -> None:
    decision = decide(flat((255, 0, 0), (0, 0, 0), (255, 255, 255)), ignore=("#ffffff",))
    assert decision.labels.class_names == ("background", "red")
    assert decision.labels.ignore == ((255, 255, 255),)


def test_a_number_that_no_colour_has_ignores_none() -> None:
    masks = [flat((255, 0, 0), (0, 0, 0), (9, 9, 9))] * 2
    for word, ignored in (("-1", ()), ("65535", ()), ("9", ((9, 9, 9),))):
        decision = decide(*masks, ignore=(word,))
        assert decision.labels.ignore == ignored
        read = apply_labels(decision.labels, np.array([[(0, 0, 0), (255, 0, 0)]], np.uint8), Path("a.png"))
        assert read.tolist() == [[0, decision.labels.class_names.index("red")]]


def test_mixed_colours_are_read_by_their_main_ones_and_asked_about() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64, 3), np.int16)
    mask[:20] = (0, 250, 4)
    mask[40:] = (250, 0, 0)
    noisy = np.clip(mask + rng.integers(-9, 10, mask.shape), 0, 255).astype(np.uint8)
    decision = decide(look_at(noisy, Path("a.jpg")))
    assert decision.labels.class_names == ("background", "green", "red")
    assert len(questions(decision)) == 1
    classes = apply_labels(decision.labels, noisy, Path("a.jpg"))
    assert (classes == np.repeat([1, 0, 2], (20, 20, 24))[:, np.newaxis]).all()


def resized(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(mask).resize(size, Image.Resampling.BOX))


def test_shades_along_the_outlines_of_resized_colours_are_no_classes() -> None:
    mask = np.zeros((300, 400, 3), np.uint8)
    mask[40:175, 31:202] = (255, 0, 0)
    mask[200:283, 203:390] = (0, 0, 255)
    mask[291:299, 11:19] = (128, 0, 0)  # a class may be small and lie between two others
    small = resized(mask, (200, 150))
    decision = decide(look_at(small, Path("a.png")))
    assert decision.labels.class_names == ("background", "blue", "maroon", "red")
    assert "--classes background=#000000,blue=#0000ff,maroon=#800000,red=#ff0000" in questions(decision)[0]
    classes = apply_labels(decision.labels, small, Path("a.png"))
    assert {*classes[:, 110]} == {0, 1}
    answered = decide(look_at(small, Path("a.png")), classes=parse_classes("soil=#000,a=#f00,b=#00f,c=#800000"))
    assert questions(answered) == []
    assert np.array_equal(apply_labels(answered.labels, small, Path("a.png")) == 0, classes == 0)
    fewer = decide(look_at(small, Path("a.png")), classes=parse_classes("soil=#000,a=#f00,b=#00f"))
    with pytest.raises(InputError, match="#800000"):
        apply_labels(fewer.labels, small, Path("a.png"))
    assert questions(decide(look_at(mask, Path("a.png")))) == []


def test_one_file_in_colour_among_black_and_white_ones_is_no_class() -> None:
    photograph = look_at(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), Path("d.png"))
    for odd in (photograph, flat((0, 0, 0), (255, 0, 0))):
        assert decide(flat(0), *[flat(0, 255)] * 3, odd).labels == LabelMap()
        assert decide(*[flat(0, 1, 2)] * 3, odd).labels.kind == "indices"


def test_most_masks_of_a_colour_code_may_look_black_and_white() -> None:
    road, car = flat(0, 255), flat((0, 0, 0), (255, 0, 0), (255, 255, 255))
    assert decide(*[flat(0)] * 9, *[road] * 8, *[car] * 2).labels.class_names == ("background", "red", "white")
    assert decide(*[flat(0)] * 9, car).labels.kind == "colours"
    assert decide(*[road] * 50, *[car] * 2).labels.kind == "grey"  # the same mistake twice is likelier


def test_a_list_of_colours_settles_that_colours_are_classes() -> None:
    classes = parse_classes("road=#ffffff,soil=#000000,car=#ff0000")
    assert decide(*[flat(0, 255)] * 50, flat((255, 0, 0)), classes=classes).labels.kind == "colours"
    # A list that gives the colours of a palette leaves numbers what they are.
    assert decide(*[flat(0, 1, 2)] * 3, flat((255, 0, 0)), classes=classes).labels.kind == "indices"


def test_more_classes_than_a_mask_can_hold_are_refused_with_where_they_are() -> None:
    many = look_at(np.arange(300, dtype=np.uint16).reshape(10, 30), Path("b.png"))
    with pytest.raises(InputError, match=r"^b.png has 299 classes, .* 2 to 255 classes apart; merge"):
        decide(flat(0, 1, 2), many)
    listed = ClassList(tuple(ClassEntry(f"class{n}") for n in range(300)), "classes.txt")
    with pytest.raises(InputError, match=r"^classes.txt has 300 classes"):
        decide(flat(0, 1, 2), classes=listed)
    with pytest.raises(InputError, match=r"^classes.txt has 301 classes"):
        decide_names([], LabelOptions(listed))


def test_a_single_colour_tells_nothing_apart() -> None:
    with pytest.raises(InputError, match="single colour"):
        decide(flat((255, 0, 0)))


# --- Names


def test_names_come_after_the_background_in_order() -> None:
    labels = decide_names(["wheel", "door", "wheel"], ASK_NOTHING).labels
    assert labels.class_names == ("background", "door", "wheel")


def test_a_list_decides_the_order_and_an_unlisted_name_is_refused() -> None:
    options = LabelOptions(classes=parse_classes("wheel,door"))
    assert decide_names(["door"], options).labels.class_names == ("background", "wheel", "door")
    with pytest.raises(InputError, match="'hood'"):
        decide_names(["hood"], options)


def test_a_name_may_be_ignored() -> None:
    labels = decide_names(["wheel", "void"], LabelOptions(ignore=("void",))).labels
    assert labels.class_names == ("background", "wheel")
    assert "void" in labels.ignore


@pytest.mark.parametrize("word", ["Void", "viod", "255"])
@pytest.mark.parametrize("classes", [None, parse_classes("wheel,void")])
def test_an_ignored_name_that_no_class_has_is_refused_with_those_there_are(
    word: str, classes: ClassList | None
) -> None:
    options = LabelOptions(classes=classes, ignore=(word,))
    with pytest.raises(InputError, match=rf"--ignore {word} is none of the classes here, which are .*wheel"):
        decide_names(["wheel", "void", "ignore"], options)


def test_what_is_ignored_anyway_may_be_named() -> None:
    labels = decide_names(["wheel", "ignore"], LabelOptions(ignore=("ignore",))).labels
    assert labels.class_names == ("background", "wheel")


# --- The words of the command line, and other folders


def test_the_command_line_wins_over_the_folder() -> None:
    found = parse_classes("a,b,c")
    assert read_options(MaskSettings(), found) == LabelOptions(classes=found)
    options = read_options(MaskSettings("x,y", " 3, void", "dark"), found)
    assert options.classes == parse_classes("x,y")
    assert options.ignore == ("3", "void")
    assert options.foreground == "dark"


def test_another_folder_is_read_with_the_models_classes() -> None:
    model = LabelMap("indices", ("background", "road", "car"), values=((0,), (1,), (2,)), ignore=(255,))
    assert labels_for_model(LabelMap("indices", ("class 0", "class 2"), values=((0,), (2,))), model) == model
    coloured = LabelMap("colours", ("background", "car"), values=(((0, 0, 0),), ((9, 9, 9),)))
    read = labels_for_model(coloured, model)
    assert read.class_names == model.class_names
    assert read.values == (((0, 0, 0),), (), ((9, 9, 9),))
    with pytest.raises(InputError, match="'tree'"):
        labels_for_model(LabelMap("names", ("background", "tree", "car")), model)


def test_two_classes_by_name_are_found_by_their_own_names() -> None:
    read = labels_for_model(LabelMap("names", ("background", "car")), LabelMap())
    assert read.index_of() == {"background": 0, "car": 1}


def test_two_classes_are_two_classes() -> None:
    model = LabelMap("names", ("background", "car"))
    read = labels_for_model(LabelMap(foreground="dark"), model)
    assert read == LabelMap("grey", ("background", "car"), foreground="dark")
