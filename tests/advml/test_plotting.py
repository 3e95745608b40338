"""advml.plotting: what is drawn is what was given."""

import matplotlib
import numpy as np
import pytest

from advml.plotting import image_grid

matplotlib.use("Agg")


@pytest.fixture
def ax():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_images_stand_row_by_row_with_blank_gaps(ax):
    images = np.arange(3 * 2 * 2).reshape(3, 2, 2)
    drawn = image_grid(images, 2, ax=ax, title="three").get_array()
    gap = np.nan
    expected = [
        [gap] * 7,
        [gap, 0, 1, gap, 4, 5, gap],
        [gap, 2, 3, gap, 6, 7, gap],
        [gap] * 7,
        [gap, 8, 9, gap, gap, gap, gap],
        [gap, 10, 11, gap, gap, gap, gap],
        [gap] * 7,
    ]
    np.testing.assert_array_equal(drawn.filled(np.nan), expected)
    assert ax.get_title() == "three"


def test_one_scale_for_all_images_whatever_is_nan(ax):
    images = np.array([[[0.0, np.nan]], [[2.0, -3.0]]])
    assert image_grid(images, 5, ax=ax).get_clim() == (-3, 2)
    assert image_grid(images, 5, ax=ax, limits=(-4, 4)).get_clim() == (-4, 4)


def test_nothing_but_nan_is_drawn_blank(ax):
    picture = image_grid(np.full((2, 3, 3), np.nan), 2, ax=ax)
    ax.figure.canvas.draw()
    assert picture.get_array().mask.all()


@pytest.mark.parametrize("shape", [(4, 4), (0, 2, 2), (1, 2, 2, 3)])
def test_bad_shape(ax, shape):
    with pytest.raises(ValueError, match=r"images must have shape .*not \("):
        image_grid(np.zeros(shape), 2, ax=ax)


def test_bad_columns(ax):
    with pytest.raises(ValueError, match=r"n_columns.*0"):
        image_grid(np.zeros((1, 2, 2)), 0, ax=ax)
