"""The registry as somebody has it in memory, and what is asked of it: whoever keeps a view by the changes answers
without asking the cluster."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple, Type, TypeVar, cast

from . import registry as values
from . import registry_codec as codec
from .registry import (
    AgentState,
    FrameworkCapabilities,
    LedgerEntry,
    OperationAnswer,
    OperationReference,
    OperationState,
    OperationStatus,
    PrunePlan,
    Quantity,
    QuotaRow,
    Record,
    RegistryTable,
    RoleView,
    Scalar,
)
from .registry_codec import RecordKey, text_bytes

#: Rows of these stand under the id of their agent.
_OF_AGENT = {
    RegistryTable.ENTRIES,
    RegistryTable.HOLDS,
    RegistryTable.OPERATIONS,
    RegistryTable.LOST_VOLUMES,
    RegistryTable.ORPHANS,
}

_Row = TypeVar("_Row")


class RegistryChange(NamedTuple):
    """What became of one record."""

    key: RecordKey
    #: None: it is gone.
    record: Optional[Record]


class RegistryEvent(NamedTuple):
    """All records that one command changed."""

    revision: int
    changes: Tuple[RegistryChange, ...]


class RegistryView:
    """The records of the registry, or of some of its tables, at one revision."""

    def __init__(self, revision: int = 0) -> None:
        self.revision = revision
        # By table, then by agent where rows stand under one, then by the rest of the key.
        self._tables: Dict[RegistryTable, Dict[bytes, Dict[bytes, Record]]] = {}

    def apply(self, event: RegistryEvent) -> None:
        """Takes in what one revision changed; one that it shows already changes nothing."""
        if event.revision <= self.revision:
            return
        for key, record in event.changes:
            self._set(key, record)
        self.revision = event.revision

    def _set(self, key: RecordKey, record: Optional[Record]) -> None:
        groups = self._tables.setdefault(key.table, {})
        name = key.rest.partition(b"\0")[0] if key.table in _OF_AGENT else b""
        if record is not None:
            groups.setdefault(name, {})[key.rest] = record
        elif name in groups:
            groups[name].pop(key.rest, None)
            if not groups[name]:
                del groups[name]

    def __len__(self) -> int:
        return sum(len(rows) for groups in self._tables.values() for rows in groups.values())

    def records(self) -> Iterator[Tuple[RecordKey, Record]]:
        """All of them, in no order."""
        for table, groups in self._tables.items():
            for rows in groups.values():
                for rest, record in rows.items():
                    yield RecordKey(table, rest), record

    def of(self, kind: Type[_Row], agent: Optional[str] = None) -> Tuple[_Row, ...]:
        """The records of a class, such as :class:`quorate.registry.QuotaRow`, in the order of their keys.

        Args:
            agent: of entries, holds, operations, lost volumes and orphans: only those of this agent, without a look
                at the others.

        Raises:
            ValueError: no records are of that class, or they are not of an agent.
        """
        table = codec.table_of(kind)
        groups = self._tables.get(table, {})
        if agent is None:
            rows = {key: record for group in groups.values() for key, record in group.items()}
        elif table in _OF_AGENT:
            rows = groups.get(text_bytes(agent), {})
        else:
            raise ValueError(f"{kind.__name__} does not stand under an agent")
        return tuple(cast(_Row, rows[key]) for key in sorted(rows))

    def _one(self, kind: Type[_Row], key: bytes) -> Optional[_Row]:
        return cast(Optional[_Row], self._tables.get(codec.table_of(kind), {}).get(b"", {}).get(key))

    @property
    def registry(self) -> values.RegistryRow:
        """What there is once: who leads, and counts."""
        return self._one(values.RegistryRow, b"") or values.RegistryRow()

    def agent(self, id: str) -> Optional[values.AgentRow]:
        return self._one(values.AgentRow, text_bytes(id))

    def agent_info(self, id: str) -> Optional[values.AgentInfo]:
        row = self._one(values.AgentInfoRow, text_bytes(id))
        return None if row is None else row.info

    def entries(self, agent: str) -> Tuple[LedgerEntry, ...]:
        """What an agent has, held or not."""
        return tuple(row.entry for row in self.of(values.EntryRow, agent))

    def framework(self, id: str) -> Optional[values.FrameworkRow]:
        return self._one(values.FrameworkRow, text_bytes(id))

    def is_attached(self, row: values.AgentRow) -> bool:
        """Under the fence of the master that recovered last. Else it is recovered, and not yet attached."""
        return row.state is AgentState.ADMITTED and row.attached_fence == self.registry.fence

    def _each(self, kind: Type[_Row]) -> Iterator[_Row]:
        """The records of a class, in no order."""
        for rows in self._tables.get(codec.table_of(kind), {}).values():
            for record in rows.values():
                yield cast(_Row, record)

    def reconcile(
        self, framework: str, asked: Iterable[OperationReference] = ()
    ) -> Tuple[OperationAnswer, ...]:
        """Answers a framework that has lost track of its operations. Looks through all operations.

        Args:
            asked: empty: all that have not ended.

        Returns: in the order asked, else by name. Of an operation that ended long ago, or never was, what can be said
        of its agent: ``RECOVERING``, ``UNREACHABLE``, ``GONE_BY_OPERATOR``, or ``UNKNOWN``.
        """
        known: Dict[str, values.OperationRow] = {}
        for row in self._each(values.OperationRow):
            if row.framework != framework or row.operation_id is None:
                continue
            # A name may be used again once its operation has ended.
            other = known.get(row.operation_id)
            if other is None or _end_of(other) < _end_of(row):
                known[row.operation_id] = row
        references = tuple(asked)
        if not references:
            names = sorted((name for name, row in known.items() if row.is_open), key=text_bytes)
            references = tuple(OperationReference(name) for name in names)
        return tuple(self._answer(reference, known.get(reference.operation_id)) for reference in references)

    def _answer(self, asked: OperationReference, found: Optional[values.OperationRow]) -> OperationAnswer:
        if found is not None:
            return OperationAnswer(asked.operation_id, found.agent, found.latest_status)
        status = OperationStatus(self._state_of_unknown(asked.agent))
        return OperationAnswer(asked.operation_id, asked.agent, status)

    def _state_of_unknown(self, agent: Optional[str]) -> OperationState:
        row = None if agent is None else self.agent(agent)
        if row is None:
            return OperationState.UNKNOWN
        if row.state is AgentState.UNREACHABLE:
            return OperationState.UNREACHABLE
        if row.state is AgentState.GONE:
            return OperationState.GONE_BY_OPERATOR
        return OperationState.UNKNOWN if self.is_attached(row) else OperationState.RECOVERING

    def prune_plan(self, now: int, *, age: float = 14 * 24 * 3600, count: int = 102_400) -> PrunePlan:
        """Which agents have been away, or gone, for so long that they may be forgotten. Looks through all agents.

        Args:
            now: cluster time, in nanoseconds since 1970.
            age: in seconds: those that came into their state longer ago.
            count: of each state so many may stay; of more, the oldest go.

        Returns: in the order in which they came into their state.
        """
        oldest = now - int(age * 10**9)

        def plan(state: AgentState) -> Tuple[str, ...]:
            rows = sorted(
                (row for row in self._each(values.AgentRow) if row.state is state), key=lambda row: row.arrival
            )
            surplus = len(rows) - count
            return tuple(
                row.id for place, row in enumerate(rows) if place < surplus or row.state_since < oldest
            )

        return PrunePlan(plan(AgentState.UNREACHABLE), plan(AgentState.GONE))

    def roles(self) -> Dict[str, RoleView]:
        """All roles: one exists while anything names it or a role below it. Looks through all records."""
        return _Roles(self).views()


def _end_of(row: values.OperationRow) -> float:
    return float("inf") if row.ended_at is None else row.ended_at


def _ancestors(role: str) -> List[str]:
    """From the outermost to the nearest: of ``a/b/c`` these are ``a`` and ``a/b``."""
    return [role[:place] for place, character in enumerate(role) if character == "/"]


class _Role:
    """What is gathered of a role: amounts in thousandths, by the names of resources."""

    def __init__(self, role: str) -> None:
        self.weight = 1.0
        self.quota = QuotaRow(role, (), ())
        self.frameworks: List[str] = []
        self.consumption: Dict[str, int] = {}
        self.reserved: Dict[str, int] = {}
        self.held: Dict[str, int] = {}


class _Roles:
    """Gathers what the records of a view say of roles."""

    def __init__(self, view: RegistryView) -> None:
        self._found: Dict[str, _Role] = {}
        admitted = {row.id for row in view._each(values.AgentRow) if row.state is AgentState.ADMITTED}
        for quota in view._each(QuotaRow):
            self._role(quota.role).quota = quota
        for legacy in view._each(values.LegacyQuotaRow):
            self._role(legacy.role).quota = QuotaRow(legacy.role, legacy.guarantee, legacy.guarantee)
        for weight in view._each(values.Weight):
            self._role(weight.role).weight = weight.weight
        for used in view._each(values.ConsumptionRow):
            self._role(used.role).consumption[used.resource] = used.amount.thousandths
        for framework in view._each(values.FrameworkRow):
            if not framework.state.is_over:
                for role in _roles_of(framework.info):
                    self._role(role).frameworks.append(framework.id)
        for entry in view._each(values.EntryRow):
            if entry.resource.role is not None:
                self._role(entry.resource.role)
                if entry.agent in admitted:
                    for role in (*_ancestors(entry.resource.role), entry.resource.role):
                        _add(self._role(role).reserved, entry.resource)
        # Copies of a shared volume on one agent are one.
        shared: Set[Tuple[str, str, bytes]] = set()
        for hold in view._each(values.HoldRow):
            self._role(hold.role)
            if hold.agent in admitted:
                for role in (*_ancestors(hold.role), hold.role):
                    for resource in hold.resources:
                        if resource.shared:
                            copy = (hold.agent, role, codec.kind_bytes(resource))
                            if copy in shared:
                                continue
                            shared.add(copy)
                        _add(self._role(role).held, resource)

    def _role(self, name: str) -> _Role:
        for role in (*_ancestors(name), name):
            if role not in self._found:
                self._found[role] = _Role(role)
        return self._found[name]

    def views(self) -> Dict[str, RoleView]:
        return {
            name: RoleView(
                name,
                role.weight,
                role.quota,
                tuple(sorted(role.frameworks, key=text_bytes)),
                _quantities(role.consumption),
                _quantities(role.reserved),
                _quantities(role.held),
            )
            for name, role in self._found.items()
        }


def _roles_of(framework: values.FrameworkInfo) -> Tuple[str, ...]:
    if FrameworkCapabilities.MULTI_ROLE in framework.capabilities:
        return framework.roles
    return ("*" if framework.role is None else framework.role,)


def _add(sums: Dict[str, int], resource: values.Resource) -> None:
    sums[resource.name] = sums.get(resource.name, 0) + values.quantity_of(resource.value).thousandths


def _quantities(sums: Dict[str, int]) -> Tuple[Quantity, ...]:
    return tuple(Quantity(name, Scalar(sums[name])) for name in sorted(sums, key=text_bytes) if sums[name])
