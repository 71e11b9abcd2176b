package import Basics
package import LogFormat
internal import MetadataModel
package import RaftCore
internal import Wire

/// Entries of this log for members whose own is damaged, and what this node has promised for those that have lost theirs.
/// Neither needs a leader.
extension Replica {
    /// Nothing that it has promised is missing here.
    package var isWhole: Bool { raft.votingAllowed && raft.holdsPromised && !isQuarantined && !isMending }

    private func basis(of question: RepairQuestion) -> RepairBasis {
        question.basis(committed: min(raft.commitIndex, appliedIndex)) { raft.term(at: $0) }
    }

    /// What to read for the answer; nil when there is nothing to give.
    package func range(for question: RepairQuestion) -> ClosedRange<LogIndex>? {
        let first = max(question.wanted.lowerBound, raft.firstIndex)
        let last = min(question.wanted.upperBound, raft.durableIndex)
        return first <= last && basis(of: question) != .nothing ? first...last : nil
    }

    /// - Parameter slab: what was read. The log may have been cut since the question came, and may have been when it was
    ///   read: both are looked at now.
    package func answer(to question: RepairQuestion, _ slab: Slab?) -> (answer: RepairAnswer, slab: Slab?) {
        var answer = RepairAnswer(
            first: question.wanted.lowerBound, basis: .nothing, isWhole: isWhole, last: raft.lastDurableEntry,
            beginning: isQuarantined ? .zero : raft.beginning)
        let basis = basis(of: question)
        guard basis != .nothing, let slab, raft.term(at: slab.firstIndex) == slab.term,
            raft.term(at: slab.lastIndex) == slab.term
        else { return (answer, nil) }
        answer.basis = basis
        answer.first = slab.firstIndex
        return (answer, slab)
    }

    package var knownPromises: KnownPromises {
        let last = EntryID(term: raft.term(at: raft.lastIndex) ?? .zero, index: raft.lastIndex)
        return KnownPromises(
            currentTerm: raft.currentTerm, last: max(last, raft.promised), configurationIndex: raft.configurationIndex)
    }

    mutating func help(_ peer: NodeID, with question: RepairQuestion) {
        guard let range = range(for: question) else { return helped(peer, with: question, nil) }
        effects.logReads.append(
            LogRead(purpose: .repair(peer, question), range: range, byteCountMax: Limits.slabSizeMax))
    }

    mutating func helped(_ peer: NodeID, with question: RepairQuestion, _ slab: Slab?) {
        let (answer, given) = answer(to: question, slab)
        let bytes = given?.bytes ?? []
        send(.logEntriesReply(answer), to: peer, payload: bytes.rawSpan)
    }

    mutating func tellPromises(to peer: NodeID) {
        let bytes = membership.encoded()
        send(.promisesReply(knownPromises), to: peer, payload: bytes.rawSpan)
    }
}
