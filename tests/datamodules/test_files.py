"""Downloads, from a server on this machine in place of the official ones."""

import functools
import gzip
import hashlib
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sparsity.datamodules import CIFAR10, MNIST
from sparsity.datamodules.files import download
from sparsity.errors import SparsityError

NOWHERE = "http://127.0.0.1:9/"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which its files can be downloaded."""
    folder = tmp_path / "server"
    folder.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_port}/"
    http.shutdown()
    thread.join()
    http.server_close()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def served_mnist(mnist_root: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which MNIST's files are served."""
    folder, address = server
    resources = []
    for path in sorted((mnist_root / "MNIST" / "raw").iterdir()):
        packed = folder / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(MNIST.source, "mirrors", [address])
    monkeypatch.setattr(MNIST.source, "resources", resources)
    return folder


def test_mnist_is_downloaded_once(served_mnist: Path, mnist_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "new" / "data"
    data = MNIST(val_size=10, data_dir=str(root))
    data.prepare_data()
    data.setup()
    for path in (mnist_root / "MNIST" / "raw").iterdir():
        assert (data.folder / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in root.iterdir()] == ["MNIST"]
    shutil.rmtree(served_mnist)
    data.prepare_data()


def test_cifar10_is_downloaded_and_verified(
    cifar_root: Path, server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    batches = cifar_root / "cifar-10-batches-py"
    (batches / "batches.meta").write_bytes(b"\x80\x02}U\x0blabel_names](U\x03catU\x03doges.")
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as tar:
        tar.add(batches, batches.name)
    source = CIFAR10.source
    monkeypatch.setattr(source, "url", f"{address}cifar.tar.gz")
    monkeypatch.setattr(source, "filename", "cifar.tar.gz")
    monkeypatch.setattr(source, "tgz_md5", md5(folder / "cifar.tar.gz"))
    monkeypatch.setattr(
        source, "train_list", [[f"data_batch_{n}", md5(batches / f"data_batch_{n}")] for n in range(1, 6)]
    )
    monkeypatch.setattr(source, "test_list", [["test_batch", md5(batches / "test_batch")]])
    monkeypatch.setattr(source, "meta", source.meta | {"md5": md5(batches / "batches.meta")})
    root = tmp_path / "new"
    data = CIFAR10(val_size=10, data_dir=str(root))
    data.prepare_data()
    data.setup()
    assert len(data.train_dataloader().dataset) == 190
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize("kept", [0, 3])
def test_a_download_that_fails_leaves_nothing_behind(kept: int, served_mnist: Path, tmp_path: Path) -> None:
    for path in sorted(served_mnist.iterdir())[kept:]:
        path.unlink()
    root = tmp_path / "new"
    data = MNIST(data_dir=str(root))
    with pytest.raises(
        SparsityError, match=r"^MNIST is not in .*new/MNIST/raw and could not be downloaded \("
    ) as error:
        data.prepare_data()
    message = str(error.value)
    assert "put the files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, " in message
    assert "data_dir or SPARSITY_DATA_DIR" in message
    assert "\n" not in message
    assert not root.exists()


def test_without_a_network_the_message_says_where_the_files_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10.source, "url", NOWHERE)
    with pytest.raises(SparsityError, match=r"CIFAR10 is not in .*cifar-10-batches-py .*Connection refused") as error:
        CIFAR10(data_dir=str(tmp_path)).prepare_data()
    assert "data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_faster_is_not_disturbed(served_mnist: Path, mnist_root: Path, tmp_path: Path) -> None:
    ours = tmp_path / "new" / "MNIST" / "raw"

    def fetch(temporary: Path) -> None:
        MNIST.source(temporary, download=True)
        shutil.copytree(mnist_root / "MNIST" / "raw", ours)
        (ours / "from the other run").touch()

    download("MNIST", ours, [], tmp_path / "new", fetch)
    assert (ours / "from the other run").exists()


def test_a_data_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SparsityError, match=r"MNIST is not in .* and could not be downloaded"):
        MNIST(data_dir=str(tmp_path / "file")).prepare_data()


def test_files_that_are_there_are_never_touched(
    cifar_root: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10.source, "url", NOWHERE)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in cifar_root.rglob("*") if path.is_file()}
    for data in (CIFAR10(data_dir=str(cifar_root)), MNIST(data_dir=str(mnist_root))):
        data.prepare_data()
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in cifar_root.rglob("*") if p.is_file()}
