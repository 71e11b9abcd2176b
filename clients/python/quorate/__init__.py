"""A client of Quorate, a metadata service: linearizable records, sessions, elections, locks, watches, State API.

Begin with :class:`Client`.
"""

from ._session import SessionState
from ._version import VERSION as __version__
from .client import Client
from .errors import *  # noqa: F401,F403
from .tls import tls_context
from .transaction import DeletedPrefix, DeletedRow, Got, If, Op, Put, TransactionResult
from .values import (
    Candidate,
    Deleted,
    Guard,
    GuardKind,
    Listing,
    LockPlace,
    Page,
    Range,
    ReadLevel,
    Row,
    SessionInfo,
    Ticket,
    Validity,
)
from .watch import Change, Table, Watch, WatchEvent
