import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

/// A cluster as a client sees it, wicked but honest: three nodes over one log that keeps the rules of sessions to the
/// letter. It loses connections and replies, applies copies twice, or long after their connection has gone, changes
/// leaders, points to the wrong one, refuses what it likes to refuse, and expires sessions.
///
/// Every mutation is a put whose key is its call's number, so the log says what was applied, how often, in which order.
struct ModelCluster {
    private struct Session {
        var applied: UInt64 = 0
        var replies: [UInt64: [UInt8]] = [:]
        var touchedAt: Instant
        var timeout: Interval
        var hasEnded = false
    }

    private enum Event {
        case greet(ConnectionID)
        case atNode(ConnectionID?, node: Int, FrameHeader, [UInt8])
        case atClient(ConnectionID, [UInt8])
        case ended(ConnectionID, LinkEnd)
        case submit(CallID, Call, timeout: Interval)
        case leaderChange(Int?)
    }

    private static let addresses = ["n1:1", "n2:1", "n3:1"]
    private static let identity = ClusterIdentity(id: 7, generation: 1, generationTag: 0)

    private var random: SplitMix64
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var client: ClientState
    private var events: [(at: Instant, order: UInt64, event: Event)] = []
    private var nextOrder: UInt64 = 0
    private var connections: [ConnectionID: Int] = [:]
    /// Nothing gets through on these any more, and nobody is told.
    private var stalled: Set<ConnectionID> = []
    private var leader: Int?
    private var sessions: [SessionID: Session] = [:]
    private var isHealed = false

    /// Keys in the order in which they were applied; the place is the revision.
    private(set) var log: [String] = []
    private(set) var outcomes: [CallID: CallOutcome] = [:]
    private(set) var steps = 0
    private var ordered: Set<Int> = []

    init(seed: UInt64) {
        random = SplitMix64(seed: seed)
        var settings = ClientSettings(endpoints: seed % 2 == 0 ? Self.addresses : [Self.addresses[Int(seed / 2 % 3)]])
        settings.sessionTimeout = .seconds(2)
        client = ClientState(settings: settings, seed: random.next(), idSeed: random.next(), now: now)
        leader = 0
    }

    /// Submits `count` mutations over some seconds of trouble, then heals and lets all of them end.
    mutating func run(mutations count: Int) {
        var at = now
        for number in 1...count {
            at = at + random.interval(from: .zero, through: .milliseconds(chance(10) ? 1_500 : 40))
            let content = CommandContent(.put(key: Array("\(number)".utf8), value: []))
            let isOrdered = !chance(15)
            if isOrdered { ordered.insert(number) }
            let call: Call = isOrdered ? .mutate(content) : .mutateOnce(content)
            let timeout = random.interval(from: .milliseconds(50), through: .milliseconds(chance(30) ? 400 : 6_000))
            add(.submit(CallID(UInt64(number)), call, timeout: timeout), at: at)
        }
        var change = now
        while change < at {
            change = change + random.interval(from: .milliseconds(100), through: .seconds(1))
            add(.leaderChange(chance(40) ? nil : Int(random.next() % 3)), at: change)
        }
        run(until: at + .milliseconds(200))
        isHealed = true
        leader = 1
        events.removeAll { if case .leaderChange = $0.event { true } else { false } }
        run(until: now + .seconds(15))
    }

    /// The call went through the client's session.
    func isOrdered(_ number: Int) -> Bool { ordered.contains(number) }

    // MARK: Time

    private mutating func run(until end: Instant) {
        while steps < 200_000 {
            let next = events.indices.min { (events[$0].at, events[$0].order) < (events[$1].at, events[$1].order) }
            let deadline = client.nextDeadline
            let at = min(next.map { events[$0].at } ?? .never, deadline)
            guard at <= end else { break }
            now = max(now, at)
            steps += 1
            if let next, events[next].at <= deadline {
                carryOut(events.remove(at: next).event)
            } else {
                client.step(.deadlineReached, now: now)
            }
            collect()
        }
        now = max(now, end)
    }

    private mutating func add(_ event: Event, at instant: Instant) {
        events.append((instant, nextOrder, event))
        nextOrder += 1
    }

    private mutating func soon(_ event: Event) {
        add(event, at: now + random.interval(from: .microseconds(50), through: .milliseconds(chance(5) ? 80 : 3)))
    }

    private mutating func chance(_ percent: UInt64) -> Bool { random.next() % 100 < percent }
    private mutating func trouble(_ percent: UInt64) -> Bool { !isHealed && chance(percent) }

    // MARK: The client's side

    private mutating func collect() {
        for effect in client.takeEffects() {
            switch effect {
            case .connect(let id, let address):
                guard let node = Self.addresses.firstIndex(of: address) else {
                    Issue.record("connects to \(address)")
                    continue
                }
                if trouble(20) {
                    soon(.ended(id, .refused))
                } else if !trouble(5) {
                    connections[id] = node
                    soon(.greet(id))
                }
            case .close(let id): forget(id)
            case .send(let id, let bytes):
                guard let node = connections[id] else { continue }
                for (header, body) in frames(bytes) { sendToNode(id, node, header, body) }
                if trouble(4) { cut(id) }
                if trouble(1) { stalled.insert(id) }
            case .complete(let id, let outcome):
                #expect(outcomes[id] == nil)
                outcomes[id] = outcome
            case .watch: break
            case .session: break
            }
        }
    }

    private mutating func carryOut(_ event: Event) {
        switch event {
        case .greet(let id): client.step(.connected(id), now: now)
        case .atNode(let id, let node, let header, let body): serve(id, node, header, body)
        case .atClient(let id, let bytes):
            if connections[id] != nil { client.receiveFrames(bytes, on: id, now: now) }
        case .ended(let id, let end): client.step(.disconnected(id, end), now: now)
        case .submit(let id, let call, let timeout):
            client.step(.submitted(id, call, deadline: now + timeout), now: now)
        case .leaderChange(let node): leader = node
        }
    }

    /// The connection ends; what the client has sent on it may still arrive, or not.
    private mutating func cut(_ id: ConnectionID) {
        forget(id)
        soon(.ended(id, .closed))
    }

    private mutating func forget(_ id: ConnectionID) {
        connections[id] = nil
        for place in events.indices {
            guard case .atNode(id, let node, let header, let body) = events[place].event else { continue }
            events[place].event = .atNode(nil, node: node, header, body)
            // In some buffer on the way: it may be processed much later than anybody expects.
            if trouble(30) {
                events[place].at = events[place].at + random.interval(from: .zero, through: .seconds(4))
            }
        }
    }

    /// A connection keeps the order of what is sent on it.
    private mutating func sendToNode(_ id: ConnectionID, _ node: Int, _ header: FrameHeader, _ body: [UInt8]) {
        if stalled.contains(id) { return }
        var at = now + random.interval(from: .microseconds(50), through: .milliseconds(3))
        for queued in events {
            if case .atNode(id, _, _, _) = queued.event { at = max(at, queued.at) }
        }
        add(.atNode(id, node: node, header, body), at: at)
    }

    // MARK: The nodes' side

    private mutating func serve(_ id: ConnectionID?, _ node: Int, _ header: FrameHeader, _ body: [UInt8]) {
        if trouble(1), let id { return cut(id) }
        let requestID = header.requestID
        let hint = leaderHint
        switch ClientFrameKind(rawValue: header.kind) {
        case .hello:
            let reply = HelloReply(
                revision: LogIndex(UInt64(log.count)), version: 1, identity: Self.identity,
                node: NodeID(UInt64(node + 1)), nodeName: "n\(node + 1)", softwareVersion: "m",
                clusterTime: clusterTime,
                limits: ConnectionLimits(requestsMax: 8), leader: hint)
            answer(id) { ControlReply.hello(reply).encode(requestID: requestID, into: &$0) }
        case .ping:
            let pong = PingReply(revision: .zero, clusterTime: clusterTime, leader: hint)
            answer(id) { ControlReply.pong(pong).encode(requestID: requestID, into: &$0) }
        case .keepAlive:
            guard leader != nil else {
                let error = ReplyError(.unavailable)
                return answer(id) { ControlReply.failed(error, .keepAlive).encode(requestID: requestID, into: &$0) }
            }
            var reader = ByteReader(body.rawSpan)
            var notOpen: [SessionID] = []
            do {
                for _ in 0..<(try reader.readUInt16()) {
                    let session = try reader.readSessionID()
                    expire(session)
                    if sessions[session]?.hasEnded == false {
                        sessions[session]?.touchedAt = now
                    } else {
                        notOpen.append(session)
                    }
                }
            } catch { Issue.record("keepAlive: \(error)") }
            let reply = KeepAliveReply(revision: .zero, notOpen: notOpen, leader: hint)
            answer(id) { ControlReply.keepAlive(reply).encode(requestID: requestID, into: &$0) }
        case .mutate: mutate(id, node, requestID, body)
        case .status:
            // Of a member whose address the node has not heard it knows the rest; a deposed leader still says it leads.
            let known = Self.addresses.map { trouble(20) ? "" : $0 }
            let reply = Harness.status(of: Self.addresses[node], members: known, role: chance(50) ? .leader : .follower)
            answer(id) { ControlReply.status(reply).encode(requestID: requestID, into: &$0) }
        default: Issue.record("unexpected kind \(header.kind)")
        }
    }

    private mutating func mutate(_ id: ConnectionID?, _ node: Int, _ requestID: UInt64, _ command: [UInt8]) {
        func reply(_ body: [UInt8]) -> (inout ByteWriter) -> Void {
            { ClientReply.encode(.mutate, requestID: requestID, body: body.rawSpan, into: &$0) }
        }
        func refusal(_ error: ReplyError) -> (inout ByteWriter) -> Void {
            { ClientReply.refuse(kind: 2, requestID: requestID, error, into: &$0) }
        }
        if leader == nil || (leader != node && trouble(50)) {
            let wrong = leaderHint
            let error = ReplyError(.notLeader, leaderName: wrong?.name, leaderAddress: wrong?.clientAddress)
            return answer(id, refusal(error))
        }
        if trouble(4) { return answer(id, refusal(ReplyError(.overloaded, retryAfter: .milliseconds(20)))) }
        if trouble(3) { return answer(id, refusal(ReplyError(.diskFull))) }
        if trouble(4) {
            // Proposed, and leadership lost: it may be in the log of the next leader, or not.
            if chance(50) {
                add(
                    .atNode(nil, node: node, FrameHeader(kind: 2, requestID: 0), command),
                    at: now + random.interval(from: .zero, through: .milliseconds(500)))
            }
            return answer(id, refusal(ReplyError(chance(50) ? .unknown : .unavailable)))
        }
        let body = apply(command)
        // A node that forwarded it and asked again. What was refused, on the other hand, is not logged later: that is
        // what a refusal means.
        if body.first == 0, trouble(4) {
            add(.atNode(nil, node: node, FrameHeader(kind: 2, requestID: 0), command), at: now + .milliseconds(700))
        }
        if trouble(5) { return }
        answer(id, reply(body))
    }

    /// One log entry, by the rules.
    private mutating func apply(_ command: [UInt8]) -> [UInt8] {
        log.append("")
        let revision = LogIndex(UInt64(log.count))
        func failed(_ error: ReplyError) -> [UInt8] {
            var writer = ByteWriter()
            error.encode(revision: revision, into: &writer)
            return writer.takeBytes()
        }
        do {
            let header = try Command.validate(command.rawSpan).header
            expire(header.session)
            if sessions[header.session] == nil {
                guard let opening = header.opening, clusterTime - opening.openedAt < .seconds(60) else {
                    return failed(ReplyError(.sessionExpired))
                }
                // Sequence 2 may come first: then the session is open and empty.
                sessions[header.session] = Session(touchedAt: now, timeout: opening.timeout)
            }
            guard var session = sessions[header.session] else { return [] }
            if let first = session.replies[header.sequence] { return first }
            guard !session.hasEnded else { return failed(ReplyError(.sessionExpired)) }
            session.touchedAt = now
            guard header.sequence > session.applied else { return failed(ReplyError(.sequenceTooOld)) }
            guard header.sequence == session.applied + 1 else {
                sessions[header.session] = session
                return failed(ReplyError(.sequenceGap, expectedSequence: session.applied + 1))
            }
            var body: [UInt8]
            if header.kind == .put {
                var reader = ByteReader(command.rawSpan)
                _ = try CommandHeader(decoding: &reader)
                let put = try PutBody(decoding: &reader)
                log[log.count - 1] = String(decoding: [UInt8](put.key), as: UTF8.self)
            }
            if chance(10) {
                // A condition that did not hold: final, and without effect.
                log[log.count - 1] = ""
                body = failed(ReplyError(.conflict, currentRevision: LogIndex(1)))
            } else {
                var writer = ByteWriter()
                Reply.writeSuccess(revision: revision, into: &writer)
                body = writer.takeBytes()
            }
            session.applied += 1
            session.replies[header.sequence] = body
            for sequence in session.replies.keys where sequence <= header.acknowledgedThrough {
                session.replies[sequence] = nil
            }
            #expect(session.replies.count <= Limits.sessionWindowMax)
            if header.isOneShot { session.hasEnded = true }
            sessions[header.session] = session
            return body
        } catch {
            Issue.record("a command that is none: \(error)")
            return []
        }
    }

    private mutating func expire(_ id: SessionID) {
        guard let session = sessions[id], !session.hasEnded else { return }
        if now - session.touchedAt > session.timeout + session.timeout / 10 {
            sessions[id]?.hasEnded = true
            sessions[id]?.replies = [:]
        }
    }

    private var clusterTime: ClusterTime { Harness.startTime + (now - .zero) }

    private var leaderHint: LeaderHint? {
        mutating get {
            let named = trouble(20) ? Int(random.next() % 3) : leader
            return named.map { LeaderHint(name: "n\($0 + 1)", clientAddress: Self.addresses[$0]) }
        }
    }

    private mutating func answer(_ id: ConnectionID?, _ write: (inout ByteWriter) -> Void) {
        guard let id, connections[id] != nil, !stalled.contains(id) else { return }
        var writer = ByteWriter()
        write(&writer)
        soon(.atClient(id, writer.takeBytes()))
    }
}
