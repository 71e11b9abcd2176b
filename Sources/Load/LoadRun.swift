internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// One run, from finding the leader to the figures:
///
/// 1. A scout asks the endpoints who leads and what the cluster's limits are.
/// 2. All connections are made; those with watches first, so that nothing is written before they watch.
/// 3. What the requests need is prepared: keys that are read are put unless they are there, sessions are opened.
/// 4. Requests go out for the warm-up, and are not counted.
/// 5. Requests go out for the duration. What was due in it counts.
/// 6. Nothing is sent any more, and replies to what counts are waited for: a run that ended with those that it has would
///    leave out the slowest.
///
/// Used on one event loop only.
final class LoadRun {
    private enum Phase {
        case finding
        case watching
        case connecting
        case preparing
        case warmingUp
        case measuring
        case settling
        case over
    }

    let plan: LoadPlan
    let context: TransportContext
    var content: RequestContent
    private let began: () -> Void
    private let completion: (Result<LoadReport, LoadFailure>) -> Void
    private var phase = Phase.finding
    private var targets: [HostPort] = []
    private var scout: Scout?
    private var census: KeyCensus?
    private var connections: [LoadConnection] = []
    private var watchers: [WatchConnection] = []
    private var connectionsToCome = 0
    /// Who is to dial when one of those that do is greeted; the last goes first.
    private var dialsWaiting: [() -> Void] = []
    private var connectionsLost = 0
    private var queue = RequestQueue.puts(of: [])
    private var pacer: Pacer?
    private var ticker: Scheduled<Void>?
    private var costs = ServerCosts(of: [])
    private var tally = LoadTally()
    /// Everything that was answered well, counted or not: where it stands still there is nothing to wait for.
    private var successCount = 0
    /// Changes that are on their way to all watches together.
    private var eventsToCome = 0

    /// - Parameter began: called when the measurement begins.
    init(
        _ plan: LoadPlan, context: TransportContext, began: @escaping () -> Void,
        completion: @escaping (Result<LoadReport, LoadFailure>) -> Void
    ) {
        self.plan = plan
        self.context = context
        self.began = began
        self.completion = completion
        content = RequestContent(plan)
    }

    /// Unless the run is over by then.
    func after(_ interval: Interval, _ body: @escaping (LoadRun) -> Void) {
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(interval.nanoseconds)) { [self] in
            if phase != .over { body(self) }
        }
    }

    // MARK: Connecting

    /// Beyond it several watches share a connection.
    private static let watchConnectionsMax = 100
    /// Nodes bound how many may be greeted at once.
    private static let dialsMax = 256
    private static let reconnectPause = Interval.milliseconds(100)

    func start() {
        let scout = Scout(plan.endpoints, timeout: plan.timeout, context: context) { [self] result in
            self.scout = nil
            switch result {
            case .failure(let failure): fail(failure)
            case .success(let finding): connect(finding)
            }
        }
        self.scout = scout
        scout.start()
    }

    private func connect(_ finding: Scout.Finding) {
        if let message = plan.refusal(by: finding.limits) { return fail(LoadFailure(kind: .usage, message: message)) }
        let addresses = plan.endpoints + finding.nodes + [finding.leader]
        costs = ServerCosts(of: plan.serverProcesses ?? LocalNodes.processes(listeningAt: addresses))
        targets = plan.usesAllNodes ? plan.endpoints : [finding.leader]
        if case .watch(let watches) = plan.workload { watch(watches) } else { connect() }
    }

    private func watch(_ watches: Int) {
        phase = .watching
        connectionsToCome = min(watches, Self.watchConnectionsMax)
        watchers = (0..<connectionsToCome).map { number in
            // Some have one more than others.
            let share = (watches - number + connectionsToCome - 1) / connectionsToCome
            return WatchConnection(self, number: number, watches: share)
        }
        dialAll(watchers.map { watcher in { [self] in watcher.dial(target(of: watcher.number)) } })
    }

    private func connect() {
        phase = .connecting
        connectionsToCome = plan.connectionCount
        connections = (0..<plan.connectionCount).map { LoadConnection(self, number: $0) }
        dialAll(connections.map { connection in { [self] in connection.dial(target(of: connection.number)) } })
    }

    private func target(of number: Int) -> HostPort { targets[number % targets.count] }

    private func dialAll(_ dials: [() -> Void]) {
        dialsWaiting = dials.reversed()
        for _ in 0..<Self.dialsMax { dialsWaiting.popLast()?() }
    }

    /// A connection can be used, for the first time or again.
    func ready() {
        guard phase == .watching || phase == .connecting else { return }
        connectionsToCome -= 1
        dialsWaiting.popLast()?()
        guard connectionsToCome == 0 else { return }
        if phase == .watching { connect() } else { prepare() }
    }

    /// The connection is made anew after a moment, to the next of the nodes: another one may lead by now.
    func lost(_ reason: LinkEnd, _ number: Int, dial: @escaping (HostPort) -> Void) {
        guard phase != .watching, phase != .connecting else {
            return fail(LoadFailure(kind: .unavailable, message: "a connection ended before the run: \(reason)"))
        }
        if case .notOpened = reason { failed("connectFailed") }
        connectionsLost += 1
        let target = plan.endpoints[(number + connectionsLost) % plan.endpoints.count]
        after(Self.reconnectPause) { _ in dial(target) }
    }

    // MARK: Phases

    private func prepare() {
        phase = .preparing
        switch plan.workload {
        case .write, .watch: warmUp()
        case .importing: carryOut(.puts(of: Array(0..<plan.keyCount), together: plan.putsTogether))
        case .registry(let load):
            if let count = load.count { carryOut(.commands(count: count)) } else { warmUp() }
        case .session(let sessions): prepare("opening", .openings(of: Array(0..<sessions.count)))
        case .read, .mixed, .transaction:
            let census = KeyCensus(of: plan.recordKeys, count: plan.keyCount) { [self] result in
                self.census = nil
                switch result {
                case .failure(let failure): fail(failure)
                case .success(let missing): prepare("filling", .puts(of: missing, together: plan.putsTogether))
                }
            }
            self.census = census
            census.start(at: targets[0], timeout: plan.timeout, context: context)
        }
    }

    /// All of it is measured.
    private func carryOut(_ list: RequestQueue) {
        queue = list
        measure()
        askAll()
        watchProgress(since: 0)
    }

    private func prepare(_ name: String, _ queue: RequestQueue) {
        guard !queue.isDone else { return warmUp() }
        self.queue = queue
        tally.beginPart(name, at: .now())
        askAll()
        watchProgress(since: successCount)
    }

    /// What must be done before the run goes on, or ends, is asked again as long as it fails; but not for ever.
    private func watchProgress(since count: Int) {
        after(plan.timeout) { run in
            guard !run.queue.isDone, run.phase == .preparing || run.phase == .measuring else { return }
            guard run.successCount > count else {
                let errors = run.tally.errors.sorted { $0.key < $1.key }.map { " (\($0.key) \($0.value))" }.joined()
                let message =
                    "nothing was written for \(run.plan.timeout): the cluster does not answer, or refuses" + errors
                return run.fail(LoadFailure(kind: .unavailable, message: message))
            }
            run.watchProgress(since: run.successCount)
        }
    }

    private func warmUp() {
        tally.endPart(at: .now())
        phase = .warmingUp
        switch plan.workload {
        case .write, .watch, .importing: queue = .records(keys: plan.keyCount, getPercent: 0, seed: plan.seed)
        case .read: queue = .records(keys: plan.keyCount, getPercent: 100, seed: plan.seed)
        case .mixed(let percent): queue = .records(keys: plan.keyCount, getPercent: percent, seed: plan.seed)
        case .transaction: queue = .transactions(keys: plan.keyCount, seed: plan.seed)
        case .session: queue = .keepAlives(groups: content.groupCount)
        case .registry(let load): queue = .commands(agents: load.shape.agents, seed: plan.seed)
        }
        beginPace(at: .now())
        after(plan.warmUp) { $0.measure() }
        askAll()
    }

    private func measure() {
        phase = .measuring
        costs.begin()
        let now = NIODeadline.now()
        tally.begin(at: now)
        beginPace(at: now)
        began()
        if let duration = plan.duration { after(duration) { $0.end() } }
    }

    /// Told from outside, or because the time has passed or everything is done.
    func end() {
        guard phase != .settling else { return }
        guard phase == .measuring else {
            return fail(LoadFailure(kind: .unavailable, message: "told to end before anything was measured"))
        }
        tally.end(at: .now())
        costs.end()
        // What became due since the last tick is not late yet.
        if pacer != nil { askAll(at: tally.end) }
        phase = .settling
        tally.count("notSent", times: unsentCount)
        settle(until: .now() + .nanoseconds(plan.timeout.nanoseconds))
    }

    /// What was to be sent in the time that is measured, and was not, for there was no room.
    private var unsentCount: Int {
        if plan.workload.isList { return queue.untakenCount }
        return pacer?.untaken(before: tally.end) ?? 0
    }

    private func settle(until deadline: NIODeadline) {
        let isSettled = connections.allSatisfy(\.hasAll) && eventsToCome <= 0
        guard !isSettled, NIODeadline.now() < deadline else { return finish() }
        after(.milliseconds(1)) { $0.settle(until: deadline) }
    }

    private func finish() {
        for connection in connections {
            for entry in connection.takeUnanswered() { tally.failed("timeout", due: entry.due) }
        }
        tally.count("notDelivered", times: eventsToCome)
        close()
        var report = tally.report(plan.workload.name)
        report.serverCPUMicros = costs.cpuMicros
        report.residentBytes = costs.residentBytes
        completion(.success(report))
    }

    func fail(_ failure: LoadFailure) {
        guard phase != .over else { return }
        close()
        completion(.failure(failure))
    }

    private func close() {
        phase = .over
        dialsWaiting = []
        for connection in connections { connection.close() }
        for watcher in watchers { watcher.close() }
    }

    /// What is due from now on counts for the window of this name too.
    func beginWindow(_ name: String) { tally.beginPart(name, at: .now()) }

    // MARK: What connections ask

    /// The request that may be sent now, and when it was due.
    func takeRequest(at now: NIODeadline) -> (Request, due: NIODeadline)? {
        switch phase {
        case .preparing, .warmingUp, .measuring: break
        case .finding, .watching, .connecting, .settling, .over: return nil
        }
        guard queue.hasNext else { return nil }
        guard pacer != nil else { return queue.next().map { ($0, now) } }
        guard let due = pacer?.take(at: now) else { return nil }
        return queue.next().map { ($0, due) }
    }

    private func askAll(at now: NIODeadline = .now()) {
        for connection in connections { connection.ask(at: now) }
    }

    // MARK: Requests at a rate

    /// What is due is looked for no more often than this: a wake-up costs more than a request.
    private static let tickMin = TimeAmount.microseconds(250)
    /// Requests that one connection is given at a time, before it is the next one's turn.
    private static let requestsPerTurn = 4

    /// Requests are due from `now` on. What the warm-up has not sent by then is forgotten, or it would have to be sent
    /// before anything that counts.
    private func beginPace(at now: NIODeadline) {
        guard let rate = plan.rate else { return }
        pacer = Pacer(rate: rate, from: now)
        ticker?.cancel()
        tick(from: 0)
    }

    private func tick(from first: Int) {
        guard let due = pacer?.nextDue, phase != .settling, phase != .over else { return }
        let now = NIODeadline.now()
        var next = first
        if due <= now {
            // No further than there is something due: of ten thousand connections a few have their turn.
            repeat {
                connections[next % connections.count].ask(at: now, limit: Self.requestsPerTurn)
                next += 1
            } while next < first + connections.count && (pacer?.nextDue).map { $0 <= now } == true
        }
        let pause = max(Self.tickMin, (pacer?.nextDue ?? now) - now)
        ticker = context.eventLoop.assumeIsolated().scheduleTask(in: pause) { [self] in tick(from: next % connections.count) }
    }

    // MARK: What connections tell

    func wrote(bodySize: Int, due: NIODeadline) { tally.sent(bodySize: bodySize, due: due) }

    func succeeded(_ entry: RequestSlots.Entry, at now: NIODeadline) {
        successCount += 1
        if watchers.isEmpty {
            tally.succeeded(due: entry.due, at: now, count: entry.request.operationCount)
        } else if tally.isMeasured(entry.due) {
            eventsToCome += watchCount
        }
        finished(entry, isSuccess: true)
    }

    func failed(_ entry: RequestSlots.Entry, _ code: String) {
        tally.failed(code, due: entry.due)
        finished(entry, isSuccess: false)
    }

    private func finished(_ entry: RequestSlots.Entry, isSuccess: Bool) {
        queue.finished(entry.request, isSuccess: isSuccess)
        guard queue.isDone else { return }
        // Not from inside a connection's turn.
        after(.zero) { run in
            guard run.queue.isDone else { return }
            switch run.phase {
            case .preparing: run.warmUp()
            case .measuring: run.end()
            case .finding, .watching, .connecting, .warmingUp, .settling, .over: return
            }
        }
    }

    /// Of what is no request.
    func failed(_ code: String) { tally.failed(code, due: .now()) }

    /// One watch was told of a change.
    func delivered(_ change: Change, at now: NIODeadline) {
        guard let due = change.value.flatMap({ content.due($0) }), tally.isMeasured(due) else { return }
        eventsToCome -= 1
        tally.succeeded(due: due, at: now)
    }

    private var watchCount: Int {
        guard case .watch(let watches) = plan.workload else { return 0 }
        return watches
    }
}
