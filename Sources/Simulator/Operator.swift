internal import Basics
internal import MetadataModel
internal import Wire

/// Whoever administers the cluster: one task after the other, each a few steps, through a client like any other.
struct Operator {
    enum Step {
        /// A machine without a member on it is given an empty directory, and a node is started there that joins.
        case start(Int)
        /// A machine loses its directory.
        case lose(Int)
        /// A node is stopped and comes back on another port.
        case move(Int, port: Int)
        case ask(MemberChange, FaultKind)
        /// Whoever is there is a member no more: the node runs on for a while, or is stopped.
        case takeAway(NodeID)
    }

    /// One request, once sent, and what became of it.
    struct Request {
        enum Outcome: Equatable {
            case pending
            case done(LogIndex)
            /// It has had no effect and never will.
            case refused
            case unknown
        }

        var change: MemberChange
        var sentAt: Instant
        var outcome = Outcome.pending

        /// It may have been carried out, or may still be.
        var isOpen: Bool { outcome == .pending || outcome == .unknown }
    }

    /// The client that the operator uses.
    let client: Int
    var steps: [Step] = []
    var requests: [Request] = []
    var isWaiting = false
    /// A step that has not succeeded by then is given up, and its task with it.
    var deadline = Instant.never
    /// What was asked for in this step may have happened, though nobody said so.
    var isUncertain = false

    init(client: Int) { self.client = client }
}

extension MemberChange {
    /// Members that are the same as before, put in force once more.
    static let nothing = MemberChange.update(name: "", peerAddress: "")

    var isTransfer: Bool { if case .transfer = self { true } else { false } }

    /// True: this request leads to that difference. An addition comes without the name of whom it is to replace.
    func explains(_ difference: MemberChange) -> Bool {
        switch self {
        case .add(let name, let address, _): difference == .add(name: name, peerAddress: address, replacing: nil)
        case .update: difference == self || difference == .nothing
        case .promote, .remove, .exchange: difference == self
        case .transfer: false
        }
    }

    /// True: these are the members that it asks for.
    func isFulfilled(in membership: Membership) -> Bool {
        func votes(_ name: String) -> Bool {
            membership.member(named: name).map { membership.incoming.contains($0.id) } ?? false
        }
        switch self {
        case .add(let name, let address, _):
            return membership.member(named: name).map {
                $0.peerAddress == address && membership.learners.contains($0.id)
            } ?? false
        case .promote(let name): return votes(name)
        case .remove(let name): return membership.member(named: name) == nil
        case .exchange(let old, let new): return membership.member(named: old) == nil && votes(new)
        case .update(let name, let address): return membership.member(named: name)?.peerAddress == address
        case .transfer: return false
        }
    }

    /// May take a voter out.
    var takesAway: Bool {
        switch self {
        case .remove, .exchange: true
        case .add, .promote, .update, .transfer: false
        }
    }
}
