"""Data sets from disk: each format is written here by hand and read back image by image."""

import hashlib
import io
import pickle
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import cifar, data
from models.splits import DataError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "VAL", 3)


def batch(count: int, classes: int) -> tuple[Any, list[int]]:
    images = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return images, RNG.integers(0, classes, count).tolist()


def write_python(folder: Path, file: str, key: str, images: Any, labels: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reported = {"data": images.reshape(len(images), -1), key: labels}
    (folder / file).write_bytes(
        pickle.dumps({k.encode(): v for k, v in reported.items()}, protocol=2)
    )


def test_python_batches(tmp_path: Path) -> None:
    images, labels = batch(10, 100)
    folder = tmp_path / "cifar-100-python"
    write_python(folder, "train", "fine_labels", images, labels)
    write_python(folder, "test", "fine_labels", images[:4], labels[:4])

    splits = cifar.load("cifar100", tmp_path)

    assert np.array_equal(splits.train.images, images[:7])
    assert splits.val.labels.tolist() == labels[7:]
    assert np.array_equal(splits.test.images, images[:4])
    assert (splits.classes, splits.scale) == (100, 255.0)


def test_binary_batches_take_the_fine_label(tmp_path: Path) -> None:
    images, labels = batch(8, 100)
    rows = [bytes([7, y]) + i.tobytes() for i, y in zip(images, labels, strict=True)]
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "train.bin").write_bytes(b"".join(rows))
    (folder / "test.bin").write_bytes(rows[0])

    splits = cifar.load("cifar100", tmp_path)

    assert np.array_equal(splits.train.images, images[:5])
    assert splits.train.labels.tolist() + splits.val.labels.tolist() == labels
    (folder / "test.bin").write_bytes(rows[0][:-1])
    with pytest.raises(DataError, match="not a whole number of images"):
        cifar.load("cifar100", tmp_path)


def test_cifar10_of_five_batches(tmp_path: Path) -> None:
    images, labels = batch(10, 10)
    folder = tmp_path / "cifar-10-batches-py"
    for n in range(5):
        part = slice(2 * n, 2 * n + 2)
        write_python(folder, f"data_batch_{n + 1}", "labels", images[part], labels[part])
    write_python(folder, "test_batch", "labels", images[:1], labels[:1])

    splits = cifar.load("cifar10", tmp_path)

    assert np.array_equal(np.concatenate([splits.train.images, splits.val.images]), images)


def test_mosaics_are_cut_row_by_row(tmp_path: Path) -> None:
    folder = tmp_path / "cifar100"
    folder.mkdir()
    wall = RNG.integers(0, 256, (1600, 3200, 3), dtype=np.uint8)
    labels = RNG.integers(0, 100, 5000).astype(np.uint8)
    for name in ("train-00", "test-00"):
        Image.fromarray(wall).save(folder / f"{name}.png")
    np.savez(folder / "labels.npz", **{"train-00": labels, "test-00": labels})

    splits = cifar.load("cifar100", tmp_path)

    for number in (0, 99, 100, 4999):
        row, column = divmod(number, 100)
        tile = wall[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert np.array_equal(splits.test.images[number], tile.transpose(2, 0, 1))
    (folder / "test-00.png").unlink()
    with pytest.raises(DataError, match="no picture test-00"):
        cifar.load("cifar100", tmp_path)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for name, value in (("cat", 10), ("dog", 200)):
        (tmp_path / name).mkdir()
        for n in range(40):
            Image.new("RGB", (40, 20), (value, 0, 0)).save(tmp_path / name / f"{n}.png")

    splits = data.load(f"folder:{tmp_path}")

    sizes = [len(part.labels) for part in (splits.train, splits.val, splits.test)]
    assert sum(sizes) == 80
    assert splits.train.images.shape[1:] == (3, 32, 32)
    assert {int(i[0, 0, 0]) for i in splits.test.images[splits.test.labels == 1]} == {200}
    with pytest.raises(DataError, match="holds 0 folders"):
        data.load(f"folder:{tmp_path / 'nothing'}")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 + 1",)


def test_a_batch_that_would_run_code_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "train").write_bytes(pickle.dumps({b"data": Evil()}))

    with pytest.raises(DataError, match=r"names (builtins|__builtin__)\.eval"):
        cifar.load("cifar100", tmp_path)


def test_what_is_missing_is_said_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(data.ROOT_VARIABLE, raising=False)
    with pytest.raises(DataError, match=r"--data-root or \$FRESCO_DATA"):
        data.load("cifar10")
    with pytest.raises(DataError, match=f"no cifar100 under {tmp_path}; looked for"):
        data.load("cifar100", tmp_path)


def test_a_download_is_checked_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("cifar-100-python/train")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))

    class Shelf(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(packed.getvalue())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{{}}"
    try:
        with pytest.raises(DataError, match="nothing is kept"):
            cifar.download("cifar100", tmp_path / "bad", url)
        assert not list((tmp_path / "bad").iterdir())
        right = hashlib.md5(packed.getvalue(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(cifar.ARCHIVES, "cifar100", ("c.tar.gz", right))
        folder = cifar.download("cifar100", tmp_path / "good", url)
    finally:
        server.shutdown()
        server.server_close()

    assert (folder / "train").read_bytes() == b"abc"
