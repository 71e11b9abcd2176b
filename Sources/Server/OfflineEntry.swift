internal import Basics
internal import LogFormat
internal import MetadataModel

/// An entry of the log, for a person: names and values in the order in which they are printed.
package struct OfflineEntry: Sendable {
    package indirect enum Value: Sendable {
        case number(UInt64)
        case flag(Bool)
        case text(String)
        /// A key or a value: text where it is UTF-8.
        case bytes([UInt8])
        case object([Field])
        case list([[Field]])
    }

    package struct Field: Sendable {
        package var name: String
        package var value: Value

        init(_ name: String, _ value: Value) {
            self.name = name
            self.value = value
        }
    }

    package let index: UInt64
    package let term: UInt64
    /// Cluster time, in ns since 1970.
    package let time: UInt64
    /// What it is or does: `noop`, `configuration`, or a command's name.
    package let kind: String
    package let fields: [Field]

    init(_ record: borrowing RecordView) {
        let header = record.header
        index = header.id.index.rawValue
        term = header.id.term.rawValue
        time = header.time.nanoseconds
        var fields: [Field] = []
        if header.principal != 0 { fields.append(Field("principal", .number(header.principal))) }
        switch header.type {
        case .noop: kind = "noop"
        case .configuration:
            kind = "configuration"
            do throws(DecodeError) {
                fields += Self.fields(of: try Membership(decoding: record.payload))
            } catch {
                fields.append(Field("unreadable", .text("\(error)")))
            }
        case .command:
            var name = "unreadable"
            do throws(DecodeError) {
                var reader = ByteReader(record.payload)
                let command = try CommandHeader(decoding: &reader)
                name = "\(command.kind)"
                fields += try Self.fields(of: command, decoding: &reader)
            } catch {
                fields.append(Field("unreadable", .text("\(error)")))
            }
            kind = name
        }
        self.fields = fields
    }

    // MARK: - Commands

    private static func fields(
        of command: CommandHeader, decoding reader: inout ByteReader
    ) throws(DecodeError) -> [Field] {
        if let housekeeping = try Housekeeping(kind: command.kind, decoding: &reader) {
            return fields(of: housekeeping)
        }
        var fields = [
            Field("session", .text(command.session.description)), Field("sequence", .number(command.sequence)),
        ]
        for condition in command.guards {
            let parts = [
                Field("kind", .text("\(condition.kind)")), Field("name", .bytes(condition.name)),
                Field("fence", .number(condition.fence)),
            ]
            fields.append(Field("guard", .object(parts)))
        }
        if let coordination = try CoordinationCommand(kind: command.kind, decoding: &reader) {
            return fields + Self.fields(of: coordination)
        }
        switch command.kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            if body.isOwned { fields.append(Field("owned", .flag(true))) }
            fields += [Field("key", .bytes([UInt8](body.key))), Field("value", .bytes([UInt8](body.value)))]
            if let revision = body.expectedRevision { fields.append(Field("ifRevision", .number(revision.rawValue))) }
        case .delete:
            let body = try DeleteBody(decoding: &reader)
            fields.append(Field("key", .bytes([UInt8](body.key))))
            if let revision = body.expectedRevision { fields.append(Field("ifRevision", .number(revision.rawValue))) }
        case .deleteRange:
            let body = try DeleteRangeBody(decoding: &reader)
            switch body.span {
            case .prefix(let prefix): fields.append(Field("prefix", .bytes(prefix)))
            case .range(let from, let to):
                fields.append(Field("from", .bytes(from)))
                if let to { fields.append(Field("to", .bytes(to))) }
            }
            if body.limit > 0 { fields.append(Field("limit", .number(UInt64(body.limit)))) }
        case .createSequential, .createOwnedSequential:
            let body = try CreateSequentialBody(decoding: &reader)
            fields += [Field("prefix", .bytes([UInt8](body.prefix))), Field("value", .bytes([UInt8](body.value)))]
        case .transaction:
            let transaction = try Transaction(decoding: &reader)
            fields += [
                Field("if", .list(transaction.comparisons.map(Self.fields(of:)))),
                Field("then", .list(transaction.then.map(Self.fields(of:)))),
                Field("else", .list(transaction.otherwise.map(Self.fields(of:)))),
            ]
        case .setHistory:
            let body = try SetHistoryBody(decoding: &reader)
            fields += [Field("prefix", .bytes(body.prefix)), Field("on", .flag(body.isOn))]
        default: break
        }
        return fields
    }

    private static func fields(of command: CoordinationCommand) -> [Field] {
        switch command {
        case .campaign(let group, let data), .setCandidateData(let group, let data):
            [Field("group", .bytes(group)), Field("data", .bytes(data))]
        case .withdraw(let group): [Field("group", .bytes(group))]
        case .acquireLock(let request):
            [
                Field("name", .bytes(request.name)), Field("mode", .text("\(request.mode)")),
                Field("try", .flag(request.isTry)),
                Field("delayMilliseconds", .number(UInt64(clamping: request.delay.nanoseconds / 1_000_000))),
            ]
        case .releaseLock(let name): [Field("name", .bytes(name))]
        case .stateSet(let store): [Field("name", .bytes(store.name)), Field("value", .bytes(store.entry.value))]
        case .stateExpunge(let name, _): [Field("name", .bytes(name))]
        }
    }

    private static func fields(of housekeeping: Housekeeping) -> [Field] {
        switch housekeeping {
        case .tick: []
        case .expireSessions(let sessions): [Field("sessions", .list(sessions.map { [Field("id", .text("\($0)"))] }))]
        case .digestVerdict(let verdict):
            [Field("index", .number(verdict.index.rawValue))]
                + (verdict.majority.map { [Field("majority", .text(String($0, radix: 16)))] } ?? [])
                + [
                    Field(
                        "votes",
                        .list(
                            verdict.votes.map { vote in
                                [
                                    Field("node", .text(vote.node.description)),
                                    Field("digest", .text(String(vote.digest, radix: 16))),
                                ]
                            }))
                ]
        case .deleteFloor(let revision): [Field("revision", .number(revision.rawValue))]
        case .memberInfo(let info):
            [
                Field("node", .text(info.node.description)), Field("client", .text(info.clientAddress)),
                Field("version", .text(info.version)), Field("featureLevel", .number(UInt64(info.featureLevel))),
            ]
        case .featureLevel(let level): [Field("level", .number(UInt64(level)))]
        }
    }

    private static func fields(of comparison: Transaction.Comparison) -> [Field] {
        switch comparison {
        case .revision(let key, let revision):
            [Field("key", .bytes(key)), Field("revision", .number(revision.rawValue))]
        case .value(let key, let value): [Field("key", .bytes(key)), Field("value", .bytes(value))]
        case .exists(let key, let exists): [Field("key", .bytes(key)), Field("exists", .flag(exists))]
        case .unchanged(let prefix, let revision):
            [Field("prefix", .bytes(prefix)), Field("unchangedSince", .number(revision.rawValue))]
        }
    }

    private static func fields(of operation: Transaction.Operation) -> [Field] {
        switch operation {
        case .put(let key, let value):
            [Field("put", .object([Field("key", .bytes(key)), Field("value", .bytes(value))]))]
        case .putOwned(let key, let value):
            [Field("putOwned", .object([Field("key", .bytes(key)), Field("value", .bytes(value))]))]
        case .delete(let key): [Field("delete", .object([Field("key", .bytes(key))]))]
        case .deletePrefix(let prefix): [Field("deletePrefix", .bytes(prefix))]
        case .get(let key): [Field("get", .object([Field("key", .bytes(key))]))]
        }
    }

    // MARK: - Configurations

    private static func fields(of membership: Membership) -> [Field] {
        let parts = [
            ("voters", membership.incoming), ("outgoing", membership.outgoing), ("learners", membership.learners),
        ]
        return parts.filter { !$0.1.isEmpty }.map { name, ids in
            let members = ids.map { id -> [Field] in
                let member = membership.member(id)
                return [
                    Field("node", .text(id.description)), Field("name", .text(member?.name ?? "")),
                    Field("peer", .text(member?.peerAddress ?? "")),
                ]
            }
            return Field(name, .list(members))
        }
    }
}
