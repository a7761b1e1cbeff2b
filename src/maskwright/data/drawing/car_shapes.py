"""Shapes of drawn cars: a handful of measures become triangles.

Metres, in the car's own frame: ``x`` points forward from the middle of the car, ``y`` to its left,
``z`` up from the floor. Nothing here knows a camera, a colour or a pixel. Every part is a grid on a
rounded box whose box coordinates ``(a, b, c)`` in ``[-1, 1]`` (length, width, height) are bent into
shape and kept per vertex, so that paint can say
"the side of the cabin, a tenth away from its edges" whatever the car looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BODY, CABIN, WHEEL, MIRROR, FITTING, SEAT = range(6)
"""Part numbers, one per triangle."""


@dataclass(frozen=True)
class Measures:
    """What makes one car body differ from another.

    Lengths are in metres; ``cowl`` to ``rear_glass`` are shares of the length from the nose.
    """

    length: float
    width: float
    height: float
    clearance: float
    wheelbase: float
    front_overhang: float
    wheel_radius: float
    nose_height: float
    cowl_height: float
    """Top of the body where the windscreen starts."""
    belt_height: float
    """Lower edge of the side windows."""
    deck_height: float
    """Top of the body at the tail: boot lid, tailgate or side of the bed."""
    cowl: float
    roof_front: float
    roof_rear: float
    rear_glass: float
    """Where the rear window meets the body."""
    tumblehome: float
    """How far each side of the roof stands in from the belt."""
    tail_slope: float
    """How far the tail's upper edge stands in from its lower edge."""

    @property
    def axles(self) -> tuple[float, float]:
        """``x`` of the front and the rear axle."""
        front = self.length / 2 - self.front_overhang
        return front, front - self.wheelbase

    def along(self, share: float) -> float:
        """``x`` of a place that is given as a share of the length from the nose."""
        return self.length * (0.5 - share)


@dataclass(frozen=True)
class Mesh:
    """Triangles with smooth normals."""

    points: Array
    """``(V, 3)``"""
    normals: Array
    """``(V, 3)``, unit length, outward"""
    box: Array
    """``(V, 3)``, box coordinates; for wheels ``(radius share, angle, side)``"""
    triangles: NDArray[np.int64]
    """``(T, 3)``, vertex numbers"""
    parts: NDArray[np.int64]
    """``(T,)``, part numbers"""


STYLES = {
    "sedan": Measures(4.80, 1.84, 1.45, 0.17, 2.82, 0.90, 0.335, 0.73, 0.97, 0.94, 1.03,
                      0.275, 0.450, 0.690, 0.865, 0.19, 0.10),
    "hatchback": Measures(4.20, 1.79, 1.48, 0.16, 2.60, 0.85, 0.320, 0.76, 1.00, 0.97, 0.98,
                          0.250, 0.430, 0.860, 0.970, 0.17, 0.06),
    "city car": Measures(3.62, 1.66, 1.53, 0.15, 2.36, 0.71, 0.300, 0.80, 1.03, 0.98, 0.99,
                         0.210, 0.385, 0.900, 0.978, 0.14, 0.05),
    "estate": Measures(4.78, 1.84, 1.48, 0.16, 2.82, 0.91, 0.330, 0.74, 0.98, 0.95, 0.97,
                       0.275, 0.440, 0.900, 0.980, 0.18, 0.06),
    "coupe": Measures(4.55, 1.87, 1.35, 0.14, 2.70, 0.92, 0.345, 0.68, 0.92, 0.92, 1.00,
                      0.310, 0.485, 0.650, 0.900, 0.22, 0.10),
    "suv": Measures(4.70, 1.92, 1.74, 0.22, 2.82, 0.89, 0.380, 0.94, 1.16, 1.13, 1.14,
                    0.265, 0.415, 0.895, 0.975, 0.16, 0.06),
    "off-roader": Measures(4.60, 1.92, 1.86, 0.27, 2.75, 0.83, 0.405, 1.08, 1.21, 1.19, 1.19,
                           0.285, 0.360, 0.960, 0.992, 0.09, 0.02),
    "pickup": Measures(5.50, 1.97, 1.84, 0.26, 3.42, 0.95, 0.400, 1.05, 1.23, 1.21, 1.25,
                       0.250, 0.360, 0.590, 0.625, 0.15, 0.00),
    "van": Measures(5.00, 1.97, 1.93, 0.18, 3.05, 0.97, 0.345, 0.93, 1.16, 1.10, 1.10,
                    0.170, 0.320, 0.950, 0.988, 0.12, 0.03),
}  # fmt: skip


def mix_measures(first: Measures, second: Measures, share: float, spread: Array) -> Measures:
    """A body between two others, every measure then multiplied by its own factor.

    Args:
        first: The body to start from.
        second: The body to move towards.
        share: How far, in ``[0, 1]``.
        spread: One factor near 1 per measure.
    """
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(Measures)]
    values = [(1 - share) * a + share * b for a, b in pairs]
    return Measures(*(float(value * factor) for value, factor in zip(values, spread, strict=True)))


def _smooth_curve(places: list[float], heights: list[float], *, radius: float) -> Callable[[Array], Array]:
    """A line through the given points with its corners rounded over ``radius`` metres."""
    grid = np.linspace(min(places) - 1, max(places) + 1, 400)
    order = np.argsort(places)
    line = np.interp(grid, np.asarray(places)[order], np.asarray(heights)[order])
    reach = max(1, round(radius / (grid[1] - grid[0])))
    kernel = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(line, reach, mode="edge")
    smoothed = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return lambda x: np.interp(x, grid, smoothed)


def _rounded_box(along: int, around: int, *, ends: float, ring: float) -> Array:
    """A grid on a rounded box, ``(along, around, 3)`` box coordinates.

    The first and last rows shrink to the middle of the rear and front face; columns run once
    around the length axis.

    Args:
        along: Rows from rear to front.
        around: Columns; the last equals the first.
        ends: Exponent of the rounding between the ends and the sides; higher is sharper.
        ring: Exponent of the rounding of the cross-section.
    """
    lengthwise = np.linspace(-np.pi / 2, np.pi / 2, along)
    sine, cosine = np.sin(lengthwise), np.maximum(np.cos(lengthwise), 1e-5)
    scale = (np.abs(sine) ** ends + cosine**ends) ** (-1 / ends)
    turn = np.linspace(0, 2 * np.pi, around)
    left, up = np.cos(turn), np.sin(turn)
    ring_scale = (np.abs(left) ** ring + np.abs(up) ** ring) ** (-1 / ring)
    a = np.broadcast_to((sine * scale)[:, None], (along, around))
    b = (cosine * scale)[:, None] * (left * ring_scale)
    c = (cosine * scale)[:, None] * (up * ring_scale)
    return np.stack([a, b, c], axis=-1)


def _grid_mesh(points: Array, box: Array, part: int) -> Mesh:
    """The mesh of a grid ``(rows, columns, 3)`` that closes around its columns."""
    down = np.gradient(points, axis=0)
    padded = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], axis=1)
    across = padded[:, 2:] - padded[:, :-2]
    normals = np.cross(across, down)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-30
    rows, columns = points.shape[:2]
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    first = np.stack([corner, corner + columns + 1, corner + columns], axis=-1)
    second = np.stack([corner, corner + 1, corner + columns + 1], axis=-1)
    triangles = np.concatenate([first, second])
    flat = [array.reshape(-1, 3) for array in (points, normals, box)]
    return Mesh(flat[0], flat[1], flat[2], triangles, np.full(len(triangles), part))


def join_meshes(meshes: list[Mesh]) -> Mesh:
    """All the triangles of several meshes as one."""
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.box for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate([mesh.parts for mesh in meshes]),
    )


def _body_top(measures: Measures) -> Callable[[Array], Array]:
    """The height of the body's upper edge over ``x``: bonnet, belt and deck in one line."""
    m = measures
    brow = m.nose_height + 0.45 * (m.cowl_height - m.nose_height)
    places = [0.0, 0.06, m.cowl, m.cowl + 0.12, m.rear_glass - 0.03, m.rear_glass + 0.01, 1.0]
    heights = [
        m.nose_height,
        brow,
        m.cowl_height,
        m.belt_height,
        m.belt_height + 0.02,
        m.deck_height,
    ]
    heights.append(m.deck_height - 0.02)
    return _smooth_curve([m.along(place) for place in places], heights, radius=0.22)


def _build_body(measures: Measures) -> Mesh:
    """The lower body: bumpers, bonnet, doors, deck."""
    m = measures
    box = _rounded_box(74, 57, ends=14.0, ring=7.5)
    a, b, c = np.moveaxis(box, -1, 0)
    front, rear = np.maximum(a, 0) ** 5, np.maximum(-a, 0) ** 5
    nose = 0.14 * np.maximum(c + 0.2, 0) ** 2 + 0.10 * np.maximum(-c - 0.45, 0)
    tail = m.tail_slope * np.maximum(c + 0.15, 0) ** 1.5 + 0.16 * np.maximum(-c - 0.4, 0)
    plan = np.abs(b) ** 2.6
    x = (
        a * m.length / 2
        - front * (nose + (0.12 + m.tumblehome) * plan)
        + rear * (tail + (0.06 + 1.2 * m.tail_slope) * plan)
    )
    shoulder = 1 - 0.055 * np.maximum(c - 0.2, 0) ** 1.5 - 0.075 * np.maximum(-c, 0) ** 2
    crease = 0.010 * np.tanh((c - 0.42) / 0.07) - 0.008 * np.tanh((c + 0.55) / 0.10)
    waist = 1 - 0.05 * front - 0.05 * rear - 0.015 * (1 - a**2)
    y = b * m.width / 2 * waist * (shoulder - crease * np.abs(b))
    lift = 0.05 * np.maximum(np.abs(a) - 0.55, 0) / 0.45
    bottom = m.clearance + 0.02 + lift
    top = _body_top(m)(x) - 0.035 * b**2 - 0.05 * front
    z = bottom + (c + 1) / 2 * (top - bottom)
    return _grid_mesh(np.stack([x, y, z], axis=-1), box, BODY)


def build_cabin(measures: Measures) -> Mesh:
    """The greenhouse: windscreen, side windows, rear window, roof."""
    m = measures
    box = _rounded_box(46, 49, ends=12.0, ring=7.5)
    a, b, c = np.moveaxis(box, -1, 0)
    t = (c + 1) / 2
    sunk = 0.16
    rise = m.height - (m.belt_height - sunk)
    share = np.clip((t * rise - sunk) / (rise - sunk), -0.3, 1)
    bulge = 0.05 * np.sin(np.pi * np.clip(share, 0, 1))
    front = m.along(m.cowl) + share * (m.along(m.roof_front) - m.along(m.cowl)) + bulge
    rear = m.along(m.rear_glass) + share * (m.along(m.roof_rear) - m.along(m.rear_glass)) - bulge
    x = rear + (a + 1) / 2 * (front - rear)
    x = x - np.maximum(a, 0) ** 3 * 0.17 * b**2 + np.maximum(-a, 0) ** 3 * 0.10 * b**2
    half = m.width / 2 * 0.945 - m.tumblehome * (0.75 * share + 0.25 * share**2)
    y = b * (half - 0.05 * np.maximum(a, 0) ** 2 - 0.08 * np.maximum(-a, 0) ** 2)
    roof = m.height - 0.045 * a**2 - 0.02 * a - 0.04 * b**2
    z = (m.belt_height - sunk) + t * (roof - (m.belt_height - sunk))
    return _grid_mesh(np.stack([x, y, z], axis=-1), box, CABIN)


def _build_wheel(measures: Measures, x: float, side: int) -> Mesh:
    """One wheel: tread, sidewall, rim and dished face, turned around its axle."""
    m = measures
    rim = 0.69
    radii = np.array([1e-4, 0.5, 0.93, 1.0, 1.0, 0.955, 0.86, rim + 0.02, rim, rim - 0.03, 0.40, 0.16, 1e-4])
    depth = np.array([-0.22, -0.22, -0.22, -0.19, -0.03, 0.0, 0.012, 0.0, -0.004, -0.03, -0.045, -0.02, -0.015])
    turn = np.linspace(0, 2 * np.pi, 41)
    outer = side * (m.width / 2 - 0.035)
    shape = (len(radii), len(turn))
    points = np.empty((*shape, 3))
    points[..., 0] = x + m.wheel_radius * radii[:, None] * np.cos(turn)
    points[..., 1] = outer + side * depth[:, None]
    points[..., 2] = m.wheel_radius * (1 + radii[:, None] * np.sin(turn) * -side)
    box = np.empty((*shape, 3))
    box[..., 0], box[..., 2] = radii[:, None], side
    box[..., 1] = depth[:, None]
    return _grid_mesh(points, box, WHEEL)


def _build_block(centre: tuple[float, float, float], size: tuple[float, float, float], part: int) -> Mesh:
    """A small rounded block: a mirror, a seat, a rail, an antenna."""
    box = _rounded_box(11, 17, ends=4.0, ring=4.0)
    return _grid_mesh(box * (np.asarray(size) / 2) + np.asarray(centre), box, part)


def _build_mirrors(measures: Measures) -> list[Mesh]:
    """The two wing mirrors on their feet."""
    m = measures
    x = m.along(m.cowl + 0.085)
    half, z = m.width / 2 * 0.93, m.belt_height + 0.10
    meshes = []
    for side in (-1, 1):
        meshes.append(_build_block((x, side * (half + 0.13), z), (0.13, 0.24, 0.16), MIRROR))
        meshes.append(_build_block((x, side * (half + 0.02), z - 0.08), (0.08, 0.22, 0.05), FITTING))
    return meshes


def _build_fittings(measures: Measures, *, antenna: float, rails: bool) -> list[Mesh]:
    """What stands on the roof.

    Args:
        measures: The body.
        antenna: Length of a whip antenna in metres; 0 is a shark fin.
        rails: Whether there are roof rails.
    """
    m = measures
    x = m.along(m.roof_rear - 0.05)
    if antenna > 0:
        tilt = np.array([-0.5, 0.0, 1.0])
        mesh = _build_block((0, 0, 0), (0.011, 0.011, antenna), FITTING)
        bent = mesh.points + mesh.points[:, 2:] * tilt * np.array([1.0, 0.0, 0.0])
        base = np.array([x, 0.0, m.height - 0.06 + antenna / 2])
        meshes = [Mesh(bent + base, mesh.normals, mesh.box, mesh.triangles, mesh.parts)]
    else:
        meshes = [_build_block((x, 0, m.height - 0.03), (0.17, 0.035, 0.10), FITTING)]
    if rails:
        front, rear = m.along(m.roof_front + 0.06), m.along(m.roof_rear - 0.07)
        half = m.width / 2 * 0.945 - m.tumblehome - 0.10
        for side in (-1, 1):
            size = (front - rear, 0.035, 0.07)
            meshes.append(_build_block(((front + rear) / 2, side * half, m.height - 0.045), size, FITTING))
    return meshes


def build_seats(measures: Measures, *, rows: int) -> list[Mesh]:
    """What is seen through the windows: seats, dashboard, steering wheel."""
    m = measures
    x = m.along(m.cowl) - 1.15
    top = m.height - 0.30
    meshes = [_build_block((m.along(m.cowl) - 0.32, 0, m.belt_height - 0.06), (0.6, m.width * 0.78, 0.22), SEAT)]
    meshes.append(_build_block((m.along(m.cowl) - 0.66, 0.36, m.belt_height + 0.0), (0.10, 0.36, 0.34), SEAT))
    for _ in range(rows):
        for side in (-1, 1):
            y = side * m.width * 0.20
            height = top - 0.12 - 0.45
            meshes.append(_build_block((x, y, 0.45 + height / 2), (0.15, 0.46, height), SEAT))
            meshes.append(_build_block((x - 0.03, y, top - 0.03), (0.10, 0.26, 0.19), SEAT))
        x -= 0.85
    return meshes


def build_car(measures: Measures, *, antenna: float, rails: bool) -> Mesh:
    """The outside of a car."""
    wheels = [_build_wheel(measures, x, side) for x in measures.axles for side in (-1, 1)]
    fittings = _build_fittings(measures, antenna=antenna, rails=rails)
    return join_meshes([_build_body(measures), build_cabin(measures), *wheels, *_build_mirrors(measures), *fittings])
