import Basics
import RaftCore

/// Ways to drive a cluster by hand: everything happens at once unless a link is cut, a disk is stalled or `dropped`
/// says otherwise.
extension TestCluster {
    /// Delivers and syncs until nothing is left to do. Time stands still.
    mutating func settle() {
        for _ in 0..<100_000 {
            if let position = nodes.firstIndex(where: { $0.isUp && !$0.isDiskStalled && !$0.persistQueue.isEmpty }) {
                finishPersist(position)
            } else if !network.isEmpty {
                let packet = network.removeFirst()
                if !isLost(packet) { deliver(packet) }
            } else {
                return
            }
        }
        preconditionFailure("the cluster does not come to rest")
    }

    func isLost(_ packet: Packet) -> Bool { cutLinks.contains([packet.from, packet.to]) || dropped(packet) }

    /// Lets time pass; whoever has a deadline in between is woken, in order.
    mutating func advance(milliseconds: Int64) {
        let end = now + .milliseconds(milliseconds)
        while true {
            settle()
            let awake = nodes.filter(\.isUp)
            guard let next = awake.min(by: { $0.raft.nextDeadline < $1.raft.nextDeadline }),
                next.raft.nextDeadline <= end
            else { break }
            now = max(now, next.raft.nextDeadline)
            step(next.id.rawValue, .deadlineReached)
        }
        now = end
        settle()
    }

    /// Only this node's timers run until it leads, or has asked often enough.
    mutating func campaign(_ id: UInt64, attempts: Int = 40) {
        for _ in 0..<attempts where !raft(id).isLeader {
            now = max(now, raft(id).nextDeadline)
            step(id, .deadlineReached)
            settle()
        }
    }

    /// Runs everybody's timers until somebody leads.
    mutating func elect(within milliseconds: Int64 = 20_000) -> UInt64? {
        let end = now + .milliseconds(milliseconds)
        while leader == nil, now < end { advance(milliseconds: 10) }
        return leader
    }

    mutating func propose(_ id: UInt64, count: Int = 1) {
        step(id, .proposed(count: count))
    }

    /// Changes the voters, through the joint configuration.
    mutating func change(_ id: UInt64, to voters: [UInt64], learners: [UInt64] = []) {
        let current = raft(id).configuration
        step(
            id,
            .proposedConfiguration(
                Configuration(
                    incoming: voters.map { NodeID($0) }, outgoing: current.incoming,
                    learners: learners.map { NodeID($0) })))
        settle()
    }

    mutating func cut(_ from: UInt64, _ to: UInt64) { cutLinks.insert([NodeID(from), NodeID(to)]) }

    mutating func isolate(_ id: UInt64) {
        for node in nodes where node.id != NodeID(id) {
            cut(id, node.id.rawValue)
            cut(node.id.rawValue, id)
        }
    }

    mutating func heal() { cutLinks = [] }

    /// Puts a message on the wire that no core has sent.
    mutating func forge(_ message: Message, from: UInt64, to: UInt64, entries: [Entry] = []) {
        deliver(Packet(from: NodeID(from), to: NodeID(to), message: message, entries: entries))
    }

    /// Every sync returns; nothing is delivered.
    mutating func syncDisks() {
        for position in nodes.indices {
            while nodes[position].isUp, !nodes[position].persistQueue.isEmpty { finishPersist(position) }
        }
    }

    /// What this node has on the wire to `peer`, once its disk is done.
    mutating func answers(from id: UInt64, to peer: UInt64) -> [Message] {
        syncDisks()
        return takeNetwork().filter { $0.from == NodeID(id) && $0.to == NodeID(peer) }.map(\.message)
    }

    /// Takes everything that was sent since the last call; nothing of it is delivered.
    mutating func takeNetwork() -> [Packet] {
        defer { network = [] }
        return network
    }
}

extension Packet: CustomStringConvertible {
    var description: String { "\(from.rawValue) -> \(to.rawValue): \(message.words)" }
}

extension Message {
    /// One line for people.
    var words: String {
        switch self {
        case .preVote(let request): "preVote term \(request.term) log \(request.lastEntry)"
        case .preVoteResponse(let response): "preVote \(response.isGranted ? "yes" : "no") term \(response.term)"
        case .requestVote(let request):
            "requestVote term \(request.term) log \(request.lastEntry)\(request.isTransfer ? " transfer" : "")"
        case .requestVoteResponse(let response): "vote \(response.isGranted ? "yes" : "no") term \(response.term)"
        case .appendEntries(let append):
            "append term \(append.term) after \(append.previous) "
                + (append.entries.map { "entries \($0.lowerBound)-\($0.upperBound) of \(append.entryTerm)" } ?? "empty")
                + " commit \(append.leaderCommit)"
        case .appendEntriesResponse(let response):
            switch response.outcome {
            case .accepted(let matchIndex): "appended through \(matchIndex) term \(response.term)"
            case .rejected(let previous, let hint): "not after \(previous), try \(hint) term \(response.term)"
            }
        case .heartbeat(let heartbeat):
            "heartbeat term \(heartbeat.term) commit \(heartbeat.commitIndex)"
                + (heartbeat.readRound > 0 ? " round \(heartbeat.readRound)" : "")
        case .heartbeatResponse(let response):
            "alive term \(response.term)" + (response.readRound > 0 ? " round \(response.readRound)" : "")
        case .installSnapshot(let offer): "snapshot term \(offer.term) through \(offer.snapshot.last)"
        case .installSnapshotResponse(let response):
            switch response.outcome {
            case .inProgress: "snapshot in progress term \(response.term)"
            case .reached(let matchIndex): "snapshot reached \(matchIndex) term \(response.term)"
            case .failed: "snapshot failed term \(response.term)"
            }
        case .readIndex(let request): "readIndex term \(request.term)"
        case .readIndexResponse(let response): "readIndex is \(response.readIndex.map { "\($0)" } ?? "unknown")"
        case .timeoutNow(let request): "timeoutNow term \(request.term)"
        }
    }
}
