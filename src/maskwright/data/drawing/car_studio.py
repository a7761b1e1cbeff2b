"""A photographer's studio for drawn cars: triangles and a room become light on pixels.

The world's origin is the middle of the turntable on the floor; ``x`` points right, ``y`` away from
the camera, ``z`` up, in metres. Colours are linear light, 1 is a white wall. A picture's scene does
not depend on its size: everything is measured in metres or in shares of the picture's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

COVERAGE_FINENESS = 4
"""Samples of a pixel along each side, where its coverage is counted."""

WALL_RADIUS = 8.0
WALL_CENTRE = -1.6
"""``y`` of the middle of the round wall."""

STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "M": [[(0, 0), (0, 6), (2, 2), (4, 6), (4, 0)]],
    "A": [[(0, 0), (2, 6), (4, 0)], [(0.8, 2), (3.2, 2)]],
    "S": [[(4, 5), (3, 6), (1, 6), (0, 5), (0, 4), (1, 3.1), (3, 2.9), (4, 2), (4, 1), (3, 0),
           (1, 0), (0, 1)]],
    "K": [[(0, 0), (0, 6)], [(4, 6), (0.2, 2.6)], [(1.4, 3.7), (4, 0)]],
    "W": [[(0, 6), (1.1, 0), (2.4, 5), (3.7, 0), (4.8, 6)]],
    "R": [[(0, 0), (0, 6), (3, 6), (4, 5), (4, 4), (3, 3), (0, 3)], [(2, 3), (4, 0)]],
    "I": [[(0, 0), (0, 6)]],
    "G": [[(4, 5), (3, 6), (1, 6), (0, 5), (0, 1), (1, 0), (3, 0), (4, 1), (4, 2.8), (2.3, 2.8)]],
    "H": [[(0, 0), (0, 6)], [(4, 0), (4, 6)], [(0, 3), (4, 3)]],
    "T": [[(2, 0), (2, 6)], [(0, 6), (4, 6)]],
}  # fmt: skip
"""The letters on the wall as lines, six units high."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on a tripod in front of the turntable."""

    width: int
    height: int
    distance: float
    """Metres from the lens to the middle of the turntable, along the floor."""
    lens_height: float
    aim_height: float
    """Height above the turntable of the point in the middle of the picture."""
    focal: float
    """Focal length as a share of the picture's width."""
    aside: float = 0.0
    """How far the lens stands to the right of the turntable's middle."""

    @property
    def basis(self) -> NDArray[np.float64]:
        """Rows: right, down and forward in the world."""
        forward = np.array([-self.aside, self.distance, self.aim_height - self.lens_height])
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    @property
    def position(self) -> NDArray[np.float64]:
        """Where the lens stands in the world."""
        return np.array([self.aside, -self.distance, self.lens_height])

    @property
    def pixels(self) -> float:
        """Focal length in pixels."""
        return self.focal * min(self.width, 1.5 * self.height)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Column and row in pixels, and depth, of world points ``(..., 3)``."""
        seen = (points - self.position) @ self.basis.T
        depth = seen[..., 2]
        column = self.width / 2 + self.pixels * seen[..., 0] / depth
        row = self.height / 2 + self.pixels * seen[..., 1] / depth
        return np.stack([column, row, depth], axis=-1)

    def rays(self, columns: Floats, rows: Floats) -> Floats:
        """Directions in the world, ``(3, ...)``, of places on the picture in pixels.

        They are one metre deep, not of unit length.
        """
        right = (columns - np.float32(self.width / 2)) / np.float32(self.pixels)
        down = (rows - np.float32(self.height / 2)) / np.float32(self.pixels)
        basis = self.basis.astype(np.float32)
        shape = (3,) + (1,) * right.ndim
        x, y, z = (axis.reshape(shape) for axis in basis)
        directions: Floats = right * x + down * y + z
        return directions


@dataclass(frozen=True)
class Room:
    """What stays the same while a car turns: walls, floor, lamps, film."""

    wall: tuple[float, float, float]
    floor: tuple[float, float, float]
    disc: tuple[float, float, float]
    disc_radius: float
    word: str
    """Letters on the wall; may be empty."""
    word_level: float
    panel: float
    """How much darker every other wall panel is."""
    lamp: float
    """Direction of the key light around the turntable, radians from the right."""
    wear: tuple[float, ...]
    """Phases of the stains on the floor."""
    exposure: float
    noise: float
    """Standard deviation of the sensor's noise in 8-bit steps."""


@dataclass(frozen=True)
class Samples:
    """The nearest surface at each place where the picture is sampled and a surface is hit."""

    rows: Ints
    columns: Ints
    triangles: Ints
    corners: Floats
    """``(3, N)``, share of each corner of the triangle, perspective undone"""
    depth: Floats

    def only(self, index: Ints) -> Samples:
        """Some of the samples."""
        return Samples(
            self.rows[index],
            self.columns[index],
            self.triangles[index],
            self.corners[:, index],
            self.depth[index],
        )


def _triangle_spans(corners: NDArray[np.float64], width: int, height: int) -> tuple[Ints, ...]:
    """Cut triangles into the runs of sample points that they cover, row by row.

    A sample lies in the middle of its cell; neighbours leave no gap and share no sample.

    Args:
        corners: ``(T, 3, 2)``, column and row.
        width: Columns of the picture.
        height: Rows of the picture.

    Returns:
        Triangle, row, first column and column after the last of each run.
    """
    order = np.argsort(corners[..., 1], axis=1)
    ordered = np.take_along_axis(corners, order[..., None], axis=1)
    x, y = ordered[..., 0], ordered[..., 1]
    first = np.clip(np.ceil(y[:, 0] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y[:, 2] - 0.5), 0, height).astype(np.int64)
    count = last - first
    triangle = np.repeat(np.arange(len(corners)), count)
    row = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count - first, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x[:, [2, 1, 2]] - x[:, [0, 0, 1]]) / (y[:, [2, 1, 2]] - y[:, [0, 0, 1]])
    middle = row + 0.5
    upper = middle < y[triangle, 1]
    long_edge = x[triangle, 0] + (middle - y[triangle, 0]) * slope[triangle, 0]
    start = np.where(upper, 0, 1)
    short_edge = x[triangle, start] + (middle - y[triangle, start]) * slope[triangle, start + 1]
    begin = np.clip(np.ceil(np.minimum(long_edge, short_edge) - 0.5), 0, width).astype(np.int64)
    end = np.clip(np.ceil(np.maximum(long_edge, short_edge) - 0.5), 0, width).astype(np.int64)
    kept = end > begin
    return triangle[kept], row[kept], begin[kept], end[kept]


def draw_coverage(corners: NDArray[np.float64], width: int, height: int) -> NDArray[np.uint8]:
    """Which share of each pixel lies inside any of the triangles, 0..255.

    Args:
        corners: ``(T, 3, 2)``, column and row in pixels.
        width: Columns of the picture.
        height: Rows of the picture.
    """
    left, upper = np.clip(np.floor(corners.min(axis=(0, 1))), 0, (width, height)).astype(int)
    right, lower = np.clip(np.ceil(corners.max(axis=(0, 1))), 0, (width, height)).astype(int)
    wide, high = (right - left) * COVERAGE_FINENESS, (lower - upper) * COVERAGE_FINENESS
    shifted = (corners - np.array([left, upper])) * COVERAGE_FINENESS
    _, row, begin, end = _triangle_spans(shifted, int(wide), int(high))
    steps = np.bincount(row * (wide + 1) + begin, minlength=high * (wide + 1)).astype(np.int32)
    steps -= np.bincount(row * (wide + 1) + end, minlength=high * (wide + 1))
    inside = np.cumsum(steps, dtype=np.int32).reshape(high, wide + 1)[:, :wide] > 0
    hits = box_sum(inside.astype(np.uint8), COVERAGE_FINENESS)
    coverage = np.zeros((height, width), np.uint8)
    coverage[upper:lower, left:right] = np.rint(hits * np.float32(255 / COVERAGE_FINENESS**2))
    return coverage


def box_sum(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The sums of blocks of ``size`` by ``size`` samples along the last two axes."""
    tall = sum((values[..., start::size, :] for start in range(1, size)), start=values[..., ::size, :])
    return sum((tall[..., start::size] for start in range(1, size)), start=tall[..., ::size])


def nearest_surfaces(
    projected: NDArray[np.float64],
    width: int,
    height: int,
    *,
    among: Ints | None = None,
) -> Samples:
    """Find the nearest triangle at every sample.

    Args:
        projected: ``(T, 3, 3)``, column, row, depth of the corners, in samples.
        width: Columns of samples.
        height: Rows of samples.
        among: Samples of interest, as ``row * width + column``; all of them unless given.
    """
    triangle, row, begin, end = _triangle_spans(projected[..., :2], width, height)
    length = end - begin
    run = np.repeat(np.arange(len(triangle)), length)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(length) - length, length)
    planes = _depth_planes(projected)
    at_start = planes[triangle, 0] + planes[triangle, 1] * (begin + 0.5) + planes[triangle, 2] * (row + 0.5)
    nearness = at_start[run] + planes[triangle, 1][run] * offset
    place = (row * width + begin)[run] + offset
    bits = len(projected).bit_length()
    key = ((nearness * 2**30).astype(np.int64) << bits) | triangle[run]
    buffer = np.zeros(width * height, np.int64)
    np.maximum.at(buffer, place, key)
    hit = np.flatnonzero(buffer) if among is None else among[buffer[among] > 0]
    winner = buffer[hit] & ((1 << bits) - 1)
    return _locate(projected, hit // width, hit % width, winner)


def _depth_planes(projected: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over depth as ``(T, 3)``: constant, step per column, step per row."""
    x, y = projected[..., 0], projected[..., 1]
    q = 1 / projected[..., 2]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    first, second = q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]
    per_column = (first * (y[:, 2] - y[:, 0]) - second * (y[:, 1] - y[:, 0])) / area
    per_row = (second * (x[:, 1] - x[:, 0]) - first * (x[:, 2] - x[:, 0])) / area
    return np.stack([q[:, 0] - per_column * x[:, 0] - per_row * y[:, 0], per_column, per_row], axis=-1)


def _locate(projected: NDArray[np.float64], rows: Ints, columns: Ints, triangles: Ints) -> Samples:
    """Where on their triangles samples lie."""
    x, y = projected[..., 0], projected[..., 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    column, row = (columns + 0.5).astype(np.float32), (rows + 0.5).astype(np.float32)
    shares = np.empty((3, len(rows)), np.float32)
    for corner in range(3):
        after, before = (corner + 1) % 3, (corner + 2) % 3
        scale = 1 / (area * projected[:, corner, 2])
        constant = (x[:, after] * y[:, before] - x[:, before] * y[:, after]) * scale
        per_column = (y[:, after] - y[:, before]) * scale
        per_row = (x[:, before] - x[:, after]) * scale
        shares[corner] = constant.astype(np.float32)[triangles]
        shares[corner] += per_column.astype(np.float32)[triangles] * column
        shares[corner] += per_row.astype(np.float32)[triangles] * row
    nearness = np.maximum(shares[0] + shares[1] + shares[2], np.float32(1e-6))
    return Samples(rows, columns, triangles, shares / nearness, 1 / nearness)


def smooth_step(low: float, high: float, value: Floats) -> Floats:
    """0 below ``low``, 1 above ``high`` and a smooth rise between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    step: Floats = t * t * (3 - 2 * t)
    return step


def light_from(room: Room, direction: Floats) -> Floats:
    """What a mirror in the middle of the studio would show in unit directions ``(3, N)``.

    A bright wall that fades upwards into a grey ceiling with two long soft boxes, a light strip
    beside the camera, a floor that is darker below the car, and a thin dark line where floor and
    wall meet: what makes paint look like paint.
    """
    x, y, z = direction
    wall = 0.50 + 0.42 * smooth_step(0.0, 0.22, z) - 0.38 * smooth_step(0.30, 0.75, z)
    floor = 0.34 - 0.20 * smooth_step(0.05, 0.7, -z)
    level = np.where(z > 0, wall, floor)
    level -= 0.22 * np.exp(-(((z - 0.03) / 0.035) ** 2))
    up = np.maximum(z, 0.05)
    u, v = x / up, y / up
    for side in (-0.75, 0.85):
        box = 1 - smooth_step(0.16, 0.30, np.abs(v - side))
        level += 1.5 * box * (1 - smooth_step(1.6, 2.0, np.abs(u))) * (z > 0.25)
    key = np.float32(np.cos(room.lamp)) * x + np.float32(np.sin(room.lamp)) * y
    front = smooth_step(0.2, -0.3, y) * (1 - np.abs(x))
    level += 1.1 * front * np.exp(-(((z - 0.15) / 0.045) ** 2))
    level *= 1 + 0.18 * key
    return level * np.asarray(room.wall, np.float32)[:, None]


def room_light(room: Room, camera: Camera) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The empty studio, where each pixel meets the floor, and which pixels do.

    Returns:
        Light ``(3, H, W)``, floor position ``(2, H, W)`` in metres, floor or not ``(H, W)``.
    """
    columns, rows = np.meshgrid(
        np.arange(camera.width, dtype=np.float32) + 0.5,
        np.arange(camera.height, dtype=np.float32) + 0.5,
    )
    rays = camera.rays(columns, rows)
    eye = camera.position.astype(np.float32)
    across = rays[0] ** 2 + rays[1] ** 2
    towards = eye[0] * rays[0] + (eye[1] - WALL_CENTRE) * rays[1]
    apart = eye[0] ** 2 + (eye[1] - WALL_CENTRE) ** 2 - WALL_RADIUS**2
    reach = (-towards + np.sqrt(np.maximum(towards**2 - across * apart, 0))) / across
    fall = np.where(rays[2] < -1e-4, -eye[2] / np.minimum(rays[2], -1e-4), np.float32(1e9))
    on_floor = fall < reach
    distance = np.minimum(fall, reach)
    place = eye[:2, None, None] + rays[:2] * distance
    height = eye[2] + rays[2] * distance
    wall = _wall_light(room, place, height)
    word = _draw_word(room, camera)
    if word is not None:
        wall *= 1 - word * np.float32(1 - room.word_level)
    light = np.where(on_floor, _floor_light(room, place), wall)
    corner = np.sqrt((columns / camera.width - 0.5) ** 2 + (rows / camera.height - 0.5) ** 2)
    light *= 1.03 - 0.16 * corner**2
    return light, place, on_floor


def _wall_light(room: Room, place: Floats, height: Floats) -> Floats:
    """The light of the wall at places ``(2, H, W)`` and heights ``(H, W)``."""
    angle = np.arctan2(place[0], place[1] - np.float32(WALL_CENTRE))
    level = 0.80 + 0.17 * smooth_step(0.0, 2.6, height) - 0.10 * np.exp(-height / 0.25)
    level *= 1 - 0.10 * np.abs(angle) + 0.05 * np.sin(angle * 2.0 + np.float32(room.lamp))
    if room.panel > 0:
        stripe = np.abs((angle / 0.42 + 0.25) % 1 - 0.5) * 0.42 * WALL_RADIUS
        level *= 1 - np.float32(room.panel) * smooth_step(0.84, 0.86, stripe + 0.0)
        level *= 1 - 0.5 * np.exp(-((stripe - 0.85) ** 2) / 0.0004)
    glow = np.exp(-(((angle - 0.45 * np.float32(np.cos(room.lamp))) / 0.35) ** 2) - ((height - 3.2) / 1.0) ** 2)
    level += 0.35 * glow
    light: Floats = level * np.asarray(room.wall, np.float32)[:, None, None]
    return light


def _floor_light(room: Room, place: Floats) -> Floats:
    """The light of the floor and of the turntable's disc at places ``(2, H, W)``."""
    x, y = place
    radius = np.sqrt(x**2 + y**2)
    inside = 1 - smooth_step(room.disc_radius - 0.01, room.disc_radius + 0.01, radius)
    bare, turning = np.asarray([room.floor, room.disc], np.float32)[:, :, None, None]
    colour = bare + inside * (turning - bare)
    stain = np.zeros_like(x)
    for number, phase in enumerate(room.wear):
        turn = np.float32(phase)
        along = x * np.cos(turn) + y * np.sin(turn)
        stain += np.sin(along * np.float32(1.7 + 1.31 * number) + turn * 5) / (2 + number)
    angle = np.arctan2(y, x)
    scuff = np.sin(angle * 37 + np.float32(room.wear[0])) * np.sin(angle * 11 + radius * 3)
    scuff *= np.exp(-(((radius - 0.62 * room.disc_radius) / 0.5) ** 2))
    level = 1 + 0.030 * stain + 0.02 * scuff * inside
    level += 0.14 * np.exp(-(x**2 + (y - 0.5) ** 2) / 8) - 0.05 * smooth_step(1.0, 5.5, -y)
    level += 0.12 * smooth_step(2.5, 6.0, y)
    level *= 1 - 0.35 * np.exp(-(((radius - room.disc_radius) / 0.018) ** 2))
    light: Floats = colour * level
    return light


def _draw_word(room: Room, camera: Camera) -> Floats | None:
    """Which share of each pixel the letters on the wall cover, or None for a bare wall."""
    if not room.word:
        return None
    scale, unit, lift = 3, 0.150, 1.0
    picture = Image.new("L", (camera.width * scale, camera.height * scale))
    draw = ImageDraw.Draw(picture)
    widths = [max(point[0] for line in STROKES[letter] for point in line) + 1.9 for letter in room.word]
    start = -(sum(widths) - 1.9) / 2
    for letter, advance in zip(room.word, widths, strict=True):
        for line in STROKES[letter]:
            flat = np.asarray(line, np.float64)
            angle = (start + flat[:, 0]) * unit * 1.15 / WALL_RADIUS
            world = np.stack(
                [
                    WALL_RADIUS * np.sin(angle),
                    WALL_CENTRE + WALL_RADIUS * np.cos(angle),
                    lift + flat[:, 1] * unit,
                ],
                axis=-1,
            )
            seen = camera.project(world)
            thick = scale * camera.pixels * unit * 0.95 / float(seen[:, 2].mean())
            points = [(float(x) * scale, float(y) * scale) for x, y, _ in seen]
            draw.line(points, fill=255, width=max(1, round(thick)), joint="curve")
        start += advance
    small = picture.resize((camera.width, camera.height), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def expose(light: Floats, room: Room, generator: np.random.Generator) -> NDArray[np.uint8]:
    """What the camera stores of light ``(3, H, W)``: uint8, ``(H, W, 3)``, with noise."""
    steps = 4096  # over the square root of the light, up to 4: far finer than 8 bits
    exposed = (np.arange(steps) * (2 / steps)) ** 2
    over = np.maximum(exposed - 0.75, 0)
    shoulder = np.minimum(exposed, 0.75) + 0.25 * (1 - np.exp(-over / 0.25))
    curve = (255 * shoulder ** (1 / 2.2)).astype(np.float32)
    root = np.sqrt(np.maximum(light * np.float32(room.exposure * (steps / 2) ** 2), 0))
    encoded = curve[np.minimum(root, steps - 1).astype(np.int32)]
    encoded += generator.standard_normal(light.shape, dtype=np.float32) * np.float32(room.noise)
    stored = np.clip(encoded + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(stored, 0, -1))
