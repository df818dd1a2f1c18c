"""Data sets that lie in a folder of all data sets, and that torchvision downloads if they are not there."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from sparsity.datamodules.files import data_root, download, is_absent
from sparsity.datamodules.images import ImageDataModule


@dataclass(eq=False)
class DownloadedImages(ImageDataModule):
    """A data set that torchvision knows. A subclass says where its files are and how to read them.

    Args:
        data_dir: Folder of all data sets; by default the environment variable SPARSITY_DATA_DIR, else `data`.
    """

    source: ClassVar[type[Any]]
    """Torchvision's class, which downloads it."""

    data_dir: str | None = None

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the files are expected, below `root`."""

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """Names of all files, for training and for test."""

    @property
    def root(self) -> Path:
        """The folder of all data sets."""
        return data_root(self.data_dir)

    @override
    def prepare_data(self) -> None:
        """Download the files if their folder is absent or empty; files that are there are never touched.

        Raises:
            SparsityError: If that fails.
        """
        if is_absent(self.folder):
            download(type(self).__name__, self.folder, self.files, self.root, lambda to: self.source(to, download=True))
