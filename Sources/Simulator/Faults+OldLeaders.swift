internal import Basics
internal import RaftCore
internal import ReplicaCore

/// Time that bytes need in addition, by way. It grows bit by bit, so that nobody is ever silent for long. Only looked up in.
struct NetworkLags {
    private var lags: [Way: (since: Instant, max: Interval)] = [:]

    private struct Way: Hashable {
        var from: Int
        var to: Int
    }

    func of(_ from: Int, _ to: Int, at now: Instant) -> Interval {
        guard !lags.isEmpty, let lag = lags[Way(from: from, to: to)] else { return .zero }
        return min(lag.max, (now - lag.since) / 2)
    }

    mutating func begin(_ from: Int, _ to: Int, max: Interval, at now: Instant) {
        lags[Way(from: from, to: to)] = (now, max)
    }

    mutating func end(_ from: Int, _ to: Int) { lags[Way(from: from, to: to)] = nil }
}

/// What happens in some worlds only.
enum Special {
    case overtakeLeader
    case cutOff(leader: Int, others: [Int])
    case overtakingEnds(leader: Int, others: [Int], isCutOff: Bool)
    case cutOffClient
    case clientIsBack(Int)
    case takeSnapshot
    case exports(node: Int, life: Int, ExportWork)
    case stopForRestore
    case restore
    case renewClient(Int)
    case downgrade((node: Int, index: LogIndex)?)

    /// Whose process would have to run for this to happen.
    var node: Int? { if case .exports(let node, _, _) = self { node } else { nil } }

    /// For the hash of a run.
    var number: UInt64 {
        switch self {
        case .overtakeLeader: 1
        case .cutOff(let leader, _): UInt64(leader) << 8 | 2
        case .overtakingEnds(let leader, _, _): UInt64(leader) << 8 | 3
        case .cutOffClient: 10
        case .clientIsBack(let client): UInt64(client) << 8 | 11
        case .takeSnapshot: 4
        case .exports(let node, _, _): UInt64(node) << 8 | 5
        case .stopForRestore: 6
        case .restore: 7
        case .renewClient(let client): UInt64(client) << 8 | 8
        case .downgrade: 9
        }
    }
}

/// An old leader that goes on for as long as it can. The answers of the others come to it late, so it is heard by them
/// at once and hears them after a while; then they hear it no more, and elect another, while it still has answers on
/// their way from before. Whatever it says of the present in that time must not rest on them.
extension World {
    func planOldLeaders() {
        guard settings.injectsFaults, settings.focus != .storage, oldLeaderChance.happens(percent: 50) else { return }
        schedule(.special(.overtakeLeader), after: oldLeaderChance.interval(.seconds(2), .seconds(6)))
    }

    func happened(_ special: Special) {
        switch special {
        case .overtakeLeader: overtakeLeader()
        case .cutOff(let leader, let others): cutOff(leader, others)
        case .overtakingEnds(let leader, let others, let isCutOff):
            overtakingEnds(leader, others, isCutOff: isCutOff)
        case .cutOffClient: cutOffClient()
        case .clientIsBack(let client): clientIsBack(client)
        case .takeSnapshot: takeSnapshot()
        case .exports(let node, let life, let work): if isRunning(node, life) { exports(nodes[node], work) }
        case .stopForRestore: stopForRestore()
        case .restore: restoreAll()
        case .renewClient(let client): renew(clients[client])
        case .downgrade(let planned): downgradeForAWhile(planned)
        }
    }

    private func overtakeLeader() {
        guard isFaulty else { return }
        guard let leader = nodes.first(where: { $0.process?.replica.raft.isLeader == true })?.number else {
            schedule(.special(.overtakeLeader), after: oldLeaderChance.interval(.milliseconds(100), .seconds(1)))
            return
        }
        let others = nodes.indices.filter { $0 != leader }
        counters.add(.delay)
        // Of each the answers take another time: some are heard when those of others are still on their way.
        for other in others {
            let max = oldLeaderChance.interval(.milliseconds(300), .milliseconds(2_500))
            lags.begin(other, leader, max: max, at: now)
        }
        tell("\(nodes[leader].name) hears the others late")
        schedule(
            .special(.cutOff(leader: leader, others: others)),
            after: oldLeaderChance.interval(.milliseconds(400), .milliseconds(2_500)))
    }

    private func cutOff(_ leader: Int, _ others: [Int]) {
        guard isFaulty else { return }
        let leads = nodes[leader].process?.replica.raft.isLeader == true
        if leads {
            counters.add(.overtaken)
            for other in others { reachability.block(leader, other) }
            tell("\(nodes[leader].name) is not heard any more")
            waysBlocked()
        }
        // Often it leads no more, for another reason: then the next one is tried.
        let pause = leads
            ? oldLeaderChance.interval(.seconds(6), .seconds(12)) : oldLeaderChance.interval(.zero, .seconds(1))
        schedule(.special(.overtakeLeader), after: pause)
        schedule(
            .special(.overtakingEnds(leader: leader, others: others, isCutOff: leads)),
            after: leads ? oldLeaderChance.interval(.seconds(1), .seconds(5)) : .zero)
    }

    private func overtakingEnds(_ leader: Int, _ others: [Int], isCutOff: Bool) {
        guard isFaulty else { return }
        for other in others {
            lags.end(other, leader)
            if isCutOff { reachability.unblock(leader, other) }
        }
        waysFreed()
    }
}
