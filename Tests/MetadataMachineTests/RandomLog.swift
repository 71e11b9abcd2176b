import Basics
import LogFormat
import MetadataModel

/// A log as a few clients, their retries, their lost messages and a leader's housekeeping would make it.
struct RandomLog {
    /// What an entry asks for, where it is a client's.
    struct Request {
        var session: SessionID
        var sequence: UInt64
        var mutation: Mutation
        var payload: [UInt8]
    }

    struct Item {
        var entry: LoggedEntry
        var request: Request?
    }

    private struct Client {
        var session: SessionID
        var openedAt: ClusterTime
        var nextSequence: UInt64 = 1
        var acknowledged: UInt64 = 0
    }

    private(set) var items: [Item] = []
    private var chance: SplitMix64
    private var time = Rig.start
    private var index: LogIndex
    private var clients: [Client] = []
    private var sent: [Request] = []
    private var lastSession: UInt64 = 0

    private let coordinates: Bool
    private let switchesHistory: Bool

    /// - Parameters:
    ///   - coordinates: with elections, locks, owned rows and the State API among the requests.
    ///   - switchesHistory: on and off, for some prefixes.
    init(
        seed: UInt64, base: LogIndex, count: Int, coordinates: Bool = false, switchesHistory: Bool = false
    ) {
        self.coordinates = coordinates
        self.switchesHistory = switchesHistory
        chance = SplitMix64(seed: seed)
        index = base
        for _ in 0..<4 { clients.append(newClient()) }
        while items.count < count {
            index = index.next
            step()
        }
    }

    private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &chance) }

    private mutating func happens(percent: Int) -> Bool { below(100) < percent }

    private mutating func newClient() -> Client {
        lastSession += 1
        // Order of ids and order of opening have nothing to do with one another.
        let session = SessionID(lastSession &* 0x9E37_79B9_7F4A_7C15, lastSession)
        // The node that the client asked for the time may have been ahead of the log.
        return Client(
            session: session, openedAt: happens(percent: 80) ? time : time + .seconds(Int64(below(300))))
    }

    private mutating func step() {
        time = time + .milliseconds(Int64(below(40)))
        if happens(percent: 2) { time = time + .seconds(Int64(below(130))) }
        switch below(100) {
        case 0..<60: newRequest()
        case 60..<80: retry(fromLast: 12)
        case 80..<85: retry(fromLast: sent.count)
        case 85..<88: append(request(gap: UInt64(1 + below(3))))
        case 88..<91: items.append(Item(entry: LoggedEntry(type: .noop, payload: [], time: time), request: nil))
        default: housekeep()
        }
    }

    private mutating func append(_ request: Request) {
        items.append(Item(entry: LoggedEntry(payload: request.payload, time: time), request: request))
    }

    private mutating func append(_ housekeeping: Housekeeping) {
        items.append(Item(entry: LoggedEntry(payload: housekeeping.encoded(), time: time), request: nil))
    }

    private mutating func newRequest() {
        let request = request(gap: 0)
        sent.append(request)
        append(request)
    }

    /// The same bytes once more: sent again because the reply was lost, or a copy that was long under way.
    private mutating func retry(fromLast count: Int) {
        guard !sent.isEmpty else { return newRequest() }
        let range = max(0, sent.count - count)..<sent.count
        append(sent[Int.random(in: range, using: &chance)])
    }

    private mutating func request(gap: UInt64) -> Request {
        let position = below(clients.count)
        if happens(percent: 4) { clients[position] = newClient() }
        if happens(percent: 4) {
            return encode(newClient(), sequence: 1, mutation(), isOneShot: true)
        }
        let isLast = gap == 0 && happens(percent: 2)
        let client = clients[position]
        let request = encode(client, sequence: client.nextSequence + gap, isLast ? .endSession : mutation())
        if gap == 0 {
            clients[position].nextSequence += 1
            let unanswered = UInt64(below(8))
            let next = clients[position].nextSequence
            clients[position].acknowledged = max(client.acknowledged, next > unanswered + 1 ? next - unanswered - 1 : 0)
        }
        if isLast { clients[position] = newClient() }
        return request
    }

    private mutating func encode(
        _ client: Client, sequence: UInt64, _ mutation: Mutation, isOneShot: Bool = false
    ) -> Request {
        let opens = isOneShot || sequence < 4 || happens(percent: 20)
        var writer = ByteWriter()
        CommandHeader(
            kind: mutation.kind, session: client.session, sequence: sequence,
            acknowledgedThrough: min(client.acknowledged, sequence - 1),
            opening: opens ? SessionOpening(openedAt: client.openedAt, timeout: .seconds(1 + Int64(below(20)))) : nil,
            isOneShot: isOneShot
        ).encode(into: &writer)
        mutation.encodeBody(into: &writer)
        return Request(session: client.session, sequence: sequence, mutation: mutation, payload: writer.takeBytes())
    }

    // MARK: What is asked for

    private mutating func key() -> [UInt8] {
        Array("\(["a", "b", "a/x"][below(3)])/\(below(5))".utf8)
    }

    private mutating func prefix() -> [UInt8] { Array(["a/", "b/", "a/x/", "", "c"][below(5)].utf8) }

    private mutating func value() -> [UInt8] {
        // Now and then so large that a reply with it is not kept.
        [UInt8](repeating: UInt8(below(4)), count: happens(percent: 3) ? 5_000 : below(20))
    }

    /// A revision that a row may well have.
    private mutating func revision() -> LogIndex {
        happens(percent: 30) ? .zero : LogIndex(index.rawValue - UInt64(below(Int(min(30, index.rawValue)))))
    }

    private mutating func mutation() -> Mutation {
        if switchesHistory, happens(percent: 8) {
            return .setHistory(prefix: prefix(), isOn: happens(percent: 60))
        }
        if coordinates, happens(percent: 50) { return coordination() }
        return keyspaceMutation()
    }

    private mutating func coordination() -> Mutation {
        let name = Array("n\(below(3))".utf8)
        switch below(14) {
        case 0..<3: return .coordination(.campaign(group: name, data: value()))
        case 3: return .coordination(.withdraw(group: name))
        case 4: return .coordination(.setCandidateData(group: name, data: value()))
        case 5..<8:
            let delay = happens(percent: 50) ? Interval.zero : .milliseconds(Int64(1 + below(3_000)))
            let mode: LockMode = happens(percent: 50) ? .exclusive : .shared
            return .coordination(
                .acquireLock(LockRequest(name: name, mode: mode, isTry: happens(percent: 20), delay: delay)))
        case 8: return .coordination(.releaseLock(name: name))
        case 9:
            let entry = StateEntry(version: StateVersion(0, UInt64(below(3))), value: value())
            let expected = StateVersion(0, UInt64(below(3)))
            return .coordination(.stateSet(StateStore(name: name, entry: entry, expected: expected)))
        case 10: return .coordination(.stateExpunge(name: name, version: StateVersion(0, UInt64(below(3)))))
        case 11: return .createSequential(prefix: prefix(), value: value(), isOwned: true)
        default: return .put(key: key(), value: value(), isOwned: true)
        }
    }

    private mutating func keyspaceMutation() -> Mutation {
        switch below(20) {
        case 0..<8: .put(key: key(), value: value(), expectedRevision: happens(percent: 30) ? revision() : nil)
        case 8..<11: .delete(key: key(), expectedRevision: happens(percent: 30) ? revision() : nil)
        case 11: .deleteRange(.prefix(prefix()), limit: UInt32(below(4)))
        case 12: .deleteRange(.range(from: key(), to: happens(percent: 70) ? key() : nil))
        case 13..<15: .createSequential(prefix: prefix(), value: value())
        default:
            .transaction(
                Transaction(
                    comparisons: (0..<below(3)).map { _ in comparison() }, then: branch(), otherwise: branch()))
        }
    }

    private mutating func comparison() -> Transaction.Comparison {
        switch below(4) {
        case 0: .revision(key: key(), equals: revision())
        case 1: .value(key: key(), equals: value())
        case 2: .exists(key: key(), happens(percent: 50))
        default: .unchanged(prefix: prefix(), since: revision())
        }
    }

    private mutating func branch() -> [Transaction.Operation] {
        var written: Set<[UInt8]> = []
        return (0..<below(5)).compactMap { _ in
            let key = key()
            switch below(5) {
            case 0..<2: return written.insert(key).inserted ? .put(key: key, value: value()) : nil
            case 2: return written.insert(key).inserted ? .delete(key: key) : nil
            case 3: return .deletePrefix(prefix())
            default: return .get(key: key)
            }
        }
    }

    private mutating func housekeep() {
        switch below(4) {
        case 0: append(.tick)
        case 1:
            let position = below(clients.count)
            append(.expireSessions([clients[position].session, clients[below(clients.count)].session]))
            // Some clients learn that their session is over, others go on for a while.
            if happens(percent: 70) { clients[position] = newClient() }
        case 2:
            let floor = LogIndex(index.rawValue - min(index.rawValue, 60))
            append(.deleteFloor(floor))
        default:
            let info = MemberInfo(
                node: NodeID(UInt64(1 + below(3))), clientAddress: "h:1", version: "\(below(5))", featureLevel: 1)
            append(.memberInfo(info))
        }
    }
}
