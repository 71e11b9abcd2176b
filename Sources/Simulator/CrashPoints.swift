internal import Basics
internal import Disk

/// Where a process may die: between any two things that it does and that could be told apart afterwards. What it does to
/// its disk is one such thing for each operation, so that "while a snapshot is built" is as many places as there are
/// writes, syncs and renames in it.
package enum CrashPoint: Int, CaseIterable, Sendable {
    /// Before any write or sync of entries and hard state.
    case beforePersist
    /// Synced, and nobody has heard of it.
    case afterPersist
    /// One message or answer is on its way, and those behind it are not.
    case afterSend
    case beforeApply
    case afterApply
    /// Before the state is made durable, or after it.
    case flush
    case snapshotBuild
    case snapshotReceive
    case snapshotInstall
    case logTrim
    /// A segment is sealed, made or begun.
    case segmentRoll
    /// While it starts and mends what the last crash has left, or enters a cluster.
    case start

    var fault: FaultKind {
        switch self {
        case .beforePersist: .crashInPersist
        case .afterPersist: .crashAfterPersist
        case .afterSend: .crashAfterSend
        case .beforeApply: .crashBeforeApply
        case .afterApply: .crashAfterApply
        case .flush: .crashInFlush
        case .snapshotBuild: .crashInSnapshotBuild
        case .snapshotReceive: .crashInSnapshotReceive
        case .snapshotInstall: .crashInSnapshotInstall
        case .logTrim: .crashInLogTrim
        case .segmentRoll: .crashInSegmentRoll
        case .start: .crashInStart
        }
    }
}

/// What goes with the process.
package enum CrashKind: Int, CaseIterable, Sendable {
    case process
    /// What its machine had not synced is gone, in part.
    case power
    /// The power of all machines fails at that moment.
    case powerOfAll
}

/// Who decides at which of the points that a world comes by somebody dies.
struct CrashPlan {
    enum Mode {
        case none
        /// At the points of these numbers, each counted from the crash before it.
        case counted([Int], CrashKind)
        /// Now and then, at a kind of point that is drawn before anybody comes by it.
        case drawn
    }

    var mode = Mode.none
    /// Points passed since the last crash.
    private(set) var passed = 0
    /// By kind, in all.
    private(set) var seen = [Int](repeating: 0, count: CrashPoint.allCases.count)
    private(set) var crashes: [(point: CrashPoint, node: Int, at: Instant)] = []
    var chance: Chance
    private var armed: CrashPoint?
    private var toPass = 0
    private var nextDraw = Instant.zero + .seconds(1)

    init(seed: UInt64) { chance = Chance(seed: seed, stream: 31) }

    /// Whether the node dies here.
    mutating func strikes(_ point: CrashPoint, node: Int, now: Instant) -> Bool {
        seen[point.rawValue] += 1
        switch mode {
        case .none: return false
        case .counted(let numbers, let kind):
            defer { passed += 1 }
            guard let next = numbers.first, passed == next else { return false }
            mode = .counted(Array(numbers.dropFirst()), kind)
            passed = -1
        case .drawn:
            if now >= nextDraw { draw(now) }
            guard armed == point else { return false }
            guard toPass == 0 else {
                toPass -= 1
                return false
            }
            armed = nil
        }
        crashes.append((point, node, now))
        return true
    }

    /// Each kind of point is as likely as any other, however often it is come by.
    private mutating func draw(_ now: Instant) {
        nextDraw = now + chance.interval(.milliseconds(300), .seconds(4))
        armed = chance.pick(CrashPoint.allCases)
        toPass = chance.number(in: 0...chance.pick([0, 2, 8, 30]))
    }

    mutating func drawKind() -> CrashKind {
        switch mode {
        case .counted(_, let kind): kind
        case .none, .drawn:
            switch chance.number(in: 0...99) {
            case 0..<40: .process
            case 40..<92: .power
            default: .powerOfAll
            }
        }
    }

    /// How long a node stays away: mostly for so short that nobody takes its place, now and then for longer.
    mutating func drawAbsence() -> Interval {
        switch mode {
        case .counted: crashes.count % 3 == 2 ? .milliseconds(2_500) : .milliseconds(40)
        case .none, .drawn:
            chance.happens(percent: 20)
                ? chance.interval(.seconds(1), .seconds(6)) : chance.interval(.milliseconds(20), .milliseconds(600))
        }
    }
}

extension World {
    /// The node comes by a point that is not on its disk. True: it has died there, and nothing that follows happens.
    func dies(_ node: SimNode, at point: CrashPoint) -> Bool {
        guard node.struckAt == nil else { return true }
        guard crashes.strikes(point, node: node.number, now: now) else { return false }
        die(node, at: point)
        return true
    }

    /// Does something to a node's disk. Before each operation that changes the disk the machine may be gone; then that one
    /// and all that follow fail, and `endedByCrash` is to be asked.
    func during<T, Failure: Error>(
        _ point: CrashPoint, _ node: SimNode, _ body: () throws(Failure) -> T
    ) throws(Failure) -> T {
        node.disk.strikes = { [unowned self, unowned node] operation in
            guard node.struckAt == nil else { return true }
            var point = point
            // Files that come, go and get other names in the middle of a write: the log goes on in the next segment.
            if point == .beforePersist, operation != .write, operation != .sync { point = .segmentRoll }
            guard crashes.strikes(point, node: node.number, now: now) else { return false }
            node.struckAt = point
            return true
        }
        defer { node.disk.strikes = nil }
        return try body()
    }

    /// True: the machine died in the middle of what was just done.
    func endedByCrash(_ node: SimNode) -> Bool {
        guard let point = node.struckAt else { return false }
        die(node, at: point)
        return true
    }

    private func die(_ node: SimNode, at point: CrashPoint) {
        counters.add(point.fault)
        let kind = crashes.drawKind()
        tell("\(node.name) dies: \(point), \(kind)")
        end(node, losingPower: kind != .process)
        guard kind == .powerOfAll else { return }
        counters.add(.crashAllNodes)
        for other in nodes where other !== node && other.isRunning { end(other, losingPower: true) }
    }

    /// What its other threads were about to do has not begun.
    private func end(_ node: SimNode, losingPower: Bool) {
        node.struckAt = nil
        if node.process != nil {
            stopProcess(of: node, losingPower: losingPower, interrupting: false)
        } else if node.joining != nil {
            stopJoining(node, losingPower: losingPower)
        } else {
            // It was about to start.
            if losingPower { node.disk.losePower() } else { node.disk.processEnded() }
            node.home.processEnded()
            closeConnections(of: node)
        }
        schedule(.start(node: node.number), after: crashes.drawAbsence())
    }
}
