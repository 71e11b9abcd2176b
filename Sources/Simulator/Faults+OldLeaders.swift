internal import Basics
internal import RaftCore
internal import ReplicaCore

/// Time that bytes need in addition, by way. Only looked up in.
struct NetworkLags {
    private var lags: [Way: Interval] = [:]

    private struct Way: Hashable {
        var from: Int
        var to: Int
    }

    func of(_ from: Int, _ to: Int) -> Interval {
        lags.isEmpty ? .zero : lags[Way(from: from, to: to)] ?? .zero
    }

    mutating func set(_ from: Int, _ to: Int, _ lag: Interval) { lags[Way(from: from, to: to)] = lag }
    mutating func end(_ from: Int, _ to: Int) { lags[Way(from: from, to: to)] = nil }
}

/// What happens in some worlds only.
enum Special {
    case overtakeLeader
    case cutOff(leader: Int, others: [Int])
    case overtakingEnds(leader: Int, others: [Int], isCutOff: Bool)
    case takeSnapshot
    case exports(node: Int, life: Int, ExportWork)
    case stopForRestore
    case restore
    case renewClient(Int)

    /// Whose process would have to run for this to happen.
    var node: Int? { if case .exports(let node, _, _) = self { node } else { nil } }

    /// For the hash of a run.
    var number: UInt64 {
        switch self {
        case .overtakeLeader: 1
        case .cutOff(let leader, _): UInt64(leader) << 8 | 2
        case .overtakingEnds(let leader, _, _): UInt64(leader) << 8 | 3
        case .takeSnapshot: 4
        case .exports(let node, _, _): UInt64(node) << 8 | 5
        case .stopForRestore: 6
        case .restore: 7
        case .renewClient(let client): UInt64(client) << 8 | 8
        }
    }
}

/// An old leader that goes on for as long as it can. The answers of the others come to it late, so it is heard by them
/// at once and hears them after a while; then they hear it no more, and elect another, while it still has answers on
/// their way from before. Whatever it says of the present in that time must not rest on them.
extension World {
    func planOldLeaders() {
        guard settings.injectsFaults, settings.focus != .storage, oldLeaderChance.happens(percent: 40) else { return }
        schedule(.special(.overtakeLeader), after: oldLeaderChance.interval(.seconds(2), .seconds(6)))
    }

    func happened(_ special: Special) {
        switch special {
        case .overtakeLeader: overtakeLeader()
        case .cutOff(let leader, let others): cutOff(leader, others)
        case .overtakingEnds(let leader, let others, let isCutOff):
            overtakingEnds(leader, others, isCutOff: isCutOff)
        case .takeSnapshot: takeSnapshot()
        case .exports(let node, let life, let work): if isRunning(node, life) { exports(nodes[node], work) }
        case .stopForRestore: stopForRestore()
        case .restore: restoreAll()
        case .renewClient(let client): renew(clients[client])
        }
    }

    private func overtakeLeader() {
        guard isFaulty else { return }
        schedule(.special(.overtakeLeader), after: oldLeaderChance.interval(.seconds(3), .seconds(9)))
        guard let leader = nodes.first(where: { $0.process?.replica.raft.isLeader == true })?.number else { return }
        let others = nodes.indices.filter { $0 != leader }
        counters.add(.delay)
        // Of each the answers take another time: some are heard when those of others are still on their way.
        for other in others {
            lags.set(other, leader, oldLeaderChance.interval(.milliseconds(300), .milliseconds(2_500)))
        }
        tell("\(nodes[leader].name) hears the others late")
        schedule(
            .special(.cutOff(leader: leader, others: others)),
            after: oldLeaderChance.interval(.milliseconds(800), .seconds(4)))
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
