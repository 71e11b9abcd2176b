internal import Basics

/// Decides whether a history of one group of keys is linearizable: whether every operation can be given a moment
/// between its call and its return so that each was told what a single store, doing one after the other, would have
/// told it.
///
/// The search of Wing and Gong with Lowe's memo: at each step any operation that was called before the earliest return
/// among those still to be placed may come next; a set of placed operations together with the state that it led to is
/// tried only once. What fits and never writes is placed at once: it can come nowhere better. Linearizability is local
/// (Herlihy and Wing 1990), so groups of keys are checked apart.
///
/// An operation whose outcome nobody knows may come anywhere or nowhere, and a few of them would make the search
/// endless. It need not be tried everywhere: if the next operation neither sees its effect nor hides it for good, the
/// two can change places, and if its effect is hidden unseen, it may as well be left out. So it is tried only where
/// what follows depends on it (`settle`).
package struct LinearizabilityChecker {
    package enum Verdict: Hashable, Sendable {
        case linearizable
        /// The longest run of operations that could be placed, and those of which none could come next.
        case violation(placed: Int, stuckAt: [Operation])
        /// The search was given up: that is not a pass.
        case undecided
    }

    package static let keysMax = 4

    /// The keys' values.
    private typealias State = SIMD4<UInt32>

    private struct Memo: Hashable {
        var set: UInt64
        var setAgain: UInt64
        var state: State
        var owed: [Int]
    }

    /// Which keys an operation depends on and which it changes, as bits.
    private struct Footprint {
        var observed: UInt8 = 0
        var conditions: UInt8 = 0
        var written: UInt8 = 0
    }

    /// Where in the two orders the first operation is that has not been placed.
    private struct Edge {
        var byReturn = 0
        var byCall = 0
    }

    private struct Frame {
        /// What was placed to get here, to take it back.
        var operation: Int
        var stateBefore: State
        /// Operations of unknown outcome that were placed and have not been of use yet.
        var owedBefore: [Int]
        var edge: Edge
        var candidates: [Int]
        var nextCandidate: Int
    }

    private let operations: [Operation]
    private let stepsMax: Int
    /// Two random words for each operation; the exclusive or over a set names it.
    private let names: [(UInt64, UInt64)]
    /// Completed operations in order of return.
    private let byReturn: [Int]
    /// The same in order of call.
    private let byCall: [Int]
    private let pending: [Int]
    private let footprints: [Footprint]

    package static func check(_ history: [Operation], stepsMax: Int = 2_000_000) -> Verdict {
        var checker = LinearizabilityChecker(history, stepsMax: stepsMax)
        return checker.followsRanks() ? .linearizable : checker.search()
    }

    private init(_ history: [Operation], stepsMax: Int) {
        // A read whose answer was lost says nothing.
        let told = history.filter { $0.returned != nil || !$0.writes.isEmpty || !$0.otherwise.isEmpty }
        // The order of equal calls is that of the history.
        let operations = told.enumerated().sorted { ($0.element.called, $0.offset) < ($1.element.called, $1.offset) }
            .map(\.element)
        self.operations = operations
        footprints = operations.map(Self.footprint)
        self.stepsMax = stepsMax
        var random = SplitMix64(seed: 0x11A3)
        names = operations.map { _ in (random.next(), random.next()) }
        byCall = operations.indices.filter { operations[$0].returned != nil }
        byReturn = byCall.sorted { (operations[$0].returned ?? 0, $0) < (operations[$1].returned ?? 0, $1) }
        pending = operations.indices.filter { operations[$0].returned == nil }
    }

    // MARK: - One operation

    /// The state after `operation`; nil when it cannot have been told what it was told in `state`.
    private func apply(_ operation: Operation, to state: State) -> State? {
        for cell in operation.reads where state[cell.key] != cell.value { return nil }
        let holds = operation.conditions.allSatisfy { state[$0.key] == $0.value }
        if let held = operation.conditionsHeld, held != holds { return nil }
        var after = state
        for cell in holds ? operation.writes : operation.otherwise { after[cell.key] = cell.value }
        return after
    }

    private static func footprint(_ operation: Operation) -> Footprint {
        func bits(_ cells: [Operation.Cell]) -> UInt8 { cells.reduce(0) { $0 | 1 << UInt8($1.key) } }
        var footprint = Footprint()
        footprint.conditions = bits(operation.conditions)
        footprint.observed = bits(operation.reads) | footprint.conditions
        if operation.conditionsHeld != false { footprint.written |= bits(operation.writes) }
        if operation.conditionsHeld != true { footprint.written |= bits(operation.otherwise) }
        return footprint
    }

    /// What is still owed once `next` has been placed behind `owed`; nil when one of these was placed in vain.
    private func settle(_ owed: [Int], by next: Int) -> [Int]? {
        guard !owed.isEmpty else { return owed }
        let following = footprints[next]
        var left: [Int] = []
        for number in owed {
            let earlier = footprints[number]
            let isSeen = following.observed & earlier.written != 0
            // Behind `next` it would have gone another way.
            let comesTooLate = following.written & earlier.conditions & ~earlier.written != 0
            let isHalfHidden = following.written & earlier.written != 0 && earlier.written & ~following.written != 0
            if isSeen || comesTooLate || isHalfHidden { continue }
            if operations[next].returned != nil || following.written & earlier.written != 0 { return nil }
            left.append(number)
        }
        return left
    }

    // MARK: - The order that is known

    /// Whether the order of the log, where one is known, is an order as it is asked for. Mostly it is, and then there is
    /// nothing to search: with a few dozen operations under way at once and some of unknown outcome, a search that leaves
    /// the right way early may not come back to it in any time.
    private func followsRanks() -> Bool {
        func key(_ number: Int) -> (UInt64, Int, UInt64, Int) {
            let operation = operations[number]
            // What was read of a revision was read behind it.
            return (operation.rank, footprints[number].written == 0 ? 1 : 0, operation.returned ?? .max, number)
        }
        let ranked = operations.indices.filter { operations[$0].rank < .max }.sorted { key($0) < key($1) }
        // Operations that never write have their place wherever they fit; others without a rank are for the search.
        var free = operations.indices.filter { operations[$0].rank == .max && operations[$0].returned != nil }
        guard free.allSatisfy({ footprints[$0].written == 0 }) else { return false }
        var placed = [Bool](repeating: false, count: operations.count)
        var state = State(repeating: 0)
        var edge = 0
        var next = 0
        while true {
            while edge < byReturn.count, placed[byReturn[edge]] { edge += 1 }
            guard edge < byReturn.count, let bound = operations[byReturn[edge]].returned else { return true }
            let fitting = free.filter { operations[$0].called <= bound && apply(operations[$0], to: state) != nil }
            if !fitting.isEmpty {
                for number in fitting { placed[number] = true }
                free.removeAll { placed[$0] }
                continue
            }
            guard next < ranked.count, operations[ranked[next]].called <= bound,
                let after = apply(operations[ranked[next]], to: state)
            else { return false }
            placed[ranked[next]] = true
            state = after
            next += 1
        }
    }

    // MARK: - The search

    private mutating func search() -> Verdict {
        var placed = [Bool](repeating: false, count: operations.count)
        var state = State(repeating: 0)
        var owed: [Int] = []
        var set: (UInt64, UInt64) = (0, 0)
        var seen: Set<Memo> = []
        var frames: [Frame] = []
        var left = byReturn.count
        var edge = Edge()
        var steps = 0
        var best = 0
        var stuckAt: [Int] = []

        var candidates = self.candidates(placed: placed, edge: &edge)
        var next = 0
        while left > 0 {
            var advanced = false
            if next == 0,
                let free = candidates.first(where: { number in
                    // Not so a deletion of what is not there: it may have to delete something later.
                    operations[number].returned != nil && footprints[number].written == 0
                        && apply(operations[number], to: state) != nil && settle(owed, by: number) != nil
                })
            {
                candidates = [free]
            }
            while next < candidates.count {
                let number = candidates[next]
                next += 1
                steps += 1
                guard steps <= stepsMax else { return .undecided }
                guard let after = apply(operations[number], to: state), var owedAfter = settle(owed, by: number) else {
                    continue
                }
                // An effect that nobody is waiting for and that changes nothing may as well never happen.
                if operations[number].returned == nil {
                    if after == state { continue }
                    owedAfter.append(number)
                }
                let newSet = (set.0 ^ names[number].0, set.1 ^ names[number].1)
                let memo = Memo(set: newSet.0, setAgain: newSet.1, state: after, owed: owedAfter)
                guard seen.insert(memo).inserted else { continue }
                frames.append(
                    Frame(
                        operation: number, stateBefore: state, owedBefore: owed, edge: edge, candidates: candidates,
                        nextCandidate: next))
                placed[number] = true
                set = newSet
                state = after
                owed = owedAfter
                if operations[number].returned != nil { left -= 1 }
                candidates = self.candidates(placed: placed, edge: &edge)
                next = 0
                advanced = true
                break
            }
            if advanced { continue }
            if frames.count >= best {
                best = frames.count
                stuckAt = candidates
            }
            guard let frame = frames.popLast() else {
                return .violation(placed: best, stuckAt: stuckAt.map { operations[$0] })
            }
            let number = frame.operation
            placed[number] = false
            set = (set.0 ^ names[number].0, set.1 ^ names[number].1)
            state = frame.stateBefore
            owed = frame.owedBefore
            if operations[number].returned != nil { left += 1 }
            edge = frame.edge
            candidates = frame.candidates
            next = frame.nextCandidate
        }
        return .linearizable
    }

    /// What may come next, the likeliest first; those whose outcome nobody knows last, because they are rarely needed.
    private func candidates(placed: [Bool], edge: inout Edge) -> [Int] {
        while edge.byReturn < byReturn.count, placed[byReturn[edge.byReturn]] { edge.byReturn += 1 }
        while edge.byCall < byCall.count, placed[byCall[edge.byCall]] { edge.byCall += 1 }
        guard edge.byReturn < byReturn.count, let bound = operations[byReturn[edge.byReturn]].returned else {
            return []
        }
        var found: [Int] = []
        for number in byCall[edge.byCall...] where !placed[number] {
            guard operations[number].called <= bound else { break }
            found.append(number)
        }
        for number in pending where !placed[number] {
            guard operations[number].called <= bound else { break }
            found.append(number)
        }
        // Where nothing is known, most take effect shortly before they return.
        found.sort { first, second in
            let (left, right) = (operations[first], operations[second])
            return (left.rank, left.returned ?? .max, first) < (right.rank, right.returned ?? .max, second)
        }
        return found
    }
}
