import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

@Suite struct WatchTests {
    private static func change(_ key: String, _ value: String) -> Change {
        Change(key: Array(key.utf8), value: Array(value.utf8))
    }

    private func watch(_ harness: inout Harness, from: UInt64 = 0, window: UInt32 = 1_000, within: Interval = .seconds(5)) {
        var options = WatchOptions(span: .prefix(Array("a".utf8)), from: LogIndex(from))
        options.window = window
        harness.step(.watchBegun(WatchID(1), options, deadline: harness.now + within))
    }

    /// The request that the client has sent, and where.
    private func asked(_ harness: inout Harness) throws -> (Harness.Sent, WatchRequest) {
        let sent = try #require(harness.take(.watch).first)
        guard case .watch(let request) = try ClientRequest.decode(sent.header, body: sent.body.rawSpan) else {
            throw DecodeError.invalid("no watch")
        }
        return (sent, request)
    }

    private func begin(_ harness: inout Harness, _ sent: Harness.Sent, after revision: UInt64) {
        harness.receive(from: sent.address) {
            WatchFrame.writeCreated(
                requestID: sent.header.requestID, revision: LogIndex(revision), floor: LogIndex(1), into: &$0)
        }
    }

    private func tell(
        _ harness: inout Harness, _ sent: Harness.Sent, _ revisions: [(UInt64, [Change])], through: UInt64? = nil,
        goesOn: Bool = false
    ) {
        var frame = WatchFrame(requestID: sent.header.requestID)
        for (revision, changes) in revisions {
            frame.begin(LogIndex(revision), ChangeOrigin(session: SessionID(1, 2), principal: 3, time: .zero))
            for change in changes {
                var writer = ByteWriter()
                change.encode(into: &writer)
                let bytes = writer.takeBytes()
                var reader = ByteReader(bytes.rawSpan)
                guard let view = try? ChangeView(decoding: &reader) else { return }
                frame.append(view, .value)
            }
        }
        frame.finish(through: LogIndex(through ?? revisions.last?.0 ?? 0), goesOn: goesOn)
        let bytes = frame.writer.bytes
        harness.receive(from: sent.address) { $0.write(bytes) }
    }

    private func refuse(_ harness: inout Harness, _ sent: Harness.Sent, _ error: ReplyError) {
        harness.answer(sent, revision: 0, error: error)
    }

    /// What the caller was told since, as text.
    private func told(_ harness: inout Harness) -> [String] {
        defer { harness.watchNews.removeAll() }
        return harness.watchNews.map { _, news in
            switch news {
            case .begun(let revision): "begun after \(revision)"
            case .changes(let revision, let changes, _, _):
                "\(revision): " + changes.map { String(decoding: $0.key, as: UTF8.self) }.joined(separator: " ")
            case .progress(let revision, _): "through \(revision)"
            case .ended(let failure): "ended \(failure.error.code.name)"
            }
        }
    }

    @Test("a watch whose node is gone goes on at another, from the revision after the last one told")
    func resumes() throws {
        var harness = Harness()
        watch(&harness)
        let first = try #require(harness.dialed.first?.address)
        harness.accept(first)
        var (sent, request) = try asked(&harness)
        #expect(request.from == .zero)
        begin(&harness, sent, after: 10)
        tell(&harness, sent, [(11, [Self.change("a", "1")]), (14, [Self.change("a", "2"), Self.change("ab", "")])], through: 15)
        #expect(told(&harness) == ["begun after 10", "11: a", "14: a ab"])
        // Half of a revision is not told.
        tell(&harness, sent, [(16, [Self.change("a", "3")])], goesOn: true)
        #expect(told(&harness).isEmpty)
        harness.cut(first)
        let second = try #require(harness.dialed.first { $0.address != first }?.address)
        harness.accept(second)
        (sent, request) = try asked(&harness)
        #expect(sent.address == second)
        #expect(request.from == LogIndex(16))
        begin(&harness, sent, after: 15)
        tell(&harness, sent, [(16, [Self.change("a", "3")])], goesOn: true)
        tell(&harness, sent, [(16, [Self.change("ab", "4")]), (17, [Self.change("a", "5")])])
        #expect(told(&harness) == ["16: a ab", "17: a"])
        // A new watch begins at no older state than any that was seen.
        harness.step(
            .watchBegun(WatchID(2), WatchOptions(span: .prefix([])), deadline: harness.now + .seconds(5)))
        #expect(try asked(&harness).1.atLeast == LogIndex(17))
    }

    @Test("a node that has not the old changes any more is left for one that has; when none has, the caller is told")
    func compacted() throws {
        var harness = Harness()
        watch(&harness, from: 5)
        var refused: [String] = []
        for floor in [UInt64(50), 20] {
            let address = try #require(harness.dialed.first { !refused.contains($0.address) }?.address)
            harness.accept(address)
            let (sent, request) = try asked(&harness)
            #expect(request.from == LogIndex(5))
            refuse(&harness, sent, ReplyError(.compacted, currentRevision: LogIndex(floor)))
            refused.append(address)
            #expect(told(&harness).isEmpty)
        }
        let last = try #require(harness.dialed.first { !refused.contains($0.address) }?.address)
        harness.accept(last)
        let (sent, _) = try asked(&harness)
        refuse(&harness, sent, ReplyError(.compacted, currentRevision: LogIndex(70)))
        guard case .ended(let failure)? = harness.watchNews.last?.news else {
            Issue.record("\(harness.watchNews)")
            return
        }
        #expect(failure.error.code == .compacted)
        #expect(failure.error.currentRevision == LogIndex(20))
    }

    @Test("one that cannot be reached is not waited for for ever")
    func compactedAndOneIsAway() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        watch(&harness, from: 5)
        let first = try #require(harness.dialed.first?.address)
        harness.accept(first)
        let (sent, _) = try asked(&harness)
        refuse(&harness, sent, ReplyError(.compacted, currentRevision: LogIndex(9)))
        for _ in 0..<20 {
            harness.refuseAll(but: nil)
            harness.wait(.milliseconds(300))
        }
        #expect(told(&harness) == ["ended compacted"])
    }

    @Test("one that has left the cluster is not waited for, although it runs on and was named by the caller")
    func compactedAndOneHasLeft() {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        harness.members = { Harness.status(of: $0, members: ["n1:1"]) }
        watch(&harness, from: 5)
        for _ in 0..<40 where harness.watchNews.isEmpty {
            for node in harness.dialed { harness.accept(node.address, leader: "n1:1") }
            for sent in harness.take(.watch) {
                let code: ErrorCode = sent.address == "n1:1" ? .compacted : .unavailable
                refuse(&harness, sent, ReplyError(code, currentRevision: LogIndex(9)))
            }
            harness.wait(.milliseconds(300))
        }
        guard case .ended(let failure)? = harness.watchNews.last?.news else {
            Issue.record("\(harness.watchNews)")
            return
        }
        #expect(failure.error.code == .compacted)
    }

    @Test("a node that cannot help for long keeps a watch neither from the others nor from the answer that they have given")
    func compactedAndOneCannotHelp() {
        for last in [ErrorCode.compacted, .unavailable] {
            var harness = Harness(endpoints: ["n1:1", "n2:1", "n3:1"])
            watch(&harness, from: 5)
            var asked: Set<String> = []
            for _ in 0..<40 where harness.watchNews.isEmpty {
                for node in harness.dialed { harness.accept(node.address) }
                for sent in harness.take(.watch) {
                    asked.insert(sent.address)
                    let code: ErrorCode = sent.address == "n1:1" ? .compacted : sent.address == "n2:1" ? .unavailable : last
                    refuse(&harness, sent, ReplyError(code, currentRevision: LogIndex(9)))
                }
                harness.wait(.milliseconds(300))
            }
            #expect(asked == ["n1:1", "n2:1", "n3:1"])
            #expect(told(&harness) == ["ended compacted"])
        }
    }

    @Test("credit is given back for what was read, and a new beginning waits until there is room")
    func credit() throws {
        var harness = Harness(endpoints: ["n1:1"])
        watch(&harness, from: 1, window: 1_000)
        harness.accept("n1:1")
        var (sent, request) = try asked(&harness)
        #expect(request.credit == 1_000)
        begin(&harness, sent, after: 0)
        let large = String(repeating: "x", count: 700)
        tell(&harness, sent, [(1, [Self.change("a", large)])])
        tell(&harness, sent, [(2, [Self.change("a", large)])])
        var sizes: [Int] = []
        for case .changes(_, _, _, let size) in harness.watchNews.map(\.news) { sizes.append(size) }
        #expect(sizes.count == 2 && sizes.allSatisfy { $0 > 700 })
        #expect(harness.take(.watchCredit).isEmpty)
        harness.step(.watchRead(WatchID(1), sizes[0]))
        let credit = try #require(harness.take(.watchCredit).first)
        #expect(credit.header.requestID == sent.header.requestID)
        guard case .watchCredit(let bytes) = try ClientRequest.decode(credit.header, body: credit.body.rawSpan) else {
            Issue.record("no credit")
            return
        }
        #expect(Int(bytes) == sizes[0])
        // The node ends it; what is unread comes first.
        refuse(&harness, sent, ReplyError(.lagged, currentRevision: LogIndex(3)))
        #expect(harness.take(.watch).isEmpty)
        harness.step(.watchRead(WatchID(1), sizes[1]))
        (sent, request) = try asked(&harness)
        #expect(request.from == LogIndex(3))
        begin(&harness, sent, after: 2)
        tell(&harness, sent, [(3, [Self.change("a", "")])])
        #expect(told(&harness).last == "3: a")
    }

    @Test("a part of a revision that is lost with its connection is not waited for")
    func lostPart() throws {
        var harness = Harness(endpoints: ["n1:1"])
        watch(&harness, from: 1, window: 1_000)
        harness.accept("n1:1")
        for _ in 0..<3 {
            let (sent, request) = try asked(&harness)
            #expect(request.from == LogIndex(1))
            begin(&harness, sent, after: 0)
            let large = String(repeating: "x", count: 700)
            tell(&harness, sent, [(1, [Self.change("a", large)])], goesOn: true)
            harness.cut("n1:1")
            harness.wait(.milliseconds(400))
            harness.accept("n1:1")
        }
        let (sent, _) = try asked(&harness)
        begin(&harness, sent, after: 0)
        tell(&harness, sent, [(1, [Self.change("a", "")])])
        #expect(told(&harness) == ["begun after 0", "1: a"])
    }

    @Test("what passes is tried again after a pause, what does not ends the watch")
    func errors() throws {
        var harness = Harness(endpoints: ["n1:1"])
        watch(&harness)
        harness.accept("n1:1")
        let (sent, _) = try asked(&harness)
        refuse(&harness, sent, ReplyError(.unavailable, retryAfter: .milliseconds(20)))
        #expect(harness.take(.watch).isEmpty)
        harness.wait(.milliseconds(30))
        let (again, _) = try asked(&harness)
        refuse(&harness, again, ReplyError(.invalidRequest))
        #expect(told(&harness) == ["ended invalidRequest"])
        harness.wait(.seconds(10))
        #expect(harness.take(.watch).isEmpty)
    }

    @Test("a watch that cannot begin in time has failed, one that has begun waits for as long as it takes")
    func deadline() throws {
        var harness = Harness(endpoints: ["n1:1"])
        watch(&harness, within: .seconds(1))
        for _ in 0..<30 {
            harness.refuseAll()
            harness.wait(.milliseconds(100))
        }
        #expect(told(&harness) == ["ended unavailable"])
        harness.step(
            .watchBegun(WatchID(2), WatchOptions(span: .prefix([])), deadline: harness.now + .seconds(1)))
        harness.wait(.milliseconds(300))
        harness.accept("n1:1")
        let (sent, _) = try asked(&harness)
        begin(&harness, sent, after: 3)
        harness.cut("n1:1")
        for _ in 0..<100 {
            harness.refuseAll()
            harness.wait(.milliseconds(200))
        }
        #expect(told(&harness) == ["begun after 3"])
        harness.wait(.milliseconds(400))
        harness.accept("n1:1")
        #expect(try asked(&harness).1.from == LogIndex(4))
    }

    @Test("a caller that has enough ends the watch at the node; a client that is closed ends all")
    func cancelled() throws {
        var harness = Harness(endpoints: ["n1:1"])
        watch(&harness)
        harness.accept("n1:1")
        let (sent, _) = try asked(&harness)
        begin(&harness, sent, after: 3)
        harness.step(.watchCancelled(WatchID(1)))
        #expect(harness.take(.watchCancel).map(\.header.requestID) == [sent.header.requestID])
        tell(&harness, sent, [(4, [Self.change("a", "1")])])
        harness.receive(from: "n1:1") {
            WatchFrame.writeProgress(requestID: sent.header.requestID, through: LogIndex(4), isLast: true, into: &$0)
        }
        #expect(told(&harness) == ["begun after 3"])
        harness.step(.watchBegun(WatchID(2), WatchOptions(span: .prefix([])), deadline: harness.now + .seconds(5)))
        harness.step(.closing)
        #expect(told(&harness) == ["ended shuttingDown"])
    }

    @Test("a node that goes back, or begins elsewhere, is not believed")
    func nodesThatLie() throws {
        var harness = Harness(endpoints: ["n1:1"])
        watch(&harness, from: 7)
        harness.accept("n1:1")
        let (sent, _) = try asked(&harness)
        begin(&harness, sent, after: 8)
        #expect(harness.open.isEmpty)
        harness.wait(.milliseconds(400))
        harness.accept("n1:1")
        let (again, _) = try asked(&harness)
        begin(&harness, again, after: 6)
        tell(&harness, again, [(9, [Self.change("a", "1")])])
        tell(&harness, again, [(9, [Self.change("a", "1")])])
        #expect(harness.open.isEmpty)
        #expect(told(&harness) == ["begun after 6", "9: a"])
    }
}
