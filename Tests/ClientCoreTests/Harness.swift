import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

/// A client without sockets: what it asks for is recorded, what comes back is said by the test.
struct Harness {
    struct Sent {
        var address: String
        var header: FrameHeader
        var body: [UInt8]

        /// Header of the command that it carries.
        var command: CommandHeader? {
            var reader = ByteReader(body.rawSpan)
            return try? CommandHeader(decoding: &reader)
        }
        /// First bytes after a put's key size: the key, as text.
        var kind: ClientFrameKind? { ClientFrameKind(rawValue: header.kind) }
    }

    static let identity = ClusterIdentity(id: 7, generation: 1, generationTag: 0)
    static let startTime = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)

    var core: ClientState
    var now = Instant(nanoseconds: 1_000_000_000)
    var sent: [Sent] = []
    var outcomes: [CallID: CallOutcome] = [:]
    var sessions: [SessionState] = []
    var watchNews: [(id: WatchID, news: WatchNews)] = []
    /// Connections asked for and not yet made, and those made.
    var dialed: [(id: ConnectionID, address: String)] = []
    var open: [(id: ConnectionID, address: String)] = []
    var nextCall: UInt64 = 1
    /// What a node answers, by its address, when the client asks who belongs to the cluster; nil: nothing at all. Calls
    /// for a node's status are answered alike.
    var members: (String) -> StatusReply? = { Harness.status(of: $0, members: []) }
    /// Who was asked.
    var statusAsked: [String] = []

    init(endpoints: [String] = ["n1:1", "n2:1", "n3:1"], change: (inout ClientSettings) -> Void = { _ in }) {
        var settings = ClientSettings(endpoints: endpoints, clientName: "test", clientVersion: "1")
        change(&settings)
        core = ClientState(settings: settings, seed: 1, idSeed: 2, now: now)
    }

    // MARK: What happens

    mutating func step(_ event: ClientEvent) {
        core.step(event, now: now)
        collect()
    }

    /// Lets time pass; deadlines on the way are met when they are due.
    mutating func wait(_ interval: Interval) {
        let end = now + interval
        var turns = 0
        while core.nextDeadline <= end {
            now = max(now, core.nextDeadline)
            step(.deadlineReached)
            turns += 1
            guard turns < 10_000 else {
                Issue.record("the client wakes up again and again at \(now)")
                return
            }
        }
        now = end
        step(.deadlineReached)
    }

    @discardableResult
    mutating func submit(_ call: Call, within limit: Interval = .seconds(5)) -> CallID {
        let id = CallID(nextCall)
        nextCall += 1
        step(.submitted(id, call, deadline: now + limit))
        return id
    }

    @discardableResult
    mutating func put(
        _ key: String, once: Bool = false, isOwned: Bool = false, within limit: Interval = .seconds(5)
    ) -> CallID {
        let content = CommandContent(.put(key: Array(key.utf8), value: [], isOwned: isOwned))
        return submit(once ? .mutateOnce(content) : .mutate(content), within: limit)
    }

    @discardableResult
    mutating func get(_ key: String, level: ReadLevel = .linearizable, within limit: Interval = .seconds(5)) -> CallID {
        submit(.query(Query.get(key: Array(key.utf8)).encoded(), level: level, address: nil), within: limit)
    }

    // MARK: What the nodes do

    /// Makes the connection to `address` that was asked for, and answers the greeting.
    mutating func accept(
        _ address: String, leader: String? = nil, identity: ClusterIdentity? = Harness.identity,
        time: ClusterTime = Harness.startTime, refusal: ReplyError? = nil
    ) {
        guard let place = dialed.firstIndex(where: { $0.address == address }) else {
            Issue.record("no connection to \(address) was asked for, only \(dialed.map(\.address))")
            return
        }
        let connection = dialed.remove(at: place)
        open.append(connection)
        step(.connected(connection.id))
        guard let place = sent.lastIndex(where: { $0.kind == .hello && $0.address == address }) else {
            Issue.record("no greeting")
            return
        }
        let hello = sent.remove(at: place)
        let reply = HelloReply(
            revision: LogIndex(1), version: 1, identity: identity, node: NodeID(1),
            nodeName: String(address.prefix(2)), softwareVersion: "t", clusterTime: time, limits: ConnectionLimits(),
            leader: leader.map { LeaderHint(name: String($0.prefix(2)), clientAddress: $0) })
        answer(hello, with: refusal.map { .failed($0, .hello) } ?? .hello(reply))
    }

    /// Nobody listens at any address that is dialed from now until the list is empty, but for the one named.
    mutating func refuseAll(but excepted: String? = nil) {
        while let place = dialed.firstIndex(where: { $0.address != excepted }) {
            let connection = dialed.remove(at: place)
            step(.disconnected(connection.id, .refused))
        }
    }

    mutating func cut(_ address: String, _ end: LinkEnd = .closed) {
        guard let place = open.firstIndex(where: { $0.address == address }) else {
            Issue.record("\(address) is not connected")
            return
        }
        let connection = open.remove(at: place)
        step(.disconnected(connection.id, end))
    }

    static func status(of address: String, members: [String], role: NodeRole = .leader) -> StatusReply {
        let node = NodeStatus(
            id: NodeID(1), name: String(address.prefix(2)), role: role, state: .ok, term: Term(1),
            commitIndex: LogIndex(1), lastApplied: LogIndex(1), firstIndex: LogIndex(1), lastIndex: LogIndex(1),
            digests: [], diskUsed: 0, diskFree: 0, softwareVersion: "t", uptimeSeconds: 0, clientAddress: address,
            peerAddress: "")
        let members = members.enumerated().map { position, member in
            MemberStatus(
                id: NodeID(UInt64(position + 1)), name: "m\(position + 1)", peerAddress: "", clientAddress: member,
                softwareVersion: "t", isVoter: true, progress: nil)
        }
        return StatusReply(revision: LogIndex(1), identity: identity, node: node, leader: nil, members: members)
    }

    /// Answers the questions for the members that were sent.
    private mutating func answerStatus() {
        while let place = sent.firstIndex(where: { $0.kind == .status }) {
            let request = sent.remove(at: place)
            statusAsked.append(request.address)
            if let reply = members(request.address) { answer(request, with: .status(reply)) }
        }
    }

    mutating func answer(_ request: Sent, with reply: ControlReply) {
        receive(from: request.address) { reply.encode(requestID: request.header.requestID, into: &$0) }
    }

    mutating func answer(_ request: Sent, revision: UInt64, error: ReplyError? = nil) {
        receive(from: request.address) { writer in
            let start = ClientReply.begin(request.kind ?? .mutate, requestID: request.header.requestID, into: &writer)
            if let error {
                error.encode(revision: LogIndex(revision), into: &writer)
            } else {
                Reply.writeSuccess(revision: LogIndex(revision), into: &writer)
            }
            writer.endFrame(start)
        }
    }

    mutating func receive(from address: String, _ write: (inout ByteWriter) -> Void) {
        guard let connection = open.first(where: { $0.address == address })?.id else { return }
        var writer = ByteWriter()
        write(&writer)
        let bytes = writer.takeBytes()
        core.receiveFrames(bytes, on: connection, now: now)
        collect()
    }

    /// The requests of that kind that were sent since the last call; they are taken out.
    mutating func take(_ kind: ClientFrameKind) -> [Sent] {
        let taken = sent.filter { $0.kind == kind }
        sent.removeAll { $0.kind == kind }
        return taken
    }

    func failure(_ id: CallID) -> CallFailure? {
        if case .failed(let failure)? = outcomes[id] { failure } else { nil }
    }

    func isAnswered(_ id: CallID) -> Bool {
        if case .answered? = outcomes[id] { true } else { false }
    }

    private mutating func collect() {
        for effect in core.takeEffects() {
            switch effect {
            case .connect(let id, let address): dialed.append((id, address))
            case .close(let id):
                dialed.removeAll { $0.id == id }
                open.removeAll { $0.id == id }
            case .send(let id, let bytes):
                guard let address = open.first(where: { $0.id == id })?.address else {
                    Issue.record("sent on a connection that is not open")
                    continue
                }
                for frame in frames(bytes) { sent.append(Sent(address: address, header: frame.0, body: frame.1)) }
            case .complete(let id, let outcome):
                #expect(outcomes[id] == nil, "call \(id.rawValue) completed twice")
                outcomes[id] = outcome
            case .watch(let id, let news): watchNews.append((id, news))
            case .session(let event): sessions.append(event.state)
            }
        }
        answerStatus()
    }
}

extension ClientState {
    mutating func receiveFrames(_ bytes: [UInt8], on connection: ConnectionID, now: Instant) {
        for (header, body) in frames(bytes) { receive(header, body: body.rawSpan, on: connection, now: now) }
    }
}

func frames(_ bytes: [UInt8]) -> [(FrameHeader, [UInt8])] {
    var result: [(FrameHeader, [UInt8])] = []
    var offset = 0
    while offset < bytes.count {
        guard let scan = try? FrameHeader.scan(bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 20) else {
            Issue.record("not a frame")
            return result
        }
        result.append((scan.header, [UInt8](scan.body)))
        offset += scan.totalSize
    }
    return result
}
