"""Exported folders to and from the Hugging Face Hub, by its own library."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsity.atomic import new_folder
from sparsity.checkpoints.exported import CARD, FILES, REPORT, is_exported
from sparsity.errors import SparsityError

_EXPORTED = [*FILES.values(), CARD, REPORT]


def push(folder: str, repo: str, private: bool = False) -> str:
    """Upload what `export` wrote, its model card and report with it, as a model of the Hub.

    Args:
        folder: That `export` wrote.
        repo: `user/name` of the model; it is made if there is none.
        private: Make it private; one that is there stays as it is.

    Returns:
        The address of the commit.

    Raises:
        SparsityError: Before anything is sent, if the folder is no export, or huggingface_hub is not installed; or if
            the Hub refuses.
    """
    if not Path(folder).is_dir() or not is_exported(folder):
        raise SparsityError(f"{folder} is no folder that sparsity export wrote; export the checkpoint first")
    with _hub(repo) as hub:
        hub.create_repo(repo, private=private, exist_ok=True)
        said = f"Upload by sparsity: {Path(folder).name}"
        done = hub.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=_EXPORTED, commit_message=said)
        return str(done.commit_url)


def pull(repo: str, output: str, revision: str | None = None) -> None:
    """Download what `push` has uploaded. No code of it is run.

    Args:
        repo: `user/name` of the model.
        output: The folder to write; it must not exist, or be empty. It appears complete or not at all.
        revision: A branch, tag or commit; by default the newest.

    Raises:
        SparsityError: If there is no such model, it is no export, the folder exists, or huggingface_hub is missing.
    """
    try:
        with new_folder(Path(output)) as folder, _hub(repo) as hub:
            found = {file.rfilename for file in hub.model_info(repo, revision=revision).siblings}
            if REPORT not in found or not found & set(FILES.values()):
                raise SparsityError(f"the model {repo} holds nothing that sparsity export wrote")
            hub.snapshot_download(repo_id=repo, revision=revision, local_dir=folder, allow_patterns=_EXPORTED)
            shutil.rmtree(folder / ".cache", ignore_errors=True)  # its notes on what was fetched when
    except FileExistsError:
        raise SparsityError(f"{output} exists already; give another --output") from None
    except OSError as error:
        raise SparsityError(f"cannot write {output}: {error.strerror or error}") from error


@contextmanager
def _hub(repo: str) -> Iterator[Any]:
    """The Hub's client, whose errors end in one sentence."""
    try:
        library = importlib.import_module("huggingface_hub")
        errors, utilities = (importlib.import_module(f"huggingface_hub.{name}") for name in ("errors", "utils"))
    except ImportError as error:
        raise SparsityError('the Hub needs huggingface_hub; install it with pip install -e ".[hub]"') from error
    if not sys.stderr.isatty():
        utilities.disable_progress_bars()
    try:
        yield library.HfApi()
    except errors.HFValidationError as error:
        raise SparsityError(f"{repo!r} is no name of a model on the Hub; it is like user/name") from error
    except errors.LocalTokenNotFoundError as error:
        raise SparsityError("the Hub does not know who you are; log in with: hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise SparsityError(f"the Hub has no model {repo}, or you may not see it (hf auth login)") from error
    except errors.RevisionNotFoundError as error:
        raise SparsityError(f"the model {repo} has no such revision") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        hint = "; log in with: hf auth login" if status in (401, 403) else ""
        raise SparsityError(f"the Hub refused {repo} with status {status}{hint}") from error
    except Exception as error:
        # Of httpx, its successor or, in older versions, requests, which have no error in common.
        is_of_the_network = type(error).__module__.startswith(("httpx", "httpcore", "requests"))
        if not is_of_the_network and not isinstance(error, errors.LocalEntryNotFoundError):
            raise
        raise SparsityError(f"the Hub cannot be reached for {repo}; check the network and HF_ENDPOINT") from error
