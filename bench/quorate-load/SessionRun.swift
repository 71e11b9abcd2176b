internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport

/// Many sessions, as those of agents: each is opened by a put of a row that goes with it, kept alive every third of its
/// timeout for a while, kept alive as fast as can be, and at last left alone, so that all of them end together while
/// somebody else goes on to write. Used on one event loop only.
final class SessionRun {
    struct Plan: Sendable {
        var sessionCount: Int
        var timeout: Interval
        /// Sessions of one connection that a keep-alive names together.
        var sessionsPerKeepAlive: Int
    }

    private let plan: LoadRun.Plan
    private let sessionPlan: Plan
    private let context: TransportContext
    private let completion: (Result<SessionReport, LoadFailure>) -> Void
    private var random = SystemRandomNumberGenerator()
    private var connections: [SessionConnection] = []
    /// Asks for figures, and writes while sessions end.
    private var observer: SessionConnection?
    private var readyCount = 0
    private var isOver = false
    private var report: SessionReport
    /// What is sent to keep all of them alive once.
    private var frames: [(connection: SessionConnection, sessions: [SessionID])] = []
    private var nextFrame = 0
    private var openedCount = 0
    /// Of the measurement that is going on.
    private var before: [ProcessFigures?] = []
    private var measuredFrom = NIODeadline.distantPast
    private var part = SessionReport.Part()
    private var keepsPace = false
    private var hurries = false

    init(
        _ plan: LoadRun.Plan, _ sessionPlan: Plan, context: TransportContext,
        completion: @escaping (Result<SessionReport, LoadFailure>) -> Void
    ) {
        self.plan = plan
        self.sessionPlan = sessionPlan
        self.context = context
        self.completion = completion
        report = SessionReport(sessions: sessionPlan.sessionCount, connections: plan.connectionCount)
    }

    // MARK: Connections

    func start() { dial(plan.endpoints[0], SessionConnection(self)) }

    private func dial(_ address: HostPort, _ connection: SessionConnection) {
        Dialer.connect(to: address, timeout: .seconds(5), context: context, delegate: connection) { [self] result in
            if case .failure(let failure) = result { abort("\(address) \(failure)") }
        }
    }

    func ready(_ connection: SessionConnection, leader: String?) {
        guard observer != nil else {
            guard let leader = leader.flatMap({ HostPort($0) }) else {
                return abort("\(plan.endpoints[0]) knows no leader")
            }
            observer = connection
            report.bare = figures()
            connectAll(leader)
            return
        }
        readyCount += 1
        if readyCount == plan.connectionCount { after(.seconds(1)) { $0.idle() } }
    }

    private func connectAll(_ leader: HostPort) {
        let targets = plan.usesAllNodes ? plan.endpoints : [leader]
        for number in 0..<plan.connectionCount {
            let connection = SessionConnection(self)
            connections.append(connection)
            // A few at a time: nodes bound how many may be greeted at once.
            after(.milliseconds(Int64(number / 4))) { $0.dial(targets[number % targets.count], connection) }
        }
    }

    func lost(_ connection: SessionConnection, reason: String) {
        guard !isOver else { return }
        abort("a connection ended: \(reason)")
    }

    func abort(_ message: String) {
        guard !isOver else { return }
        end()
        completion(.failure(LoadFailure(message: message)))
    }

    private func end() {
        isOver = true
        for connection in connections { connection.close() }
        observer?.close()
    }

    // MARK: Measuring

    private func figures() -> [ProcessFigures?] { plan.serverProcesses.map { ProcessFigures(of: $0) } }

    /// Begins a part of the run once the node has said how far its log has come.
    private func begin(_ body: @escaping () -> Void) {
        askApplied { [self] index in
            part = SessionReport.Part()
            part.firstIndex = index
            before = figures()
            measuredFrom = .now()
            body()
        }
    }

    private func finish(_ body: @escaping (SessionReport.Part) -> Void) {
        part.seconds = Double((NIODeadline.now() - measuredFrom).nanoseconds) / 1e9
        let now = figures()
        part.cpuMicroseconds = zip(before, now).map { before, now in
            guard let before, let now else { return nil }
            return now.cpuMicroseconds - before.cpuMicroseconds
        }
        part.residentBytes = now.map { $0?.residentBytes }
        askApplied { [self] index in
            part.lastIndex = index
            body(part)
        }
    }

    private func askApplied(_ body: @escaping (LogIndex) -> Void) {
        observer?.status { [self] reply, _ in
            guard case .applied(let index) = reply else { return abort("a node does not tell its status") }
            body(index)
        }
        observer?.send()
    }

    // MARK: Parts

    /// What the nodes need with the connections alone.
    private func idle() {
        begin { [self] in
            after(.seconds(5)) { run in
                run.finish { part in
                    run.report.idle = part
                    run.open()
                }
            }
        }
    }

    private func open() {
        var sessions: [[SessionID]] = Array(repeating: [], count: connections.count)
        for number in 0..<sessionPlan.sessionCount {
            sessions[number % connections.count].append(SessionID(random.next(), random.next()))
        }
        let size = sessionPlan.sessionsPerKeepAlive
        for start in stride(from: 0, to: sessions[0].count, by: size) {
            for (number, own) in sessions.enumerated() where start < own.count {
                frames.append((connections[number], Array(own[start..<min(start + size, own.count)])))
            }
        }
        begin { [self] in
            for (number, connection) in connections.enumerated() {
                for _ in 0..<plan.inFlight { openNext(on: connection) { sessions[number].popLast() } }
                connection.send()
            }
        }
    }

    private func openNext(on connection: SessionConnection, _ take: @escaping () -> SessionID?) {
        guard let session = take() else { return }
        let key = Array("load/session/\(session)".utf8)
        connection.put(key, by: session, timeout: sessionPlan.timeout, isOneShot: false) { [self] reply, sentAt in
            guard case .success = reply else { return abort("a session could not be opened: \(reply)") }
            part.latencies.add(UInt64((NIODeadline.now() - sentAt).nanoseconds))
            openedCount += 1
            if openedCount == sessionPlan.sessionCount { return allOpen() }
            openNext(on: connection, take)
        }
    }

    private func allOpen() {
        finish { [self] part in
            report.opening = part
            keepsPace = true
            keepPace(from: .now(), sent: 0)
            // Every session has been kept alive once before it counts.
            after(sessionPlan.timeout) { run in
                run.begin { run.after(run.plan.duration) { $0.finishSteady() } }
            }
        }
    }

    /// All sessions once in a third of their timeout, evenly.
    private func keepPace(from start: NIODeadline, sent: Int) {
        guard keepsPace, !isOver else { return }
        let passed = Double((NIODeadline.now() - start).nanoseconds)
        let due = Int(passed * 3 / Double(sessionPlan.timeout.nanoseconds) * Double(frames.count))
        for _ in sent..<max(sent, due) {
            let connection = takeFrame()
            connection.send()
        }
        after(.milliseconds(5)) { $0.keepPace(from: start, sent: max(sent, due)) }
    }

    @discardableResult
    private func takeFrame() -> SessionConnection {
        let frame = frames[nextFrame % frames.count]
        nextFrame += 1
        frame.connection.keepAlive(frame.sessions) { [self] reply, sentAt in
            switch reply {
            case .keptAlive(let lost):
                part.latencies.add(UInt64((NIODeadline.now() - sentAt).nanoseconds))
                part.lost += lost
                part.keptAlive += frame.sessions.count
            default: part.errors += 1
            }
            if hurries { takeFrame() }
        }
        return frame.connection
    }

    private func finishSteady() {
        finish { [self] part in
            report.steady = part
            keepsPace = false
            // Those that are under way belong to the part before.
            after(.seconds(1)) { $0.hurry() }
        }
    }

    private func hurry() {
        begin { [self] in
            hurries = true
            for _ in 0..<plan.inFlight * connections.count { takeFrame() }
            for connection in connections { connection.send() }
            sendAll()
            after(plan.duration) { run in
                run.hurries = false
                run.finish { part in
                    run.report.hurried = part
                    run.after(.milliseconds(200)) { $0.leave() }
                }
            }
        }
    }

    /// The next frame may belong to a connection whose own turn does not come.
    private func sendAll() {
        guard hurries, !isOver else { return }
        for connection in connections { connection.send() }
        after(.milliseconds(1)) { $0.sendAll() }
    }

    // MARK: The end of all of them

    private func leave() {
        begin { [self] in
            writeOn()
            // Not before any can end: looking costs more than they do.
            let timeout = sessionPlan.timeout
            after(timeout + .nanoseconds(timeout.nanoseconds / 20)) { $0.watchRows(first: nil) }
        }
    }

    /// One write after another, by somebody who has nothing to do with the sessions.
    private func writeOn() {
        guard !isOver, let observer else { return }
        let session = SessionID(random.next(), random.next())
        observer.put(
            Array("load/other".utf8), by: session, timeout: sessionPlan.timeout, isOneShot: true
        ) { [self] reply, sentAt in
            guard case .success = reply else { return abort("a write failed while sessions ended: \(reply)") }
            part.latencies.add(UInt64((NIODeadline.now() - sentAt).nanoseconds))
            part.otherWrites += 1
            after(.milliseconds(2)) { $0.writeOn() }
        }
        observer.send()
    }

    private func watchRows(first: NIODeadline?) {
        observer?.count(prefix: Array("load/session/".utf8)) { [self] reply, _ in
            guard case .rows(let count) = reply else { return abort("the rows could not be counted: \(reply)") }
            let now = NIODeadline.now()
            let waited = Double((now - measuredFrom).nanoseconds) / 1e9
            guard waited < 10 * Double(sessionPlan.timeout.nanoseconds) / 1e9 else {
                return abort("\(count) sessions are left")
            }
            let begun = first ?? (count < sessionPlan.sessionCount ? now : nil)
            guard count == 0 else { return after(.milliseconds(5)) { $0.watchRows(first: begun) } }
            report.endingBegan = Double(((begun ?? now) - measuredFrom).nanoseconds) / 1e9
            report.endingTook = Double((now - (begun ?? now)).nanoseconds) / 1e9
            finish { part in
                self.report.ending = part
                self.end()
                self.completion(.success(self.report))
            }
        }
        observer?.send()
    }

    private func after(_ interval: Interval, _ body: @escaping (SessionRun) -> Void) {
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(interval.nanoseconds)) { [self] in
            if !isOver { body(self) }
        }
    }
}
