internal import Basics
internal import Disk
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import ReplicaCore
internal import ReplicaStorage
internal import Snapshots
internal import StateEngine
internal import Wire

/// Damage that strikes running nodes: rows, snapshots, old parts of the log, and disks that do not give back what they
/// hold. And the scrubs that look for it, in simulated time.
///
/// A good copy must be left with another member: one node at a time, and only while all others are whole.
enum StateEvent {
    case nextFault
    case scrubStep(node: Int, life: Int, number: UInt64)
}

/// What of this there is in a world.
struct StateFaults {
    enum Kind: CaseIterable {
        case rows, snapshot, snapshotPiece, log, logRead, rowRead
    }

    var chance: Chance
    /// Zero: no node scrubs by itself.
    let scrubPeriod: Interval
    /// What a scrub reads at once.
    let pieceSize: Int
    let pauseMax: Interval
    let isOn: Bool

    init(seed: UInt64) {
        chance = Chance(seed: seed, stream: 24)
        scrubPeriod = .milliseconds(Int64(chance.pick([0, 1_500, 4_000, 10_000])))
        pieceSize = chance.pick([1, 8, 64]) * 1_024
        pauseMax = .milliseconds(Int64(chance.pick([700, 2_000, 5_000])))
        isOn = chance.happens(percent: 70)
    }
}

/// A scrub of one node.
final class SimScrub {
    let plan: ScrubPlan
    let scrub: Scrub
    let begunAt: Instant
    var areRowsOpen = false

    init(_ plan: ScrubPlan, at time: Instant, _ scrub: Scrub) {
        begunAt = time
        self.plan = plan
        self.scrub = scrub
    }
}

extension World {
    func startStateFaults() {
        guard settings.injectsFaults, stateFaults.isOn else { return }
        schedule(.state(.nextFault), after: .seconds(3))
    }

    func stateEvent(_ event: StateEvent) {
        switch event {
        case .nextFault: nextStateFault()
        case .scrubStep(let node, let life, let number): if isRunning(node, life) { scrubStep(nodes[node], number) }
        }
    }

    // MARK: - Faults

    private func nextStateFault() {
        guard isFaulty else { return }
        schedule(.state(.nextFault), after: stateFaults.chance.skewed(.milliseconds(100), stateFaults.pauseMax))
        let kind = stateFaults.chance.pick(StateFaults.Kind.allCases)
        let victim = stateFaults.chance.pick(nodes)
        let place = stateFaults.chance.next()
        guard settings.focus != .network, let process = victim.process, areOthersWhole(than: victim),
            isWhole(victim), kind == .snapshotPiece || hasOtherStates(than: victim, process)
        else { return }
        switch kind {
        case .rows: damageRow(of: victim, process, place)
        case .rowRead:
            guard let key = someKey(of: process, place) else { return }
            counters.add(.readError)
            tell("\(victim.name) will not be given a row once")
            process.state.machine.engine.readFault = KeyRange(from: key, to: KeyRange.successor(of: key))
        case .snapshot: damageFile(of: victim, place, .bitFlipInSnapshot) { $0.contains("/snapshots/") && !$0.contains("/incoming-") }
        case .snapshotPiece: victim.damagesNextPiece = true
        case .log:
            let newest = victim.disk.paths.last { $0.hasSuffix(".segment") }
            damageFile(of: victim, place, .bitFlipInLog) { $0.hasSuffix(".segment") && $0 != newest }
        case .logRead: victim.failsNextLogRead = true
        }
    }

    private func damageRow(of node: SimNode, _ process: SimProcess, _ place: UInt64) {
        guard let key = someKey(of: process, place) else { return }
        counters.add(.bitFlipInEngine)
        tell("a row of \(node.name) is damaged, key \(key)")
        process.state.machine.engine.damagedRows = KeyRange(from: key, to: KeyRange.successor(of: key))
    }

    private func someKey(of process: SimProcess, _ place: UInt64) -> [UInt8]? {
        var keys: [[UInt8]] = []
        try? process.state.machine.engine.scan(from: [], to: nil, reversed: false) { key, _ in
            keys.append([UInt8](key))
            return .next
        }
        return keys.isEmpty ? nil : keys[Int(place % UInt64(keys.count))]
    }

    private func damageFile(
        of node: SimNode, _ place: UInt64, _ kind: FaultKind, _ isMeant: (String) -> Bool
    ) {
        let paths = node.disk.paths.filter(isMeant)
        guard !paths.isEmpty else { return }
        let path = paths[Int(place % UInt64(paths.count))]
        guard let size = try? node.disk.open(path, .existing).size(), size > 0 else { return }
        // The beginning of a segment holds more than its end.
        let offset = Int(place >> 16) % (kind == .bitFlipInLog ? min(size, 16_384) : size)
        let atlas = FaultAtlas(self)
        guard let turnBack = node.disk.flipBit(in: path, at: offset, bit: Int(place >> 8 & 7)) else { return }
        if kind == .bitFlipInLog, !isSurvivable(for: node, atlas) {
            counters.add(.faultRefused)
            return turnBack()
        }
        counters.add(kind)
        tell("a bit turns at \(offset) of \(path) of \(node.name), which runs")
        if kind == .bitFlipInLog { node.hasLogDamage = true } else { node.hasSnapshotDamage = true }
    }

    /// What is damaged in the log of a running node is with somebody else: all others may have been removed by now, or lack
    /// what is struck. Its promises stay what they are, for it runs by them.
    private func isSurvivable(for node: SimNode, _ before: FaultAtlas) -> Bool {
        guard let old = before.copies.first(where: { $0.node === node }),
            let new = FaultAtlas.look(at: node, identity), new.log.report.promisesAreKnown
        else { return false }
        return before.allows(old, to: new)
    }

    /// What is struck is with another voter, which has applied all that this node's log no longer holds. Where members come
    /// and go, one of them may be on its way out: then it is with several. A learner does not count, for without a leader
    /// it does not know how much of its log is committed.
    private func hasOtherStates(than node: SimNode, _ process: SimProcess) -> Bool {
        let members = oracle.members.newest.membership
        let floor = process.log.log.previous.index
        let givers = nodes.count { other in
            guard other !== node, members.incoming.contains(other.id), let process = other.process else { return false }
            return !process.replica.isQuarantined && process.state.machine.applied.last.index >= floor
        }
        return givers > (settings.changesMembers ? 1 : 0)
    }

    private func areOthersWhole(than node: SimNode) -> Bool {
        nodes.allSatisfy { $0 === node || (!$0.isInUse && $0.process == nil) || isWhole($0) }
    }

    private func isWhole(_ node: SimNode) -> Bool {
        guard let process = node.process, !node.isWounded, !node.hasLogDamage, node.hasSoundState else { return false }
        return !process.replica.isMending && !process.hasDamagedSnapshot
    }

    // MARK: - Scrubs

    func carryOut(_ order: ScrubOrder, of node: SimNode, _ process: SimProcess) {
        switch order {
        case .stop:
            guard let running = process.scrub else { return }
            process.scrub = nil
            turn(node) { $0.scrubEnded(running.plan.number, isComplete: false) }
        case .start(let plan):
            process.scrub = SimScrub(plan, at: now, Scrub(log: process.log.log, files: [], byteCountExpected: 0))
            schedule(.state(.scrubStep(node: node.number, life: node.life, number: plan.number)), after: .milliseconds(1))
        }
    }

    private func scrubStep(_ node: SimNode, _ number: UInt64) {
        guard let process = node.process, let running = process.scrub, running.plan.number == number else { return }
        let scrub = running.scrub
        guard scrub.part != .over else {
            process.scrub = nil
            counters.add(.scrubbed)
            node.scrubbedAt = running.begunAt
            return turn(node) { replica in
                replica.scrubAdvanced(number, scrub.progress)
                replica.scrubEnded(number, isComplete: true)
            }
        }
        var step = Scrub.Step()
        if scrub.part == .rows, !running.areRowsOpen {
            running.areRowsOpen = true
            if process.state.isBroken || process.replica.isQuarantined {
                scrub.leaveRows()
            } else {
                scrub.setRows(node.home.openStored(process.state.machine.engine))
            }
        } else if scrub.part == .snapshots {
            step = scrub.step(over: process.snapshots)
        } else {
            step = scrub.step(bytesMax: stateFaults.pieceSize)
        }
        if scrub.part == .rows, process.replica.isQuarantined { scrub.leaveRows() }
        schedule(
            .state(.scrubStep(node: node.number, life: node.life, number: number)),
            after: stateFaults.chance.interval(.milliseconds(1), .milliseconds(isFaulty ? 60 : 2)))
        for finding in step.findings {
            tell("\(node.name) finds damage: \(finding)")
            if case .snapshot = finding.kind { process.hasDamagedSnapshot = true }
            var isMended = true
            turn(node) { isMended = $0.scrubFound(number, finding) }
            if !isMended { return stopForDamage(node, finding.reason) }
        }
    }

    func scrubIfDue(_ node: SimNode) {
        let period = stateFaults.scrubPeriod
        // Once the faults are over, until nothing damaged is left.
        let isDue = isFaulty ? period > .zero && now - node.scrubbedAt > period : lacks(node) != nil
        if isDue { turn(node) { $0.scrubIsDue() } }
    }

    /// What only a start can set right: the process ends, and asks the others before it begins again.
    /// - Parameter isPassing: the disk refused to read this time only.
    func stopForDamage(_ node: SimNode, _ reason: String, isPassing: Bool = false) {
        guard isPassing || node.hasLogDamage || node.isWounded else { return fail("\(node.name) cannot read its log: \(reason)") }
        tell("\(node.name) stops: \(reason)")
        counters.add(.damageRead)
        node.wasDamaged = true
        stopProcess(of: node, losingPower: false)
        schedule(.start(node: node.number), after: .milliseconds(500))
    }

    // MARK: - The end

    /// Every node that runs has found what was damaged in it, and has it again.
    var areStatesWhole: Bool {
        isFaulty || nodes.allSatisfy { lacks($0) == nil }
    }

    /// What keeps the state or the log of a member from being whole; who was removed and has not heard of it has nobody to ask.
    func lacks(_ node: SimNode) -> String? {
        guard let process = node.process, oracle.members.newest.membership.member(node.id) != nil else { return nil }
        if process.replica.isQuarantined { return "quarantined" }
        if process.replica.isMending { return "mending its log" }
        let report = process.replica.scrubReport
        if let damage = report.damages.first(where: { $0.outcome != .harmless }) { return "damaged: \(damage)" }
        if report.state != .ended || node.scrubbedAt <= healedAt { return "not scrubbed: \(report.state)" }
        return nil
    }

    /// Nodes that have applied the same hold the same rows.
    func checkContents(_ machines: [SimNode]) {
        var first: (node: SimNode, digest: ContentDigest)?
        for node in machines {
            guard violation == nil, let process = node.process else { continue }
            do {
                let digest = try ContentDigest(ofRowsIn: Keyspace.replicated, of: process.state.machine.engine)
                if let first, first.digest != digest { fail("the rows of \(first.node.name) and \(node.name) differ") }
                first = first ?? (node, digest)
            } catch {
                fail("the rows of \(node.name) cannot be read at the end: \(error)")
            }
        }
    }
}
