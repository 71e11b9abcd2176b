internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport

/// One run: opens the connections, lets them ask for a while unmeasured, then measures. Used on one event loop only.
final class LoadRun {
    struct Plan: Sendable {
        var endpoints: [HostPort]
        /// Spread the connections over all endpoints; else all go to the leader.
        var usesAllNodes: Bool
        var connectionCount: Int
        var inFlight: Int
        var warmUp: Interval
        var duration: Interval
        /// Requests a second over all connections; nil: as many as there is room for.
        var rate: Int?
        /// Named windows are begun from outside, and so is the end.
        var hasWindows: Bool
        var tls: TLSFiles?
        /// Processes whose time and memory are told.
        var serverProcesses: [Int32]
    }

    private enum Phase {
        case seekingLeader
        case connecting
        case warmingUp
        case measuring
        case over
    }

    let plan: Plan
    var workload: Workload
    private let context: TransportContext
    private let completion: (Result<LoadReport, LoadFailure>) -> Void
    private var phase = Phase.seekingLeader
    private var connections: [LoadConnection] = []
    private var readyCount = 0
    private var searchesLeft = 100
    private var random = SystemRandomNumberGenerator()
    private var latencies = Histogram()
    private var operations = 0
    private var errors: [String: Int] = [:]
    private var measuredFrom = NIODeadline.distantPast
    private var processesBefore: [ProcessFigures?] = []
    private var pacer: Pacer?
    private var windows: [LoadReport.Window] = []

    init(
        _ plan: Plan, workload: Workload, context: TransportContext,
        completion: @escaping (Result<LoadReport, LoadFailure>) -> Void
    ) {
        self.plan = plan
        self.workload = workload
        self.context = context
        self.completion = completion
    }

    func start() { dial(plan.endpoints[0], LoadConnection(self, inFlight: 1)) }

    // MARK: What connections ask

    var mayAsk: Bool { phase == .warmingUp || phase == .measuring }
    /// When the request that may be sent now was due; nil when none is.
    func takeTurn(_ now: NIODeadline) -> NIODeadline? { pacer == nil ? now : pacer?.take(at: now) }
    var mayForward: Bool { plan.usesAllNodes }
    func drawSession() -> SessionID { SessionID(random.next(), random.next()) }

    // MARK: What connections tell

    func ready(_ connection: LoadConnection, leader: String?) {
        guard phase == .seekingLeader else {
            readyCount += 1
            if readyCount == plan.connectionCount { begin() }
            return
        }
        connection.close()
        guard let leader = leader.flatMap({ HostPort($0) }) else { return seekAgain() }
        phase = .connecting
        let targets = plan.usesAllNodes ? plan.endpoints : [leader]
        for number in 0..<plan.connectionCount {
            let connection = LoadConnection(self, inFlight: plan.inFlight)
            connections.append(connection)
            dial(targets[number % targets.count], connection)
        }
    }

    /// The node does not know yet who leads, or where clients find the leader.
    private func seekAgain() {
        searchesLeft -= 1
        guard searchesLeft > 0 else { return abort("\(plan.endpoints[0]) knows no leader") }
        after(.milliseconds(100)) { $0.start() }
    }

    func succeeded(after nanoseconds: Int64) {
        guard phase == .measuring else { return }
        operations += 1
        latencies.add(UInt64(max(0, nanoseconds)))
        if !windows.isEmpty { windows[windows.count - 1].latencies.add(UInt64(max(0, nanoseconds))) }
    }

    func failed(_ reason: String) { errors[reason, default: 0] += 1 }

    /// Has asked for everything there was to ask, and has all replies.
    func finished(_ connection: LoadConnection) {
        connections.removeAll { $0 === connection }
        if connections.isEmpty { end() }
    }

    func lost(_ connection: LoadConnection, reason: String, awaiting: Int) {
        guard phase != .over, connections.contains(where: { $0 === connection }) else { return }
        errors["connection \(reason)", default: 0] += max(1, awaiting)
        connections.removeAll { $0 === connection }
        if phase == .connecting { return abort("a connection ended before the run: \(reason)") }
        if connections.isEmpty { end() }
    }

    func abort(_ message: String) {
        guard phase != .over else { return }
        phase = .over
        completion(.failure(LoadFailure(message: message)))
    }

    // MARK: Phases

    private func dial(_ address: HostPort, _ delegate: LoadConnection) {
        Dialer.connect(to: address, timeout: .seconds(5), context: context, delegate: delegate) { [self] result in
            if case .failure(let failure) = result { abort("\(address) \(failure)") }
        }
    }

    private func begin() {
        phase = .warmingUp
        // Everything that is loaded counts: there is no second try at a key.
        if workload.operation == .load || plan.warmUp == .zero { measure() }
        if let rate = plan.rate {
            pacer = Pacer(rate: rate, from: .now())
            tick(from: 0)
        }
        for connection in connections { connection.start() }
        guard phase == .warmingUp else { return }
        after(plan.warmUp) { $0.measure() }
    }

    private func measure() {
        guard phase == .warmingUp else { return }
        phase = .measuring
        measuredFrom = .now()
        processesBefore = plan.serverProcesses.map { ProcessFigures(of: $0) }
        if workload.operation != .load, !plan.hasWindows { after(plan.duration) { $0.end() } }
    }

    /// Requests that have become due go to the connections in turn, a few to each.
    private func tick(from first: Int) {
        guard mayAsk else { return }
        let count = connections.count
        for position in 0..<count { connections[(first + position) % count].fill(limit: 4) }
        after(.milliseconds(1)) { $0.tick(from: first + 1) }
    }

    /// What is answered from now on counts for the window of this name too.
    func beginWindow(_ name: String) {
        closeWindow()
        windows.append(LoadReport.Window(name: name, begunAt: .now()))
    }

    private func closeWindow() {
        guard let last = windows.indices.last else { return }
        windows[last].seconds = Double((NIODeadline.now() - windows[last].begunAt).nanoseconds) / 1e9
    }

    func end() {
        guard phase != .over else { return }
        guard phase == .measuring else { return abort("told to end before the first request was measured") }
        closeWindow()
        let seconds = Double((NIODeadline.now() - measuredFrom).nanoseconds) / 1e9
        let processes = plan.serverProcesses.map { ProcessFigures(of: $0) }
        phase = .over
        for connection in connections { connection.close() }
        let cpu = zip(processesBefore, processes).map { before, after -> Double? in
            guard let before, let after else { return nil }
            return (after.cpuMicroseconds - before.cpuMicroseconds) / Double(max(1, operations))
        }
        completion(
            .success(
                LoadReport(
                    operations: operations, seconds: seconds, errors: errors, latencies: latencies, windows: windows,
                    serverMicrosecondsPerOperation: cpu, residentBytes: processes.map { $0?.residentBytes })))
    }

    private func after(_ interval: Interval, _ body: @escaping (LoadRun) -> Void) {
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(interval.nanoseconds)) { [self] in body(self) }
    }
}

/// Why there are no figures.
struct LoadFailure: Error, Sendable, CustomStringConvertible {
    var message: String
    var description: String { message }
}
