"""What goes wrong at the hub, or on the way there, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from huggingface_hub import get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
"""How one gets in."""

NO_ANSWER = cast(type[Exception], HfHubHTTPError.__bases__[0])
"""What the HTTP library raises, whichever one the hub's client is built on; the hub's own refusals are of it, too."""


class HubError(OSError):
    """The hub refuses, or can't be reached."""


@contextmanager
def explained_hub(repo_id: str, revision: str | None) -> Iterator[None]:
    """Makes a HubError, one line, of what goes wrong at the hub or on the way there; other errors come through."""
    try:
        yield
    except (OfflineModeIsEnabled, HfHubHTTPError, NO_ANSWER) as error:
        raise HubError(_explain(error, repo_id, revision)) from error


def _explain(error: Exception, repo_id: str, revision: str | None) -> str:
    """Returns what went wrong and what helps."""
    if isinstance(error, OfflineModeIsEnabled):
        return "the hub is not asked while HF_HUB_OFFLINE is set"
    if not isinstance(error, HfHubHTTPError):
        return f"the hub can't be reached ({error or type(error).__name__}): check the network and run this again"
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is open to some alone: ask for access on its page on the hub, and {LOGIN}"
    if isinstance(error, RepositoryNotFoundError):
        login = f"nobody is logged in ({LOGIN})" if get_token() is None else "your login may not read it"
        return f"there is no repository {repo_id} on the hub, or it is private and {login}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}"
    status, said = error.response.status_code, " ".join((error.server_message or str(error)).split())
    if status == 401:
        return f"the hub does not accept your login ({said}): {LOGIN}"
    if status == 403:
        return f"your login has no permission for that in {repo_id} ({said}): {LOGIN} as one that has"
    return f"the hub refused with status {status} ({said}); what is complete is kept"
