"""Worker processes that begin with everything imported: forked from a server that did it once.

A fresh interpreter spends seconds on importing torch and transformers, on small models as long as
on whole jobs. The server imports and computes nothing, so that no thread and no device is lost by
forking it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

_PRELOAD = ["allroads.lab.execute", "torch._dynamo", "transformers.models.auto.modeling_auto"]
_server_of: int | None = None
"""The process that began the server; one that was forked from it since cannot use it."""


def begin() -> BaseContext:
    """How worker processes are to be started; the server begins to import at once.

    Returns:
        A context of fork servers on Linux. Elsewhere forking is not safe or not possible, and so
        it is in a fork of the process that began the server: then each worker imports for itself.
    """
    global _server_of
    if sys.platform != "linux" or _server_of not in (None, os.getpid()):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    forkserver.ensure_running()
    _server_of = os.getpid()
    return context


def end_with_parent() -> None:
    """Let this worker end as soon as its parent does, which may be killed without a word."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker has a parent"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
