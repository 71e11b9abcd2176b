"""What stands in the masters' registry, and what its commands state and answer.

Names, ids, roles, principals and paths are text. Bytes that are not UTF-8 come as surrogates and go as the same bytes
again (``surrogateescape``), so nothing is lost. UUIDs, digests and versions are ``bytes``. Amounts of ``mem`` and
``disk`` are MB, of ``cpus`` cores, of ``gpus`` devices.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field, replace
from typing import Iterable, NamedTuple, Optional, Tuple, Union


class RegistryTable(enum.IntEnum):
    """The tables of the registry. Those from 32 on are indexes: what they say stands in the rows that they are of."""

    REGISTRY = 1
    AGENTS = 2
    AGENT_INFO = 3
    ENTRIES = 4
    HOLDS = 5
    OPERATIONS = 6
    FRAMEWORKS = 7
    QUOTAS = 8
    WEIGHTS = 9
    CONSUMPTION = 10
    CAPACITY = 11
    MACHINES = 12
    WINDOWS = 13
    PROVIDERS = 14
    CAPABILITIES = 15
    LOST_VOLUMES = 16
    ORPHANS = 17
    RATE_LIMITS = 18
    LEGACY_QUOTAS = 19
    DOCUMENTS = 20
    AGENTS_BY_STATE = 32
    AGENTS_BY_MACHINE = 33
    RESERVATIONS_BY_ROLE = 34
    VOLUMES = 35
    HOLDS_BY_FRAMEWORK = 36
    OPERATIONS_BY_FRAMEWORK = 37
    OPERATION_NAMES = 38
    TIMERS = 39


# Amounts


@dataclass(frozen=True)
class Scalar:
    """An amount with three decimal places, counted in thousandths so that sums are exact: 0 to 2**53 - 1 of them."""

    thousandths: int

    @property
    def number(self) -> float:
        """As JSON shows it, and as a claim states it."""
        return self.thousandths // 1000 + self.thousandths % 1000 / 1000

    def __str__(self) -> str:
        whole, rest = divmod(self.thousandths, 1000)
        return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)


@dataclass(frozen=True)
class Ranges:
    """Closed ranges of integers, such as ports: sorted, disjoint, and those that touch are one."""

    ranges: Tuple[Tuple[int, int], ...]

    def __str__(self) -> str:
        return "[" + ", ".join(f"{first}-{last}" for first, last in self.ranges) + "]"


@dataclass(frozen=True)
class Items:
    """Named items, such as zones: in the order of their bytes, each once."""

    items: Tuple[str, ...]

    def __str__(self) -> str:
        return "{" + ", ".join(self.items) + "}"


#: How a resource is counted.
Value = Union[Scalar, Ranges, Items]


def quantity_of(value: Value) -> Scalar:
    """What it comes to: of ranges and items, how many members there are."""
    if isinstance(value, Scalar):
        return value
    if isinstance(value, Ranges):
        return Scalar(1000 * sum(last - first + 1 for first, last in value.ranges))
    return Scalar(1000 * len(value.items))


@dataclass(frozen=True)
class Quantity:
    """An amount of what a name says; of a range and a set, how many members it has."""

    name: str
    amount: Scalar


@dataclass(frozen=True)
class NamedNumber:
    """A number by its name, as somebody states it."""

    name: str
    number: float


# Resources as they are stored


class ReservationKind(enum.IntEnum):
    #: By the agent's own configuration.
    STATIC = 1
    #: By a RESERVE.
    DYNAMIC = 2


class DiskKind(enum.IntEnum):
    #: A directory: parts of it can be given away.
    PATH = 1
    #: A mounted file system: given away whole.
    MOUNT = 2
    #: A block device: given away whole.
    BLOCK = 3
    #: With an id a volume of a provider, given away whole; without one a pool, of which parts can be given away.
    RAW = 4


@dataclass(frozen=True)
class Label:
    key: str
    value: Optional[str] = None


@dataclass(frozen=True)
class Reservation:
    """One level of a reservation."""

    kind: ReservationKind
    role: str
    principal: Optional[str] = None
    #: None differs from none of them.
    labels: Optional[Tuple[Label, ...]] = None


@dataclass(frozen=True)
class DiskSource:
    """Where a disk's bytes are."""

    kind: DiskKind
    #: Of PATH and MOUNT.
    root: Optional[str] = None
    vendor: Optional[str] = None
    id: Optional[str] = None
    metadata: Optional[Tuple[Label, ...]] = None
    profile: Optional[str] = None

    @property
    def is_divisible(self) -> bool:
        """Two equal ones add up, and a part of one may be taken."""
        return self.kind is DiskKind.PATH or self.kind is DiskKind.RAW and self.id is None


@dataclass(frozen=True)
class Persistence:
    """What makes a disk outlive the task that uses it: a volume."""

    id: str
    #: Who made it; it is no part of what tells volumes apart.
    principal: Optional[str] = None


@dataclass(frozen=True)
class VolumeMount:
    """How a task sees a volume; no part of what tells volumes apart."""

    #: Relative, and below the task's sandbox.
    container_path: str
    read_only: bool = False
    #: The agent's choice: None in all that is asked for.
    host_path: Optional[str] = None


@dataclass(frozen=True)
class DiskInfo:
    """Which disk it is, and which volume."""

    #: None: the agent's root disk.
    source: Optional[DiskSource] = None
    persistence: Optional[Persistence] = None
    volume: Optional[VolumeMount] = None


@dataclass(frozen=True)
class Resource:
    """An amount of something that an agent has, and whom it is reserved to; as the registry stores and answers it. What
    is asked for is a :class:`ResourceClaim`."""

    name: str
    value: Value
    #: Levels of the reservation, the lowest first; empty: it is reserved to nobody.
    stack: Tuple[Reservation, ...] = ()
    disk: Optional[DiskInfo] = None
    revocable: bool = False
    #: Of volumes: it may be held many times at once.
    shared: bool = False
    #: None: the agent's own.
    provider: Optional[str] = None
    #: In requests only: which role of the framework it was offered to.
    allocation_role: Optional[str] = None

    @property
    def role(self) -> Optional[str]:
        """Whom it is reserved to; None: nobody."""
        return self.stack[-1].role if self.stack else None

    @property
    def is_volume(self) -> bool:
        return self.disk is not None and self.disk.persistence is not None

    @property
    def is_divisible(self) -> bool:
        """Two of the same kind add up, and a part may be taken."""
        source = self.disk.source if self.disk is not None else None
        return not self.is_volume and (source is None or source.is_divisible)

    @property
    def is_checkpointed(self) -> bool:
        """An agent keeps it on its disk: it is reserved dynamically or a volume, and no provider's."""
        is_dynamic = bool(self.stack) and self.stack[-1].kind is ReservationKind.DYNAMIC
        return self.provider is None and (is_dynamic or self.is_volume)

    def claim(self, allocation_role: Optional[str] = None) -> "ResourceClaim":
        """The same, to be asked for or reported.

        Args:
            allocation_role: the role of the framework that asks; None: nobody's, as operators and agents say it.
        """
        disk = None
        if self.disk is not None:
            source = None if self.disk.source is None else _source_claim(self.disk.source)
            disk = DiskClaim(source, self.disk.persistence, self.disk.volume)
        claim = ResourceClaim(
            self.name,
            reservations=tuple(
                ReservationClaim(level.kind, level.role, level.principal, level.labels) for level in self.stack
            ),
            disk=disk,
            revocable=self.revocable,
            shared=self.shared,
            provider=self.provider,
            allocation_role=allocation_role,
        )
        if isinstance(self.value, Scalar):
            return replace(claim, type=ValueType.SCALAR, scalar=self.value.number)
        if isinstance(self.value, Ranges):
            return replace(claim, type=ValueType.RANGES, ranges=self.value.ranges)
        return replace(claim, type=ValueType.SET, items=self.value.items)

    def __str__(self) -> str:
        """As people write it: ``disk(db)[wal]:45000``."""
        said = self.name
        if self.stack:
            said += "(" + ", ".join(level.role for level in self.stack) + ")"
        if self.disk is not None and self.disk.source is not None:
            source = self.disk.source
            said += "[" + " ".join(filter(None, (source.kind.name.lower(), source.root, source.id))) + "]"
        if self.disk is not None and self.disk.persistence is not None:
            said += f"[{self.disk.persistence.id}]"
        said += "{revocable}" if self.revocable else ""
        said += "{shared}" if self.shared else ""
        return f"{said}:{self.value}"


@dataclass(frozen=True)
class LedgerEntry:
    """What an agent has of one kind."""

    resource: Resource
    #: 0 where entries add up; else it tells those apart that nothing else does.
    ordinal: int = 0


# Resources as they are stated


class ValueType(enum.IntEnum):
    """What a claim says that its value is."""

    SCALAR = 0
    RANGES = 1
    SET = 2
    #: Of attributes only.
    TEXT = 3


@dataclass(frozen=True)
class ReservationClaim:
    """A level of a reservation as it is stated."""

    kind: Optional[ReservationKind] = None
    role: Optional[str] = None
    principal: Optional[str] = None
    labels: Optional[Tuple[Label, ...]] = None


@dataclass(frozen=True)
class Root:
    """That a source has a part for a path, or for a mount point, with or without saying which."""

    root: Optional[str] = None


@dataclass(frozen=True)
class SourceClaim:
    """Where a disk's bytes are, as it is stated."""

    #: None: none given, or one that nobody knows.
    kind: Optional[DiskKind] = None
    path: Optional[Root] = None
    mount: Optional[Root] = None
    vendor: Optional[str] = None
    id: Optional[str] = None
    metadata: Optional[Tuple[Label, ...]] = None
    profile: Optional[str] = None

    @staticmethod
    def of_path(root: str) -> "SourceClaim":
        """A directory."""
        return SourceClaim(DiskKind.PATH, path=Root(root))

    @staticmethod
    def of_mount(root: str) -> "SourceClaim":
        """A mounted file system."""
        return SourceClaim(DiskKind.MOUNT, mount=Root(root))


def _source_claim(source: DiskSource) -> SourceClaim:
    root = None if source.root is None else Root(source.root)
    return SourceClaim(
        source.kind,
        root if source.kind is DiskKind.PATH else None,
        root if source.kind is DiskKind.MOUNT else None,
        source.vendor,
        source.id,
        source.metadata,
        source.profile,
    )


@dataclass(frozen=True)
class DiskClaim:
    """Which disk and which volume, as it is stated."""

    source: Optional[SourceClaim] = None
    persistence: Optional[Persistence] = None
    volume: Optional[VolumeMount] = None


@dataclass(frozen=True)
class ResourceClaim:
    """A resource as somebody states it; the registry says which rule it breaks, if it breaks one.

    ::

        ResourceClaim.of_amount("cpus", 2.5)
        ResourceClaim.of_disk(200_000, SourceClaim.of_path("/data")).reserved("db", principal="p")
        ResourceClaim.of_disk(40_000).reserved("db").volume("wal", path="wal")
    """

    name: str
    #: None: none given, or one that nobody knows.
    type: Optional[ValueType] = None
    scalar: Optional[float] = None
    ranges: Optional[Tuple[Tuple[int, int], ...]] = None
    items: Optional[Tuple[str, ...]] = None
    #: Levels, the lowest first.
    reservations: Tuple[ReservationClaim, ...] = ()
    #: The form that Mesos had before 1.2: a role, and a reservation where it is dynamic.
    former_role: Optional[str] = None
    former_reservation: Optional[ReservationClaim] = None
    disk: Optional[DiskClaim] = None
    revocable: bool = False
    shared: bool = False
    provider: Optional[str] = None
    #: Which role of the framework it was offered to.
    allocation_role: Optional[str] = None

    @staticmethod
    def of_amount(name: str, amount: float) -> "ResourceClaim":
        """So much of something."""
        return ResourceClaim(name, ValueType.SCALAR, scalar=amount)

    @staticmethod
    def of_ranges(name: str, ranges: Iterable[Tuple[int, int]]) -> "ResourceClaim":
        """Integers, from the first of each pair to the last, both inclusive."""
        return ResourceClaim(name, ValueType.RANGES, ranges=tuple(ranges))

    @staticmethod
    def of_items(name: str, items: Iterable[str]) -> "ResourceClaim":
        """Named items."""
        return ResourceClaim(name, ValueType.SET, items=tuple(items))

    @staticmethod
    def of_disk(megabytes: float, source: Optional[SourceClaim] = None) -> "ResourceClaim":
        """A part of a disk, or a whole one.

        Args:
            source: None: the agent's root disk.
        """
        disk = None if source is None else DiskClaim(source)
        return ResourceClaim("disk", ValueType.SCALAR, scalar=megabytes, disk=disk)

    def reserved(
        self,
        role: str,
        principal: Optional[str] = None,
        *,
        kind: ReservationKind = ReservationKind.DYNAMIC,
        labels: Optional[Iterable[Label]] = None,
    ) -> "ResourceClaim":
        """The same, reserved one level further: to a role, or to one below that of the level before."""
        level = ReservationClaim(kind, role, principal, None if labels is None else tuple(labels))
        return replace(self, reservations=(*self.reservations, level))

    def volume(
        self, id: str, path: str, principal: Optional[str] = None, *, read_only: bool = False, shared: bool = False
    ) -> "ResourceClaim":
        """The same disk as a persistent volume.

        Args:
            id: of the volume; a role has it once on an agent.
            path: where a task sees it, relative to its sandbox.
            shared: tasks may hold it at the same time.
        """
        disk = replace(
            self.disk or DiskClaim(),
            persistence=Persistence(id, principal),
            volume=VolumeMount(path, read_only),
        )
        return replace(self, disk=disk, shared=shared)

    def allocated(self, role: str) -> "ResourceClaim":
        """The same, as it was offered to a framework's role."""
        return replace(self, allocation_role=role)


# Agents


class AgentCapabilities(enum.IntFlag):
    """What an agent's release can do."""

    NONE = 0
    MULTI_ROLE = 1
    HIERARCHICAL_ROLE = 2
    RESERVATION_REFINEMENT = 4
    RESOURCE_PROVIDER = 8
    RESIZE_VOLUME = 16
    AGENT_OPERATION_FEEDBACK = 32
    AGENT_DRAINING = 64
    TASK_RESOURCE_LIMITS = 128


@dataclass(frozen=True)
class Attribute:
    """Something that is said of an agent; nothing is taken from it."""

    name: str
    #: A float, text, ranges, or items.
    value: Union[float, str, Ranges, Items]


@dataclass(frozen=True)
class AgentInfo:
    """What an agent is, besides what it has."""

    hostname: str
    #: IPv4, as text.
    ip: str
    port: int = 5051
    attributes: Tuple[Attribute, ...] = ()
    #: JSON.
    domain: Optional[str] = None
    #: It keeps on its disk what it was told that it has.
    checkpointing: bool = False
    capabilities: AgentCapabilities = AgentCapabilities.NONE
    #: The members of its JSON object that nobody here knows, as an object; empty: none.
    extra: str = ""


@dataclass(frozen=True)
class AgentClaim:
    """An agent as somebody states it: what it is, and the totals of what it has, with the reservations of its
    configuration."""

    id: str
    info: AgentInfo
    resources: Tuple[ResourceClaim, ...] = ()


@dataclass(frozen=True)
class AgentPatch:
    """Which fields of an agent change; None: not this one."""

    hostname: Optional[str] = None
    ip: Optional[str] = None
    port: Optional[int] = None
    attributes: Optional[Tuple[Attribute, ...]] = None
    domain: Optional[str] = None
    checkpointing: Optional[bool] = None
    capabilities: Optional[AgentCapabilities] = None
    #: All of its totals.
    resources: Optional[Tuple[ResourceClaim, ...]] = None


@dataclass(frozen=True)
class ResourceVersion:
    """The release of a provider's, or of the agent's own, resources."""

    #: None: the agent's own.
    provider: Optional[str]
    #: A UUID, 16 bytes.
    version: bytes


@dataclass(frozen=True)
class AgentAttachment:
    """An agent that comes back to a master."""

    agent: AgentClaim
    #: 0: it was never attached to a quorum.
    generation: int
    #: Of its checkpointed entries: :func:`quorate.checkpoint_digest`.
    digest: bytes
    versions: Tuple[ResourceVersion, ...] = ()


class AgentState(enum.IntEnum):
    ADMITTED = 1
    UNREACHABLE = 2
    #: For ever.
    GONE = 3


@dataclass(frozen=True)
class Drain:
    """An agent is being drained, or is drained."""

    drained: bool = False
    #: In nanoseconds.
    max_grace_period: Optional[int] = None
    #: Once it is drained it is marked gone.
    marks_gone: bool = False


# Frameworks


class FrameworkCapabilities(enum.IntFlag):
    """What a framework's release can do."""

    NONE = 0
    MULTI_ROLE = 1
    SHARED_RESOURCES = 2
    RESERVATION_REFINEMENT = 4
    REVOCABLE_RESOURCES = 8
    GPU_RESOURCES = 16
    PARTITION_AWARE = 32
    REGION_AWARE = 64


@dataclass(frozen=True)
class OfferFilter:
    """A framework takes no offer of the role that has less than this."""

    role: str
    quantities: Tuple[NamedNumber, ...] = ()


@dataclass(frozen=True)
class FrameworkInfo:
    """A framework as it states itself."""

    name: str
    #: Empty: it has none yet.
    id: str = ""
    #: Cannot change.
    user: str = ""
    #: Cannot change; None: nobody authenticates.
    principal: Optional[str] = None
    #: Without MULTI_ROLE its only role; None: ``*``.
    role: Optional[str] = None
    #: With MULTI_ROLE.
    roles: Tuple[str, ...] = ()
    capabilities: FrameworkCapabilities = FrameworkCapabilities.NONE
    #: For how long it may be away before it is over, in seconds.
    failover_timeout: float = 0
    #: Cannot change.
    checkpointing: bool = False
    hostname: str = ""
    webui_url: str = ""
    labels: Optional[Tuple[Label, ...]] = None
    offer_filters: Tuple[OfferFilter, ...] = ()
    suppressed_roles: Tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameworkConnection:
    """A framework that runs, and the connection by which it does."""

    connection: str
    framework: FrameworkInfo


class FrameworkState(enum.IntEnum):
    ACTIVE = 1
    #: It is over at its deadline, unless it comes back before.
    DISCONNECTED = 2
    COMPLETED = 3
    TORN_DOWN = 4

    @property
    def is_over(self) -> bool:
        return self in (FrameworkState.COMPLETED, FrameworkState.TORN_DOWN)


# Operations


@dataclass(frozen=True)
class Reserve:
    """Pushes one level onto each resource's reservation; with ``source``, replaces these by the resources, whatever
    their levels."""

    resources: Tuple[ResourceClaim, ...]
    source: Optional[Tuple[ResourceClaim, ...]] = None


@dataclass(frozen=True)
class Unreserve:
    """Takes the uppermost level away."""

    resources: Tuple[ResourceClaim, ...]


@dataclass(frozen=True)
class Create:
    """Makes volumes of reserved disks."""

    volumes: Tuple[ResourceClaim, ...]


@dataclass(frozen=True)
class Destroy:
    """Makes reserved disks of volumes again; what is on them is lost."""

    volumes: Tuple[ResourceClaim, ...]


@dataclass(frozen=True)
class Grow:
    """Adds a part of the same disk to a volume."""

    volume: ResourceClaim
    addition: ResourceClaim


@dataclass(frozen=True)
class Shrink:
    """Takes so many MB away from a volume."""

    volume: ResourceClaim
    subtract: float


#: What an operation does to the resources of one agent.
OperationKind = Union[Reserve, Unreserve, Create, Destroy, Grow, Shrink]


@dataclass(frozen=True)
class OperationRequest:
    """An operation as it is asked for. The same request is carried out once, however often it is applied: it is told
    apart by its ``uuid``, 16 bytes, which are drawn at random unless they are named."""

    agent: str
    kind: OperationKind
    #: On whose behalf; None: an operator's.
    framework: Optional[str] = None
    #: Who authenticated; None: nobody did.
    principal: Optional[str] = None
    uuid: bytes = field(default_factory=lambda: os.urandom(16))
    #: The framework's name for it; None: it does not want to hear of it.
    operation_id: Optional[str] = None
    #: The release of the resources that it was made for, 16 bytes; None: any.
    resource_version: Optional[bytes] = None


class OperationState(enum.IntEnum):
    PENDING = 1
    UNREACHABLE = 2
    FINISHED = 3
    FAILED = 4
    ERROR = 5
    DROPPED = 6
    GONE_BY_OPERATOR = 7
    # In answers only.
    RECOVERING = 8
    UNKNOWN = 9
    UNSUPPORTED = 10

    @property
    def is_terminal(self) -> bool:
        return OperationState.FINISHED <= self <= OperationState.GONE_BY_OPERATOR


@dataclass(frozen=True)
class OperationStatus:
    """What somebody says of an operation."""

    state: OperationState
    #: 16 bytes: somebody waits for an acknowledgement of this one. None: of none.
    uuid: Optional[bytes] = None
    message: str = ""


# Quota, weights, maintenance, masters


@dataclass(frozen=True)
class QuotaConfig:
    """What a role is to get at least, and at most. A resource without a guarantee is guaranteed none of, one without a
    limit has none."""

    role: str
    guarantees: Tuple[NamedNumber, ...] = ()
    limits: Tuple[NamedNumber, ...] = ()


@dataclass(frozen=True)
class Weight:
    """How much of what is left a role gets, compared with others; 1 where none is stored."""

    role: str
    weight: float
    #: What an imported document said besides, as JSON.
    extra: str = ""


@dataclass(frozen=True)
class RateLimit:
    """How much a master takes from frameworks that authenticate as a principal."""

    principal: str
    #: Requests a second; None: as many as they like.
    rate: Optional[float] = None
    #: Requests that may wait for their turn; None: any number.
    capacity: Optional[int] = None


@dataclass(frozen=True)
class RateLimits:
    """What masters hold frameworks to."""

    limits: Tuple[RateLimit, ...] = ()
    #: Requests a second of all together that are not listed; None: as many as they like.
    aggregate_rate: Optional[float] = None
    aggregate_capacity: Optional[int] = None


@dataclass(frozen=True)
class MachineID:
    """A machine, by host name, by address, or by both. Host names differ by case for nobody."""

    hostname: Optional[str] = None
    #: IPv4, as text.
    ip: Optional[str] = None


@dataclass(frozen=True)
class Unavailability:
    """When machines are not there."""

    #: In nanoseconds since 1970; may be below 0.
    start: int
    #: In nanoseconds; None: for ever.
    duration: Optional[int] = None


@dataclass(frozen=True)
class MaintenanceWindow:
    machines: Tuple[MachineID, ...]
    unavailability: Unavailability
    #: What an imported document said besides, as JSON.
    extra: str = ""


class MachineMode(enum.IntEnum):
    DRAINING = 1
    DOWN = 2


@dataclass(frozen=True)
class MasterInfo:
    """The master that leads."""

    #: Ids of frameworks begin with it.
    id: str
    hostname: str = ""
    #: IPv4, as text.
    ip: str = ""
    port: int = 5050
    #: What this release does not know, as JSON.
    extra: str = ""
    #: Roles with ``/`` may have quota: what a role guarantees to those below it is part of its own.
    quota_hierarchy: bool = False


@dataclass(frozen=True)
class Limiter:
    """How many agents are marked unreachable within a time, and how many may be."""

    #: Cluster time, in nanoseconds since 1970.
    window_end: int = 0
    removed: int = 0
    budget: int = 0
    approved: int = 0
    #: Cluster time, in nanoseconds since 1970.
    approved_until: int = 0
    #: More agents have gone than is usual, and nobody has approved of it.
    alarmed: bool = False


# Answers


@dataclass(frozen=True)
class Rejection:
    """Which rule refuses one of several. Of a command as a whole: :class:`quorate.Rejected`."""

    rule: str
    #: For people: which record and which values.
    detail: str


@dataclass(frozen=True)
class UpToDate:
    """The agent has nothing to learn."""

    generation: int
    drain: Optional[Drain] = None


@dataclass(frozen=True)
class Behind:
    """The agent has missed something: these are all of its checkpointed entries."""

    generation: int
    entries: Tuple[Resource, ...]
    drain: Optional[Drain] = None


@dataclass(frozen=True)
class ReportWanted:
    """Nobody knows what the agent has checkpointed: :meth:`quorate.MasterRegistry.report`."""

    drain: Optional[Drain] = None


#: What becomes of an agent that comes back.
AttachOutcome = Union[UpToDate, Behind, ReportWanted, Rejection]


def wants_report(outcome: AttachOutcome) -> bool:
    """The master needs a report of what the agent has checkpointed: :meth:`quorate.MasterRegistry.report`."""
    if isinstance(outcome, Rejection):
        return outcome.rule == "agent.digest-mismatch"
    return isinstance(outcome, ReportWanted)


class AgentStanding(enum.Enum):
    """What has to be done before an agent and the registry know the same: :meth:`quorate.Checkpoint.standing`."""

    #: Nothing.
    UP_TO_DATE = "up to date"
    #: The agent takes over what the registry says: :meth:`quorate.Registry.checkpoint`.
    BEHIND = "behind"
    #: The agent has to report: what it has checkpointed goes to the leading master.
    REPORT_WANTED = "report wanted"
    #: The agent is newer than the registry, which was restored, perhaps: somebody has to look.
    AHEAD = "ahead"
    #: It was marked gone, which is for ever: it needs a new id.
    GONE = "gone"


@dataclass(frozen=True)
class AgentReport:
    """What was learnt from what an agent has checkpointed."""

    generation: int
    #: What is the agent's from now on.
    adopted: Tuple[Resource, ...] = ()
    #: What only the agent knows: it is written down, and left alone.
    orphans: Tuple[Resource, ...] = ()
    #: What only the quorum knows: to be checkpointed.
    missing: Tuple[Resource, ...] = ()


@dataclass(frozen=True)
class VolumeID:
    agent: str
    role: str
    id: str


@dataclass(frozen=True)
class Pruned:
    """Ids of agents."""

    deleted: Tuple[str, ...]
    #: They are in another state, or have volumes.
    skipped: Tuple[str, ...]


@dataclass(frozen=True)
class Subscribed:
    id: str
    #: The framework named an id that the registry did not know.
    was_unknown: bool


@dataclass(frozen=True)
class RoleConsumption:
    """What a role, and those below it, use up."""

    role: str
    quantities: Tuple[Quantity, ...]


@dataclass(frozen=True)
class OperationDone:
    """What an operation did."""

    #: Of the agent's checkpointed entries, after it.
    generation: int
    converted: Tuple[Resource, ...]


#: What became of one of several operations.
OperationOutcome = Union[OperationDone, Rejection]


# Rows


class ImportState(enum.IntEnum):
    #: Not all has come.
    COMING = 0
    #: Not all was deleted again.
    ABORTING = 1
    #: All has come.
    WHOLE = 2


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is. Before it is whole, or nothing of it is left, nothing else is changed, and nobody begins to
    read more than this."""

    id: bytes
    #: That have come.
    chunks: int
    state: ImportState = ImportState.COMING


@dataclass(frozen=True)
class RegistryRow:
    """What there is once in a registry."""

    #: None: no master has taken over yet.
    master: Optional[MasterInfo] = None
    #: Of the masters' election, when that master took over.
    fence: int = 0
    #: Cluster time, in nanoseconds since 1970.
    recovered_at: int = 0
    #: Frameworks that were given an id.
    framework_count: int = 0
    arrival_count: int = 0
    #: Agents.
    admitted_count: int = 0
    #: Agents that are admitted or unreachable, and deactivated.
    deactivated_count: int = 0
    quota_count: int = 0
    #: Windows of the maintenance schedule; None: there is no schedule.
    window_count: Optional[int] = None
    limiter: Limiter = field(default_factory=Limiter)
    #: None: there was none, or nothing of it is left.
    last_import: Optional[ImportProgress] = None

    @property
    def importing(self) -> Optional[ImportProgress]:
        """The import that is under way, or being aborted; None: none."""
        last = self.last_import
        return None if last is None or last.state is ImportState.WHOLE else last


@dataclass(frozen=True)
class AgentRow:
    """What is stored of an agent besides what it is and has."""

    id: str
    state: AgentState
    #: Cluster time, in nanoseconds since 1970.
    state_since: int
    #: Which one it was, of all agents, to come into its state.
    arrival: int
    #: Draining and drained agents are deactivated too.
    deactivated: bool
    drain: Optional[Drain]
    #: Rises by one with each change of its checkpointed entries; 1 at admission.
    generation: int
    #: Of its checkpointed entries: :func:`quorate.checkpoint_digest`.
    digest: bytes
    versions: Tuple[ResourceVersion, ...]
    #: Under which fence of the masters it attached last; not the current one: it is recovered and not yet attached. 0:
    #: never.
    attached_fence: int
    #: Nobody knows yet what it has checkpointed.
    report_wanted: bool
    #: Of the totals that it stated last; empty: it has stated none.
    totals_digest: bytes
    #: What an imported document said besides of its being in this state, as JSON.
    extra: str = ""


@dataclass(frozen=True)
class AgentInfoRow:
    """What an agent is."""

    id: str
    info: AgentInfo


@dataclass(frozen=True)
class EntryRow:
    """What an agent has of one kind."""

    agent: str
    resource: Resource
    ordinal: int

    @property
    def entry(self) -> LedgerEntry:
        return LedgerEntry(self.resource, self.ordinal)


@dataclass(frozen=True)
class HoldRow:
    """What a framework's task uses of an agent."""

    agent: str
    framework: str
    id: str
    role: str
    resources: Tuple[Resource, ...]


class OperationFlags(enum.IntFlag):
    NONE = 0
    #: Its framework is over.
    ORPHAN = 1
    #: The agent could not do it, and somebody uses already what it brought.
    UNDO_BLOCKED = 2


@dataclass(frozen=True)
class OperationRow:
    """What is stored of an operation, for as long as somebody may ask for it."""

    agent: str
    uuid: bytes
    framework: Optional[str]
    operation_id: Optional[str]
    provider: Optional[str]
    #: Of its request.
    digest: bytes
    consumed: Tuple[Resource, ...]
    #: What its reply says.
    outcome: OperationDone
    latest_state: OperationState
    statuses: Tuple[OperationStatus, ...]
    #: Of statuses.
    acknowledged: Tuple[bytes, ...]
    flags: OperationFlags
    #: Cluster time, in nanoseconds since 1970: nothing is left of it but what answers whoever asks for it again. None:
    #: it is open.
    ended_at: Optional[int]

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def latest_status(self) -> OperationStatus:
        """What it is at, with what was said of that last; nobody waits for its acknowledgement."""
        said = next((status for status in reversed(self.statuses) if status.state is self.latest_state), None)
        return OperationStatus(self.latest_state, message="" if said is None else said.message)


@dataclass(frozen=True)
class FrameworkRow:
    id: str
    info: FrameworkInfo
    state: FrameworkState
    #: Cluster time, in nanoseconds since 1970.
    state_since: int
    #: By which it came last; what an older one says counts no more.
    connection: str
    #: When it is over if it does not come back: cluster time, in nanoseconds since 1970. Only while it is disconnected.
    deadline: Optional[int]
    #: Under which fence of the masters it subscribed last.
    attached_fence: int


@dataclass(frozen=True)
class QuotaRow:
    role: str
    guarantees: Tuple[Quantity, ...]
    limits: Tuple[Quantity, ...]
    #: What an imported document said besides, as JSON.
    extra: str = ""


@dataclass(frozen=True)
class LegacyQuotaRow:
    """Quota that was imported in the form that Mesos had before 1.9: what is guaranteed is the limit, too."""

    role: str
    principal: Optional[str]
    guarantee: Tuple[Quantity, ...]
    #: What the document said besides, as JSON.
    extra: str = ""


@dataclass(frozen=True)
class ConsumptionRow:
    """What a role, and those below it, use up of a resource."""

    role: str
    resource: str
    amount: Scalar


@dataclass(frozen=True)
class CapacityRow:
    """What all admitted agents have of a resource."""

    resource: str
    amount: Scalar


@dataclass(frozen=True)
class MachineRow:
    """A machine that is in the schedule."""

    id: MachineID
    mode: MachineMode
    unavailability: Unavailability
    #: In which window of the schedule it is.
    window: int
    #: What an imported document said besides, as JSON.
    extra: str = ""


@dataclass(frozen=True)
class WindowRow:
    number: int
    window: MaintenanceWindow


@dataclass(frozen=True)
class ProviderRow:
    id: str
    #: For ever.
    removed: bool
    type: Optional[str]
    name: Optional[str]
    #: What an imported document said besides, as JSON.
    extra: str = ""


@dataclass(frozen=True)
class CapabilityRow:
    """What the next master has to know, or it may not lead."""

    name: str
    #: What an imported document said besides, as JSON: at least ``{}``. Empty: it was not imported.
    extra: str = ""


@dataclass(frozen=True)
class DocumentRow:
    """What no other row holds of an imported document."""

    #: Of a member of the document.
    name: str
    #: The member, of one that nobody here knows; else what it said besides.
    json: str


@dataclass(frozen=True)
class LostVolumeRow:
    """What was lost with an agent that was marked gone."""

    agent: str
    resource: Resource


@dataclass(frozen=True)
class OrphanRow:
    """What only the agent knows of."""

    agent: str
    resource: Resource


#: A row of the registry, with what its key says.
Record = Union[
    RegistryRow,
    AgentRow,
    AgentInfoRow,
    EntryRow,
    HoldRow,
    OperationRow,
    FrameworkRow,
    QuotaRow,
    Weight,
    ConsumptionRow,
    CapacityRow,
    MachineRow,
    WindowRow,
    ProviderRow,
    CapabilityRow,
    LostVolumeRow,
    OrphanRow,
    RateLimits,
    LegacyQuotaRow,
    DocumentRow,
]


# What a view is asked


@dataclass(frozen=True)
class OperationReference:
    """An operation that a framework asks about."""

    #: The framework's name for it.
    operation_id: str
    #: Where it should be, for what is said of one that nobody knows.
    agent: Optional[str] = None


@dataclass(frozen=True)
class OperationAnswer:
    """What is known of an operation. Its status waits for no acknowledgement."""

    operation_id: str
    agent: Optional[str]
    status: OperationStatus


class PrunePlan(NamedTuple):
    """Agents that may be forgotten: what :meth:`quorate.MasterRegistry.prune` takes."""

    unreachable: Tuple[str, ...]
    gone: Tuple[str, ...]


@dataclass(frozen=True)
class RoleView:
    """What the registry says of a role. Amounts are those of agents that are admitted, and include the roles below it;
    in the order of their names."""

    role: str
    weight: float
    #: Neither guarantees nor limits: it has no quota.
    quota: QuotaRow
    #: That have the role and are not over, by id.
    frameworks: Tuple[str, ...]
    #: What limits are compared with: what is reserved, and what is held besides.
    consumption: Tuple[Quantity, ...]
    reserved: Tuple[Quantity, ...]
    #: Reserved or not.
    held: Tuple[Quantity, ...]

    @property
    def over_limit(self) -> Tuple[str, ...]:
        """Names of the resources of which it consumes more than its limit, as after a forced update."""
        used = {each.name: each.amount.thousandths for each in self.consumption}
        return tuple(
            limit.name for limit in self.quota.limits if used.get(limit.name, 0) > limit.amount.thousandths
        )
