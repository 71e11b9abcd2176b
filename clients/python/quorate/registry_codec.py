"""What stands in the masters' registry, as bytes: one description of each value, by which it is written and read.

Numbers are little-endian. A text is ``u16 size | bytes``; what may be missing is ``u8 there | value``; a list is
``u32 count | items``.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from dataclasses import replace
from typing import Any, Callable, Dict, Generic, Iterable, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

from . import _wire as wire
from . import registry as values
from .errors import ProtocolError
from .registry import LedgerEntry, Record, RegistryTable, Resource, ResourceClaim, Scalar

T = TypeVar("T")


class Codec(Generic[T]):
    """Writes a value and reads it.

    Raises:
        ValueError: in writing, a number that its field cannot hold.
        TooLarge: in writing, a text that its field cannot hold.
        ProtocolError: in reading, bytes that are not such a value.
    """

    def __init__(self, encode: Callable[[T], bytes], read: Callable[[wire.Reader], T]) -> None:
        self.encode = encode
        self.read = read

    def decode(self, data: bytes) -> T:
        """Reads a value of which these are all the bytes."""
        reader = wire.Reader(data)
        value = self.read(reader)
        if not reader.is_at_end:
            raise ProtocolError("bytes behind a value of the registry")
        return value


# Numbers, texts, lists


def _integer(size: int) -> Codec[int]:
    bound = 1 << 8 * size

    def encode(value: int) -> bytes:
        if not 0 <= value < bound:
            raise ValueError(f"{value}: 0 to {bound - 1} are possible")
        return value.to_bytes(size, "little")

    return Codec(encode, lambda reader: int.from_bytes(reader.raw(size), "little"))


U8, U16, U32, U64 = (_integer(size) for size in (1, 2, 4, 8))


def _encode_signed(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value}: {-(1 << 63)} to {(1 << 63) - 1} are possible")
    return value.to_bytes(8, "little", signed=True)


I64: Codec[int] = Codec(_encode_signed, lambda reader: int.from_bytes(reader.raw(8), "little", signed=True))
F64: Codec[float] = Codec(
    lambda value: struct.pack("<d", value), lambda reader: float(struct.unpack("<d", reader.raw(8))[0])
)
BOOL: Codec[bool] = Codec(lambda value: wire.u8(1 if value else 0), wire.Reader.bool)
BYTES: Codec[bytes] = Codec(wire.bytes16, wire.Reader.bytes16)


def text_bytes(value: str) -> bytes:
    """The bytes that a text of the registry stands for."""
    return value.encode("utf-8", "surrogateescape")


def text_of(data: bytes) -> str:
    """The text that bytes of the registry stand for."""
    return data.decode("utf-8", "surrogateescape")


TEXT: Codec[str] = Codec(lambda value: wire.bytes16(text_bytes(value)), lambda reader: text_of(reader.bytes16()))


#: All bytes that are left.
_REST: Codec[str] = Codec(text_bytes, lambda reader: text_of(reader.rest()))


def optional(codec: Codec[T]) -> Codec[Optional[T]]:
    return Codec(
        lambda value: b"\0" if value is None else b"\1" + codec.encode(value),
        lambda reader: codec.read(reader) if reader.bool() else None,
    )


def listed(codec: Codec[T]) -> Codec[Tuple[T, ...]]:
    return Codec(
        lambda items: U32.encode(len(items)) + b"".join(codec.encode(item) for item in items),
        lambda reader: tuple(codec.read(reader) for _ in range(reader.u32())),
    )


_Enum = TypeVar("_Enum", bound=enum.IntEnum)
_Flag = TypeVar("_Flag", bound=enum.IntFlag)


def numbered(kind: Type[_Enum]) -> Codec[_Enum]:
    """A number of a closed set."""

    def read(reader: wire.Reader) -> _Enum:
        number = reader.u8()
        try:
            return kind(number)
        except ValueError:
            raise ProtocolError(f"{kind.__name__} {number} is not known") from None

    return Codec(U8.encode, read)


def _stated(kind: Type[_Enum], absent: int) -> Codec[Optional[_Enum]]:
    """A number as somebody states it: one that is not known is none."""

    def read(reader: wire.Reader) -> Optional[_Enum]:
        try:
            return kind(reader.u8())
        except ValueError:
            return None

    return Codec(lambda value: U8.encode(absent if value is None else value), read)


def _flags(kind: Type[_Flag]) -> Codec[_Flag]:
    return Codec(U16.encode, lambda reader: kind(reader.u16()))


class Fields(Codec[T]):
    """Fields one after the other."""

    def __init__(self, kind: Callable[..., T], /, **parts: Codec[Any]) -> None:
        self.kind = kind
        self._parts = parts
        super().__init__(self._encode, self.read_with)

    def _encode(self, value: T) -> bytes:
        return b"".join(codec.encode(getattr(value, name)) for name, codec in self._parts.items())

    def read_with(self, reader: wire.Reader, /, **known: Any) -> T:
        """Args:
            known: fields that do not stand there.
        """
        return self.kind(**known, **{name: codec.read(reader) for name, codec in self._parts.items()})


def _alternatives(what: str, forms: Dict[int, Tuple[Type[Any], Codec[Any]]]) -> Codec[Any]:
    """``u8 number | value``."""
    numbers = {kind: number for number, (kind, _) in forms.items()}

    def encode(value: Any) -> bytes:
        number = numbers[type(value)]
        return wire.u8(number) + forms[number][1].encode(value)

    def read(reader: wire.Reader) -> Any:
        number = reader.u8()
        if number not in forms:
            raise ProtocolError(f"{what} {number} is not known")
        return forms[number][1].read(reader)

    return Codec(encode, read)


class _Part(NamedTuple):
    """A field that may be missing; its bit in a mask says whether it is there."""

    name: str
    #: None: the bit is all there is of it.
    codec: Optional[Codec[Any]]
    #: What it is when it is missing.
    absent: Any = None


def _parted(
    kind: Callable[..., T], head: Dict[str, Codec[Any]], mask: Codec[int], parts: Tuple[_Part, ...]
) -> Codec[T]:
    """Some fields, a mask, and the fields of which it has the bit: the first part that of 1, the second that of 2."""

    def encode(value: T) -> bytes:
        written = [codec.encode(getattr(value, name)) for name, codec in head.items()]
        bits, rest = 0, []
        for index, part in enumerate(parts):
            field = getattr(value, part.name)
            if field != part.absent:
                bits |= 1 << index
                if part.codec is not None:
                    rest.append(part.codec.encode(field))
        return b"".join([*written, mask.encode(bits), *rest])

    def read(reader: wire.Reader) -> T:
        fields = {name: codec.read(reader) for name, codec in head.items()}
        bits = mask.read(reader)
        if bits >> len(parts):
            raise ProtocolError(f"parts {bits:#x} are not all known")
        for index, part in enumerate(parts):
            if bits >> index & 1:
                fields[part.name] = True if part.codec is None else part.codec.read(reader)
        return kind(**fields)

    return Codec(encode, read)


# Resources as they are stored

SCALAR: Codec[Scalar] = Codec(lambda value: U64.encode(value.thousandths), lambda reader: Scalar(reader.u64()))
_RANGES: Codec[Tuple[Tuple[int, int], ...]] = listed(
    Codec(
        lambda value: U64.encode(value[0]) + U64.encode(value[1]),
        lambda reader: (reader.u64(), reader.u64()),
    )
)
_TEXTS = listed(TEXT)
_RANGES_VALUE = Fields(values.Ranges, ranges=_RANGES)
_ITEMS_VALUE = Fields(values.Items, items=_TEXTS)
_VALUE = _alternatives(
    "kind of a value", {0: (Scalar, SCALAR), 1: (values.Ranges, _RANGES_VALUE), 2: (values.Items, _ITEMS_VALUE)}
)

_LABEL = Fields(values.Label, key=TEXT, value=optional(TEXT))
_LABELS = optional(listed(_LABEL))
_RESERVATION = Fields(
    values.Reservation,
    kind=numbered(values.ReservationKind),
    role=TEXT,
    principal=optional(TEXT),
    labels=_LABELS,
)
_SOURCE = Fields(
    values.DiskSource,
    kind=numbered(values.DiskKind),
    root=optional(TEXT),
    vendor=optional(TEXT),
    id=optional(TEXT),
    metadata=_LABELS,
    profile=optional(TEXT),
)
_PERSISTENCE = Fields(values.Persistence, id=TEXT, principal=optional(TEXT))
_MOUNT = Fields(values.VolumeMount, container_path=TEXT, read_only=BOOL, host_path=optional(TEXT))


class _FlatResource(NamedTuple):
    """A resource as it is written: a disk without any of its parts is the root disk, and not written."""

    name: str
    value: values.Value
    stack: Tuple[values.Reservation, ...]
    revocable: bool = False
    shared: bool = False
    source: Optional[values.DiskSource] = None
    persistence: Optional[values.Persistence] = None
    volume: Optional[values.VolumeMount] = None
    provider: Optional[str] = None
    allocation_role: Optional[str] = None


_FLAT_RESOURCE = _parted(
    _FlatResource,
    {"name": TEXT, "value": _VALUE, "stack": listed(_RESERVATION)},
    U8,
    (
        _Part("revocable", None, False),
        _Part("shared", None, False),
        _Part("source", _SOURCE),
        _Part("persistence", _PERSISTENCE),
        _Part("volume", _MOUNT),
        _Part("provider", TEXT),
        _Part("allocation_role", TEXT),
    ),
)


def _encode_resource(value: Resource) -> bytes:
    disk = value.disk or values.DiskInfo()
    return _FLAT_RESOURCE.encode(
        _FlatResource(
            value.name,
            value.value,
            value.stack,
            value.revocable,
            value.shared,
            disk.source,
            disk.persistence,
            disk.volume,
            value.provider,
            value.allocation_role,
        )
    )


def _read_resource(reader: wire.Reader) -> Resource:
    flat = _FLAT_RESOURCE.read(reader)
    disk = values.DiskInfo(flat.source, flat.persistence, flat.volume)
    return Resource(
        flat.name,
        flat.value,
        flat.stack,
        None if disk == values.DiskInfo() else disk,
        flat.revocable,
        flat.shared,
        flat.provider,
        flat.allocation_role,
    )


RESOURCE: Codec[Resource] = Codec(_encode_resource, _read_resource)
RESOURCES = listed(RESOURCE)


# What tells an agent's entries apart, and their digest


def kind_bytes(resource: Resource) -> bytes:
    """All that tells this kind of resource from another: neither its amount, nor how it is mounted, nor who made it.
    Amounts of one kind add up, where the resource can be divided."""
    source = resource.disk.source if resource.disk is not None else None
    persistence = resource.disk.persistence if resource.disk is not None else None
    return b"".join(
        (
            TEXT.encode(resource.name),
            _VALUE.encode(resource.value)[:1],
            wire.u8((1 if resource.revocable else 0) | (2 if resource.shared else 0)),
            optional(TEXT).encode(resource.provider),
            optional(_SOURCE).encode(source),
            listed(_RESERVATION).encode(resource.stack),
            optional(TEXT).encode(None if persistence is None else persistence.id),
        )
    )


def entry_key(entry: LedgerEntry) -> bytes:
    """The end of the key of an entry's row."""
    return kind_bytes(entry.resource) + entry.ordinal.to_bytes(2, "big")


def ledger_entries(resources: Iterable[Resource]) -> Tuple[LedgerEntry, ...]:
    """The entries of an agent that has these resources and no others, each kind that can be divided at most once."""
    counts: Dict[bytes, int] = {}
    entries: List[LedgerEntry] = []
    for resource in resources:
        kind = kind_bytes(resource)
        entries.append(LedgerEntry(resource, 0 if resource.is_divisible else counts.get(kind, 0)))
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(entries)


def checkpoint_digest(entries: Iterable[LedgerEntry]) -> bytes:
    """What an agent and the quorum compare to see that they know the same of the agent's checkpointed entries: those of
    no resource provider that are reserved dynamically or are volumes. Other entries are left out here.

    Returns: 16 bytes.
    """
    resources = (entry.resource for entry in entries if entry.resource.is_checkpointed)
    stored = sorted(RESOURCE.encode(_as_compared(resource)) for resource in resources)
    return hashlib.sha256(b"".join(stored)).digest()[:16]


def _as_compared(resource: Resource) -> Resource:
    """How a task sees a volume, who made it and whom it was offered to are no part of what an entry is."""
    resource = replace(resource, allocation_role=None)
    if resource.disk is None:
        return resource
    persistence = resource.disk.persistence
    if persistence is not None:
        persistence = replace(persistence, principal=None)
    return replace(resource, disk=replace(resource.disk, persistence=persistence, volume=None))


# Resources as they are stated

_RESERVATION_CLAIM = Fields(
    values.ReservationClaim,
    kind=_stated(values.ReservationKind, 0),
    role=optional(TEXT),
    principal=optional(TEXT),
    labels=_LABELS,
)
_ROOT = optional(Fields(values.Root, root=optional(TEXT)))
_SOURCE_CLAIM = Fields(
    values.SourceClaim,
    kind=_stated(values.DiskKind, 0),
    path=_ROOT,
    mount=_ROOT,
    vendor=optional(TEXT),
    id=optional(TEXT),
    metadata=_LABELS,
    profile=optional(TEXT),
)
_DISK_CLAIM = Fields(
    values.DiskClaim, source=optional(_SOURCE_CLAIM), persistence=optional(_PERSISTENCE), volume=optional(_MOUNT)
)
RESOURCE_CLAIM: Codec[ResourceClaim] = _parted(
    ResourceClaim,
    {"name": TEXT, "type": _stated(values.ValueType, 255)},
    U16,
    (
        _Part("scalar", F64),
        _Part("ranges", _RANGES),
        _Part("items", listed(TEXT)),
        _Part("reservations", listed(_RESERVATION_CLAIM), ()),
        _Part("former_role", TEXT),
        _Part("former_reservation", _RESERVATION_CLAIM),
        _Part("disk", _DISK_CLAIM),
        _Part("revocable", None, False),
        _Part("shared", None, False),
        _Part("provider", TEXT),
        _Part("allocation_role", TEXT),
    ),
)
CLAIMS = listed(RESOURCE_CLAIM)


# Agents


def _encode_attribute(value: values.Attribute) -> bytes:
    stated = value.value
    if isinstance(stated, values.Ranges):
        encoded = wire.u8(values.ValueType.RANGES) + _RANGES_VALUE.encode(stated)
    elif isinstance(stated, values.Items):
        encoded = wire.u8(values.ValueType.SET) + _ITEMS_VALUE.encode(stated)
    elif isinstance(stated, str):
        encoded = wire.u8(values.ValueType.TEXT) + TEXT.encode(stated)
    else:
        encoded = wire.u8(values.ValueType.SCALAR) + F64.encode(stated)
    return TEXT.encode(value.name) + encoded


_ATTRIBUTE_VALUES: Dict[values.ValueType, Codec[Any]] = {
    values.ValueType.SCALAR: F64,
    values.ValueType.RANGES: _RANGES_VALUE,
    values.ValueType.SET: _ITEMS_VALUE,
    values.ValueType.TEXT: TEXT,
}


def _read_attribute(reader: wire.Reader) -> values.Attribute:
    name = TEXT.read(reader)
    return values.Attribute(name, _ATTRIBUTE_VALUES[numbered(values.ValueType).read(reader)].read(reader))


ATTRIBUTE: Codec[values.Attribute] = Codec(_encode_attribute, _read_attribute)
AGENT_INFO = Fields(
    values.AgentInfo,
    hostname=TEXT,
    ip=TEXT,
    port=U16,
    attributes=listed(ATTRIBUTE),
    domain=optional(TEXT),
    checkpointing=BOOL,
    capabilities=_flags(values.AgentCapabilities),
    extra=TEXT,
)
AGENT_CLAIM = Fields(values.AgentClaim, id=TEXT, info=AGENT_INFO, resources=CLAIMS)
AGENT_PATCH: Codec[values.AgentPatch] = _parted(
    values.AgentPatch,
    {},
    U8,
    (
        _Part("hostname", TEXT),
        _Part("ip", TEXT),
        _Part("port", U16),
        _Part("attributes", listed(ATTRIBUTE)),
        _Part("domain", TEXT),
        _Part("checkpointing", BOOL),
        _Part("capabilities", _flags(values.AgentCapabilities)),
        _Part("resources", CLAIMS),
    ),
)
_VERSION = Fields(values.ResourceVersion, provider=optional(TEXT), version=BYTES)
ATTACHMENT = Fields(
    values.AgentAttachment, agent=AGENT_CLAIM, generation=U64, digest=BYTES, versions=listed(_VERSION)
)
_DRAIN = Fields(values.Drain, drained=BOOL, max_grace_period=optional(U64), marks_gone=BOOL)


# Frameworks

_NAMED_NUMBER = Fields(values.NamedNumber, name=TEXT, number=F64)
_FILTER = Fields(values.OfferFilter, role=TEXT, quantities=listed(_NAMED_NUMBER))
FRAMEWORK_INFO = Fields(
    values.FrameworkInfo,
    id=TEXT,
    name=TEXT,
    user=TEXT,
    principal=optional(TEXT),
    role=optional(TEXT),
    roles=_TEXTS,
    capabilities=_flags(values.FrameworkCapabilities),
    failover_timeout=F64,
    checkpointing=BOOL,
    hostname=TEXT,
    webui_url=TEXT,
    labels=optional(listed(_LABEL)),
    offer_filters=listed(_FILTER),
    suppressed_roles=_TEXTS,
)
FRAMEWORK_CONNECTION = Fields(values.FrameworkConnection, connection=TEXT, framework=FRAMEWORK_INFO)


# Operations

OPERATION_KIND: Codec[values.OperationKind] = _alternatives(
    "operation",
    {
        1: (values.Reserve, Fields(values.Reserve, resources=CLAIMS, source=optional(CLAIMS))),
        2: (values.Unreserve, Fields(values.Unreserve, resources=CLAIMS)),
        3: (values.Create, Fields(values.Create, volumes=CLAIMS)),
        4: (values.Destroy, Fields(values.Destroy, volumes=CLAIMS)),
        5: (values.Grow, Fields(values.Grow, volume=RESOURCE_CLAIM, addition=RESOURCE_CLAIM)),
        6: (values.Shrink, Fields(values.Shrink, volume=RESOURCE_CLAIM, subtract=F64)),
    },
)
OPERATION_REQUEST = Fields(
    values.OperationRequest,
    agent=TEXT,
    framework=optional(TEXT),
    principal=optional(TEXT),
    uuid=BYTES,
    operation_id=optional(TEXT),
    resource_version=optional(BYTES),
    kind=OPERATION_KIND,
)
OPERATION_STATE = numbered(values.OperationState)
OPERATION_STATUS = Fields(values.OperationStatus, state=OPERATION_STATE, uuid=optional(BYTES), message=TEXT)
_DONE = Fields(values.OperationDone, generation=U64, converted=RESOURCES)


# Quota, weights, maintenance, masters

_QUANTITIES = listed(Fields(values.Quantity, name=TEXT, amount=SCALAR))
QUOTA_CONFIG = Fields(
    values.QuotaConfig, role=TEXT, guarantees=listed(_NAMED_NUMBER), limits=listed(_NAMED_NUMBER)
)
WEIGHT = Fields(values.Weight, role=TEXT, weight=F64, extra=TEXT)
RATE_LIMITS = Fields(
    values.RateLimits,
    limits=listed(Fields(values.RateLimit, principal=TEXT, rate=optional(F64), capacity=optional(U64))),
    aggregate_rate=optional(F64),
    aggregate_capacity=optional(U64),
)
MACHINE_ID = Fields(values.MachineID, hostname=optional(TEXT), ip=optional(TEXT))
_UNAVAILABILITY = Fields(values.Unavailability, start=I64, duration=optional(I64))
WINDOW = Fields(
    values.MaintenanceWindow, machines=listed(MACHINE_ID), unavailability=_UNAVAILABILITY, extra=TEXT
)
MASTER_INFO = Fields(
    values.MasterInfo, id=TEXT, hostname=TEXT, ip=TEXT, port=U16, extra=TEXT, quota_hierarchy=BOOL
)
_LIMITER = Fields(
    values.Limiter, window_end=U64, removed=U64, budget=U64, approved=U64, approved_until=U64, alarmed=BOOL
)
_IMPORT_PROGRESS = Fields(values.ImportProgress, id=BYTES, chunks=U64, state=numbered(values.ImportState))


# Answers

REJECTION = Fields(values.Rejection, rule=TEXT, detail=TEXT)
ATTACH_OUTCOME: Codec[values.AttachOutcome] = _alternatives(
    "outcome of an agent",
    {
        1: (values.UpToDate, Fields(values.UpToDate, generation=U64, drain=optional(_DRAIN))),
        2: (values.Behind, Fields(values.Behind, generation=U64, entries=RESOURCES, drain=optional(_DRAIN))),
        3: (values.ReportWanted, Fields(values.ReportWanted, drain=optional(_DRAIN))),
        4: (values.Rejection, REJECTION),
    },
)
OPERATION_OUTCOME: Codec[values.OperationOutcome] = _alternatives(
    "outcome of an operation", {1: (values.OperationDone, _DONE), 2: (values.Rejection, REJECTION)}
)


class Result(enum.IntEnum):
    """What a command answers besides whether it changed anything."""

    NOTHING = 0
    GENERATION = 1
    ATTACHED = 2
    REPORT = 3
    LOST_VOLUMES = 4
    PRUNED = 5
    FRAMEWORK = 6
    AGENTS = 7
    CONSUMPTION = 8
    OPERATIONS = 9
    STATUS = 10


_NOTHING: Codec[None] = Codec(lambda value: b"", lambda reader: None)

RESULTS: Dict[Result, Codec[Any]] = {
    Result.NOTHING: _NOTHING,
    Result.GENERATION: U64,
    Result.ATTACHED: listed(ATTACH_OUTCOME),
    Result.REPORT: Fields(
        values.AgentReport, generation=U64, adopted=RESOURCES, orphans=RESOURCES, missing=RESOURCES
    ),
    Result.LOST_VOLUMES: listed(Fields(values.VolumeID, agent=TEXT, role=TEXT, id=TEXT)),
    Result.PRUNED: Fields(values.Pruned, deleted=_TEXTS, skipped=_TEXTS),
    Result.FRAMEWORK: Fields(values.Subscribed, id=TEXT, was_unknown=BOOL),
    Result.AGENTS: _TEXTS,
    Result.CONSUMPTION: listed(Fields(values.RoleConsumption, role=TEXT, quantities=_QUANTITIES)),
    Result.OPERATIONS: listed(OPERATION_OUTCOME),
    Result.STATUS: BOOL,
}


class Answer(NamedTuple):
    """A command was carried out."""

    #: Something differs by it.
    changed: bool
    result: Any


class Postponed(NamedTuple):
    """A command was not carried out for now."""

    #: After which it may be.
    milliseconds: int
    rejection: values.Rejection


def read_reply(reader: wire.Reader, expected: Result) -> Union[Answer, Postponed]:
    """``u8 0 unchanged: result | 1 changed: result | 2 postponed: u64 ms, rejection``; a result is ``u8 number |
    fields``."""
    form = reader.u8()
    if form == 2:
        return Postponed(reader.u64(), REJECTION.read(reader))
    number = reader.u8()
    if form > 2 or number != expected:
        raise ProtocolError(f"the registry answers {form}, {number}, where {expected.name.lower()} was expected")
    return Answer(form == 1, RESULTS[expected].read(reader))


# Rows


class RecordKey(NamedTuple):
    """What a row is of: it stays the same while the record changes, and is all that is told of one that is gone."""

    table: RegistryTable
    #: As ``docs/PROTOCOL.md`` says, without the table.
    rest: bytes

    @property
    def encoded(self) -> bytes:
        return wire.u8(self.table) + self.rest


class _KeyParts:
    """Takes a key apart."""

    def __init__(self, rest: bytes) -> None:
        self._rest = rest

    def id(self) -> str:
        """Up to the byte 0 behind it."""
        found, zero, self._rest = self._rest.partition(b"\0")
        if not zero:
            raise _short_key()
        return text_of(found)

    def sized(self) -> str:
        """What stands behind its size."""
        end = 2 + int.from_bytes(self._rest[:2], "big")
        if len(self._rest) < end:
            raise _short_key()
        found, self._rest = self._rest[2:end], self._rest[end:]
        return text_of(found)

    def rest(self) -> bytes:
        return self._rest

    def name(self) -> str:
        return text_of(self._rest)

    def ordinal(self) -> int:
        """Of an entry."""
        if len(self._rest) < 2:
            raise _short_key()
        return int.from_bytes(self._rest[-2:], "big")


def _short_key() -> ProtocolError:
    return ProtocolError("a key of the registry that ends too early")


class _Form(NamedTuple):
    """How a row stands in its table."""

    #: What the key says of it.
    known: Callable[[_KeyParts], Dict[str, Any]]
    #: Its value.
    fields: Fields[Any]


def _id(parts: _KeyParts) -> Dict[str, Any]:
    return {"id": parts.name()}


def _name(parts: _KeyParts) -> Dict[str, Any]:
    return {"name": parts.name()}


def _nothing(parts: _KeyParts) -> Dict[str, Any]:
    return {}


def _agent(parts: _KeyParts) -> Dict[str, Any]:
    return {"agent": parts.id()}


def _read_operation_flags(reader: wire.Reader) -> values.OperationFlags:
    flags = reader.u8()
    if flags & ~3:
        raise ProtocolError("flags of an operation that are not known")
    return values.OperationFlags(flags)


#: Of every table but the indexes.
ROWS: Dict[RegistryTable, _Form] = {
    RegistryTable.REGISTRY: _Form(
        _nothing,
        Fields(
            values.RegistryRow,
            master=optional(MASTER_INFO),
            fence=U64,
            recovered_at=U64,
            framework_count=U64,
            arrival_count=U64,
            admitted_count=U64,
            deactivated_count=U64,
            quota_count=U64,
            window_count=optional(U64),
            limiter=_LIMITER,
            last_import=optional(_IMPORT_PROGRESS),
        ),
    ),
    RegistryTable.AGENTS: _Form(
        _id,
        Fields(
            values.AgentRow,
            state=numbered(values.AgentState),
            state_since=U64,
            arrival=U64,
            deactivated=BOOL,
            drain=optional(_DRAIN),
            generation=U64,
            digest=BYTES,
            versions=listed(_VERSION),
            attached_fence=U64,
            report_wanted=BOOL,
            totals_digest=BYTES,
            extra=TEXT,
        ),
    ),
    RegistryTable.AGENT_INFO: _Form(_id, Fields(values.AgentInfoRow, info=AGENT_INFO)),
    RegistryTable.ENTRIES: _Form(
        lambda parts: {"agent": parts.id(), "ordinal": parts.ordinal()}, Fields(values.EntryRow, resource=RESOURCE)
    ),
    RegistryTable.HOLDS: _Form(
        lambda parts: {"agent": parts.id(), "framework": parts.id(), "id": parts.name()},
        Fields(values.HoldRow, role=TEXT, resources=RESOURCES),
    ),
    RegistryTable.OPERATIONS: _Form(
        lambda parts: {"agent": parts.id(), "uuid": parts.rest()},
        Fields(
            values.OperationRow,
            framework=optional(TEXT),
            operation_id=optional(TEXT),
            provider=optional(TEXT),
            digest=BYTES,
            consumed=RESOURCES,
            outcome=_DONE,
            latest_state=OPERATION_STATE,
            statuses=listed(OPERATION_STATUS),
            acknowledged=listed(BYTES),
            flags=Codec(U8.encode, _read_operation_flags),
            ended_at=optional(U64),
        ),
    ),
    RegistryTable.FRAMEWORKS: _Form(
        _id,
        Fields(
            values.FrameworkRow,
            info=FRAMEWORK_INFO,
            state=numbered(values.FrameworkState),
            state_since=U64,
            connection=TEXT,
            deadline=optional(U64),
            attached_fence=U64,
        ),
    ),
    RegistryTable.QUOTAS: _Form(
        lambda parts: {"role": parts.name()},
        Fields(values.QuotaRow, guarantees=_QUANTITIES, limits=_QUANTITIES, extra=TEXT),
    ),
    RegistryTable.WEIGHTS: _Form(_nothing, WEIGHT),
    RegistryTable.CONSUMPTION: _Form(
        lambda parts: {"role": parts.sized(), "resource": parts.name()}, Fields(values.ConsumptionRow, amount=SCALAR)
    ),
    RegistryTable.CAPACITY: _Form(
        lambda parts: {"resource": parts.name()}, Fields(values.CapacityRow, amount=SCALAR)
    ),
    RegistryTable.MACHINES: _Form(
        _nothing,
        Fields(
            values.MachineRow,
            id=MACHINE_ID,
            mode=numbered(values.MachineMode),
            unavailability=_UNAVAILABILITY,
            window=U32,
            extra=TEXT,
        ),
    ),
    RegistryTable.WINDOWS: _Form(
        lambda parts: {"number": int.from_bytes(parts.rest(), "big")}, Fields(values.WindowRow, window=WINDOW)
    ),
    RegistryTable.PROVIDERS: _Form(
        _id, Fields(values.ProviderRow, removed=BOOL, type=optional(TEXT), name=optional(TEXT), extra=TEXT)
    ),
    RegistryTable.CAPABILITIES: _Form(_name, Fields(values.CapabilityRow, extra=_REST)),
    RegistryTable.LOST_VOLUMES: _Form(_agent, Fields(values.LostVolumeRow, resource=RESOURCE)),
    RegistryTable.ORPHANS: _Form(_agent, Fields(values.OrphanRow, resource=RESOURCE)),
    RegistryTable.RATE_LIMITS: _Form(_nothing, RATE_LIMITS),
    RegistryTable.LEGACY_QUOTAS: _Form(
        lambda parts: {"role": parts.name()},
        Fields(values.LegacyQuotaRow, principal=optional(TEXT), guarantee=_QUANTITIES, extra=TEXT),
    ),
    RegistryTable.DOCUMENTS: _Form(_name, Fields(values.DocumentRow, json=_REST)),
}


def table_of(kind: Type[Any]) -> RegistryTable:
    """Where rows of this class stand.

    Raises:
        ValueError: nowhere.
    """
    for table, form in ROWS.items():
        if form.fields.kind is kind:
            return table
    raise ValueError(f"{kind.__name__} is no row of the registry")


def record_key(key: bytes) -> Optional[RecordKey]:
    """None for a table that this release does not know."""
    try:
        return RecordKey(RegistryTable(key[0]), key[1:])
    except (IndexError, ValueError):
        return None


def read_record(key: RecordKey, value: bytes) -> Optional[Record]:
    """The record in a row; None for an index, and for a table of a later release."""
    form = ROWS.get(key.table)
    if form is None:
        return None
    # A later release may add fields at the end.
    record: Record = form.fields.read_with(wire.Reader(value), **form.known(_KeyParts(key.rest)))
    return record
