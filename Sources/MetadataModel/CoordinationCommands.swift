package import Basics

/// What elections, locks and the State API change, as a value. The forms of the part after the command's header:
///
///     campaign          u16 size, group | u32 size, data
///     withdraw          u16 size, group
///     setCandidateData  u16 size, group | u32 size, data
///     acquireLock       u16 size, name | u8 mode: 1 exclusive, 2 shared | u8 try | u32 delay, ms
///     releaseLock       u16 size, name
///     stateSet          u16 size, name | 16 B version | 16 B expected version | u32 size, value
///     stateExpunge      u16 size, name | 16 B version
package enum CoordinationCommand: Hashable, Sendable {
    /// Takes the last place in the line for leading the group; a place that the session has there is given up.
    case campaign(group: [UInt8], data: [UInt8])
    case withdraw(group: [UInt8])
    /// The leader's own: `notLeading` to every other session.
    case setCandidateData(group: [UInt8], data: [UInt8])
    case acquireLock(LockRequest)
    /// Lets go of the lock, or of the place in its line.
    case releaseLock(name: [UInt8])
    case stateSet(StateStore)
    /// Deletes the entry where the stored version is this one.
    case stateExpunge(name: [UInt8], version: StateVersion)

    package var kind: CommandKind {
        switch self {
        case .campaign: .campaign
        case .withdraw: .withdraw
        case .setCandidateData: .setCandidateData
        case .acquireLock: .acquireLock
        case .releaseLock: .releaseLock
        case .stateSet: .stateSet
        case .stateExpunge: .stateExpunge
        }
    }

    /// As `Mutation.isOwned`.
    var isOwned: Bool {
        switch self {
        case .campaign, .acquireLock: true
        case .withdraw, .setCandidateData, .releaseLock, .stateSet, .stateExpunge: false
        }
    }

    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .campaign(let group, let data), .setCandidateData(let group, let data):
            writer.writeBytes16(group)
            writer.writeBytes32(data)
        case .withdraw(let name), .releaseLock(let name):
            writer.writeBytes16(name)
        case .acquireLock(let request):
            writer.writeBytes16(request.name)
            writer.write(request.mode.rawValue)
            writer.write(request.isTry)
            writer.write(UInt32(clamping: request.delay.nanoseconds / 1_000_000))
        case .stateSet(let store):
            writer.writeBytes16(store.name)
            store.entry.version.encode(into: &writer)
            store.expected.encode(into: &writer)
            writer.writeBytes32(store.entry.value)
        case .stateExpunge(let name, let version):
            writer.writeBytes16(name)
            version.encode(into: &writer)
        }
    }

    /// Reads the part after the header, whose kind this is; nil for a kind of another sort.
    package init?(kind: CommandKind, decoding reader: inout ByteReader) throws(DecodeError) {
        switch kind {
        case .campaign: self = .campaign(group: try reader.readName(), data: try reader.readData())
        case .withdraw: self = .withdraw(group: try reader.readName())
        case .setCandidateData: self = .setCandidateData(group: try reader.readName(), data: try reader.readData())
        case .acquireLock:
            let name = try reader.readName()
            let mode = try LockMode(decoding: &reader)
            let isTry = try reader.readBool()
            let delay = Interval.milliseconds(Int64(try reader.readUInt32()))
            self = .acquireLock(LockRequest(name: name, mode: mode, isTry: isTry, delay: delay))
        case .releaseLock: self = .releaseLock(name: try reader.readName())
        case .stateSet:
            let name = try reader.readName()
            let version = try StateVersion(decoding: &reader)
            let expected = try StateVersion(decoding: &reader)
            let value = [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling))
            let entry = StateEntry(version: version, value: value)
            self = .stateSet(StateStore(name: name, entry: entry, expected: expected))
        case .stateExpunge:
            let name = try reader.readName()
            self = .stateExpunge(name: name, version: try StateVersion(decoding: &reader))
        case .put, .delete, .deleteRange, .createSequential, .createOwnedSequential, .transaction, .endSession,
            .setHistory, .registry, .expireSessions, .tick, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel:
            return nil
        }
    }

    // MARK: Rules

    func refusal(valueSizeMax: Int) -> ReplyError? {
        switch self {
        case .campaign(let group, let data), .setCandidateData(let group, let data):
            CoordinationName.refusal(of: group) ?? Self.refusal(ofData: data)
        case .withdraw(let name), .releaseLock(let name): CoordinationName.refusal(of: name)
        case .acquireLock(let request):
            CoordinationName.refusal(of: request.name) ?? Self.refusal(ofDelay: request.delay)
        case .stateSet(let store):
            CoordinationName.refusal(ofEntry: store.name)
                ?? Command.refusal(ofValueSize: store.entry.value.count, max: valueSizeMax)
        case .stateExpunge(let name, _): CoordinationName.refusal(ofEntry: name)
        }
    }

    private static func refusal(ofData data: [UInt8]) -> ReplyError? {
        let limit = Limits.candidateDataSizeMax
        guard data.count > limit else { return nil }
        return ReplyError(.tooLarge, "candidate data of \(data.count) bytes", limit: UInt64(limit))
    }

    private static func refusal(ofDelay delay: Interval) -> ReplyError? {
        let limit = Limits.lockDelayMax
        guard delay > limit else { return nil }
        return ReplyError(
            .tooLarge, "a release delayed by \(delay)", limit: UInt64(limit.nanoseconds / 1_000_000))
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readName() throws(DecodeError) -> [UInt8] {
        // Judged as a name, with its limit in the reply, by `refusal`.
        [UInt8](try readBytes16())
    }

    @_lifetime(self: copy self)
    fileprivate mutating func readData() throws(DecodeError) -> [UInt8] {
        [UInt8](try readBytes32(max: Limits.valueSizeMaxCeiling))
    }
}
