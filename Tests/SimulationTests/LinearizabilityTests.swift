import Basics
import Simulator
import Testing

/// Histories made by hand: what the checker must accept and what it must refuse.
@Suite("Linearizability checker")
struct LinearizabilityTests {
    typealias Cell = Operation.Cell

    private static func write(_ value: UInt32, _ called: UInt64, _ returned: UInt64?, key: Int = 0) -> Operation {
        Operation(
            client: 0, called: called, returned: returned, conditionsHeld: returned == nil ? nil : true,
            writes: [Cell(key, value)])
    }

    private static func read(_ value: UInt32, _ called: UInt64, _ returned: UInt64, key: Int = 0) -> Operation {
        Operation(client: 1, called: called, returned: returned, reads: [Cell(key, value)])
    }

    /// Writes `value` if the key holds `expected`.
    private static func swap(
        _ expected: UInt32, _ value: UInt32, _ called: UInt64, _ returned: UInt64?, held: Bool?
    ) -> Operation {
        Operation(
            client: 2, called: called, returned: returned, conditions: [Cell(0, expected)], conditionsHeld: held,
            writes: [Cell(0, value)])
    }

    /// Reads all of some keys at one moment.
    private static func list(_ values: [UInt32], _ called: UInt64, _ returned: UInt64) -> Operation {
        Operation(
            client: 3, called: called, returned: returned,
            reads: values.enumerated().map { Cell($0.offset, $0.element) })
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var history: [Operation]
        var testDescription: String { name }
    }

    static let accepted: [Case] = [
        Case(name: "nothing at all", history: []),
        Case(name: "a read of what was never written", history: [read(0, 1, 2)]),
        Case(name: "a read after a write", history: [write(1, 1, 2), read(1, 3, 4)]),
        Case(name: "a read beside a write sees the old", history: [write(1, 1, 5), read(0, 2, 3)]),
        Case(name: "a read beside a write sees the new", history: [write(1, 1, 5), read(1, 2, 3)]),
        Case(name: "old, then new, beside one write", history: [write(1, 1, 9), read(0, 2, 3), read(1, 4, 5)]),
        Case(name: "two writes at once, either last", history: [write(1, 1, 5), write(2, 1, 5), read(1, 6, 7)]),
        Case(name: "two writes at once, the other last", history: [write(1, 1, 5), write(2, 1, 5), read(2, 6, 7)]),
        Case(
            name: "two writes at once, seen one after the other",
            history: [write(1, 1, 9), write(2, 1, 9), read(2, 2, 3), read(1, 4, 5)]),
        Case(name: "an unknown write that is never seen", history: [write(1, 1, nil), read(0, 2, 3), read(0, 8, 9)]),
        Case(name: "an unknown write that is seen late", history: [write(1, 1, nil), read(0, 2, 3), read(1, 8, 9)]),
        Case(
            name: "an unknown write overtaken by another",
            history: [write(1, 1, nil), write(2, 3, 4), read(2, 5, 6)]),
        Case(
            name: "an unknown write that lands after a later one",
            history: [write(1, 1, nil), write(2, 3, 4), read(2, 5, 6), read(1, 7, 8)]),
        Case(name: "a swap that holds", history: [write(1, 1, 2), swap(1, 2, 3, 4, held: true), read(2, 5, 6)]),
        Case(name: "a swap that does not", history: [write(1, 1, 2), swap(9, 2, 3, 4, held: false), read(1, 5, 6)]),
        Case(
            name: "of two swaps at once one holds",
            history: [swap(0, 1, 1, 5, held: true), swap(0, 2, 1, 5, held: false), read(1, 6, 7)]),
        Case(
            name: "an unknown swap explains a later value",
            history: [write(1, 1, 2), swap(1, 2, 3, nil, held: nil), read(2, 5, 6)]),
        Case(
            name: "an unknown write explains a refused swap",
            history: [write(1, 1, 2), write(2, 3, nil), swap(1, 3, 5, 6, held: false), read(2, 7, 8)]),
        Case(
            name: "a listing sees two keys at one moment",
            history: [write(1, 1, 2, key: 0), write(2, 3, 9, key: 1), list([1, 0], 4, 5), list([1, 2], 6, 7)]),
        Case(
            name: "a deletion",
            history: [write(1, 1, 2), write(0, 3, 4), read(0, 5, 6)]),
        Case(
            name: "many unknown writes and one that is read",
            history: (1...12).map { write(UInt32($0), 1, nil) } + [read(7, 20, 21), read(0, 2, 3)]),
        Case(
            name: "a transaction that writes its other branch",
            history: [
                Operation(
                    client: 0, called: 1, returned: 2, conditions: [Cell(0, 5)], conditionsHeld: false,
                    writes: [Cell(0, 6)], otherwise: [Cell(0, 7)]),
                read(7, 3, 4),
            ]),
    ]

    static let refused: [Case] = [
        Case(name: "a value from nowhere", history: [read(1, 1, 2)]),
        Case(name: "a lost write", history: [write(1, 1, 2), read(0, 3, 4)]),
        Case(name: "a stale read", history: [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]),
        Case(name: "new, then old, beside one write", history: [write(1, 1, 9), read(1, 2, 3), read(0, 4, 5)]),
        Case(name: "a read before the write began", history: [read(1, 1, 2), write(1, 3, 4)]),
        Case(
            name: "two readers see two orders",
            history: [write(1, 1, 9), write(2, 1, 9), read(1, 10, 11), read(2, 12, 13)]),
        Case(
            name: "there and back again",
            history: [write(1, 1, 9), write(2, 1, 9), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)]),
        Case(
            name: "an unknown write that comes and goes",
            history: [write(1, 1, nil), read(1, 2, 3), read(0, 4, 5)]),
        Case(
            name: "an unknown write that takes effect twice",
            history: [write(1, 1, nil), read(1, 2, 3), write(2, 4, 5), read(1, 6, 7)]),
        Case(name: "an unknown write seen before it was called", history: [read(1, 1, 2), write(1, 3, nil)]),
        Case(
            name: "two swaps of one value hold",
            history: [swap(0, 1, 1, 5, held: true), swap(0, 2, 1, 5, held: true)]),
        Case(name: "a swap that holds on another value", history: [write(1, 1, 2), swap(9, 2, 3, 4, held: true)]),
        Case(name: "a swap that was refused for nothing", history: [write(1, 1, 2), swap(1, 2, 3, 4, held: false)]),
        Case(
            name: "a refused swap that took effect",
            history: [write(1, 1, 2), swap(9, 2, 3, 4, held: false), read(2, 5, 6)]),
        Case(
            name: "an acknowledged swap that did not",
            history: [write(1, 1, 2), swap(1, 2, 3, 4, held: true), read(1, 5, 6)]),
        Case(
            name: "a listing of a moment that never was",
            history: [write(1, 1, 2, key: 0), write(2, 3, 4, key: 1), list([0, 2], 5, 6)]),
        Case(
            name: "a listing torn in two",
            history: [
                write(1, 1, 2, key: 0), write(2, 3, 4, key: 1), write(3, 5, 6, key: 0), write(4, 7, 8, key: 1),
                list([1, 4], 9, 10),
            ]),
        Case(
            name: "a write of two keys of which one is seen",
            history: [
                Operation(
                    client: 0, called: 1, returned: 9, conditionsHeld: true, writes: [Cell(0, 1), Cell(1, 2)]),
                list([1, 0], 2, 3),
            ]),
        Case(name: "a deleted row that is back", history: [write(1, 1, 2), write(0, 3, 4), read(1, 5, 6)]),
        Case(
            name: "a transaction whose other branch is missing",
            history: [
                Operation(
                    client: 0, called: 1, returned: 2, conditions: [Cell(0, 5)], conditionsHeld: false,
                    writes: [Cell(0, 6)], otherwise: [Cell(0, 7)]),
                read(0, 3, 4),
            ]),
        Case(
            name: "a stale read among many unknown writes",
            history: (3...9).map { write(UInt32($0), 100, nil) } + [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]),
    ]

    @Test("a linearizable history is accepted", arguments: accepted)
    func accepts(_ example: Case) {
        #expect(LinearizabilityChecker.check(example.history) == .linearizable)
    }

    @Test("a history that no single store could have given is refused", arguments: refused)
    func refuses(_ example: Case) {
        guard case .violation = LinearizabilityChecker.check(example.history) else {
            Issue.record("\(example.name) was not refused")
            return
        }
    }

    @Test("the order of the log is tried first, needs no search, and is not believed where it does not fit")
    func ranks() {
        var history = [Self.write(1, 1, 9), Self.write(2, 1, 9), Self.read(1, 10, 12)]
        history[0].rank = 2
        history[1].rank = 1
        #expect(LinearizabilityChecker.check(history, stepsMax: 0) == .linearizable)
        history[0].rank = 1
        history[1].rank = 2
        #expect(LinearizabilityChecker.check(history, stepsMax: 0) == .undecided)
        #expect(LinearizabilityChecker.check(history) == .linearizable)
        // In the order of the log it would fit, and in time it does not.
        var late = [Self.write(1, 1, 2), Self.write(2, 3, 4), Self.read(1, 5, 6)]
        late[0].rank = 2
        late[1].rank = 1
        guard case .violation = LinearizabilityChecker.check(late) else {
            Issue.record("the order of the log was believed")
            return
        }
    }

    @Test("a search that would take too long is no pass")
    func budgetIsNoPass() {
        let history = [Self.write(1, 1, 2), Self.read(1, 3, 4), Self.read(1, 5, 6)]
        #expect(LinearizabilityChecker.check(history, stepsMax: 2) == .undecided)
    }

    /// A store that does one thing after the other, driven at random: what it answers is linearizable by construction,
    /// and turning one answer into another value is found.
    @Test("random histories of a real store are accepted, and one wrong answer among them is found", arguments: 1...30)
    func randomHistories(_ seed: UInt64) {
        var random = SplitMix64(seed: seed)
        func draw(_ count: UInt64) -> UInt64 { random.next() % count }
        var state: [UInt32] = [0, 0, 0, 0]
        var history: [Operation] = []
        var next: UInt32 = 1
        for step in 0..<UInt64(120) {
            // Takes effect at 10 × step; called up to 40 before, answered up to 40 after.
            let moment = 100 + 10 * step
            let called = moment - draw(40)
            let returned = moment + 1 + draw(40)
            let key = Int(draw(4))
            switch draw(4) {
            case 0:
                history.append(Self.write(next, called, draw(6) == 0 ? nil : returned, key: key))
                state[key] = next
                next += 1
            case 1:
                let expected = draw(2) == 0 ? state[key] : 0
                let held = state[key] == expected
                history.append(
                    Operation(
                        client: 0, called: called, returned: returned, conditions: [Cell(key, expected)],
                        conditionsHeld: held, writes: [Cell(key, next)]))
                if held { state[key] = next }
                next += 1
            case 2: history.append(Self.read(state[key], called, returned, key: key))
            default: history.append(Self.list(state, called, returned))
            }
        }
        #expect(LinearizabilityChecker.check(history) == .linearizable)
        guard let wrong = history.lastIndex(where: { !$0.reads.isEmpty }) else { return }
        history[wrong].reads[0].value = 1_000_000
        guard case .violation = LinearizabilityChecker.check(history) else {
            Issue.record("seed \(seed): a value from nowhere was not found")
            return
        }
    }
}
