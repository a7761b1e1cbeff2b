"""The embedded data set: cars in a studio, sixteen views each, with exact masks.

Picture and mask come from the same triangles: the mask is the share of each pixel inside the car's
outline, glass included, shadows and reflections not. Everything follows from ``(seed, car, view)``;
neither the order of drawing nor the number of pictures matters, and the scene does not depend on
the picture's size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.drawing.car_paint import (
    ARCH,
    CHROME,
    PLASTIC,
    Colour,
    Livery,
    Surface,
    light_surface,
    paint_car,
    paint_inside,
)
from maskwright.data.drawing.car_shapes import (
    BODY,
    CABIN,
    STYLES,
    WHEEL,
    Measures,
    Mesh,
    build_cabin,
    build_car,
    build_seats,
    join_meshes,
    mix_measures,
)
from maskwright.data.drawing.car_studio import (
    Camera,
    Floats,
    Ints,
    Room,
    Samples,
    box_sum,
    draw_coverage,
    expose,
    nearest_surfaces,
    room_light,
    smooth_step,
)
from maskwright.errors import InputError
from maskwright.files import replacing

VIEWS = 16
"""Pictures of each car, one every 22.5 degrees; the first shows its front."""

JPEG_QUALITY = 92
FEW_PIXELS = 1_000_000
"""So many are drawn before other processes have started."""
FINENESS = 2
"""Colour samples per pixel along each side."""
WELL_DEPTH = 0.35
"""How deep a wheel may lie in its arch, metres along the line of sight."""

PAINTS: tuple[tuple[Colour, float], ...] = (
    ((0.72, 0.72, 0.70), 0.0), ((0.62, 0.63, 0.63), 0.25), ((0.42, 0.43, 0.44), 0.6),
    ((0.30, 0.31, 0.32), 0.6), ((0.13, 0.135, 0.14), 0.5), ((0.055, 0.056, 0.06), 0.5),
    ((0.010, 0.010, 0.011), 0.2), ((0.012, 0.014, 0.020), 0.4), ((0.30, 0.015, 0.015), 0.15),
    ((0.16, 0.008, 0.015), 0.5), ((0.010, 0.030, 0.16), 0.5), ((0.02, 0.10, 0.33), 0.4),
    ((0.20, 0.34, 0.44), 0.4), ((0.33, 0.29, 0.22), 0.5), ((0.10, 0.065, 0.04), 0.5),
    ((0.02, 0.075, 0.045), 0.4), ((0.55, 0.30, 0.02), 0.1), ((0.45, 0.11, 0.015), 0.3),
)  # fmt: skip
"""Colours in linear light, and how metallic they are; the first eight are drawn most often."""


@dataclass(frozen=True)
class DrawnCar:
    """One car as the studio sees it."""

    measures: Measures
    livery: Livery
    room: Room
    outside: Mesh
    inside: Mesh
    place: tuple[float, float]
    """Where it stands on the turntable, metres in its own frame."""
    lens: tuple[float, float, float, float, float]
    """Distance, lens height, aim height, focal share, aside: the ``Camera``'s arguments."""


def generator_for(seed: int, *keys: int) -> np.random.Generator:
    """Random numbers that depend on the keys and on nothing else."""
    return np.random.default_rng([seed, *keys])


def _choose_measures(generator: np.random.Generator) -> tuple[str, Measures]:
    """The name of the nearest body style, and a body that is a little of another one too."""
    names = list(STYLES)
    shares = np.array([5, 4, 2, 3, 2, 5, 1.5, 3, 2])
    first = names[int(generator.choice(len(names), p=shares / shares.sum()))]
    kin = [name for name in names if name not in {"pickup", first}]
    second = kin[int(generator.integers(len(kin)))]
    share = 0.0 if first == "pickup" else float(generator.uniform(0, 0.3))
    spread = 1 + 0.02 * generator.uniform(-1, 1, 17)
    return first, mix_measures(STYLES[first], STYLES[second], share, spread)


def _choose_livery(generator: np.random.Generator, style: str) -> Livery:
    """Colours, wheels and lamps that suit a body style."""
    uniform = generator.uniform
    neutral = generator.random() < 0.6
    number = int(generator.integers(0, 8) if neutral else generator.integers(8, len(PAINTS)))
    base, flake = PAINTS[number]
    paint = tuple(float(value) for value in np.asarray(base) * uniform(0.8, 1.2))
    tough = style in {"suv", "off-roader", "pickup"}
    tint = (float(uniform(0.62, 0.80)), float(uniform(0.15, 0.70)))
    rim = ((0.45, 0.45, 0.46), (0.30, 0.30, 0.31), (0.06, 0.06, 0.065))[int(generator.choice(3, p=[0.6, 0.25, 0.15]))]
    roof = ((0.012, 0.012, 0.012), (0.7, 0.7, 0.68))[int(generator.integers(2))]
    two_tone = generator.random() < 0.12
    seats = ((0.03, 0.03, 0.032), (0.12, 0.115, 0.11), (0.28, 0.24, 0.19))[int(generator.integers(3))]
    return Livery(
        paint=(paint[0], paint[1], paint[2]),
        flake=flake,
        roof=roof if two_tone else (paint[0], paint[1], paint[2]),
        trim=CHROME if generator.random() < 0.55 else PLASTIC,
        cladding=float(uniform(0.08, 0.18)) if tough and generator.random() < 0.7 else float(uniform(0, 0.05)),
        tint=tint,
        seats=seats,
        spokes=int(generator.choice([5, 5, 6, 7, 9, 10])),
        spoke_width=float(uniform(0.07, 0.13)),
        twist=float(uniform(-0.5, 0.5)) * (generator.random() < 0.4),
        rim=rim,
        lamp_inner=float(uniform(0.50, 0.66)),
        lamp_height=float(uniform(0.12, 0.20)) + 0.03 * tough,
        lamp_reach=float(uniform(0.42, 0.62)),
        grille_width=float(uniform(0.34, 0.46)),
        grille_height=float(uniform(0.16, 0.30)),
        bars=float(uniform(0.025, 0.06)),
        tall_tail_lamps=style not in {"sedan", "coupe"} and generator.random() < 0.7,
        doors=1 if style == "coupe" or (style == "city car" and generator.random() < 0.5) else 2,
        plate=((0.75, 0.75, 0.72), (0.75, 0.75, 0.72), (0.62, 0.52, 0.12))[int(generator.integers(3))],
        plate_marks=int(generator.integers(2**42)),
        tonneau=style == "pickup",
        blind_rear=style == "van" and generator.random() < 0.5,
    )


def _choose_room(generator: np.random.Generator) -> Room:
    """A studio: white walls with grey letters, panels or neither, lamps, a worn floor."""
    uniform = generator.uniform
    warmth = uniform(-0.02, 0.03)
    floor, disc = uniform(0.36, 0.50), uniform(0.38, 0.54)
    return Room(
        wall=(0.98 + warmth, 0.98, 0.98 - warmth),
        floor=(floor * 0.985, floor, floor * 1.02),
        disc=(disc * 1.02, disc, disc * uniform(0.93, 0.99)),
        disc_radius=float(uniform(2.9, 3.2)),
        word="MASKWRIGHT" if generator.random() < 0.75 else "",
        word_level=float(uniform(0.06, 0.22)),
        panel=float(uniform(0.15, 0.75)) * (generator.random() < 0.35),
        lamp=float(uniform(-2.6, -0.5)),
        wear=tuple(float(value) for value in uniform(0, 6.28, 4)),
        exposure=float(uniform(0.88, 1.08)),
        noise=float(uniform(1.0, 2.4)),
    )


@lru_cache(maxsize=4)
def design_car(car: int, seed: int) -> DrawnCar:
    """Everything that the views of one car have in common."""
    generator = generator_for(seed, car)
    style, measures = _choose_measures(generator)
    livery = _choose_livery(generator, style)
    room = _choose_room(generator)
    long_antenna = generator.random() < 0.35
    antenna = float(generator.uniform(0.18, 0.5)) if long_antenna else 0.0
    rails = style in {"suv", "estate", "off-roader"} and bool(generator.random() < 0.6)
    rows = 1 if style in {"pickup", "coupe"} else 2
    inside = join_meshes([build_cabin(measures), *build_seats(measures, rows=rows)])
    lens = (
        8.6,
        generator.uniform(1.75, 2.1),
        generator.uniform(0.85, 1.0),
        1.38,
        generator.uniform(-0.3, 0.3),
    )
    place = generator.uniform(-0.15, 0.15, 2)
    return DrawnCar(
        measures,
        livery,
        room,
        build_car(measures, antenna=antenna, rails=rails),
        inside,
        (float(place[0]), float(place[1])),
        (lens[0], float(lens[1]), float(lens[2]), lens[3], float(lens[4])),
    )


def view_turn(view: int) -> NDArray[np.float64]:
    """The rotation from the car's frame to the world's; view 1 looks at the camera."""
    angle = -np.pi / 2 - 2 * np.pi * (view - 1) / VIEWS
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _to_world(drawn: DrawnCar, points: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the car's frame in the world's."""
    moved: NDArray[np.float64] = (points + np.array([*drawn.place, 0.0])) @ turn.T
    return moved


def _floor_shadow(drawn: DrawnCar, floor: Floats, turn: NDArray[np.float64]) -> Floats:
    """The light left at floor positions ``(2, N)`` under and around the car."""
    m = drawn.measures
    local = turn[:2, :2].T.astype(np.float32) @ floor
    local -= np.asarray(drawn.place, np.float32)[:, None]
    x, y = np.abs(local)
    soft = 1 - smooth_step(-0.35, 0.55, x - m.length / 2)
    soft *= 1 - smooth_step(-0.30, 0.50, y - m.width / 2)
    wide = np.exp(-(np.maximum(x - m.length / 2, 0) ** 2 + np.maximum(y - m.width / 2, 0) ** 2) / 0.9)
    left: Floats = (1 - 0.80 * soft) * (1 - 0.20 * wide)
    for axle in m.axles:
        near = ((local[0] - axle) / 0.30) ** 2 + ((y - m.width / 2 + 0.14) / 0.20) ** 2
        left *= 1 - 0.75 * np.exp(-near)
    return left


def _sample_surface(samples: Samples, mesh: Mesh, chosen: NDArray[np.int64], detail: float) -> Surface:
    """What the samples hit, bare.

    Args:
        samples: Where the camera's rays end; triangle numbers count within ``chosen``.
        mesh: The triangles.
        chosen: The triangles that were drawn.
        detail: Size of a sample in metres.
    """
    corners = mesh.triangles[chosen].T[:, samples.triangles]
    table = np.concatenate([mesh.points, mesh.normals, mesh.box], axis=1).T.astype(np.float32)
    values = np.empty((9, corners.shape[1]), np.float32)
    for number, column in enumerate(table):
        np.multiply(samples.corners[0], column[corners[0]], out=values[number])
        values[number] += samples.corners[1] * column[corners[1]]
        values[number] += samples.corners[2] * column[corners[2]]
    place, normal, box = values.reshape(3, 3, -1)
    normal /= np.sqrt(np.einsum("ij,ij->j", normal, normal)) + np.float32(1e-9)
    parts = mesh.parts[chosen][samples.triangles]
    count = len(parts)
    return Surface(
        place,
        normal,
        box,
        parts,
        detail,
        albedo=np.zeros((3, count), np.float32),
        gloss=np.zeros(count, np.float32),
        flake=np.zeros(count, np.float32),
        clear=np.zeros(count, np.float32),
    )


def _facing_triangles(projected: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which triangles ``(T, 3, 3)`` turn their outer side to the camera."""
    x, y = projected[..., 0], projected[..., 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    return area < 0


def _visible_layers(drawn: DrawnCar, camera: Camera, turn: NDArray[np.float64]) -> list[tuple[Ints, Surface]]:
    """What the camera sees of the outside: the rest of the car, then the wheels over it.

    The body has no holes; a wheel is seen where it is nearer than the body, and where it lies less
    than ``WELL_DEPTH`` behind a place inside a wheel arch.

    Returns:
        For each layer the samples as ``row * width + column``, ascending, and what is there, bare.
    """
    mesh = drawn.outside
    detail = camera.distance / camera.pixels
    projected = camera.project(_to_world(drawn, mesh.points, turn))[mesh.triangles]
    facing, wheels = _facing_triangles(projected), mesh.parts == WHEEL
    chosen = np.flatnonzero(facing & ~wheels)
    samples = nearest_surfaces(projected[chosen], camera.width, camera.height)
    place = samples.rows * camera.width + samples.columns
    body = _sample_surface(samples, mesh, chosen, detail)
    reach = samples.depth + WELL_DEPTH * _inside_arch(drawn.measures, body)

    chosen = np.flatnonzero(facing & wheels)
    samples = nearest_surfaces(projected[chosen], camera.width, camera.height)
    wheel_place = samples.rows * camera.width + samples.columns
    match = np.minimum(np.searchsorted(place, wheel_place), len(place) - 1)
    seen = (place[match] != wheel_place) | (samples.depth < reach[match])
    wheel = _sample_surface(samples.only(np.flatnonzero(seen)), mesh, chosen, detail)
    return [(place, body), (wheel_place[seen], wheel)]


def _inside_arch(measures: Measures, surface: Surface) -> NDArray[np.bool_]:
    """Which samples of the body lie where a wheel arch is open."""
    x, y, z = surface.place
    inside = np.zeros(len(x), bool)
    for axle in measures.axles:
        radius = np.hypot(x - axle, z - measures.wheel_radius)
        inside |= radius < ARCH * measures.wheel_radius
    open_side: NDArray[np.bool_] = (np.abs(y) > 0.35 * measures.width) & (surface.parts == BODY)
    return inside & open_side


def _look_inside(drawn: DrawnCar, camera: Camera, turn: NDArray[np.float64], behind: Floats, windows: Ints) -> Floats:
    """The light that reaches the windows from the cabin and from behind it, ``(3, N)``.

    Args:
        drawn: The car.
        camera: The camera, ``FINENESS`` times as fine as the picture.
        turn: Rotation from the car's frame to the world.
        behind: The picture without the car.
        windows: Samples with glass, as ``row * width + column``, ascending.
    """
    mesh = drawn.inside
    projected = camera.project(_to_world(drawn, mesh.points, turn))[mesh.triangles]
    away = _facing_triangles(projected) != (mesh.parts == CABIN)
    chosen = np.flatnonzero(away)
    samples = nearest_surfaces(projected[chosen], camera.width, camera.height, among=windows)
    surface = _sample_surface(samples, mesh, chosen, 0.01)
    paint_inside(surface, drawn.measures, drawn.livery)
    lit = 0.35 + 0.55 * np.maximum(surface.normal[2], 0) * (surface.parts != CABIN)
    own = surface.albedo * (lit * smooth_step(0.3, 1.1, surface.place[2]))
    tint = _window_tint(drawn, surface)
    shown = behind[:, samples.rows // FINENESS, samples.columns // FINENESS]
    seen = np.full((3, len(windows)), 0.012, np.float32)
    found = np.searchsorted(windows, samples.rows * camera.width + samples.columns)
    seen[:, found] = shown * (surface.clear * tint) + own * (1 - surface.clear)
    return seen


def _window_tint(drawn: DrawnCar, surface: Surface) -> Floats:
    """How much light the glass at each sample lets through."""
    front, rear = drawn.livery.tint
    middle = drawn.measures.along(drawn.measures.cowl) - 1.45
    return np.where(surface.place[0] > middle, np.float32(front), np.float32(rear))


def car_light(drawn: DrawnCar, camera: Camera, turn: NDArray[np.float64], behind: Floats) -> tuple[Floats, Floats]:
    """The car's light summed over each pixel's samples, and how many samples hit it.

    Args:
        drawn: The car.
        camera: The camera, ``FINENESS`` times as fine as the picture.
        turn: Rotation from the car's frame to the world.
        behind: The picture without the car.

    Returns:
        Light ``(3, H, W)`` and count ``(H, W)``.
    """
    eye = (turn.T @ camera.position - np.array([*drawn.place, 0.0])).astype(np.float32)
    fine = np.zeros((4, camera.height * camera.width), np.float32)
    for place, surface in _visible_layers(drawn, camera, turn):
        paint_car(surface, drawn.measures, drawn.livery)
        light = light_surface(surface, drawn.room, eye, turn.astype(np.float32))
        glass = np.flatnonzero(surface.clear > 0.003)
        if len(glass):
            inner = _look_inside(drawn, camera, turn, behind, place[glass])
            light[:, glass] += inner * _window_tint(drawn, surface)[glass] * surface.clear[glass]
        fine[:3, place] = light
        fine[3, place] = 1
    sums = box_sum(fine.reshape(4, camera.height, camera.width), FINENESS)
    return sums[:3], sums[3]


def draw_car(
    car: int, view: int, *, width: int = 640, height: int = 427, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one picture of one car, and its mask.

    Args:
        car: Number of the car, 0 or more.
        view: Place of the turntable, 1 to 16: 1 shows the front, 9 the rear.
        width: Columns of the picture.
        height: Rows of the picture. The same scene is drawn at any size of about the same shape.
        seed: Another seed is another set of cars.

    Returns:
        Image ``(H, W, 3)`` and coverage ``(H, W)``, both uint8; 255 lies wholly inside the car.
    """
    drawn = design_car(car, seed)
    distance, lens_height, aim, focal, aside = drawn.lens
    camera = Camera(width, height, distance, lens_height, aim, focal, aside)
    fine = Camera(width * FINENESS, height * FINENESS, distance, lens_height, aim, focal, aside)
    turn = view_turn(view)
    scene = studio_around(drawn, camera, turn)
    coverage = outline(drawn, camera, turn)
    light, count = car_light(drawn, fine, turn, scene)
    light, count = fill_edges(light, count, coverage)
    share = coverage / np.float32(255)
    picture = scene * (1 - share) + light * (share / np.maximum(count, 1))
    return expose(picture, drawn.room, generator_for(seed, car, view)), coverage


@lru_cache(maxsize=1)
def _empty_studio(room: Room, camera: Camera) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """``room_light``, kept while one car turns."""
    return room_light(room, camera)


def outline(drawn: DrawnCar, camera: Camera, turn: NDArray[np.float64], *, upside: int = 1) -> NDArray[np.uint8]:
    """The share of each pixel inside the car, 0..255.

    With ``upside=-1`` it is the share inside the car's mirror image in the floor.
    """
    mesh = drawn.outside
    world = _to_world(drawn, mesh.points, turn) * np.array([1, 1, upside])
    projected = camera.project(world)[mesh.triangles]
    facing = _facing_triangles(projected) == (upside > 0)
    return draw_coverage(projected[facing][..., :2], camera.width, camera.height)


def studio_around(drawn: DrawnCar, camera: Camera, turn: NDArray[np.float64]) -> Floats:
    """The studio with the car's shadow and blurred reflection, but without the car."""
    room, floor, on_floor = _empty_studio(drawn.room, camera)
    left = np.ones(on_floor.shape, np.float32)
    left[on_floor] = _floor_shadow(drawn, floor[:, on_floor], turn)
    coarse = replace(camera, width=camera.width // 6 + 1, height=camera.height // 6 + 1)
    mirrored = Image.fromarray(outline(drawn, coarse, turn, upside=-1))
    size = (camera.width, camera.height)
    share = np.asarray(mirrored.resize(size, Image.Resampling.BICUBIC), np.float32)
    share = share * np.float32(0.20 / 255) * on_floor
    colour = 0.03 + 0.45 * np.asarray(drawn.livery.paint, np.float32)[:, None, None]
    scene: Floats = room * (left * (1 - share)) + colour * share
    return scene


def fill_edges(light: Floats, count: Floats, coverage: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """The sums, those of outline pixels that no sample hit from their neighbours."""
    rows, columns = np.nonzero((coverage > 0) & (count == 0))
    height, width = count.shape
    total = np.zeros((3, len(rows)), np.float32)
    number = np.zeros(len(rows), np.float32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row = np.clip(rows + down, 0, height - 1)
            column = np.clip(columns + right, 0, width - 1)
            total += light[:, row, column]
            number += count[row, column]
    light[:, rows, columns], count[rows, columns] = total, number
    return light, count


def car_name(car: int, *, seed: int = 0) -> str:
    """The twelve hex digits that a car's file names start with."""
    return hashlib.blake2b(f"{seed}/{car}".encode(), digest_size=6).hexdigest()


def write_drawn_cars(
    folder: Path,
    *,
    cars: int,
    views: int = VIEWS,
    width: int = 640,
    height: int = 427,
    seed: int = 0,
) -> Iterator[Path]:
    """Write a data set in Kaggle's layout, one pair of files at a time.

    Args:
        folder: Receives ``train/<car>_<view>.jpg`` and ``train_masks/<car>_<view>_mask.png``.
        cars: How many cars.
        views: How many views of each, 1 to 16, evenly around the turntable.
        width: Columns of the pictures.
        height: Rows of the pictures.
        seed: Another seed is another set of cars.

    Yields:
        The path of each image, once it and its mask are written.

    Raises:
        InputError: A file that would be written exists.
    """
    if not 1 <= views <= VIEWS:
        raise InputError(f"{views} views were asked for; choose 1 to {VIEWS}.")
    jobs = [
        [_Job(folder, car, 1 + place * VIEWS // views, width, height, seed) for place in range(views)]
        for car in range(cars)
    ]
    for job in (job for car_jobs in jobs for job in car_jobs):
        for path in (job.image_path, job.mask_path):
            if path.exists():
                raise InputError(f"{path} exists already; choose another folder or delete it.")
    # Together, all views of a car: its shape and its studio are made once.
    if cars * views * width * height <= FEW_PIXELS:
        for paths in map(_write_views, jobs):
            yield from paths
        return
    # Processes start afresh, since a copy of one that runs threads may hang.
    with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, cars), mp_context=get_context("spawn")) as pool:
        for paths in pool.map(_write_views, jobs):
            yield from paths


@dataclass(frozen=True)
class _Job:
    """One picture to draw, and where it goes."""

    folder: Path
    car: int
    view: int
    width: int
    height: int
    seed: int

    @property
    def stem(self) -> str:
        return f"{car_name(self.car, seed=self.seed)}_{self.view:02d}"

    @property
    def image_path(self) -> Path:
        return self.folder / "train" / f"{self.stem}.jpg"

    @property
    def mask_path(self) -> Path:
        return self.folder / "train_masks" / f"{self.stem}_mask.png"


def _write_views(jobs: Sequence[_Job]) -> list[Path]:
    """Draw and write the views of one car; the image last, so that no image is without its mask."""
    for job in jobs:
        image, coverage = draw_car(job.car, job.view, width=job.width, height=job.height, seed=job.seed)
        with replacing(job.mask_path) as temporary:
            Image.fromarray(coverage).save(temporary, optimize=True)
        with replacing(job.image_path) as temporary:
            Image.fromarray(image).save(temporary, quality=JPEG_QUALITY)
    return [job.image_path for job in jobs]
