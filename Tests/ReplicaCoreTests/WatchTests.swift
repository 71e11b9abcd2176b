import Basics
import LogFormat
import MetadataModel
import RaftCore
@testable import ReplicaCore
import Testing
import Wire

/// One node that leads itself, its log, and a state machine that knows puts and deletes only.
private struct WatchRig: ~Copyable {
    struct Frame {
        var requestID: UInt64
        var size: Int
        var isLast: Bool
        var event: WatchEvent
    }

    var replica: Replica
    var now = Instant(nanoseconds: 1_000_000_000)
    var slot: ConnectionSlot
    /// Every record that was logged.
    var log: [Slab] = []
    var frames: [Frame] = []
    /// What was asked of the apply thread and the read thread.
    var feedCount = 0
    /// A feed ends after so many entries, as when they bring much.
    var entriesFedMax = Int.max
    /// What every put is said to have found.
    var before: RowBefore?
    var readCount = 0
    /// Reads are answered later, and then in this order.
    var isHoldingReads = false
    var heldReads: [LogRead] = []
    var closed = 0
    /// Whether it was said to last, of each time that it told of entries that cannot be read.
    var unread: [Bool] = []
    private var sequence: UInt64 = 1

    init(change: (inout ReplicaSettings) -> Void = { _ in }) {
        let membership = Membership(
            members: [Member(id: NodeID(1), name: "n1", peerAddress: "p:1")], incoming: [NodeID(1)])
        let restored = RestoredReplica.empty(membership)
        var settings = ReplicaSettings.ofNode()
        change(&settings)
        replica = Replica(restored, settings: settings, seed: 1, now: now, wall: ClusterTime(nanoseconds: 1))
        slot = replica.clientConnected()
        greet(slot)
        for _ in 0..<5 { wait(.seconds(3)) }
    }

    mutating func greet(_ slot: ConnectionSlot) {
        send(on: slot) { ClientHello(identity: nil, clientName: "t", clientVersion: "1").encode(requestID: 1, into: &$0) }
    }

    mutating func connect() -> ConnectionSlot {
        let slot = replica.clientConnected()
        greet(slot)
        return slot
    }

    mutating func send(on slot: ConnectionSlot? = nil, _ write: (inout ByteWriter) -> Void) {
        var writer = ByteWriter()
        write(&writer)
        let bytes = writer.takeBytes()
        let target = slot ?? self.slot
        turn { replica in
            do throws(DecodeError) {
                guard let frame = try FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 24) else { return }
                try replica.receiveClientFrame(frame.header, body: frame.body, from: target)
            } catch {
                Issue.record("\(error)")
            }
        }
    }

    mutating func wait(_ interval: Interval) {
        now = now + interval
        turn { _ in }
    }

    /// Runs turns until nothing is left to do at this moment.
    mutating func turn(_ body: (inout Replica) -> Void) {
        var effects = Effects()
        replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
        body(&replica)
        effects = replica.endTurn()
        while true {
            take(effects.toClients)
            closed += effects.closingClients.count
            for case .changesUnread(_, _, let isLasting) in effects.notices { unread.append(isLasting) }
            let isIdle =
                effects.log == nil && effects.apply.isEmpty && (effects.logReads.isEmpty || isHoldingReads)
                && effects.nextDeadline > now
            if isHoldingReads { heldReads += effects.logReads }
            if isIdle { return }
            replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
            if let work = effects.log {
                log += work.writes.compactMap(\.slab)
                replica.logWritten(work.ticket)
            }
            for work in effects.apply { perform(work) }
            if !isHoldingReads { for read in effects.logReads { answer(read) } }
            effects = replica.endTurn()
        }
    }

    private mutating func perform(_ work: ApplyWork) {
        switch work {
        case .entries(_, let range):
            var report = ApplyReport(range: range)
            report.replyEnds = Array(repeating: 0, count: range.entryCount)
            replica.applied(report)
        case .feed(let slabs, let range, let isLive):
            feedCount += 1
            let end = range.entryCount > entriesFedMax ? range.lowerBound + (entriesFedMax - 1) : range.upperBound
            replica.fed(Self.batch(slabs, range.lowerBound...end, before: before), range: range, isLive: isLive)
        case .listSessions(let term): replica.sessionsListed([], nextTimer: nil, term: term)
        case .findOrphans(_, let term): replica.orphansFound([], next: nil, term: term)
        case .queries, .forgetOutcomes: break
        }
    }

    mutating func answer(_ read: LogRead) {
        readCount += 1
        var found: [Slab] = []
        var size = 0
        for slab in log where size < read.byteCountMax {
            guard let part = slab.slice(read.range) else { continue }
            found.append(part)
            size += part.bytes.count
        }
        replica.logRead(read, slabs: found)
    }

    static func batch(
        _ slabs: [Slab], _ range: ClosedRange<LogIndex>, before: RowBefore? = nil
    ) -> FeedBatch {
        var writer = ByteWriter()
        for slab in slabs where slab.indexes.overlaps(range) {
            for index in slab.indexes.clamped(to: range).indexes {
                let record = slab.record(at: index)
                var reader = ByteReader(record.payload)
                guard record.header.type == .command, let header = try? CommandHeader(decoding: &reader) else { continue }
                var change = ByteWriter()
                if header.kind == .put, let body = try? PutBody(decoding: &reader) {
                    Change(key: [UInt8](body.key), value: [UInt8](body.value), before: before).encode(into: &change)
                } else if header.kind == .delete, let body = try? DeleteBody(decoding: &reader) {
                    Change(key: [UInt8](body.key), value: nil).encode(into: &change)
                } else {
                    continue
                }
                writer.write(index.rawValue)
                ChangeOrigin(
                    session: header.session, principal: record.header.principal, time: record.header.time
                ).encode(into: &writer)
                writer.write(UInt32(change.count + 1))
                writer.write(FeedTable.records.rawValue)
                writer.write(change.bytes)
            }
        }
        return FeedBatch(range: range, bytes: writer.takeBytes())
    }

    private mutating func take(_ output: [(slot: ConnectionSlot, bytes: [UInt8])]) {
        for (_, bytes) in output {
            var offset = 0
            while offset < bytes.count {
                do throws(DecodeError) {
                    let rest = bytes.rawSpan.extracting(offset..<bytes.count)
                    guard let frame = try FrameHeader.scan(rest, sizeMax: 1 << 26) else {
                        Issue.record("half a frame")
                        return
                    }
                    offset += frame.totalSize
                    guard frame.header.kind == ClientFrameKind.watch.rawValue else { continue }
                    frames.append(
                        Frame(
                            requestID: frame.header.requestID, size: frame.totalSize,
                            isLast: !frame.header.flags.contains(.moreToCome),
                            event: try WatchEvent(decoding: frame.body)))
                } catch {
                    Issue.record("\(error)")
                    return
                }
            }
        }
    }

    /// Logs mutations, all in one turn.
    mutating func mutate(_ mutations: [Mutation]) {
        var frames: [[UInt8]] = []
        for mutation in mutations {
            var writer = ByteWriter()
            let header = CommandHeader(
                kind: mutation.kind, session: SessionID(1, 1), sequence: sequence,
                opening: SessionOpening(openedAt: ClusterTime(nanoseconds: 1), timeout: .seconds(10)))
            sequence += 1
            ClientRequest.encodeMutation(requestID: 0, mayForward: false, into: &writer) {
                header.encode(into: &$0)
                mutation.encodeBody(into: &$0)
            }
            frames.append(writer.takeBytes())
        }
        let slot = self.slot
        turn { replica in
            for bytes in frames {
                do throws(DecodeError) {
                    guard let frame = try FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 24) else { return }
                    try replica.receiveClientFrame(frame.header, body: frame.body, from: slot)
                } catch {
                    Issue.record("\(error)")
                }
            }
        }
    }

    mutating func put(_ key: String, _ value: String = "v") {
        mutate([.put(key: Array(key.utf8), value: Array(value.utf8))])
    }

    mutating func watch(_ request: WatchRequest, id: UInt64, on slot: ConnectionSlot? = nil) {
        send(on: slot) { request.encode(requestID: id, into: &$0) }
    }

    /// Frames that came since this was asked last.
    mutating func takeFrames() -> [Frame] {
        var taken: [Frame] = []
        swap(&taken, &frames)
        return taken
    }

    var lastIndex: LogIndex { replica.raft.lastIndex }
}

extension ClosedRange where Bound == LogIndex {
    fileprivate var indexes: [LogIndex] { (lowerBound.rawValue...upperBound.rawValue).map { LogIndex($0) } }
}

/// What one client has made of its frames.
private struct Reader {
    var changes: [WatchEvent.RevisionChanges] = []
    var next: LogIndex?
    var partial: WatchEvent.RevisionChanges?
    var unread = 0
    var end: ReplyError?

    mutating func take(_ frame: WatchRig.Frame) {
        switch frame.event {
        case .created(let revision, _):
            if let next { #expect(next == revision.next) }
            next = revision.next
        case .changes(let revisions, let through, let goesOn):
            unread += frame.size
            for (position, found) in revisions.enumerated() {
                #expect(found.revision >= next ?? .zero, "a revision came twice")
                var whole = found
                if let partial {
                    #expect(partial.revision == found.revision)
                    whole.changes = partial.changes + found.changes
                }
                partial = nil
                if goesOn, position == revisions.count - 1 { partial = whole } else { changes.append(whole) }
            }
            if !goesOn { next = through.next }
        case .progress(let through):
            if !frame.isLast { unread += frame.size }
            #expect(through.next >= next ?? .zero)
            next = through.next
        case .failed(let error): end = error
        }
    }
}

@Suite("Watches, on one node")
struct WatchTests {
    private static let everything = WatchRequest(span: .prefix([]))

    private static func keys(_ frames: [WatchRig.Frame]) -> [String] {
        frames.flatMap { frame -> [String] in
            guard case .changes(let revisions, _, _) = frame.event else { return [] }
            return revisions.flatMap { $0.changes.map { String(decoding: $0.key, as: UTF8.self) } }
        }
    }

    @Test("a log that cannot be read just now ends the watches that need it, and neither floor nor alarms know of it")
    func unreadForNow() {
        var rig = WatchRig { $0.tailSizeMax = 1 }
        for number in 0..<50 { rig.put("k\(number)", String(repeating: "v", count: 100)) }
        rig.watch(WatchRequest(span: .prefix([])), id: 8)
        rig.isHoldingReads = true
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(2)), id: 7)
        let read = rig.heldReads.first
        #expect(read?.purpose == .feed)
        _ = rig.takeFrames()
        rig.turn { replica in
            if let read { replica.feedFailed(read.range, reason: "Input/output error") }
        }
        var ends: [UInt64: ReplyError] = [:]
        for frame in rig.takeFrames() {
            if case .failed(let error) = frame.event { ends[frame.requestID] = error }
        }
        #expect(ends.keys.sorted() == [7])
        #expect(ends[7]?.code == .unavailable)
        #expect(ends[7]?.message == "n1 cannot read what changed: Input/output error")
        let floor = rig.replica.feedFloor
        let alarms = rig.replica.statusReply.alarms
        #expect(floor == LogIndex(1) && alarms.isEmpty)
        // The next attempt has it.
        rig.isHoldingReads = false
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(2)), id: 9)
        let hasChanges = rig.takeFrames().contains { frame in
            if case .changes = frame.event { frame.requestID == 9 } else { false }
        }
        #expect(hasChanges)
    }

    @Test("what stays unreadable is told of once, then counts as damaged: its watches are sent away for good")
    func unreadForLong() throws {
        var rig = WatchRig { $0.tailSizeMax = 1 }
        for number in 0..<50 { rig.put("k\(number)", String(repeating: "v", count: 100)) }
        rig.isHoldingReads = true
        func fail(_ id: UInt64) throws -> ReplyError {
            rig.heldReads.removeAll()
            rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(2)), id: id)
            let held = rig.heldReads.first
            let read = try #require(held)
            rig.turn { $0.feedFailed(read.range, reason: "Input/output error") }
            for frame in rig.takeFrames() where frame.requestID == id {
                if case .failed(let error) = frame.event { return error }
            }
            throw ReplyError(.invalidRequest, "the watch goes on")
        }
        for id in 1...3 as ClosedRange<UInt64> {
            #expect(try fail(id).code == .unavailable)
            rig.wait(.seconds(3))
        }
        #expect(rig.unread == [false])
        #expect(rig.replica.statusReply.alarms.isEmpty)
        rig.wait(.seconds(3))
        let last = try fail(4)
        #expect(last.code == .compacted)
        #expect(rig.unread == [false, true])
        #expect(rig.replica.statusReply.alarms.map(\.name) == ["damage"])
    }

    @Test("without a watch nothing is fed, and after the last one nothing again")
    func noCostWithoutWatches() {
        var rig = WatchRig()
        for number in 0..<20 { rig.put("k\(number)") }
        let (before, isActive) = (rig.feedCount, rig.replica.hub.isActive)
        #expect(before == 0)
        #expect(!isActive)
        rig.watch(Self.everything, id: 9)
        rig.put("a")
        let during = rig.feedCount
        #expect(during == 1)
        rig.send { ClientRequest.encodeWatchCancel(requestID: 9, into: &$0) }
        let frames = rig.takeFrames()
        #expect(Self.keys(frames) == ["a"])
        #expect(frames.last?.isLast == true)
        rig.put("b")
        let after = (rig.feedCount, rig.replica.hub.isActive, rig.replica.hub.buffer.count, rig.replica.requestCount)
        #expect(after.0 == 1)
        #expect(!after.1)
        #expect(after.2 == 0)
        #expect(after.3 == 0, "a watch that is over waits for nothing")
    }

    @Test("what is too much for one stretch of the feed is read back in parts: nothing is missing, nothing comes twice")
    func stretchesThatEndEarly() {
        var rig = WatchRig()
        for number in 0..<10 { rig.put("a\(number)") }
        rig.entriesFedMax = 3
        rig.watch(Self.everything, id: 9)
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(1)), id: 10)
        rig.mutate((0..<20).map { .put(key: Array("b\($0)".utf8), value: []) })
        for _ in 0..<5 { rig.wait(.milliseconds(10)) }
        rig.put("last")
        rig.wait(.milliseconds(10))
        let frames = rig.takeFrames()
        let live = (0..<20).map { "b\($0)" } + ["last"]
        #expect(Self.keys(frames.filter { $0.requestID == 9 }) == live)
        #expect(Self.keys(frames.filter { $0.requestID == 10 }) == (0..<10).map { "a\($0)" } + live)
        var (one, two) = (Reader(), Reader())
        for frame in frames { if frame.requestID == 9 { one.take(frame) } else { two.take(frame) } }
        #expect(one.next == two.next)
    }

    @Test("who asks is told what was before and who it was; nobody else, and a frame holds what a frame may")
    func historyIsAskedFor() throws {
        var rig = WatchRig()
        rig.watch(Self.everything, id: 9)
        rig.watch(WatchRequest(span: .prefix([]), filter: [.before, .origins]), id: 10)
        rig.watch(WatchRequest(span: .prefix([]), filter: [.before, .valuesBefore, .keysOnly]), id: 11)
        rig.watch(WatchRequest(span: .prefix([]), filter: [.before, .valuesBefore]), id: 12)
        rig.before = .row(revision: LogIndex(1), value: [UInt8](repeating: 1, count: Limits.valueSizeMaxDefault))
        rig.put("k", String(repeating: "x", count: Limits.valueSizeMaxDefault))
        rig.before = nil
        let frames = rig.takeFrames()
        var found: [UInt64: WatchEvent.RevisionChanges] = [:]
        for frame in frames {
            if case .changes(let revisions, _, _) = frame.event { found[frame.requestID] = revisions.first }
            #expect(frame.size <= Limits.frameSizeMaxDefault)
        }
        #expect(found[9]?.origin == nil)
        #expect(found[9]?.changes.first?.before == nil)
        #expect(found[10]?.origin?.session == SessionID(1, 1))
        #expect(found[10]?.changes.first?.before == .row(revision: LogIndex(1), value: nil))
        guard case .row(_, let value) = found[11]?.changes.first?.before else { throw DecodeError.truncated }
        #expect(value?.count == Limits.valueSizeMaxDefault)
        #expect(found[11]?.changes.first?.isValueLeftOut == true)
        // Both do not fit: the older one is left out.
        #expect(found[12]?.changes.first?.before == .row(revision: LogIndex(1), value: nil))
        #expect(found[12]?.changes.first?.value?.count == Limits.valueSizeMaxDefault)
    }

    @Test("a node that was removed ends its watches: nothing comes there any more")
    func removedNodeEndsWatches() {
        var rig = WatchRig()
        rig.watch(WatchRequest(span: .prefix(Array("a".utf8)), from: .zero), id: 9)
        rig.put("a")
        _ = rig.takeFrames()
        rig.turn { $0.noteRemoval("a test") }
        let frames = rig.takeFrames()
        #expect(frames.count == 1)
        guard case .failed(let error)? = frames.last?.event else {
            Issue.record("the watch goes on")
            return
        }
        #expect(error.code == .notReady)
    }

    @Test("what a connection watched ends with it")
    func connectionGoes() {
        var rig = WatchRig()
        let other = rig.connect()
        rig.watch(Self.everything, id: 5, on: other)
        let during = rig.replica.watchCount
        #expect(during == 1)
        rig.turn { $0.clientDisconnected(other) }
        let after = (rig.replica.watchCount, rig.replica.hub.isActive, rig.replica.hub.bytesUnderWay)
        #expect(after == (0, false, 0))
    }

    /// Many watches with all kinds of wishes, clients that read when they like, a buffer that holds little, and reads of
    /// the log that come late: each gets exactly what it asked for.
    @Test("every watch gets what it asked for, once and in order", arguments: UInt64(1)...30)
    func random(seed: UInt64) {
        var chance = SplitMix64(seed: seed)
        func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &chance) }
        var rig = WatchRig { settings in
            settings.feedBufferSizeMax = 2_000
            settings.tailSizeMax = 1_000
            settings.feedScanSizeMax = 3_000
        }
        func key() -> [UInt8] { Array("\(["a", "b", "ab"][below(3)])/\(below(4))".utf8) }
        var requests: [UInt64: WatchRequest] = [:]
        var readers: [UInt64: Reader] = [:]
        var written: [(revision: LogIndex, key: [UInt8], value: [UInt8]?)] = []
        var nextID: UInt64 = 100
        for _ in 0..<120 {
            switch below(8) {
            case 0..<4:
                var mutations: [Mutation] = []
                for _ in 0...below(6) {
                    if below(4) == 0 {
                        mutations.append(.delete(key: key()))
                    } else {
                        mutations.append(.put(key: key(), value: [UInt8](repeating: UInt8(below(256)), count: below(200))))
                    }
                }
                let first = rig.lastIndex.next
                rig.mutate(mutations)
                for (offset, mutation) in mutations.enumerated() {
                    switch mutation {
                    case .put(let key, let value, _, _): written.append((first + offset, key, value))
                    case .delete(let key, _): written.append((first + offset, key, nil))
                    default: break
                    }
                }
            case 4 where requests.count < 12:
                let span: KeySpan =
                    switch below(5) {
                    case 0: .prefix([])
                    case 1: .prefix(Array("a".utf8))
                    case 2: .prefix(Array("b/".utf8))
                    case 3: .range(from: Array("a/2".utf8), to: Array("a/2".utf8) + [0])
                    default: .range(from: Array("a/3".utf8), to: below(2) == 0 ? nil : Array("b/2".utf8))
                    }
                let from = below(3) == 0 ? 0 : 1 + below(Int(rig.lastIndex.rawValue) + 1)
                let request = WatchRequest(
                    span: span, from: LogIndex(UInt64(from)), filter: WatchFilter(rawValue: [0, 0, 1, 2, 4][below(5)]),
                    progressInterval: below(2) == 0 ? .zero : .milliseconds(300), credit: UInt32([300, 1_000, 5_000][below(3)]))
                requests[nextID] = request
                readers[nextID] = Reader()
                rig.watch(request, id: nextID)
                nextID += 1
            case 5, 6:
                for id in requests.keys.sorted() where below(2) == 0 {
                    let read = readers[id]?.unread ?? 0
                    guard read > 0 else { continue }
                    readers[id]?.unread = 0
                    rig.send { ClientRequest.encodeWatchCredit(requestID: id, bytes: UInt32(read), into: &$0) }
                }
            default:
                rig.isHoldingReads.toggle()
                if !rig.isHoldingReads {
                    let reads = rig.heldReads
                    rig.heldReads = []
                    for read in reads {
                        rig.replica.beginTurn(now: rig.now, wall: ClusterTime(nanoseconds: 1))
                        rig.answer(read)
                        rig.turn { _ in }
                    }
                }
                rig.wait(.milliseconds(100))
            }
            for frame in rig.takeFrames() { readers[frame.requestID]?.take(frame) }
        }
        // In the end everybody reads everything.
        rig.isHoldingReads = false
        let reads = rig.heldReads
        rig.heldReads = []
        for read in reads {
            rig.replica.beginTurn(now: rig.now, wall: ClusterTime(nanoseconds: 1))
            rig.answer(read)
            rig.turn { _ in }
        }
        for _ in 0..<400 {
            for frame in rig.takeFrames() { readers[frame.requestID]?.take(frame) }
            for id in requests.keys.sorted() {
                let read = readers[id]?.unread ?? 0
                guard read > 0 else { continue }
                readers[id]?.unread = 0
                rig.send { ClientRequest.encodeWatchCredit(requestID: id, bytes: UInt32(read), into: &$0) }
            }
        }
        for (id, request) in requests.sorted(by: { $0.key < $1.key }) {
            guard let reader = readers[id], let next = reader.next else {
                Issue.record("watch \(id) did not begin")
                continue
            }
            #expect(reader.end == nil)
            let begun = request.from == .zero ? (reader.changes.first?.revision ?? next) : request.from
            let expected = written.filter { change in
                let isWanted = change.value == nil ? !request.filter.contains(.noDeletes) : !request.filter.contains(.noPuts)
                return change.revision >= begun && request.span.contains(change.key.rawSpan) && isWanted
            }
            let told = reader.changes.flatMap { revision in
                revision.changes.map { (revision: revision.revision, change: $0) }
            }
            #expect(told.map(\.revision) == expected.map(\.revision), "watch \(id) of \(request)")
            for (found, wanted) in zip(told, expected) {
                #expect(found.change.key == wanted.key)
                let isKeyOnly = request.filter.contains(.keysOnly)
                #expect(found.change.value == (isKeyOnly ? wanted.value.map { _ in [] } : wanted.value))
            }
        }
        let rest = (rig.replica.hub.bytesUnderWay, rig.replica.hub.runnable.count)
        #expect(rest == (0, 0))
        #expect(requests.count > 3)
    }

    @Test("a thousand watches of one key whose clients read nothing: what is under way and kept is bounded")
    func bounded() {
        var rig = WatchRig { $0.feedBufferSizeMax = 1 << 20 }
        let watchers = UInt64(1_000)
        for id in 0..<watchers { rig.watch(WatchRequest(span: .prefix(Array("k".utf8))), id: 100 + id) }
        let value = String(repeating: "x", count: 50_000)
        for _ in 0..<40 { rig.put("k", value) }
        var sent = 0
        var framesOf: [UInt64: Int] = [:]
        for frame in rig.takeFrames() {
            sent += frame.size
            if case .changes = frame.event { framesOf[frame.requestID, default: 0] += 1 }
        }
        // One revision may go beyond it.
        let limit = 2 * Limits.watchBytesUnderWayMax + 51_000
        #expect(sent < limit)
        let kept = (rig.replica.hub.buffer.byteCount, rig.replica.hub.bytesUnderWay)
        #expect(kept.0 < (1 << 20) + 60_000)
        #expect(kept.1 < limit)
        #expect(framesOf.count == Int(watchers), "each has had its turn")
        // Whoever reads gets everything that it has missed, in time.
        var count = framesOf[100] ?? 0
        for _ in 0..<60 where count < 40 {
            rig.send { ClientRequest.encodeWatchCredit(requestID: 100, bytes: 1 << 20, into: &$0) }
            for frame in rig.takeFrames() {
                guard frame.requestID == 100, case .changes(let revisions, _, _) = frame.event else { continue }
                count += revisions.count
            }
        }
        #expect(count == 40)
    }

    /// Each has room for one revision, however large: together they have not.
    @Test("a large change for many watches goes out as others read it, or are ended for not reading", arguments: [true, false])
    func largeForMany(doRead: Bool) {
        var rig = WatchRig()
        let ids = UInt64(100)..<400
        for id in ids { rig.watch(WatchRequest(span: .prefix(Array("k".utf8))), id: id) }
        _ = rig.takeFrames()
        rig.put("k", String(repeating: "x", count: 1 << 20))
        var told: Set<UInt64> = []
        for step in 0..<200 where told.count < ids.count {
            let underWay = rig.replica.hub.bytesUnderWay
            #expect(underWay < 2 * Limits.watchBytesUnderWayMax + (1 << 20) + 1_000)
            for frame in rig.takeFrames() {
                guard case .changes = frame.event else { continue }
                #expect(told.insert(frame.requestID).inserted)
                guard doRead else { continue }
                rig.send {
                    ClientRequest.encodeWatchCredit(
                        requestID: frame.requestID, bytes: UInt32(frame.size), into: &$0)
                }
            }
            if step == 0 { #expect(told.count < ids.count) }
            if !doRead { rig.wait(.seconds(1)) }
        }
        #expect(told == Set(ids))
        let count = rig.replica.watchCount
        #expect(doRead ? count == ids.count : count < ids.count)
    }

    /// A client takes no frame that is larger than the largest value needs.
    @Test("a change of the largest size comes alone, after what is before it")
    func largestAlone() throws {
        var rig = WatchRig()
        rig.watch(WatchRequest(span: .prefix([]), credit: UInt32(Limits.watchCreditMax)), id: 9)
        rig.mutate([
            .put(key: [1], value: [UInt8](repeating: 1, count: 200_000)),
            .put(key: [2], value: [UInt8](repeating: 2, count: Limits.valueSizeMaxDefault)),
            .put(key: [3], value: [3]),
        ])
        let frames = rig.takeFrames()
        #expect(frames.allSatisfy { $0.size <= Limits.frameSizeMaxDefault })
        var reader = Reader()
        for frame in frames { reader.take(frame) }
        #expect(reader.changes.map { $0.changes.map(\.key) } == [[[1]], [[2]], [[3]]])
        #expect(reader.next == rig.lastIndex.next)
    }

    @Test("a client that reads nothing for half a minute is told where to go on")
    func stalled() throws {
        var rig = WatchRig()
        rig.watch(WatchRequest(span: .prefix([]), credit: 100), id: 9)
        for number in 0..<10 { rig.put("key \(number)", String(repeating: "x", count: 60)) }
        var reader = Reader()
        for frame in rig.takeFrames() { reader.take(frame) }
        #expect(reader.changes.count < 10)
        for _ in 0..<40 { rig.wait(.seconds(1)) }
        for frame in rig.takeFrames() { reader.take(frame) }
        #expect(reader.end?.code == .lagged)
        #expect(reader.end?.currentRevision == reader.next)
        let count = rig.replica.watchCount
        #expect(count == 0)
    }

    @Test("below what the log holds a watch does not begin, and one that had not come so far ends")
    func compacted() throws {
        var rig = WatchRig { settings in
            settings.feedBufferSizeMax = 500
            settings.tailSizeMax = 0
        }
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(1), credit: 100), id: 9)
        for number in 0..<30 { rig.put("key \(number)", String(repeating: "x", count: 60)) }
        rig.turn { $0.compacted(through: LogIndex(20)) }
        let frames = rig.takeFrames()
        guard case .failed(let error)? = frames.last?.event else {
            Issue.record("\(frames)")
            return
        }
        #expect(error.code == .compacted)
        #expect(error.currentRevision == LogIndex(21))
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(20)), id: 10)
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(21)), id: 11)
        let later = rig.takeFrames()
        guard case .failed(let second)? = later.first(where: { $0.requestID == 10 })?.event else {
            Issue.record("\(later)")
            return
        }
        #expect(second.code == .compacted)
        #expect(later.first { $0.requestID == 11 }?.event == .created(revision: LogIndex(20), floor: LogIndex(21)))
        #expect(Self.keys(later).count == Int(rig.lastIndex.rawValue) - 20)
        let floor = rig.replica.feedFloor
        #expect(floor == LogIndex(21))
    }

    @Test("a watch of a state that is not here yet waits for it, and not for ever")
    func waitsForTheState() {
        var rig = WatchRig()
        rig.watch(WatchRequest(span: .prefix([]), atLeast: rig.lastIndex.next), id: 9)
        rig.watch(WatchRequest(span: .prefix([]), from: LogIndex(1_000)), id: 10)
        let none = rig.takeFrames().count
        #expect(none == 0)
        rig.put("a")
        rig.put("b")
        let frames = rig.takeFrames()
        #expect(frames.first?.event == .created(revision: LogIndex(rig.lastIndex.rawValue - 1), floor: LogIndex(1)))
        #expect(Self.keys(frames) == ["b"])
        for _ in 0..<10 { rig.wait(.seconds(1)) }
        guard case .failed(let error)? = rig.takeFrames().first(where: { $0.requestID == 10 })?.event else {
            Issue.record("it waits for ever")
            return
        }
        #expect(error.code == .unavailable)
    }

    @Test("what cannot be watched is refused, and a node that stops ends its watches")
    func refusals() {
        var rig = WatchRig()
        rig.watch(WatchRequest(table: 0x11, span: .prefix([])), id: 9)
        rig.watch(WatchRequest(span: .prefix([]), credit: 0), id: 10)
        rig.watch(Self.everything, id: 11)
        rig.watch(Self.everything, id: 11)
        let codes = rig.takeFrames().map { frame -> ErrorCode? in
            if case .failed(let error) = frame.event { error.code } else { nil }
        }
        #expect(codes == [.invalidRequest, .invalidRequest, nil, .invalidRequest])
        rig.turn { $0.stop() }
        rig.watch(Self.everything, id: 12)
        let ends = rig.takeFrames()
        #expect(ends.map(\.requestID) == [11, 12])
        for frame in ends {
            guard case .failed(let error) = frame.event else {
                Issue.record("\(frame)")
                continue
            }
            #expect(error.code == .shuttingDown)
            #expect(frame.isLast)
        }
    }
}
