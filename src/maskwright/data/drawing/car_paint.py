"""What drawn cars are made of: paint, glass, rubber and lamps, laid over the shapes and lit.

Nothing is a texture: every seam, lamp and spoke is a rule about the place on the car in metres, so
details are as sharp at 1918 pixels as at 240.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.data.drawing.car_shapes import BODY, CABIN, FITTING, MIRROR, SEAT, WHEEL, Measures
from maskwright.data.drawing.car_studio import Floats, Ints, Room, light_from, smooth_step

Colour = tuple[float, float, float]

ARCH = 1.13
"""Radius of a wheel arch as a multiple of the wheel's."""

BLACK: Colour = (0.012, 0.012, 0.013)
PLASTIC: Colour = (0.028, 0.028, 0.030)
RUBBER: Colour = (0.020, 0.020, 0.021)
CHROME: Colour = (0.60, 0.60, 0.62)
LENS: Colour = (0.55, 0.57, 0.60)
RED: Colour = (0.42, 0.010, 0.012)


@dataclass(frozen=True)
class Livery:
    """Everything about one car that is not its shape."""

    paint: Colour
    flake: float
    """Share of the paint that mirrors the room in its own colour; 0 is a solid colour."""
    roof: Colour
    trim: Colour
    """Window surrounds and grille frame."""
    cladding: float
    """Height in metres of the unpainted band above the floor clearance."""
    tint: tuple[float, float]
    """Light that passes the front and the rear windows."""
    seats: Colour
    spokes: int
    spoke_width: float
    twist: float
    rim: Colour
    lamp_inner: float
    """Where the headlamp begins, as a share of half the width."""
    lamp_height: float
    lamp_reach: float
    grille_width: float
    grille_height: float
    bars: float
    """Distance of the grille's bars in metres."""
    tall_tail_lamps: bool
    doors: int
    """On each side."""
    plate: Colour
    plate_marks: int
    """The bits of the marks on the number plate."""
    tonneau: bool
    """Whether a dark cover lies behind the cabin."""
    blind_rear: bool
    """Whether the last side window is sheet metal."""


@dataclass
class Surface:
    """Places on the car as the camera samples them, and what is laid there.

    Arrays are ``(N,)`` or ``(3, N)``: numpy is fast along the last axis.
    """

    place: Floats
    normal: Floats
    box: Floats
    parts: Ints
    detail: float
    """Size of a sample on the car in metres."""
    albedo: Floats
    gloss: Floats
    flake: Floats
    clear: Floats
    """Share of glass."""

    def lay(self, index: Ints, amount: Floats, colour: Colour, *, gloss: float = 0.3, flake: float = 0.0) -> None:
        """Lay a material over some of the samples, ``amount`` in ``[0, 1]`` thick."""
        some = amount > 0.003
        index, amount = index[some], amount[some]
        for channel, value in zip(self.albedo, colour, strict=True):
            channel[index] += amount * (np.float32(value) - channel[index])
        self.gloss[index] += amount * (np.float32(gloss) - self.gloss[index])
        self.flake[index] += amount * (np.float32(flake) - self.flake[index])


def edge(distance: Floats, detail: float) -> Floats:
    """How much of a sample lies where ``distance`` (metres) is positive."""
    share: Floats = np.clip(distance / np.float32(detail) + np.float32(0.5), 0, 1)
    return share


def line(distance: Floats, width: float, detail: float) -> Floats:
    """How much of a sample a line covers; a line thinner than a sample grows faint."""
    wide = max(width, detail)
    return np.clip((wide - np.abs(distance)) / np.float32(detail), 0, 1) * np.float32(width / wide)


def _box_distance(u: Floats, v: Floats, half_u: float, half_v: float, corner: float) -> Floats:
    """How far inside a rounded rectangle around the origin points lie; negative outside."""
    over_u, over_v = np.abs(u) - half_u + corner, np.abs(v) - half_v + corner
    outside = np.sqrt(np.maximum(over_u, 0) ** 2 + np.maximum(over_v, 0) ** 2)
    distance: Floats = corner - outside - np.minimum(np.maximum(over_u, over_v), 0)
    return distance


def _door_edges(m: Measures, livery: Livery) -> NDArray[np.float64]:
    """``x`` of the doors' edges from the hinge of the first to the lock of the last."""
    hinge = m.along(m.cowl + 0.045)
    last = max(m.axles[1] + 0.12, m.along(m.rear_glass - 0.005))
    if livery.doors == 1:
        last = max(hinge - 1.35, m.axles[1] + 1.2 * m.wheel_radius)
    return np.linspace(hinge, last, livery.doors + 1)


def _paint_sides(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay door seams, handles, sills and wheel arches on the body's sides."""
    index = np.flatnonzero((s.parts == BODY) & (np.abs(s.normal[1]) > 0.4))
    x, z = s.place[0, index], s.place[2, index]
    fit = s.detail
    front, rear = m.axles
    sill = m.clearance + 0.13
    between = _door_edges(m, livery)
    hinge, last = between[0], between[-1]
    seam = np.zeros_like(x)
    for number, position in enumerate(between):
        lean = 0.06 * (z - m.belt_height) * (1 if number else -1)
        if number == livery.doors > 1:
            lean = 0.5 * np.maximum(0.62 * m.belt_height - z, 0) - 0.05
        seam = np.maximum(seam, line(x - position + lean, 0.007, fit) * edge(z - sill, fit))
        if number < livery.doors:
            u, v = x - (between[number + 1] + 0.17), z - (m.belt_height - 0.16)
            s.lay(index, edge(_box_distance(u, v + 0.012, 0.13, 0.030, 0.02), fit) * 0.5, BLACK)
            handle = edge(_box_distance(u, v, 0.105, 0.014, 0.014), fit)
            s.lay(index, handle, livery.paint if livery.trim == PLASTIC else livery.trim, gloss=1)
    seam = np.maximum(seam, line(z - sill, 0.005, fit) * edge(hinge - x, fit) * edge(x - last + 0.1, fit))
    s.lay(index, seam * 0.85, BLACK, gloss=0)
    flap = np.abs(_box_distance(x - last + 0.42, z - m.belt_height + 0.22, 0.085, 0.085, 0.03))
    s.lay(index, line(flap, 0.003, fit) * (s.place[1, index] > 0) * 0.8, BLACK, gloss=0)
    bumpers = (x > front + m.wheel_radius) | (x < rear - m.wheel_radius)
    s.lay(index, line(z - 0.56 * m.deck_height, 0.004, fit) * bumpers * 0.7, BLACK, gloss=0)


def _paint_cladding(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay the unpainted band at the bottom, the arches' lips and the dark wheel wells."""
    index = np.flatnonzero((s.parts == BODY) & (s.place[2] < 1.15 * m.belt_height))
    x, y, z = s.place[:, index]
    low = m.clearance + 0.05 + livery.cladding
    s.lay(index, edge(low - z, s.detail), PLASTIC, gloss=0.25)
    side = np.abs(y) > 0.35 * m.width
    for axle in m.axles:
        radius = np.sqrt((x - axle) ** 2 + (z - m.wheel_radius) ** 2)
        arch = m.wheel_radius * ARCH
        if livery.cladding > 0.08:
            s.lay(index, edge(arch + 0.07 - radius, s.detail) * side, PLASTIC, gloss=0.25)
        s.lay(index, line(radius - arch - 0.012, 0.012, s.detail) * side * 0.35, BLACK, gloss=0.4)
        s.lay(index, edge(arch - radius, s.detail) * side, (0.004, 0.004, 0.004), gloss=0)
    s.lay(index, edge(-s.normal[2, index] - 0.75, 0.1), BLACK, gloss=0)


def _paint_top(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay the seams of bonnet and boot, the dark cowl, the cover of a pickup's bed."""
    index = np.flatnonzero((s.parts == BODY) & (s.normal[2] > 0.45))
    x, y = s.place[0, index], np.abs(s.place[1, index])
    cowl, nose = m.along(m.cowl), m.length / 2
    half = m.width / 2
    bonnet = (x > cowl - 0.1) & (x < nose - 0.12)
    s.lay(
        index,
        line(y - 0.82 * half + 0.06 * (x - cowl), 0.006, s.detail) * bonnet * 0.8,
        BLACK,
        gloss=0,
    )
    wiper = 0.09 - np.abs(x - cowl - 0.01 + 0.17 * (y / half) ** 2)
    s.lay(index, edge(np.minimum(wiper, 0.80 * half - y), s.detail), BLACK, gloss=0.2)
    back = m.along(m.rear_glass)
    if livery.tonneau:
        bed = np.minimum(back - 0.10 - x, x + nose - 0.12)
        s.lay(index, edge(np.minimum(bed, 0.86 * half - y), s.detail), BLACK, gloss=0.15)
    else:
        s.lay(index, line(y - 0.78 * half, 0.005, s.detail) * (x < back - 0.05) * 0.8, BLACK, gloss=0)


def _paint_nose(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay headlamps, grille, intake, fog lamps and number plate on the front."""
    reach = livery.lamp_reach
    index = np.flatnonzero((s.parts == BODY) & (s.place[0] > m.length / 2 - reach - 0.3))
    y, z = s.place[1:, index]
    fit, half, top = s.detail, m.width / 2, m.nose_height - 0.075
    front = s.normal[0, index] > 0.3
    aside = np.abs(y)
    low = m.clearance + 0.05
    intake = _box_distance(y, z - (low + 0.14), 0.66 * half, 0.085, 0.05)
    s.lay(index, edge(intake, fit) * front, BLACK, gloss=0.15)
    wide, high = livery.grille_width * half, livery.grille_height * m.nose_height
    middle = top - 0.02 - high / 2
    grille = _box_distance(y, z - middle, wide - 0.10 * (middle - z) / high, high / 2, 0.05)
    bars = 0.5 + 0.5 * np.sin(z * np.float32(2 * np.pi / livery.bars))
    s.lay(index, edge(grille + 0.022, fit) * front, livery.trim, gloss=1, flake=0.8)
    s.lay(index, edge(grille, fit) * front, BLACK, gloss=0.2)
    s.lay(index, edge(grille - 0.01, fit) * front * bars**2 * 0.7, livery.trim, gloss=0.8, flake=0.6)
    s.lay(index, edge(0.062 - np.hypot(y, z - middle), fit) * front, CHROME, gloss=1, flake=0.9)
    s.lay(index, edge(0.048 - np.hypot(y, z - middle), fit) * front, livery.trim, gloss=1)
    fog = np.hypot(aside - 0.76 * half, z - (low + 0.16))
    s.lay(index, edge(0.085 - fog, fit) * front, BLACK, gloss=0.3)
    s.lay(index, edge(0.05 - fog, fit) * front, LENS, gloss=1, flake=0.5)
    _paint_headlamp(s, index, m, livery)
    _paint_plate(s, index, livery, y, z - (low + 0.24), front)


def _paint_headlamp(s: Surface, index: Ints, m: Measures, livery: Livery) -> None:
    """Lay the headlamps, which run around the corners of the nose."""
    x, z = s.place[0, index], s.place[2, index]
    aside = np.abs(s.place[1, index])
    fit, half, top = s.detail, m.width / 2, m.nose_height - 0.075
    start = m.length / 2 - livery.lamp_reach
    lower = top - livery.lamp_height + 0.10 * (aside / half - livery.lamp_inner)
    upper = top + 0.02 + 0.05 * (aside / half - livery.lamp_inner)
    inside = np.minimum(np.minimum(z - lower, upper - z), aside - livery.lamp_inner * half + 0.5 * (z - top))
    inside = np.minimum(inside, x - start - 0.8 * (upper - z))
    s.lay(index, edge(inside + 0.012, fit), BLACK, gloss=0.6)
    s.lay(index, edge(inside, fit), (0.20, 0.21, 0.23), gloss=1, flake=0.5)
    for share, size in ((0.40, 0.42), (0.80, 0.34)):
        centre = (livery.lamp_inner + share * (0.97 - livery.lamp_inner)) * half
        bowl = np.hypot(aside - centre, z - (lower + upper) / 2)
        radius = size * livery.lamp_height
        s.lay(index, edge(np.minimum(radius - bowl, inside), fit), LENS, gloss=1, flake=0.9)
        s.lay(index, edge(np.minimum(0.55 * radius - bowl, inside), fit), (0.9, 0.9, 0.88), gloss=1)
    amber = np.minimum(inside, start + 0.13 - x)
    s.lay(index, edge(amber, fit) * 0.8, (0.55, 0.16, 0.02), gloss=1)


def _paint_tail(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay tail lamps, boot seams, number plate and exhaust on the rear."""
    index = np.flatnonzero((s.parts == BODY) & (s.place[0] < 0.6 - m.length / 2))
    x, y, z = s.place[:, index]
    fit, half, top = s.detail, m.width / 2, m.deck_height - 0.09
    aside, rear = np.abs(y), s.normal[0, index] < -0.3
    low = m.clearance + 0.05
    lid = _box_distance(y, z - (0.56 * m.deck_height + 0.4), 0.80 * half, 0.4, 0.06)
    s.lay(index, line(lid, 0.006, fit) * rear * 0.8, BLACK, gloss=0)
    s.lay(index, edge(_box_distance(y, z - low - 0.02, 0.7 * half, 0.10, 0.06), fit) * rear, PLASTIC)
    middle = 0.56 * m.deck_height + 0.12
    recess = _box_distance(y, z - middle, 0.34, 0.095, 0.04)
    s.lay(index, edge(recess, fit) * rear * 0.55, BLACK, gloss=0.4)
    s.lay(
        index,
        line(z - middle - 0.105, 0.014, fit) * (aside < 0.3) * rear,
        livery.trim,
        gloss=1,
        flake=0.7,
    )
    _paint_plate(s, index, livery, y, z - middle, rear)
    s.lay(index, edge(0.05 - np.hypot(y, z - top + 0.02), fit) * rear, CHROME, gloss=1, flake=0.9)
    high, inner = (0.40, 0.80) if livery.tall_tail_lamps else (0.19, 0.55)
    lamp = np.minimum(z - top + high, top + 0.03 - z)
    lamp = np.minimum(lamp, aside - inner * half + 0.25 * (top - z))
    lamp = np.minimum(lamp, 0.30 - m.length / 2 - x + 0.5 * (z - top))
    s.lay(index, edge(lamp + 0.010, fit), BLACK, gloss=0.6)
    s.lay(index, edge(lamp, fit), RED, gloss=1)
    white = np.minimum(lamp - 0.015, 0.035 - np.abs(z - top + 0.45 * high))
    s.lay(index, edge(white, fit) * 0.8, (0.62, 0.50, 0.48), gloss=1)
    pipe = np.hypot((aside - 0.62 * half) * 0.7, z - low - 0.06)
    s.lay(index, edge(0.055 - pipe, fit) * rear, CHROME, gloss=1, flake=0.9)
    s.lay(index, edge(0.042 - pipe, fit) * rear, BLACK, gloss=0)


def _paint_plate(s: Surface, index: Ints, livery: Livery, u: Floats, v: Floats, facing: NDArray[np.bool_]) -> None:
    """Lay a number plate around the origin of ``(u, v)``; its marks are bits, not a number."""
    plate = _box_distance(u, v, 0.235, 0.062, 0.012)
    s.lay(index, edge(plate + 0.008, s.detail) * facing, BLACK, gloss=0.2)
    s.lay(index, edge(plate, s.detail) * facing, livery.plate, gloss=0.3)
    cell = np.clip(np.floor((u + 0.21) / 0.06), 0, 6).astype(np.int64)
    stroke = np.clip(np.floor((v + 0.036) / 0.024), 0, 2).astype(np.int64)
    half = (((u + 0.21) / 0.06) % 1 > 0.42).astype(np.int64)
    bit = (np.int64(livery.plate_marks) >> (cell * 6 + stroke * 2 + half)) & 1
    inside = np.minimum(0.036 - np.abs(v), 0.21 - np.abs(u))
    inside = np.minimum(inside, 0.024 - np.abs((u + 0.21) % 0.06 - 0.026))
    s.lay(index, edge(inside, s.detail) * bit * facing, (0.02, 0.03, 0.12), gloss=0.2)


def _paint_cabin(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay roof, pillars and glass on the cabin."""
    index = np.flatnonzero(s.parts == CABIN)
    a, b, c = s.box[:, index]
    x, z, fit = s.place[0, index], s.place[2, index], s.detail
    upright = np.clip((z - m.belt_height - 0.035) / (m.height - m.belt_height), -1, 1)
    ends = (np.abs(a) > np.abs(b)) & (np.abs(a) > np.abs(c))
    sides = ~ends & (np.abs(b) > np.abs(c))
    s.lay(index, edge(c - 0.80, 0.02), livery.roof, gloss=1, flake=livery.flake)
    across = (np.abs(b) ** 8 + np.abs(c) ** 8) ** np.float32(1 / 8)
    screen = np.where(ends, np.minimum((0.895 - across) * 0.7, upright + 0.02), np.float32(-1))
    lengthwise = (np.abs(a) ** 10 + np.abs(c) ** 10) ** np.float32(1 / 10)
    rear_edge = np.where(a < 0, 0.86, 0.905)
    window = np.where(sides, np.minimum((rear_edge - lengthwise) * 1.1, upright * 0.5), -1)
    edges = _door_edges(m, livery)
    post = np.zeros_like(x)
    for number, position in enumerate(edges[1:]):
        lean = 0.20 * (z - m.belt_height) * (1 if number + 1 == livery.doors else 0.3)
        post = np.maximum(post, edge(0.045 - np.abs(x - position - lean), fit))
    rim = np.maximum(edge((screen + 0.02) * 1.2, fit), edge(window + 0.026, fit))
    s.lay(
        index,
        edge(window + 0.040, fit) * edge(0.05 - upright, 0.03),
        livery.trim,
        gloss=1,
        flake=0.7,
    )
    s.lay(index, rim, BLACK, gloss=0.8)
    glass = np.maximum(edge(screen, fit), edge(window, fit) * (1 - post))
    if livery.blind_rear:
        blind = edge(edges[-1] - 0.05 - x, fit) * sides
        s.lay(index, blind * rim, livery.paint, gloss=1, flake=livery.flake)
        glass = glass * (1 - blind)
    s.clear[index] = glass
    s.lay(index, glass, BLACK, gloss=1)


def _paint_wheels(s: Surface, livery: Livery, m: Measures) -> None:
    """Lay tyres, rims and spokes."""
    index = np.flatnonzero(s.parts == WHEEL)
    radius, depth = s.box[0, index], s.box[1, index]
    fit = s.detail / m.wheel_radius
    x, z = s.place[0, index], s.place[2, index]
    axle = np.where(x > (m.axles[0] + m.axles[1]) / 2, m.axles[0], m.axles[1]).astype(np.float32)
    side = np.sign(s.place[1, index])
    angle = np.arctan2(z - m.wheel_radius, (x - axle) * side) + radius * livery.twist
    face = depth > -0.1
    s.lay(index, np.ones_like(radius), RUBBER, gloss=0.10)
    tread = 0.5 + 0.5 * np.sin(angle * 60)
    s.lay(index, edge(radius - 0.97, fit) * tread * 0.5, BLACK, gloss=0)
    s.lay(index, line(radius - 0.86, 0.010, fit) * face * 0.5, (0.05, 0.05, 0.05), gloss=0.1)
    s.lay(index, edge(0.70 - radius, fit) * face, livery.rim, gloss=0.8, flake=0.5)
    sector = np.abs((angle * livery.spokes / (2 * np.pi)) % 1 - 0.5) * (2 * np.pi / livery.spokes) * radius
    width = livery.spoke_width * (0.55 + 0.75 * radius)
    gap = np.minimum(np.minimum(0.635 - radius, radius - 0.20), sector - width)
    s.lay(index, edge(gap, fit) * face, (0.015, 0.015, 0.016), gloss=0.1)
    disc = np.minimum(gap, 0.46 - radius)
    s.lay(index, edge(disc, fit) * face * 0.6, (0.16, 0.15, 0.14), gloss=0.3)
    s.lay(index, edge(0.085 - radius, fit) * face, PLASTIC, gloss=0.6)
    bolt = np.abs((angle * 5 / (2 * np.pi)) % 1 - 0.5) * (2 * np.pi / 5) * radius
    s.lay(index, edge(0.018 - np.hypot(bolt, radius - 0.14), fit) * face, BLACK)


def paint_car(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay every material on the outside of a car."""
    s.albedo[:] = np.asarray(livery.paint)[:, None]
    s.gloss[:], s.flake[:] = 1, livery.flake
    _paint_top(s, m, livery)
    _paint_sides(s, m, livery)
    _paint_nose(s, m, livery)
    _paint_tail(s, m, livery)
    _paint_cladding(s, m, livery)
    _paint_cabin(s, m, livery)
    _paint_wheels(s, livery, m)
    fitting = np.flatnonzero(s.parts == FITTING)
    s.lay(fitting, np.ones(len(fitting), np.float32), PLASTIC, gloss=0.5)
    mirror = np.flatnonzero(s.parts == MIRROR)
    glass = edge(_box_distance(s.box[1, mirror], s.box[2, mirror], 0.8, 0.75, 0.3), 0.05)
    s.lay(mirror, glass * edge(-0.5 - s.box[0, mirror], 0.1), (0.35, 0.36, 0.38), gloss=1, flake=0.5)
    s.lay(mirror, edge(-0.35 - s.box[2, mirror], 0.1), PLASTIC, gloss=0.5)


def paint_inside(s: Surface, m: Measures, livery: Livery) -> None:
    """Lay what is seen through the windows: the far windows, trim and seats."""
    _paint_cabin(s, m, livery)
    everywhere = np.arange(len(s.parts))
    trim = (0.10, 0.095, 0.09)
    s.lay(everywhere, (1 - s.clear) * (s.parts == CABIN), trim, gloss=0)
    s.lay(everywhere, (s.parts == SEAT).astype(np.float32), livery.seats, gloss=0.05)


def light_surface(s: Surface, room: Room, eye: Floats, turn: Floats) -> Floats:
    """The light that each sample sends to the camera, ``(3, N)``, glass as if it were black.

    Args:
        s: What is there.
        room: Where the light comes from.
        eye: The lens in the car's frame.
        turn: Rotation from the car's frame to the world, ``(3, 3)``.
    """
    towards = eye[:, None] - s.place
    towards /= np.sqrt(np.einsum("ij,ij->j", towards, towards))
    facing = np.clip(np.einsum("ij,ij->j", towards, s.normal), 0.02, 1)
    key = turn.T @ np.array([0.6 * np.cos(room.lamp), 0.6 * np.sin(room.lamp), 0.75], np.float32)
    upward = s.normal[2]
    open_sky = 0.35 + 0.65 * smooth_step(0.0, 0.75, s.place[2] + 0.4 * np.maximum(upward, 0))
    lit = 0.40 + 0.38 * upward + 0.34 * np.maximum(key @ s.normal, 0)
    light: Floats = s.albedo * (np.maximum(lit, 0.12) * open_sky * (1 - 0.75 * s.flake))
    around = light_from(room, turn @ (2 * facing * s.normal - towards))
    away = 1 - facing
    sheen = (0.055 + 0.80 * (away * away) ** 2 * away) * s.gloss * open_sky
    metal = s.flake * (0.63 + 0.52 * facing) * open_sky
    light += around * (sheen + s.albedo * metal)
    return light
