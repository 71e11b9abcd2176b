import Basics
import RaftCore

/// Three cores without a network or disks between them: what is sent arrives, what is written is durable, at once.
struct ThreeCores {
    private var cores: [Raft]
    private var underWay: [(from: NodeID, envelope: Envelope)] = []
    private var now = Instant(nanoseconds: 1)

    /// The first of them leads.
    init() {
        let members = (1...3).map { NodeID(UInt64($0)) }
        let founding = IndexedConfiguration(index: .zero, configuration: Configuration(incoming: members))
        let now = now
        cores = members.map { id in
            Raft(
                id: id, settings: RaftSettings(),
                restored: RestoredState(
                    hardState: .initial, log: TermRuns(), lastApplied: .zero, configurations: [founding]),
                seed: id.rawValue, now: now)
        }
        while !cores[0].isLeader {
            self.now = cores[0].nextDeadline
            step(0, .deadlineReached)
            deliver()
        }
    }

    /// So many entries, until all three have applied them.
    mutating func commit(_ count: Int) {
        step(0, .proposed(count: count))
        deliver()
        // Followers learn of the commit with what comes next, at the latest a heartbeat.
        guard cores.contains(where: { $0.lastApplied < cores[0].lastIndex }) else { return }
        now = cores[0].nextDeadline
        step(0, .deadlineReached)
        deliver()
    }

    private mutating func deliver() {
        while !underWay.isEmpty {
            let arriving = underWay
            underWay.removeAll(keepingCapacity: true)
            for (from, envelope) in arriving {
                step(Int(envelope.to.rawValue) - 1, .received(envelope.message, from: from))
            }
        }
    }

    private mutating func step(_ position: Int, _ input: Input) {
        cores[position].step(input, now: now)
        while let ready = cores[position].takeReady() {
            let id = cores[position].id
            for envelope in ready.sendNow { underWay.append((id, envelope)) }
            if let persist = ready.persist {
                cores[position].step(.persisted(persist.ticket), now: now)
                for envelope in persist.thenSend { underWay.append((id, envelope)) }
            }
            if let range = ready.apply { cores[position].step(.applied(through: range.upperBound), now: now) }
        }
    }
}
