"""Everything that this package raises.

All are a :class:`QuorateError`. Each has ``code``, a number that never changes (the cluster's own codes are positive,
this client's negative), ``name``, the same as a word, and ``retryable``: the same call may succeed later. The client
itself tries again as long as a call's timeout allows, so an error that is raised was not, or no longer, worth it.

::

    QuorateError
    ├── ServerError            the cluster refused: Conflict, Fenced, LockHeld, TooLarge, …
    └── ClientError
        ├── DeadlineExceeded   the call's time has passed, and it took no effect
        ├── OutcomeUnknown     a mutation was sent; whether it took effect is not known
        ├── SessionLost        what the session owned is gone, or may be
        ├── ClientClosed
        ├── NodeUnusable       of one node: kept inside, and told in other errors' messages
        └── ProtocolError      bytes that are not what docs/PROTOCOL.md says
"""

from __future__ import annotations

from typing import ClassVar, Dict, Optional, Type


class QuorateError(Exception):
    """The base of all errors of this package."""

    #: A number that never changes its meaning.
    code: int = 0
    #: The same as a word.
    name: str = "error"
    #: The same call may succeed later.
    retryable: bool = False


class ServerError(QuorateError):
    """A node's answer that is not "done"."""

    _classes: ClassVar[Dict[int, Type["ServerError"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__name__[0].lower() + cls.__name__[1:]
        ServerError._classes[cls.code] = cls

    def __init__(self, message: str = "", revision: int = 0) -> None:
        super().__init__(message)
        #: For people.
        self.message = message
        #: Of the state that answered; of a mutation: where the log says so, 0 if it was refused before it was logged.
        self.revision = revision
        #: Of the row that a condition named (0: there is none); of ``compacted``: the oldest revision that is kept; of
        #: ``lagged``: where to begin again; of ``historyOff``: since when history is kept (0: it is not).
        self.current_revision: Optional[int] = None
        #: The sequence that a session expects next.
        self.expected_sequence: Optional[int] = None
        #: The bound that would have been passed.
        self.limit: Optional[int] = None
        #: Seconds after which to come back.
        self.retry_after: Optional[float] = None
        self.leader_name: Optional[str] = None
        #: HOST:PORT for clients.
        self.leader_address: Optional[str] = None
        #: The branch that a transaction took.
        self.succeeded: Optional[bool] = None
        #: Of who leads the group, or is first to hold the lock; 0: nobody.
        self.current_fence: Optional[int] = None
        #: The id of the registry's rule, which never changes its meaning.
        self.rule: Optional[str] = None

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


class InvalidRequest(ServerError):
    """The bytes are not a request, or break a rule that no state could satisfy."""

    code = 1


class TooLarge(ServerError):
    """Above a bound; ``limit`` says which value would have passed."""

    code = 2


class Unimplemented(ServerError):
    """A kind of request that the node's release does not know."""

    code = 3


class Unauthorized(ServerError):
    """The caller may not do this."""

    code = 4


class FeatureLevel(ServerError):
    """Not all members of the cluster know this command yet."""

    code = 5


class NotLeader(ServerError):
    """The node does not lead; ``leader_address`` says who does, if known."""

    code = 10
    retryable = True


class Unavailable(ServerError):
    """No leader, or no majority that confirms it."""

    code = 11
    retryable = True


class Overloaded(ServerError):
    """A queue is full; nothing was done."""

    code = 12
    retryable = True


class Unknown(ServerError):
    """The mutation was proposed and its outcome is not known at the node that answered."""

    code = 13
    retryable = True


class Timeout(ServerError):
    """The time that the caller gave has passed before anything was done."""

    code = 14
    retryable = True


class ShuttingDown(ServerError):
    """The node is stopping; another one serves."""

    code = 15
    retryable = True


class NotReady(ServerError):
    """The node belongs to no cluster yet, or is not yet able to serve."""

    code = 16
    retryable = True


class DiskFull(ServerError):
    """The disk's reserve is reached; reads and deletes still work. Raised at once: somebody has to act first."""

    code = 17
    retryable = True


class Quarantined(ServerError):
    """The node is rebuilding its state; another one serves."""

    code = 18
    retryable = True


class ClusterMismatch(ServerError):
    """An address now belongs to another cluster than the one that this client has spoken with."""

    code = 19


class GenerationChanged(ServerError):
    """The cluster was restored or recovered: sessions, revisions and values that the program knows do not hold.

    Every further call of the client raises this too; a new client begins anew.
    """

    code = 20


class AlreadyInitialized(ServerError):
    """A cluster exists already."""

    code = 21


class Conflict(ServerError):
    """A condition did not hold; ``current_revision`` is the row's revision, 0 when there is none."""

    code = 30


class Compacted(ServerError):
    """No node has the changes of that revision any more; ``current_revision`` is the oldest that is kept."""

    code = 31


class ViewReleased(ServerError):
    """A listing at one revision was given up by the node that kept it."""

    code = 32


class Fenced(ServerError):
    """A guard of the mutation does not hold, and nothing was done; ``current_fence`` is the fence that would."""

    code = 33


class NotLeading(ServerError):
    """The session does not lead the group."""

    code = 34


class LockHeld(ServerError):
    """The lock is not free; no place in its line was taken."""

    code = 35


class Lagged(ServerError):
    """A watch ended at one node; the client goes on elsewhere."""

    code = 36
    retryable = True


class HistoryOff(ServerError):
    """What was there before is not kept for these keys, or only since ``current_revision`` (0: not at all)."""

    code = 37


class LineFull(ServerError):
    """As many stand in the line of the election group or the lock as may; ``limit``."""

    code = 38


class Rejected(ServerError):
    """A rule of the masters' registry refuses it, and nothing was done; ``rule`` says which one, as
    ``agent.not-admitted``, and the message why. With ``retry_after`` it is refused only until so many seconds have
    passed, or somebody has approved of it, and ``retryable`` is true."""

    code = 39


class SequenceGap(ServerError):
    """An earlier mutation of the session has not arrived; the client sends again."""

    code = 40
    retryable = True


class SequenceTooOld(ServerError):
    """The reply was acknowledged before."""

    code = 41


class ResultNotKept(ServerError):
    """Applied once, at ``revision``; the result was too large to keep for a retry. ``succeeded``: a transaction's
    branch."""

    code = 42


class SessionExpired(ServerError):
    """The session ended, or was never opened; nothing was applied."""

    code = 43


class SessionLimit(ServerError):
    """As many sessions are open as may be, or replies of one session unacknowledged."""

    code = 44
    retryable = True


class ClientError(QuorateError):
    """Found out by this client."""


class DeadlineExceeded(ClientError):
    """The call's time has passed, and it took no effect. The message says which nodes were reached."""

    code = -1
    name = "deadlineExceeded"
    retryable = True


class OutcomeUnknown(ClientError):
    """A mutation was sent and not answered in time: it may have taken effect, or may still do so.

    While the session lives, the client goes on sending it in the background until it is answered, so that it takes
    effect at most once and before the session's later mutations.
    """

    code = -2
    name = "outcomeUnknown"


class SessionLost(ClientError):
    """The session ended, or nobody has heard of it for its timeout. What it owned is gone or may go at any time. The
    call that raises this took no effect."""

    code = -3
    name = "sessionLost"


class ClientClosed(ClientError):
    """The client was closed."""

    code = -4
    name = "clientClosed"


class NodeUnusable(ClientError):
    """A node could not be reached, or the connection to it has ended."""

    code = -5
    name = "nodeUnusable"
    retryable = True


class ProtocolError(ClientError):
    """Bytes that are not what the protocol says."""

    code = -6
    name = "protocolError"


def error_of(code: int, message: str, revision: int) -> ServerError:
    """The error for a reply's code. A code that is not known here is not retryable."""
    kind = ServerError._classes.get(code)
    if kind is not None:
        return kind(message, revision)
    error = ServerError(message, revision)
    error.code = code
    error.name = f"error{code}"
    return error
