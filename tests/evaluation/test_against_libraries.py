"""Our figures equal those of well-kept libraries on random masks."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from maskwright.data.labels import IGNORED
from maskwright.evaluation.certainty import BINS, calibrate, count_probabilities
from maskwright.evaluation.metrics import (
    confusion_counts,
    dice_per_class,
    iou_per_class,
    precision_per_class,
    recall_per_class,
)
from maskwright.evaluation.outlines import compare_outlines, distances, gaps_in_columns, outline

RNG = np.random.default_rng(0)


def blobs(threshold: float = 0.0, shape: tuple[int, int] = (60, 90)) -> NDArray[np.bool_]:
    """Random regions with smooth outlines."""
    coarse = RNG.normal(size=(shape[0] // 10, shape[1] // 10))
    fine = np.kron(coarse, np.ones((10, 10)))
    for _ in range(8):
        fine = (np.roll(fine, 1, 0) + np.roll(fine, -1, 0) + np.roll(fine, 1, 1) + np.roll(fine, -1, 1)) / 4
    return np.asarray(fine > threshold)


@pytest.mark.parametrize("classes", [2, 5])
def test_region_scores_equal_torchmetrics(classes: int) -> None:
    truth, called = RNG.integers(0, classes, (2, 40, 50), dtype=np.uint8)
    truth[:5] = IGNORED
    counts = confusion_counts(truth, called, classes)
    for ours, theirs in (
        (dice_per_class, multiclass_f1_score),
        (iou_per_class, multiclass_jaccard_index),
        (precision_per_class, multiclass_precision),
        (recall_per_class, multiclass_recall),
    ):
        expected = theirs(
            torch.from_numpy(called).long(),
            torch.from_numpy(truth).long(),
            num_classes=classes,
            average=None,
            ignore_index=IGNORED,
        )
        assert ours(counts) == pytest.approx(expected.numpy(), rel=1e-6)


@pytest.mark.parametrize("shape", [(60, 90), (10, 300)])
def test_distances_equal_the_distance_transform_of_scipy(shape: tuple[int, int]) -> None:
    target = RNG.random(shape) < 0.002
    target[3, 4] = True
    rows, columns = np.nonzero(np.ones(shape, np.bool_))
    found = distances(gaps_in_columns(target), (rows, columns)).reshape(shape)
    assert found == pytest.approx(distance_transform_edt(~target))


@pytest.mark.parametrize("threshold", [-0.2, 0.0, 0.2])
def test_an_outline_equals_an_erosion_of_scipy_and_the_inner_boundary_of_scikit_image(threshold: float) -> None:
    mask, counted = blobs(threshold), RNG.random((60, 90)) < 0.95
    assert np.array_equal(outline(mask, np.ones_like(mask)), mask & ~binary_erosion(mask, border_value=1))
    assert np.array_equal(outline(mask, np.ones_like(mask)), find_boundaries(mask, connectivity=1, mode="inner") & mask)
    assert np.array_equal(
        outline(mask & counted, counted), mask & counted & ~binary_erosion(mask | ~counted, border_value=1)
    )


def test_the_largest_distance_of_outlines_equals_that_of_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwright.evaluation.outlines._COUNTED_PERCENT", 100)
    for _ in range(5):
        truth, called = blobs(), blobs()
        counted = np.ones_like(truth)
        found = compare_outlines(truth, called, counted, tolerance=2).hausdorff_95
        assert found == pytest.approx(hausdorff_distance(outline(truth, counted), outline(called, counted)))


def test_outline_scores_equal_those_made_of_distance_transforms_of_scipy() -> None:
    for tolerance in (1.0, 3.7):
        truth, called, counted = blobs(), blobs(), np.ones((60, 90), np.bool_)
        a, b = outline(truth, counted), outline(called, counted)
        missed, strayed = distance_transform_edt(~b)[a], distance_transform_edt(~a)[b]
        recall, precision = (missed <= tolerance).mean(), (strayed <= tolerance).mean()
        is_near = distance_transform_edt(~a) <= tolerance
        found = compare_outlines(truth, called, counted, tolerance=tolerance)
        assert found.boundary_f == pytest.approx(2 * precision * recall / (precision + recall))
        assert found.hausdorff_95 == pytest.approx(max(np.percentile(missed, 95), np.percentile(strayed, 95)))
        assert found.edge_error == pytest.approx(((truth ^ called) & is_near).sum() / (truth | called).sum())
        assert found.inner_error == pytest.approx(((truth ^ called) & ~is_near).sum() / (truth | called).sum())


def test_the_calibration_error_equals_torchmetrics_for_a_foreground() -> None:
    probabilities = RNG.random((1, 40, 50), dtype=np.float32)
    truth = (RNG.random((40, 50)) < probabilities[0] ** 2).astype(np.uint8)
    expected = binary_calibration_error(torch.from_numpy(probabilities[0]), torch.from_numpy(truth), n_bins=BINS)
    found = calibrate([count_probabilities(probabilities, truth)])
    assert found is not None
    assert found.error == pytest.approx(float(expected), abs=1e-6)


def test_the_calibration_error_equals_torchmetrics_for_classes() -> None:
    probabilities = RNG.dirichlet(np.ones(4) / 2, (40, 50)).transpose(2, 0, 1).astype(np.float32)
    truth = RNG.integers(0, 4, (40, 50), dtype=np.uint8)
    truth[:7] = IGNORED
    expected = multiclass_calibration_error(
        torch.from_numpy(probabilities)[None],
        torch.from_numpy(truth).long()[None],
        num_classes=4,
        n_bins=BINS,
        ignore_index=IGNORED,
    )
    found = calibrate([count_probabilities(probabilities, truth)])
    assert found is not None
    assert found.error == pytest.approx(float(expected), abs=1e-6)
