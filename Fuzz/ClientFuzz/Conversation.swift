internal import Basics
internal import ClientCore
internal import FuzzSupport
internal import MetadataModel
internal import Wire

/// What callers ask of a client, what becomes of its connections, and what nodes answer, put together from the bytes of an
/// input. A reply goes to a request that the client has sent; its body is foreign.
let conversation = Decoder("conversation", seeds: { Conversation.seeds }) { bytes in
    var conversation = Conversation()
    return conversation.run(bytes)
}

struct Conversation {
    private struct Request {
        var connection: ConnectionID
        var header: FrameHeader
    }

    private var core: ClientState
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var dialed: [ConnectionID] = []
    private var open: [ConnectionID] = []
    private var sent: [Request] = []
    private var lastCall: UInt64 = 0
    private var completed: Set<UInt64> = []
    private var lastWatch: UInt64 = 0

    private enum Step: UInt8, CaseIterable {
        case submit, connect, reply, pass, disconnect, watch, read, cancel, other
    }

    init() {
        let settings = ClientSettings(endpoints: ["n1:1", "n2:1"], clientName: "f", clientVersion: "1")
        core = ClientState(settings: settings, seed: 1, idSeed: 2, now: now)
    }

    /// True when some call was answered.
    mutating func run(_ bytes: [UInt8]) -> Bool {
        var choices = Choices(bytes)
        for _ in 0..<64 where !choices.isAtEnd {
            step(Step.allCases[choices.below(Step.allCases.count)], &choices)
            collect()
        }
        // Whatever was said, every call ends once its deadline has passed.
        for _ in 0..<64 where completed.count < Int(lastCall) {
            now = now + .seconds(4)
            core.step(.deadlineReached, now: now)
            collect()
        }
        let waiting = (0..<lastCall).filter { !completed.contains($0 + 1) }
        check(waiting.isEmpty, "\(waiting.count) of \(lastCall) calls never end")
        return completed.count > 0
    }

    private mutating func step(_ step: Step, _ choices: inout Choices) {
        switch step {
        case .submit:
            lastCall += 1
            let deadline = now + .seconds(Int64(choices.below(8)))
            core.step(.submitted(CallID(lastCall), call(choices.below(8)), deadline: deadline), now: now)
        case .connect:
            guard !dialed.isEmpty else { return }
            let connection = dialed.removeFirst()
            open.append(connection)
            core.step(.connected(connection), now: now)
        case .reply:
            let (position, flags) = (choices.below(16), choices.byte())
            let body = choices.bytes()
            guard position < sent.count else { return }
            let request = sent[sent.count - 1 - position]
            guard open.contains(request.connection) else { return }
            let header = FrameHeader(
                kind: request.header.kind, flags: FrameFlags(rawValue: 1 | flags & 0x0E), requestID: request.header.requestID)
            core.receive(header, body: body.rawSpan, on: request.connection, now: now)
        case .pass:
            now = now + .milliseconds(Int64(choices.byte()) * 20)
            core.step(.deadlineReached, now: now)
        case .disconnect:
            guard let connection = open.popLast() ?? dialed.popLast() else { return }
            core.step(.disconnected(connection, .closed), now: now)
        case .watch:
            lastWatch += 1
            var options = WatchOptions(span: .prefix([0x61]), from: LogIndex(UInt64(choices.below(3))))
            options.filter = WatchFilter(rawValue: choices.byte() & 63)
            core.step(.watchBegun(WatchID(lastWatch), options, deadline: now + .seconds(5)), now: now)
        case .read:
            core.step(.watchRead(WatchID(max(1, lastWatch)), choices.below(200)), now: now)
        case .cancel:
            let number = UInt64(choices.byte())
            core.step(.cancelled(CallID(number)), now: now)
            core.step(.watchCancelled(WatchID(number / 16)), now: now)
        case .other:
            // A frame that nobody asked for, of any kind.
            let (kind, requestID, flags) = (UInt16(choices.byte()), UInt64(choices.byte()), choices.byte())
            let body = choices.bytes()
            guard let connection = open.last else { return }
            let header = FrameHeader(kind: kind, flags: FrameFlags(rawValue: flags & 0x0F), requestID: requestID)
            core.receive(header, body: body.rawSpan, on: connection, now: now)
        }
    }

    private func call(_ choice: Int) -> Call {
        let put = CommandContent(.put(key: [0x61], value: []))
        return switch choice {
        case 0, 1: .mutate(put)
        case 2: .mutateOnce(put)
        case 3: .query(Query.get(key: [0x61]).encoded(), level: .linearizable, address: nil)
        case 4: .status(address: "n1:1")
        case 5: .snapshot(atLeast: .zero, address: "n2:1")
        case 6: .changeMembers(.remove(name: "n1"))
        default: .mutate(CommandContent(.endSession))
        }
    }

    private mutating func collect() {
        for effect in core.takeEffects() {
            switch effect {
            case .connect(let id, _): dialed.append(id)
            case .close(let id):
                dialed.removeAll { $0 == id }
                open.removeAll { $0 == id }
            case .send(let connection, let bytes): note(bytes, on: connection)
            case .complete(let id, _):
                check(completed.insert(id.rawValue).inserted, "call \(id.rawValue) completed twice")
            case .watch, .session: break
            }
        }
    }

    /// The newest come last, and some are enough.
    private mutating func note(_ bytes: [UInt8], on connection: ConnectionID) {
        var offset = 0
        while offset < bytes.count {
            guard let frame = try? FrameHeader.scan(bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 20)
            else { fail("a client sends what is no frame") }
            sent.append(Request(connection: connection, header: frame.header))
            offset += frame.totalSize
        }
        if sent.count > 32 { sent.removeFirst(sent.count - 32) }
    }

    // MARK: Seeds

    static var seeds: [[UInt8]] {
        let calls: [UInt8] = [0, 1, 3, 2, 4].flatMap { [Step.submit.rawValue, 5, $0] }
        let greeting: [UInt8] = [Step.connect.rawValue] + reply(0, body(hello))
        let session = calls + greeting + [Step.pass.rawValue, 1] + reply(2, success(7)) + reply(1, success(8))
        let refused = calls + greeting + reply(2, failure(.conflict)) + reply(1, failure(.notLeader))
        let watch: [UInt8] =
            greeting + [Step.watch.rawValue, 0, 0, Step.pass.rawValue, 1]
            + reply(0, created, flags: 2) + reply(0, changes, flags: 2) + [Step.read.rawValue, 100]
        return [session, refused, watch, session + [Step.disconnect.rawValue, Step.pass.rawValue, 50] + greeting]
    }

    private static let hello = ControlReply.hello(
        HelloReply(
            revision: LogIndex(1), version: 1, identity: ClusterIdentity(id: 7, generation: 1, generationTag: 0),
            node: NodeID(1), nodeName: "n1", softwareVersion: "t",
            clusterTime: ClusterTime(nanoseconds: 1_700_000_000_000_000_000), limits: ConnectionLimits(),
            leader: LeaderHint(name: "n1", clientAddress: "n1:1")))

    private static func reply(_ position: UInt8, _ body: [UInt8], flags: UInt8 = 0) -> [UInt8] {
        [Step.reply.rawValue, position, flags] + Choices.sized(body)
    }

    private static func success(_ revision: UInt64) -> [UInt8] {
        written { Reply.writeSuccess(revision: LogIndex(revision), into: &$0) }
    }

    private static func failure(_ code: ErrorCode) -> [UInt8] {
        written { ReplyError(code, expectedSequence: 2, leaderAddress: "n2:1").encode(revision: LogIndex(5), into: &$0) }
    }

    private static func body(_ reply: ControlReply) -> [UInt8] {
        body(of: written { reply.encode(requestID: 1, into: &$0) })
    }

    private static func body(of bytes: [UInt8]) -> [UInt8] {
        guard let frame = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 20) else { return [] }
        return [UInt8](frame.body)
    }

    private static var created: [UInt8] {
        body(of: written { WatchFrame.writeCreated(requestID: 1, revision: LogIndex(8), floor: LogIndex(1), into: &$0) })
    }

    private static var changes: [UInt8] {
        var frame = WatchFrame(requestID: 1)
        let origin = ChangeOrigin(session: SessionID(1, 1), principal: 0, time: .zero)
        let change = written { Change(key: [0x61], value: [1]).encode(into: &$0) }
        frame.begin(LogIndex(9), origin)
        var reader = ByteReader(change.rawSpan)
        if let view = try? ChangeView(decoding: &reader) { frame.append(view, [.value]) }
        frame.finish(through: LogIndex(9), goesOn: false)
        return body(of: frame.writer.bytes)
    }
}
